//! The operations by the store's real code, as the functions carry them out: read, decide by core, commit, and again when it moved.

use crate::books::Books;
use crate::reference::{Account, Act, Batch, Failing, Job, Payment, Phase, Post, Reference, Saw};
use anyhow::{Context, Result};
use kiln_core::batch::{self, Row};
use kiln_core::billing::{self, Buys, Claim, Order, OrderState};
use kiln_core::ids::{AccountId, BatchId, EntryId, InstanceId, JobId, OrderId};
use kiln_core::job::{self, Counters, JobError};
use kiln_core::ledger::{EntryKind, Move};
use kiln_core::machine::{self, Standing, Step, Sweep, Worker};
use kiln_core::settings::Settings;
use kiln_dynamo::{Memory, TABLE};
use kiln_store::table::{absent, to_item};
use kiln_store::{AccountKind, Applied, Claimed, Closed, Commit, Idempotent, Posted, Posting, Started, Table, Why, keys};
use std::cell::Cell;

/// When all cases begin: 2026-11-21.
pub const BEGIN: i64 = 1_795_257_600_000;
/// What each account has at first.
pub const GRANT: i64 = 10_000;
/// "Read, decide, commit" is repeated as often as in the functions.
const TRIES: usize = 12;

/// A table in memory with some accounts, and the names of all that is done in it.
pub struct World {
    pub memory: Memory,
    pub table: Table,
    pub settings: Settings,
    pub now: Cell<i64>,
    pub accounts: Vec<AccountId>,
    /// What the operations are about, with their facts; what is there is the reference's to say.
    pub facts: Reference,
    made: Cell<u128>,
}

/// The payments that a case may tell of: account, credits, money. A pack, another, an invoice that gives back, odd parts, and nothing.
const PAYMENTS: [(usize, i64, i64); 6] = [(0, 5000, 1000), (1, 3000, 333), (0, -2000, -500), (2, 7001, 999), (1, -4000, 0), (0, 1, 3)];

/// A job as it is asked for, without who asks.
pub fn draft_of(quote: i64) -> job::Job {
    job::Job { quote_millicredits: quote, ..job::Job::draft(JobId::new(BEGIN, 0), AccountId::new(BEGIN, 0), "noop", "image", 900, 0) }
}

impl World {
    pub async fn new(memory: Memory, accounts: usize) -> Result<Self> {
        let table = Table::new(&memory.sdk_config(), TABLE);
        let settings = Settings { creates_per_minute: 1_000_000, ..Settings::default() };
        let ids: Vec<AccountId> = (0..accounts).map(|n| AccountId::new(BEGIN, n as u128 + 1)).collect();
        for id in &ids {
            let counters = Counters { available: GRANT, max_running: Some(1_000_000), max_queued: Some(1_000_000), paid: true, ..Counters::default() };
            let account = kiln_store::Account { counters, ..kiln_store::Account::new(id.clone(), AccountKind::Person, 0, BEGIN) };
            table.put(to_item(&keys::account(id), &account)?, Some(absent())).await?;
            let grant = Move::grant(GRANT).entry(EntryId::new(BEGIN, 1), id.clone(), BEGIN, "signup");
            table.put(to_item(&keys::entry(id, &grant.id), &grant)?, Some(absent())).await?;
        }
        let payments = PAYMENTS.iter().map(|(account, credits, money)| {
            let (account, credits, money) = (*account % accounts, *credits, *money);
            Payment { account, credits, money, applied: false, claims: Default::default(), early: Default::default(), taken: 0 }
        });
        let facts =
            Reference { accounts: vec![Account { available: GRANT, ..Account::default() }; accounts], payments: payments.collect(), ..Reference::default() };
        let world = Self { memory, table, settings, now: Cell::new(BEGIN + 1000), accounts: ids, facts, made: Cell::new(1000) };
        for n in [0, 1] {
            let order = world.order(n);
            world.table.put(to_item(&keys::order(&order.account_id, &order.order_id), &order)?, Some(absent())).await?;
        }
        Ok(world)
    }

    /// The same names on another copy of the table.
    pub fn on(&self, memory: Memory) -> Self {
        let table = Table::new(&memory.sdk_config(), TABLE);
        let made = Cell::new(self.made.get() + 1_000_000);
        Self { table, memory, settings: self.settings.clone(), now: self.now.clone(), accounts: self.accounts.clone(), facts: self.facts.clone(), made }
    }

    fn fresh(&self) -> u128 {
        self.made.set(self.made.get() + 1000);
        self.made.get()
    }

    fn entry_id(&self) -> EntryId {
        EntryId::new(self.now.get(), self.fresh())
    }

    pub fn new_job(&mut self, account: usize, quote: i64, meter: Option<i64>) -> usize {
        self.facts.jobs.push(Job { account, quote, meter, phase: Phase::Queued, attempt: 0, begun: 0, charged: 0, there: false });
        self.facts.jobs.len() - 1
    }

    pub fn new_batch(&mut self, account: usize, quotes: &[i64]) -> usize {
        let rows = quotes.iter().map(|quote| self.new_job(account, *quote, None)).collect();
        self.facts.batches.push(Batch { account, rows, left: 0, there: false, open: false });
        self.facts.batches.len() - 1
    }

    pub fn new_post(&mut self, account: usize, amount: i64) -> usize {
        self.facts.posts.push(Post { account, amount, done: false });
        self.facts.posts.len() - 1
    }

    pub fn batch_id(&self, batch: usize) -> BatchId {
        BatchId::new(BEGIN, (batch as u128 + 1) << 40)
    }

    pub fn job_id(&self, job: usize) -> JobId {
        for (n, batch) in self.facts.batches.iter().enumerate() {
            if let Some(row) = batch.rows.iter().position(|it| *it == job) {
                return batch::job_id(&self.batch_id(n), row as u32);
            }
        }
        JobId::new(BEGIN, job as u128 + 1)
    }

    fn order(&self, payment: usize) -> Order {
        let Payment { account, credits, money, .. } = self.facts.payments[payment];
        Order {
            v: 1,
            order_id: OrderId::new(BEGIN, payment as u128 + 1),
            account_id: self.accounts[account].clone(),
            buys: Buys::Pack { pack: "starter".into(), millicredits: credits },
            amount: money,
            currency: "inr".into(),
            state: OrderState::Open,
            created_at: BEGIN,
            paid_at: None,
            session: None,
            payment: None,
            guest: None,
            owed_shard: None,
            next_check_at: None,
            ttl: None,
        }
    }

    fn draft(&self, job: usize) -> job::Job {
        let Job { account, quote, meter, .. } = self.facts.jobs[job];
        job::Job { job_id: self.job_id(job), account_id: self.accounts[account].clone(), meter, ..draft_of(quote) }
    }

    /// Carries an act out, and gives what its caller is told.
    pub async fn does(&self, act: &Act) -> Saw {
        match self.tries(act).await {
            Ok(Some(saw)) => saw,
            Ok(None) | Err(_) => Saw::Unknown,
        }
    }

    /// `None` when its turns ran out.
    async fn tries(&self, act: &Act) -> Result<Option<Saw>> {
        for _ in 0..TRIES {
            if let Some(saw) = self.once(act).await? {
                return Ok(Some(saw));
            }
        }
        Ok(None)
    }

    /// `None` when what was read has moved on.
    async fn once(&self, act: &Act) -> Result<Option<Saw>> {
        let now = self.now.get();
        Ok(Some(match act {
            Act::Submit { job, key } => return self.submit(*job, *key).await,
            Act::Claim { job } | Act::Complete { job, .. } | Act::Fail { job, .. } | Act::Cancel { job } | Act::Sweep { job } => {
                return self.step(*job, act).await;
            }
            Act::Post { post } => {
                let Post { account, amount, .. } = self.facts.posts[*post];
                let kind = match (amount, post % 2) {
                    (..0, _) => EntryKind::Adjustment,
                    (_, 0) => EntryKind::Grant,
                    _ => EntryKind::Referral,
                };
                let entry_id = EntryId::new(BEGIN, (*post as u128 + 1) << 50);
                let posting = Posting { account_id: &self.accounts[account], kind, amount, cause: "operator", external_id: None, entry_id, now };
                match self.table.post(&posting, None, None).await? {
                    Posted::Done => Saw::Done,
                    Posted::Again => Saw::Again,
                    Posted::TooLittle { available } => Saw::Lacking(available),
                    other => anyhow::bail!("{other:?}"),
                }
            }
            Act::Pay { payment, alias } => {
                let Payment { account, credits, money, .. } = self.facts.payments[*payment];
                let order_id = (*payment < 2).then(|| OrderId::new(BEGIN, *payment as u128 + 1));
                let told = billing::Payment {
                    v: 1,
                    account_id: self.accounts[account].clone(),
                    cause: order_id.as_ref().map_or("plan".into(), OrderId::to_string),
                    object: format!("{}_{payment}{}", if order_id.is_some() { "cs" } else { "in" }, if *alias { "b" } else { "" }),
                    order_id,
                    millicredits: credits,
                    amount: money,
                    currency: "inr".into(),
                    paid_at: now,
                    claims: Default::default(),
                    taken: 0,
                    seq: 1,
                };
                match self.table.apply_payment(&told, &format!("pi_{payment}"), &self.entry_id(), now).await? {
                    Applied::New => Saw::Done,
                    Applied::Again => Saw::Again,
                    Applied::NoAccount => anyhow::bail!("no account"),
                }
            }
            Act::Claimed { payment, id, money, standing } => {
                let standing = [billing::Standing::Pending, billing::Standing::Gone, billing::Standing::Kept][usize::from(*standing)];
                let claim = Claim { amount: *money, standing };
                match self.table.apply_claim(&format!("pi_{payment}"), &format!("re_{id}"), claim, &self.entry_id(), now).await? {
                    Claimed::Taken { millicredits, owed } => Saw::Taken(millicredits, owed),
                    Claimed::Returned { millicredits } => Saw::Returned(millicredits),
                    Claimed::Nothing => Saw::Nothing,
                    Claimed::Waiting => Saw::Waiting,
                }
            }
            Act::Reserve { batch } => {
                let Batch { account, rows, .. } = &self.facts.batches[*batch];
                let Some(account) = self.table.account(&self.accounts[*account]).await? else { return Ok(Some(Saw::Refused)) };
                let total = rows.iter().map(|row| self.facts.jobs[*row].quote).sum();
                let reserve = batch::reserve(self.batch_id(*batch), account.account_id, rows.len() as u32, total, &account.counters, &self.settings, now)?;
                match self.table.reserve_batch(&reserve, &self.entry_id(), None, now).await? {
                    Ok(()) => Saw::Done,
                    Err(Why::NoFunds { available }) => Saw::Lacking(available),
                    Err(Why::Moved) => return Ok(None),
                    Err(other) => anyhow::bail!("{other:?}"),
                }
            }
            Act::Start { batch, rows } => {
                let facts = &self.facts.batches[*batch];
                let rows: Vec<Row> = rows.iter().map(|row| Row { row: *row, job: self.draft(facts.rows[*row as usize]) }).collect();
                let account = &self.accounts[facts.account];
                match self.table.start_rows(account, &self.batch_id(*batch), &rows, &self.entry_id(), &self.settings, now).await? {
                    Started::New { jobs, left: 0 } => Saw::Started(jobs.len()),
                    Started::Again => Saw::Again,
                    Started::NoBatch | Started::Refused(batch::NoBatch::Closed) => Saw::Refused,
                    other => anyhow::bail!("{other:?}"),
                }
            }
            Act::Close { batch } => {
                let account = &self.accounts[self.facts.batches[*batch].account];
                match self.table.close_batch(account, &self.batch_id(*batch), &self.entry_id(), now).await? {
                    Closed::New { millicredits } => Saw::Freed(millicredits),
                    Closed::Again => Saw::Again,
                    Closed::NoBatch => Saw::Refused,
                }
            }
        }))
    }

    async fn submit(&self, job: usize, key: u32) -> Result<Option<Saw>> {
        let now = self.now.get();
        let draft = self.draft(job);
        let Some(account) = self.table.account(&draft.account_id).await? else { return Ok(Some(Saw::Refused)) };
        let idempotent = Idempotent {
            account_id: draft.account_id.clone(),
            route: "jobs",
            key_hash: key.to_string(),
            body_hash: "body".into(),
            status: 202,
            answer: "{}".into(),
            now,
            expires_at: now + 86_400_000_000,
        };
        let change = machine::submit(draft, &account.counters, &self.settings, now);
        let with = Commit { entry_id: Some(self.entry_id()), idempotent: Some(&idempotent), ..Commit::default() };
        Ok(match self.table.commit(&change, with, now).await? {
            Ok(()) => Some(Saw::Done),
            Err(Why::Repeated) => Some(Saw::Again),
            Err(Why::NoFunds { available }) => Some(Saw::Lacking(available)),
            Err(Why::Moved) => None,
            Err(other) => anyhow::bail!("{other:?}"),
        })
    }

    /// A step of the job machine.
    async fn step(&self, job: usize, act: &Act) -> Result<Option<Saw>> {
        let now = self.now.get();
        let account = &self.accounts[self.facts.jobs[job].account];
        let (Some(job), Some(account)) = self.table.job_and_account(account, &self.job_id(job)).await? else { return Ok(Some(Saw::Refused)) };
        let capabilities = ["image".to_owned()];
        let idle = InstanceId::new(BEGIN, self.fresh());
        let instance = match act {
            Act::Claim { .. } => idle,
            _ => job.instance_id.clone().unwrap_or(idle),
        };
        let worker = Worker { instance_id: &instance, host: "h", trusted: true, capabilities: &capabilities, draining: false, busy: false };
        let step = match act {
            Act::Claim { .. } => match machine::claim(&job, &account.counters, &worker, instance.as_str(), &self.settings, now) {
                Ok(machine::Claim::New(change)) => {
                    // A machine of its own for each claim.
                    let key = keys::instance(&instance);
                    let item = serde_json::json!({ "pk": { "S": key.pk }, "sk": { "S": key.sk } });
                    self.memory.answer("PutItem", &serde_json::json!({ "TableName": TABLE, "Item": item }));
                    Ok(Step::New(change))
                }
                Ok(machine::Claim::Again) => Ok(Step::Again),
                Err(_) => return Ok(Some(Saw::Refused)),
            },
            Act::Complete { attempt, .. } => machine::complete(&job, &instance, *attempt, 0, now),
            Act::Fail { attempt, how, .. } => {
                let how = match how {
                    Failing::Retryable => machine::Failure::Retryable,
                    Failing::Permanent => machine::Failure::Permanent,
                    Failing::Drained => machine::Failure::Drained,
                };
                let error = JobError { code: "engine".into(), message: "It failed.".into(), retryable: true };
                machine::fail(&job, &worker, *attempt, how, error, &self.settings, now)
            }
            Act::Cancel { .. } => machine::cancel(&job, now),
            _ => match machine::sweep(&job, Standing::Open { first: false }, &self.settings, now) {
                Sweep::Nothing => return Ok(Some(Saw::Nothing)),
                Sweep::Later { change, .. } => {
                    let written = self.table.commit(&change, Commit::default(), now).await?;
                    return Ok(written.is_ok().then_some(Saw::Nothing));
                }
                Sweep::Act(change) => Ok(Step::New(change)),
            },
        };
        let change = match step {
            Ok(Step::New(change)) => change,
            Ok(Step::Again) => return Ok(Some(Saw::Again)),
            Err(_) => return Ok(Some(Saw::Refused)),
        };
        let with = Commit { entry_id: change.money.map(|_| self.entry_id()), account: Some(&account.counters), ..Commit::default() };
        Ok(match self.table.commit(&change, with, now).await? {
            Ok(()) => Some(Saw::Done),
            Err(Why::Moved | Why::RunningFull) => None,
            Err(other) => anyhow::bail!("{other:?}"),
        })
    }

    /// Carries an act out alone, and notes it in the reference; it must end, and as the reference says.
    pub async fn goes(&self, reference: &mut Reference, act: &Act) -> Result<Saw> {
        let saw = self.does(act).await;
        anyhow::ensure!(saw != Saw::Unknown, "{act:?} did not end");
        let books = self.books();
        let next = reference.explain(&[(act.clone(), saw.clone())], self.now.get(), &|it| self.is(it, &books));
        *reference = next.with_context(|| format!("{act:?} gave {saw:?}, which nothing explains: {books:?}"))?;
        Ok(saw)
    }

    /// What is wrong in the whole table by the invariants, without the reference.
    pub fn wrong(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for (id, books) in self.accounts.iter().zip(self.books()) {
            wrong.extend(books.wrong().into_iter().map(|line| format!("{id}: {line}")));
        }
        wrong
    }

    /// Whether the stored state is the reference's.
    pub fn is(&self, reference: &Reference, books: &[Books]) -> bool {
        self.differs(reference, books).is_none()
    }

    /// The first thing in which the stored state is not the reference's.
    pub fn differs(&self, reference: &Reference, books: &[Books]) -> Option<String> {
        for (n, (account, books)) in reference.accounts.iter().zip(books).enumerate() {
            let stored = Account { available: books.available, held: books.held, debt: books.debt };
            if *account != stored {
                return Some(format!("account {n} is to be {account:?} and is {stored:?}"));
            }
        }
        for (n, job) in reference.jobs.iter().enumerate() {
            let stored = books[job.account].jobs.get(self.job_id(n).as_str());
            let same = |it: &crate::books::Job| it.state == job.phase.word() && it.attempt == i64::from(job.attempt) && it.charged == job.charged;
            if stored.is_some() != job.there || stored.is_some_and(|it| !same(it)) {
                return Some(format!("job {n} is to be {job:?} and is {stored:?}"));
            }
        }
        for (n, batch) in reference.batches.iter().enumerate() {
            let stored = books[batch.account].batches.get(self.batch_id(n).as_str());
            if stored.is_some() != batch.there || stored.is_some_and(|it| (it.open, it.left) != (batch.open, batch.left)) {
                return Some(format!("batch {n} is to be {batch:?} and is {stored:?}"));
            }
        }
        for (n, payment) in reference.payments.iter().enumerate() {
            let stored = match self.payment(n) {
                Ok(stored) => stored,
                Err(error) => return Some(format!("payment {n}: {error:#}")),
            };
            let same = |it: &billing::Payment| it.taken == payment.taken && it.claims.len() == payment.claims.len();
            if let Some(what) = self.waits_otherwise(n, payment) {
                return Some(what);
            }
            if stored.is_some() != payment.applied || stored.as_ref().is_some_and(|it| !same(it)) {
                return Some(format!("payment {n} is to be {payment:?} and is {stored:?}"));
            }
        }
        None
    }

    /// Claims that came before their payment must be there until it has come and they are settled.
    fn waits_otherwise(&self, n: usize, payment: &Payment) -> Option<String> {
        #[derive(serde::Deserialize, Default, Debug)]
        struct Waiting {
            claims: std::collections::BTreeMap<String, Claim>,
        }
        let stored: Option<Waiting> = self.memory.typed_item(&format!("PAY#pi_{n}"), "WAITING").ok()?;
        let none = (0, 0);
        let settled = |(id, (money, standing)): (&u8, &(i64, u8))| {
            let known = payment.claims.get(id).unwrap_or(&none);
            known.0 >= *money && known.1 >= *standing
        };
        if payment.applied && stored.is_none() {
            // Gone only when all of it is settled.
            return (!payment.early.iter().all(settled)).then(|| format!("of payment {n} is still to wait {:?}, and nothing waits", payment.early));
        }
        let stored = stored.unwrap_or_default();
        let standing = |standing: billing::Standing| match standing {
            billing::Standing::Pending => 0,
            billing::Standing::Gone => 1,
            billing::Standing::Kept => 2,
        };
        let stored: Vec<_> = stored.claims.iter().map(|(id, claim)| (id.clone(), (claim.amount, standing(claim.standing)))).collect();
        let wanted: Vec<_> = payment.early.iter().map(|(id, claim)| (format!("re_{id}"), *claim)).collect();
        (stored != wanted).then(|| format!("for payment {n} are to wait {wanted:?}, and wait {stored:?}"))
    }

    fn payment(&self, payment: usize) -> Result<Option<billing::Payment>> {
        Ok(self.memory.typed_item(&format!("PAY#pi_{payment}"), "PAYMENT")?)
    }

    pub fn books(&self) -> Vec<Books> {
        self.accounts.iter().map(|id| Books::of(&self.memory, id.as_str())).collect()
    }
}
