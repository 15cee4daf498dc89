//! The ledger as a person would keep it: integers, one step after the other, no store. And the search for an order of steps that explains
//! what callers were told and what is stored.

use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Account {
    pub available: i64,
    pub held: i64,
    pub debt: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Queued,
    Running,
    Succeeded,
    Failed,
    Cancelled,
}

impl Phase {
    pub fn ended(self) -> bool {
        !matches!(self, Phase::Queued | Phase::Running)
    }

    pub fn word(self) -> &'static str {
        match self {
            Phase::Queued => "queued",
            Phase::Running => "running",
            Phase::Succeeded => "succeeded",
            Phase::Failed => "failed",
            Phase::Cancelled => "cancelled",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    pub account: usize,
    pub quote: i64,
    /// Millicredits for each started second.
    pub meter: Option<i64>,
    pub phase: Phase,
    pub attempt: u32,
    /// When its attempt began.
    pub begun: i64,
    pub charged: i64,
    /// Whether it is there; a job that was only asked for is not.
    pub there: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    pub account: usize,
    pub credits: i64,
    pub money: i64,
    pub applied: bool,
    /// Refunds and disputes: money and how far they are (0 pending, 1 gone, 2 kept).
    pub claims: BTreeMap<u8, (i64, u8)>,
    /// Those that were told before the payment.
    pub early: BTreeMap<u8, (i64, u8)>,
    pub taken: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    pub account: usize,
    /// Its rows' jobs.
    pub rows: Vec<usize>,
    pub left: i64,
    pub there: bool,
    pub open: bool,
}

/// Credits that an operator or a referral gives, or an operator takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Post {
    pub account: usize,
    pub amount: i64,
    pub done: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reference {
    pub accounts: Vec<Account>,
    pub jobs: Vec<Job>,
    pub payments: Vec<Payment>,
    pub batches: Vec<Batch>,
    pub posts: Vec<Post>,
    /// Idempotency keys that led to a job.
    pub keys: BTreeSet<(usize, u32)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failing {
    Retryable,
    Permanent,
    Drained,
}

/// One thing that is done, by the numbers of the things that it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    Submit {
        job: usize,
        key: u32,
    },
    Claim {
        job: usize,
    },
    Complete {
        job: usize,
        attempt: u32,
    },
    Fail {
        job: usize,
        attempt: u32,
        how: Failing,
    },
    Cancel {
        job: usize,
    },
    Sweep {
        job: usize,
    },
    Post {
        post: usize,
    },
    /// `alias`: told as another object of the same charge.
    Pay {
        payment: usize,
        alias: bool,
    },
    Claimed {
        payment: usize,
        id: u8,
        money: i64,
        standing: u8,
    },
    Reserve {
        batch: usize,
    },
    Start {
        batch: usize,
        rows: Vec<u32>,
    },
    Close {
        batch: usize,
    },
}

/// What the caller was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Saw {
    /// Nothing: it died, or got an error. What it asked for is done, half done, or not.
    Unknown,
    Done,
    Again,
    Refused,
    /// Not enough credits: so many there were.
    Lacking(i64),
    /// Credits taken back, and how many of them are owed.
    Taken(i64, i64),
    Returned(i64),
    Nothing,
    Waiting,
    Started(usize),
    Freed(i64),
}

type Outcome = (Reference, Saw);

impl Reference {
    fn gain(&mut self, account: usize, amount: i64) {
        let account = &mut self.accounts[account];
        let pays = account.debt.min(amount);
        account.debt -= pays;
        account.available += amount - pays;
    }

    /// Gives how many of them are owed.
    fn lose(&mut self, account: usize, amount: i64) -> i64 {
        let account = &mut self.accounts[account];
        let taken = account.available.min(amount);
        account.available -= taken;
        account.debt += amount - taken;
        amount - taken
    }

    fn ends(&mut self, job: usize, phase: Phase, charge: i64) {
        let (account, quote) = (self.jobs[job].account, self.jobs[job].quote);
        self.jobs[job].phase = phase;
        self.jobs[job].charged = charge;
        self.accounts[account].held -= quote;
        self.gain(account, quote - charge);
    }

    fn with(&self, change: impl FnOnce(&mut Self)) -> Self {
        let mut next = self.clone();
        change(&mut next);
        next
    }

    /// What is to be gone of a payment's credits.
    fn owed_back(payment: &Payment) -> i64 {
        if payment.credits <= 0 || payment.money <= 0 {
            return 0;
        }
        let back: i64 = payment.claims.values().filter(|(_, standing)| *standing != 2).map(|(money, _)| *money).sum();
        let product = payment.credits as i128 * back.min(payment.money) as i128;
        let whole = product / payment.money as i128;
        (whole + i128::from(product % payment.money as i128 != 0)) as i64
    }

    fn claimed(&mut self, payment: usize, id: u8, money: i64, standing: u8) -> Saw {
        // Of what nothing is known, no money is pending.
        let known = self.payments[payment].claims.get(&id).copied().unwrap_or((0, 0));
        let now = (known.0.max(money), known.1.max(standing));
        if known == now {
            return Saw::Nothing;
        }
        self.payments[payment].claims.insert(id, now);
        let account = self.payments[payment].account;
        let change = Self::owed_back(&self.payments[payment]) - self.payments[payment].taken;
        self.payments[payment].taken += change;
        match change {
            0 => Saw::Nothing,
            1.. => Saw::Taken(change, self.lose(account, change)),
            _ => {
                self.gain(account, -change);
                Saw::Returned(-change)
            }
        }
    }

    /// What an act may lead to; the second is what its caller is then told. More than one where the job machine's own rules decide, which
    /// have a model of theirs.
    fn outcomes(&self, act: &Act, now: i64) -> Vec<Outcome> {
        let same = |saw: Saw| vec![(self.clone(), saw)];
        match act {
            Act::Submit { job, key } => {
                let new = &self.jobs[*job];
                let (account, quote) = (new.account, new.quote);
                let available = self.accounts[account].available;
                if self.keys.contains(&(account, *key)) {
                    return same(Saw::Again);
                }
                if available < quote {
                    return same(Saw::Lacking(available));
                }
                let done = self.with(|next| {
                    next.keys.insert((account, *key));
                    next.accounts[account].available -= quote;
                    next.accounts[account].held += quote;
                    next.jobs[*job].there = true;
                });
                vec![(done, Saw::Done)]
            }
            Act::Claim { job } => {
                let mut all = same(Saw::Refused);
                if self.jobs[*job].there && !self.jobs[*job].phase.ended() {
                    let taken = self.with(|next| {
                        let job = &mut next.jobs[*job];
                        (job.phase, job.attempt, job.begun) = (Phase::Running, job.attempt + 1, now);
                    });
                    all.push((taken, Saw::Done));
                }
                all
            }
            Act::Complete { job, attempt } => {
                let it = &self.jobs[*job];
                if !it.there || it.attempt != *attempt {
                    return same(Saw::Refused);
                }
                match it.phase {
                    Phase::Succeeded => same(Saw::Again),
                    Phase::Running => {
                        let seconds = ((now - it.begun).max(1) + 999) / 1000;
                        let charge = it.meter.map_or(it.quote, |second| (seconds * second).min(it.quote));
                        vec![(self.with(|next| next.ends(*job, Phase::Succeeded, charge)), Saw::Done)]
                    }
                    _ => same(Saw::Refused),
                }
            }
            Act::Fail { job, attempt, .. } => {
                let it = &self.jobs[*job];
                if !it.there || it.attempt != *attempt {
                    return same(Saw::Refused);
                }
                match it.phase {
                    Phase::Queued | Phase::Failed => same(Saw::Again),
                    Phase::Running => vec![
                        (self.with(|next| next.jobs[*job].phase = Phase::Queued), Saw::Done),
                        (self.with(|next| next.ends(*job, Phase::Failed, 0)), Saw::Done),
                    ],
                    _ => same(Saw::Refused),
                }
            }
            Act::Cancel { job } => match self.jobs[*job].phase {
                _ if !self.jobs[*job].there => same(Saw::Refused),
                Phase::Cancelled => same(Saw::Again),
                Phase::Queued | Phase::Running => vec![(self.with(|next| next.ends(*job, Phase::Cancelled, 0)), Saw::Done)],
                _ => same(Saw::Refused),
            },
            Act::Sweep { job } if !self.jobs[*job].there => same(Saw::Refused),
            Act::Sweep { job } => {
                let mut all = same(Saw::Nothing);
                if !self.jobs[*job].phase.ended() {
                    all.push((self.with(|next| next.ends(*job, Phase::Failed, 0)), Saw::Done));
                }
                if self.jobs[*job].phase == Phase::Running {
                    all.push((self.with(|next| next.jobs[*job].phase = Phase::Queued), Saw::Done));
                }
                all
            }
            Act::Post { post } => {
                let Post { account, amount, done } = self.posts[*post];
                let available = self.accounts[account].available;
                if done {
                    return same(Saw::Again);
                }
                if amount < 0 && available + amount < 0 {
                    return same(Saw::Lacking(available));
                }
                let posted = self.with(|next| {
                    next.posts[*post].done = true;
                    match amount {
                        0.. => next.gain(account, amount),
                        _ => next.accounts[account].available += amount,
                    }
                });
                vec![(posted, Saw::Done)]
            }
            Act::Pay { payment, .. } => {
                let it = &self.payments[*payment];
                if it.applied {
                    return same(Saw::Again);
                }
                let (account, credits) = (it.account, it.credits);
                let paid = self.with(|next| {
                    next.payments[*payment].applied = true;
                    match credits {
                        0.. => next.gain(account, credits),
                        _ => {
                            next.lose(account, -credits);
                        }
                    }
                });
                vec![(paid, Saw::Done)]
            }
            Act::Claimed { payment, id, money, standing } => {
                let mut next = self.clone();
                let saw = if self.payments[*payment].applied {
                    next.claimed(*payment, *id, *money, *standing)
                } else {
                    let early = next.payments[*payment].early.entry(*id).or_insert((0, 0));
                    *early = (early.0.max(*money), early.1.max(*standing));
                    Saw::Waiting
                };
                vec![(next, saw)]
            }
            Act::Reserve { batch } => {
                let it = &self.batches[*batch];
                if it.there {
                    return same(Saw::Done);
                }
                let total: i64 = it.rows.iter().map(|row| self.jobs[*row].quote).sum();
                let (account, available) = (it.account, self.accounts[it.account].available);
                if available < total {
                    return same(Saw::Lacking(available));
                }
                let done = self.with(|next| {
                    (next.batches[*batch].there, next.batches[*batch].open, next.batches[*batch].left) = (true, true, total);
                    next.accounts[account].available -= total;
                    next.accounts[account].held += total;
                });
                vec![(done, Saw::Done)]
            }
            Act::Start { batch, rows } => {
                let it = &self.batches[*batch];
                if !it.there {
                    return same(Saw::Refused);
                }
                let new: BTreeSet<usize> = rows.iter().map(|row| it.rows[*row as usize]).filter(|job| !self.jobs[*job].there).collect();
                if new.is_empty() {
                    return same(Saw::Again);
                }
                if !it.open {
                    return same(Saw::Refused);
                }
                let started = self.with(|next| {
                    for job in &new {
                        next.jobs[*job].there = true;
                        next.batches[*batch].left -= self.jobs[*job].quote;
                    }
                });
                vec![(started, Saw::Started(new.len()))]
            }
            Act::Close { batch } => {
                let it = &self.batches[*batch];
                if !it.there {
                    return same(Saw::Refused);
                }
                if !it.open {
                    return same(Saw::Again);
                }
                let (account, left) = (it.account, it.left);
                let closed = self.with(|next| {
                    (next.batches[*batch].open, next.batches[*batch].left) = (false, 0);
                    next.accounts[account].held -= left;
                    next.gain(account, left);
                });
                vec![(closed, Saw::Freed(left))]
            }
        }
    }

    /// What follows an act's first step, one step each: the refunds that came before their payment.
    fn later(&self, act: &Act, step: usize) -> Option<Self> {
        let Act::Pay { payment, .. } = act else { return None };
        let (id, (money, standing)) = self.payments[*payment].early.iter().nth(step).map(|(id, claim)| (*id, *claim))?;
        Some(self.with(|next| {
            next.claimed(*payment, id, money, standing);
        }))
    }

    /// An order of the acts' steps after which all callers were told what they were told and `fits` says yes; the books after it.
    pub fn explain(&self, acts: &[(Act, Saw)], now: i64, fits: &dyn Fn(&Reference) -> bool) -> Option<Reference> {
        let steps = vec![Step::First; acts.len()];
        self.search(acts, &steps, now, fits)
    }

    fn search(&self, acts: &[(Act, Saw)], steps: &[Step], now: i64, fits: &dyn Fn(&Reference) -> bool) -> Option<Reference> {
        if steps.iter().all(|step| *step == Step::Over) {
            return fits(self).then(|| self.clone());
        }
        for (i, step) in steps.iter().enumerate().filter(|(_, step)| **step != Step::Over) {
            let (act, saw) = &acts[i];
            let go = |next: &Reference, to: Step| {
                let mut steps = steps.to_vec();
                steps[i] = to;
                next.search(acts, &steps, now, fits)
            };
            let unknown = *saw == Saw::Unknown;
            match step {
                Step::First => {
                    for (next, told) in self.outcomes(act, now) {
                        if unknown || told == *saw {
                            let to = if matches!(act, Act::Pay { .. }) { Step::Later(0) } else { Step::Over };
                            if let Some(found) = go(&next, to) {
                                return Some(found);
                            }
                        }
                    }
                }
                Step::Later(n) => match self.later(act, *n) {
                    Some(next) => {
                        if let Some(found) = go(&next, Step::Later(n + 1)) {
                            return Some(found);
                        }
                    }
                    None => return go(self, Step::Over),
                },
                Step::Over => {}
            }
            // It died here.
            if unknown && let Some(found) = go(self, Step::Over) {
                return Some(found);
            }
        }
        None
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    First,
    Later(usize),
    Over,
}
