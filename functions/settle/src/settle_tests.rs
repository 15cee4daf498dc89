//! Death at every step of a run that settles a guest's order, with the payment service's stand-in behind it: whatever the dead process had
//! done, here and there, the next ones see the order through, and the guest's money goes back once or not at all.

use super::*;
use kiln_core::billing::{Buys, Guest};
use kiln_core::ids::{AccountId, JobId, OrderId, UploadId};
use kiln_core::job::{JobInput, owed_shard};
use kiln_core::ledger::{Entry, EntryKind, Sums, audit};
use kiln_core::machine;
use kiln_dynamo::{Fate, Memory, Planted, TABLE, dies_at};
use kiln_http::flow;
use kiln_pay::{Line, Mode, Pay, Wanted};
use kiln_store::table::{absent, to_item};
use kiln_store::{Account, AccountKind, Commit, keys};
use kiln_stripe_stand_in::{Config, StandIn};
use std::cell::Cell;

const KEY: &str = "sk_test_of_this_test";
const PRICE: i64 = 2000;
const AMOUNT: i64 = 200;
const MADE_AT: Millis = 1_763_721_600_000;

/// What the order is when the run that dies begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    /// Its job was cancelled.
    Cancelled,
    /// It is paid, and the photo of its job is gone.
    NoPhoto,
    /// It is paid, and no event has told of it.
    Untold,
}

struct Shop {
    url: String,
    http: reqwest::Client,
    /// Orders so far: each world has its own, so that its refund is its own.
    orders: Cell<u128>,
}

impl Shop {
    async fn open() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = StandIn::new(Config::new(&url, KEY)).unwrap().router();
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, http: reqwest::Client::new(), orders: Cell::new(0) }
    }

    async fn app(&self, memory: &Memory) -> App {
        let env = [("KILN_STAGE", "local"), ("KILN_TABLE", TABLE), ("KILN_SECRETS_PREFIX", "/kiln/"), ("STRIPE_API_BASE", &self.url)];
        App::on(env.map(|(name, value)| (name.to_owned(), value.to_owned())).into(), memory.sdk_config()).await.unwrap()
    }

    /// An order whose checkout was just paid at the service.
    async fn order(&self, before: Before) -> Order {
        self.orders.set(self.orders.get() + 1);
        let (order_id, job_id) = (OrderId::new(MADE_AT, self.orders.get()), JobId::new(MADE_AT, self.orders.get()));
        let whose = account();
        let wanted = Wanted {
            account: whose.as_str(),
            order: order_id.as_str(),
            line: Line::Once { title: "One picture", amount: AMOUNT, currency: "usd" },
            mode: Mode::Payment,
            customer: None,
            email: Some("guest@example.org"),
            success_url: "https://kiln.example.org/guest/a",
            cancel_url: "https://kiln.example.org/guest",
            expires_at: std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as Millis + 3_600_000,
        };
        let session = Pay::new(KEY, Some(&self.url)).unwrap().checkout(&wanted).await.unwrap().id;
        let pay = self.http.post(format!("{}/stand-in/checkout/{session}/pay", self.url)).bearer_auth(KEY).json(&json!({ "card": "ok" }));
        pay.send().await.unwrap().error_for_status().unwrap();
        let photo = JobInput {
            upload_id: UploadId::new(MADE_AT, 1),
            key: "inputs/a".into(),
            content_type: "image/png".into(),
            bytes: 1,
            sha256: "00".repeat(32),
            width: 1,
            height: 1,
        };
        let inputs = if before == Before::NoPhoto { vec![photo] } else { vec![] };
        let job = Job { quote_millicredits: PRICE, inputs, ..Job::draft(job_id.clone(), account(), "noop", "image", 900, MADE_AT) };
        Order {
            v: 1,
            buys: Buys::Job { job_id, millicredits: PRICE },
            account_id: account(),
            amount: AMOUNT,
            currency: "usd".into(),
            state: OrderState::Open,
            created_at: MADE_AT,
            paid_at: None,
            session: Some(session),
            payment: None,
            guest: Some(Guest { email: "guest@example.org".into(), job: serde_json::to_string(&job).unwrap(), settled: None }),
            owed_shard: Some(owed_shard("order", order_id.as_str())),
            next_check_at: Some(1),
            ttl: None,
            order_id,
        }
    }

    /// A table with one guest and their order.
    async fn world(&self, before: Before) -> (Memory, OrderId) {
        let memory = Memory::new(1);
        memory.put_parameter("/kiln/stripe-secret-key", KEY).put_parameter("/kiln/hmac-key", "a key");
        let app = self.app(&memory).await;
        let guest = Account { guest: true, ..Account::new(account(), AccountKind::Person, 0, MADE_AT) };
        let order = self.order(before).await;
        assert!(app.table().put(to_item(&keys::account(&account()), &guest).unwrap(), Some(absent())).await.unwrap());
        assert!(app.table().put(to_item(&keys::order(&account(), &order.order_id), &order).unwrap(), Some(absent())).await.unwrap());
        if before != Before::Untold {
            let session = order.session.as_deref().unwrap();
            let (told, _) = pay::client(&app).await.unwrap().checkout_now(session).await.unwrap();
            let Told::Checkout { payment: Some(payment), .. } = told else { panic!("{told:?}") };
            let (_, applied) = pay::apply_order(&app, &order, session, &payment).await.unwrap();
            assert_eq!(applied, Applied::New);
        }
        if before == Before::Cancelled {
            assert_eq!(guest::start(&app, &order_of(&memory, &order.order_id)).await.unwrap(), Started::Yes);
            cancel(&app, &order.order_id, &memory).await;
        }
        due(&app, &order_of(&memory, &order.order_id)).await;
        (memory, order.order_id)
    }

    /// All refunds that the service knows of this order's payment, in the smallest unit.
    async fn refunds(&self, order: &Order) -> Vec<i64> {
        let Some(payment) = &order.payment else { return vec![] };
        let asked = self.http.get(format!("{}/v1/refunds?payment_intent={payment}&limit=100", self.url)).bearer_auth(KEY);
        let found: Value = asked.send().await.unwrap().error_for_status().unwrap().json().await.unwrap();
        found["data"].as_array().unwrap().iter().map(|refund| refund["amount"].as_i64().unwrap()).collect()
    }

    /// Runs until the order is settled, or rests with a job that waits.
    async fn runs_on(&self, memory: &Memory, order: &OrderId) -> Order {
        let app = self.app(memory).await;
        for _ in 0..8 {
            let seen = order_of(memory, order);
            if seen.guest.as_ref().unwrap().settled.is_some() {
                break;
            }
            due(&app, &seen).await;
            handle(&app, json!({})).await.unwrap();
        }
        order_of(memory, order)
    }
}

fn account() -> AccountId {
    AccountId::new(MADE_AT, 1)
}

fn order_of(memory: &Memory, order: &OrderId) -> Order {
    let key = keys::order(&account(), order);
    memory.typed_item(&key.pk, &key.sk).unwrap().unwrap()
}

/// The next run looks at it: what a dead one or a wait put off has come.
async fn due(app: &App, order: &Order) {
    assert!(app.table().order_again(order, 1).await.unwrap());
}

async fn cancel(app: &App, order: &OrderId, memory: &Memory) {
    let wanted = guest::job_of(&order_of(memory, order)).unwrap();
    let job = app.table().job_and_account(&account(), &wanted.job_id).await.unwrap().0.unwrap();
    let Ok(machine::Step::New(change)) = machine::cancel(&job, MADE_AT) else { panic!("{job:?}") };
    let with = Commit { entry_id: flow::entry_id(app, &change), ..Commit::default() };
    assert_eq!(app.table().commit(&change, with, MADE_AT).await.unwrap(), Ok(()));
}

/// What is wrong with the guest's books, and how many purchases and holds they have.
fn books(memory: &Memory) -> (Vec<String>, usize, usize) {
    let pk = keys::account_pk(&account());
    let guest: Account = memory.typed_item(&pk, "ACCOUNT").unwrap().unwrap();
    let entries: Vec<Entry> = memory.typed(&pk, keys::LEDGER).unwrap();
    let jobs: Vec<Job> = memory.typed(&pk, keys::JOB).unwrap();
    let open: Vec<_> = jobs.iter().filter(|job| job.hold_open).map(|job| (job.job_id.clone(), job.quote_millicredits, job.finished_at.is_some())).collect();
    let count = |kind: EntryKind| entries.iter().filter(|entry| entry.kind == kind).count();
    let sums = Sums { available: guest.counters.available, held: guest.counters.held };
    (audit(sums, &entries, &open, &[]), count(EntryKind::Purchase), count(EntryKind::Hold))
}

/// Kills a run at every step on a world of its own, and has others go on.
async fn dies_everywhere(before: Before) {
    let shop = Shop::open().await;
    let mut deaths = 0;
    for at in 1.. {
        let mut ends = 0;
        for fate in [Fate::Applied, Fate::NotApplied] {
            let (memory, order) = shop.world(before).await;
            let app = shop.app(&memory).await;
            let ended = dies_at(&memory, at, fate, handle(&app, json!({}))).await;
            ends += usize::from(ended.is_some());
            deaths += usize::from(ended.is_none());
            let place = format!("{before:?}, dead at {at} {fate:?}");
            assert_eq!(books(&memory).0, Vec::<String>::new(), "{place}");
            let mut after = shop.runs_on(&memory, &order).await;
            if before == Before::Untold {
                assert_eq!(after.state, OrderState::Paid, "{place}");
                assert_eq!((books(&memory), shop.refunds(&after).await), ((vec![], 1, 1), vec![]), "{place}");
                cancel(&app, &order, &memory).await;
                after = shop.runs_on(&memory, &order).await;
            }
            assert_eq!(after.guest.as_ref().unwrap().settled, Some(Settled::Refunded), "{place}");
            assert_eq!(shop.refunds(&after).await, [AMOUNT], "{place}");
            assert_eq!(books(&memory), (vec![], 1, usize::from(before != Before::NoPhoto)), "{place}");
        }
        if ends == 2 {
            println!("{before:?}: {deaths} deaths");
            assert!(deaths >= 20, "{deaths}");
            return;
        }
    }
}

#[tokio::test]
async fn a_guest_whose_job_was_cancelled_gets_their_money_back_once_wherever_the_process_dies() {
    dies_everywhere(Before::Cancelled).await;
}

#[tokio::test]
async fn a_guest_whose_photo_is_gone_gets_their_money_back_once_wherever_the_process_dies() {
    dies_everywhere(Before::NoPhoto).await;
}

#[tokio::test]
async fn a_payment_of_which_nothing_was_told_is_credited_once_wherever_the_process_dies() {
    dies_everywhere(Before::Untold).await;
}

/// The canary: where a refused transaction writes its other parts, a second credit of one payment shows in the books.
#[tokio::test]
async fn half_a_transaction_is_seen_in_the_books() {
    let shop = Shop::open().await;
    let (memory, order) = shop.world(Before::Untold).await;
    let order = order_of(&memory, &order);
    memory.plant(Planted::HalfTransactions);
    let app = shop.app(&memory).await;
    for _ in 0..2 {
        // As a run that has read the order before another paid it.
        let _ = unpaid(&app, &order).await;
    }
    let (wrong, purchases, _) = books(&memory);
    assert!(!wrong.is_empty() || purchases != 1, "{wrong:?} {purchases}");
}
