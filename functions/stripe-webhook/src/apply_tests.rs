//! Death at every step of what an event leads to, on a table in memory: whatever the process had done, the event comes again, alone or in a
//! crowd of others, in any order, and every credit is given and taken once.

use super::*;
use kiln_core::ledger::{Entry, Sums, audit};
use kiln_core::time::Millis;
use kiln_dynamo::{Crashed, Memory, TABLE, at_every_await};
use kiln_store::table::{absent, to_item};
use kiln_store::{Account, AccountKind, keys};

const NOW: Millis = 1_763_721_600_000;
const REFERRAL: i64 = 5000;
const PACK: i64 = 20_000;
const CHARGE: &str = "pi_1";

fn id(n: u128) -> AccountId {
    AccountId::new(NOW, n)
}

/// Bob has brought Ada, who has an order that is not paid. Neither has an address, so that nobody is mailed.
async fn world() -> Memory {
    let memory = Memory::new(1);
    let app = app(&memory).await;
    let bob = Account::new(id(2), AccountKind::Person, 0, NOW);
    let ada = Account { referred_by: Some(id(2)), ..Account::new(id(1), AccountKind::Person, 0, NOW) };
    for account in [ada, bob] {
        assert!(app.table().put(to_item(&keys::account(&account.account_id), &account).unwrap(), Some(absent())).await.unwrap());
    }
    let order = kiln_core::billing::Order {
        v: 1,
        order_id: order(),
        account_id: id(1),
        buys: Buys::Pack { pack: "starter".into(), millicredits: PACK },
        amount: 150,
        currency: "usd".into(),
        state: OrderState::Open,
        created_at: NOW,
        paid_at: None,
        session: Some("cs_1".into()),
        payment: None,
        guest: None,
        owed_shard: None,
        next_check_at: None,
        ttl: None,
    };
    assert!(app.table().put(to_item(&keys::order(&id(1), &order.order_id), &order).unwrap(), Some(absent())).await.unwrap());
    memory
}

async fn app(memory: &Memory) -> App {
    let env = [("KILN_STAGE", "local"), ("KILN_TABLE", TABLE), ("KILN_REFERRAL_MILLICREDITS", "5000")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    App::on(env.into(), memory.sdk_config()).await.unwrap()
}

fn order() -> OrderId {
    OrderId::new(NOW, 3)
}

fn event(told: Told) -> Event {
    Event { id: "evt_1".into(), kind: "of.a.test".into(), told }
}

fn paid() -> Event {
    event(Told::Checkout {
        session: "cs_1".into(),
        account: Some(id(1).to_string()),
        order: Some(order().to_string()),
        paid: true,
        subscription: false,
        amount: Some(150),
        currency: Some("usd".into()),
        payment: Some(CHARGE.into()),
    })
}

fn claimed(name: &str, amount: i64, standing: Standing) -> Event {
    event(Told::Claim { id: name.into(), payment: Some(CHARGE.into()), claim: Claim { amount, standing } })
}

async fn all(memory: Memory, events: &[Event]) {
    let app = app(&memory).await;
    for event in events {
        apply(&app, event, "{}").await.unwrap();
    }
}

/// What is wrong with an account's books; its balance, and the number of its entries of each cause.
fn books(memory: &Memory, n: u128) -> (Vec<String>, i64, usize) {
    let pk = keys::account_pk(&id(n));
    let account: Account = memory.typed_item(&pk, "ACCOUNT").unwrap().unwrap();
    let entries: Vec<Entry> = memory.typed(&pk, keys::LEDGER).unwrap();
    let sums = Sums { available: account.counters.available, held: account.counters.held };
    (audit(sums, &entries, &[], &[]), account.counters.available, entries.len())
}

/// Kills `events` at every step; after each death they come again, as they came and the other way round. `end` is what both have then, and how
/// many entries the two have at most.
async fn dies_everywhere(events: &[Event], end: (i64, i64), most: (usize, usize)) {
    let world = world().await;
    let mut deaths = 0;
    let make = |memory: Memory| async move { all(memory, events).await };
    let places = at_every_await(&world, make, |crashed: Crashed<()>| {
        deaths += usize::from(crashed.ended.is_none());
        async move {
            for n in [1, 2] {
                assert_eq!(books(&crashed.memory, n).0, Vec::<String>::new(), "{n}, dead at {} {:?}", crashed.at, crashed.fate);
            }
            let mut turned = events.to_vec();
            turned.reverse();
            for again in [events, &turned, events] {
                all(crashed.memory.clone(), again).await;
            }
            let (ada, bob) = (books(&crashed.memory, 1), books(&crashed.memory, 2));
            assert_eq!((ada.0.len(), bob.0.len(), (ada.1, bob.1)), (0, 0, end), "dead at {} {:?}", crashed.at, crashed.fate);
            assert!(ada.2 <= most.0 && bob.2 <= most.1, "{} and {} entries, dead at {} {:?}", ada.2, bob.2, crashed.at, crashed.fate);
        }
    })
    .await;
    println!("{} events, {places} places, {deaths} deaths", events.len());
    assert!(deaths >= 10, "{deaths}");
}

#[tokio::test]
async fn a_purchase_and_its_referral_come_once_wherever_the_process_dies() {
    dies_everywhere(&[paid()], (PACK, REFERRAL), (1, 1)).await;
}

#[tokio::test]
async fn a_purchase_that_is_refunded_leaves_nothing_behind_wherever_the_process_dies() {
    let refunded = claimed("re_1", 150, Standing::Gone);
    dies_everywhere(&[paid(), refunded.clone()], (0, 0), (2, 2)).await;
    // Told the other way round, the refund waits for its purchase.
    dies_everywhere(&[refunded, paid()], (0, 0), (2, 2)).await;
}

#[tokio::test]
async fn a_refund_and_a_dispute_of_one_payment_take_back_once_wherever_the_process_dies() {
    let both = [paid(), claimed("re_1", 150, Standing::Gone), claimed("dp_1", 150, Standing::Pending)];
    dies_everywhere(&both, (0, 0), (2, 2)).await;
}

#[tokio::test]
async fn a_dispute_that_is_won_gives_back_what_it_took_wherever_the_process_dies() {
    // About half of the money, so that the referral stays. Told again at the end, the beginning of the dispute does not begin it anew.
    let won = [paid(), claimed("dp_1", 75, Standing::Pending), claimed("dp_1", 75, Standing::Kept)];
    dies_everywhere(&won, (PACK, REFERRAL), (3, 1)).await;
}

/// The canary: where a transaction may be half done, the books show that it was done twice.
#[tokio::test]
async fn half_a_transaction_is_seen_in_the_books() {
    let memory = world().await;
    memory.plant(kiln_dynamo::Planted::HalfTransactions);
    let again = [paid(), paid()];
    all(memory.clone(), &again).await;
    let (wrong, available, _) = books(&memory, 1);
    assert!(!wrong.is_empty() || available != PACK, "{wrong:?} {available}");
}
