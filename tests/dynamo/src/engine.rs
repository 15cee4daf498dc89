//! What the service does with a plan. A read happens at once; a write begins, is in flight, and ends: between the two its items are
//! busy, and what meets a busy item fails as DynamoDB fails it.

use crate::data::Data;
use crate::expr::project;
use crate::plan::{Action, Plan, Read, Write};
use crate::schema::{TABLE, check};
use crate::value::Item;
use crate::wire::{Failure, Reason, Return, json};
use crate::{Planted, schema::Key};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

const TOO_LARGE: &str = "Item size to update has exceeded the maximum allowed size";
/// Tokens of done transactions that are remembered; DynamoDB keeps them for 10 minutes.
const TOKENS: usize = 10_000;
const BATCH_BYTES: usize = 16 << 20;

/// What is in flight on one item.
#[derive(Debug, Default)]
struct Busy {
    transaction: bool,
    plain: u32,
}

/// A write that has begun. It must be given back, to [`Engine::finish`] or [`Engine::abandon`].
#[derive(Debug)]
pub struct Flight {
    plan: Arc<Plan>,
    /// What it has made busy.
    locked: Vec<Key>,
    /// Parts of a batch that are handed back undone.
    unprocessed: Vec<usize>,
}

pub enum Begun {
    Answer(String),
    Flight(Box<Flight>),
}

#[derive(Debug, Default)]
pub struct Engine {
    pub data: Data,
    pub conflicts: bool,
    pub planted: Option<Planted>,
    /// How many calls failed by a conflict.
    pub conflicted: u64,
    busy: HashMap<Key, Busy>,
    /// Done transactions by token, with a hash of what was asked; none while one is in flight.
    tokens: HashMap<String, Option<u64>>,
    order: VecDeque<String>,
}

/// Why a write was not done.
enum Refused {
    Condition(Option<Item>),
    Invalid(String),
}

impl Engine {
    /// With conflicts.
    pub fn new() -> Self {
        Self { conflicts: true, ..Self::default() }
    }

    /// `partial` leaves half of a batch undone, as DynamoDB does under load.
    pub fn begin(&mut self, plan: &Arc<Plan>, partial: bool) -> Result<Begun, Failure> {
        let answer = match &**plan {
            Plan::Get(read) => one(self.read(read)),
            Plan::BatchGet(reads) => self.batch_get(reads, partial),
            Plan::TransactGet(reads) => {
                let clash = |read: &Read| self.conflicts && self.busy.contains_key(&read.key);
                if reads.iter().any(clash) {
                    let reasons = reads.iter().map(|read| if clash(read) { conflict() } else { none() }).collect();
                    self.conflicted += 1;
                    return Err(Failure::cancelled(reasons));
                }
                let responses: Vec<BTreeMap<&str, Item>> = reads.iter().map(|read| self.read(read).map(|item| ("Item", item)).into_iter().collect()).collect();
                json(&BTreeMap::from([("Responses", responses)]))
            }
            Plan::Select(select) => {
                #[derive(Serialize)]
                #[serde(rename_all = "PascalCase")]
                struct Answer {
                    #[serde(skip_serializing_if = "Option::is_none")]
                    items: Option<Vec<Item>>,
                    count: usize,
                    scanned_count: usize,
                    #[serde(skip_serializing_if = "Option::is_none")]
                    last_evaluated_key: Option<Item>,
                }
                let page = self.data.select(select, self.planted == Some(Planted::LimitAfterFilter));
                let count = page.items.len();
                let items = (!select.count_only).then_some(page.items);
                json(&Answer { items, count, scanned_count: page.scanned, last_evaluated_key: page.last })
            }
            Plan::Write(_) | Plan::TransactWrite { .. } | Plan::BatchWrite(_) => return self.begin_write(plan, partial),
        };
        Ok(Begun::Answer(answer))
    }

    fn begin_write(&mut self, plan: &Arc<Plan>, partial: bool) -> Result<Begun, Failure> {
        let mut flight = Flight { plan: plan.clone(), locked: vec![], unprocessed: vec![] };
        match &**plan {
            Plan::Write(write) => {
                if self.in_transaction(&write.key) {
                    self.conflicted += 1;
                    return Err(Failure::new("TransactionConflictException", "Transaction is ongoing for the item"));
                }
                flight.locked.push(write.key.clone());
            }
            Plan::BatchWrite(writes) => {
                for (at, write) in writes.iter().enumerate() {
                    if self.in_transaction(&write.key) || (partial && at > 0 && at * 2 >= writes.len()) {
                        flight.unprocessed.push(at);
                    } else {
                        flight.locked.push(write.key.clone());
                    }
                }
            }
            Plan::TransactWrite { token, writes } => {
                if let Some((token, hash)) = token {
                    match self.tokens.get(token) {
                        Some(Some(done)) if done == hash => return Ok(Begun::Answer("{}".into())),
                        Some(Some(_)) => {
                            let message = "The request uses the same client token as a previous, but non-identical request. Do not reuse a client token with different requests, unless the requests are identical";
                            return Err(Failure::new("IdempotentParameterMismatchException", message));
                        }
                        Some(None) => {
                            return Err(Failure::new("TransactionInProgressException", "The transaction with the given request token is already in progress."));
                        }
                        None => {}
                    }
                }
                if self.conflicts && writes.iter().any(|write| self.busy.contains_key(&write.key)) {
                    // Each item answers for itself: beside a conflict, another's condition may fail.
                    let reason =
                        |write: &Write| if self.busy.contains_key(&write.key) { conflict() } else { self.evaluate(write).err().map_or_else(none, because) };
                    let reasons = writes.iter().map(reason).collect();
                    self.conflicted += 1;
                    return Err(Failure::cancelled(reasons));
                }
                if let Some((token, _)) = token {
                    self.tokens.insert(token.clone(), None);
                }
                flight.locked.extend(writes.iter().map(|write| write.key.clone()));
            }
            Plan::Get(_) | Plan::BatchGet(_) | Plan::TransactGet(_) | Plan::Select(_) => unreachable!("reads don't fly"),
        }
        let transaction = matches!(**plan, Plan::TransactWrite { .. });
        for key in &flight.locked {
            let busy = self.busy.entry(key.clone()).or_default();
            busy.transaction |= transaction;
            busy.plain += u32::from(!transaction);
        }
        Ok(Begun::Flight(Box::new(flight)))
    }

    fn in_transaction(&self, key: &Key) -> bool {
        self.conflicts && self.busy.get(key).is_some_and(|busy| busy.transaction)
    }

    /// Nothing of it happened.
    pub fn abandon(&mut self, flight: &Flight) {
        let transaction = matches!(*flight.plan, Plan::TransactWrite { .. });
        for key in &flight.locked {
            let Some(busy) = self.busy.get_mut(key) else { continue };
            if transaction {
                busy.transaction = false;
            } else {
                busy.plain -= 1;
            }
            if !busy.transaction && busy.plain == 0 {
                self.busy.remove(key);
            }
        }
        if let Plan::TransactWrite { token: Some((token, _)), .. } = &*flight.plan
            && self.tokens.get(token) == Some(&None)
        {
            self.tokens.remove(token);
        }
    }

    /// Its conditions are looked at and its effects seen by all, at once.
    pub fn finish(&mut self, flight: &Flight) -> Result<String, Failure> {
        self.abandon(flight);
        match &*flight.plan {
            Plan::Write(write) => self.write(write),
            Plan::BatchWrite(writes) => {
                for (at, write) in writes.iter().enumerate() {
                    if !flight.unprocessed.contains(&at) {
                        self.write(write)?;
                    }
                }
                let left: Vec<_> = flight.unprocessed.iter().map(|at| request(&writes[*at])).collect();
                let tables = if left.is_empty() { BTreeMap::new() } else { BTreeMap::from([(TABLE, left)]) };
                Ok(json(&BTreeMap::from([("UnprocessedItems", tables)])))
            }
            Plan::TransactWrite { token, writes } => {
                self.transact(writes)?;
                if let Some((token, hash)) = token {
                    if self.tokens.insert(token.clone(), Some(*hash)).is_none() {
                        self.order.push_back(token.clone());
                    }
                    if self.order.len() > TOKENS
                        && let Some(oldest) = self.order.pop_front()
                    {
                        self.tokens.remove(&oldest);
                    }
                }
                Ok("{}".into())
            }
            Plan::Get(_) | Plan::BatchGet(_) | Plan::TransactGet(_) | Plan::Select(_) => unreachable!("reads don't fly"),
        }
    }

    fn read(&self, read: &Read) -> Option<Item> {
        let item = self.data.get(&read.key)?;
        Some(read.projection.as_ref().map_or_else(|| Item::clone(item), |paths| project(item, paths)))
    }

    fn batch_get(&self, reads: &[Read], partial: bool) -> String {
        let mut items: Vec<Item> = Vec::new();
        let mut left = Vec::new();
        let mut bytes = 0;
        for (at, read) in reads.iter().enumerate() {
            bytes += self.data.get(&read.key).map_or(0, |item| crate::value::item_size(item));
            if (bytes > BATCH_BYTES && at > 0) || (partial && read.projection.is_none() && at > 0 && at * 2 >= reads.len()) {
                left.push(read.key.item());
            } else {
                items.extend(self.read(read));
            }
        }
        #[derive(Serialize)]
        #[serde(rename_all = "PascalCase")]
        struct Keys {
            keys: Vec<Item>,
            consistent_read: bool,
        }
        #[derive(Serialize)]
        #[serde(rename_all = "PascalCase")]
        struct Answer {
            responses: BTreeMap<&'static str, Vec<Item>>,
            unprocessed_keys: BTreeMap<&'static str, Keys>,
        }
        let unprocessed_keys = if left.is_empty() { BTreeMap::new() } else { BTreeMap::from([(TABLE, Keys { keys: left, consistent_read: true })]) };
        json(&Answer { responses: BTreeMap::from([(TABLE, items)]), unprocessed_keys })
    }

    /// The item as it will be; an error leaves all as it was.
    fn evaluate(&self, write: &Write) -> Result<Option<Item>, Refused> {
        static NOTHING: Item = Item::new();
        let old = self.data.get(&write.key);
        let before = old.map_or(&NOTHING, |item| item);
        let holds = write.condition.as_ref().is_none_or(|condition| condition.holds(before));
        if !holds && self.planted != Some(Planted::ConditionsIgnored) {
            return Err(Refused::Condition(old.filter(|_| write.shows).map(|item| Item::clone(item))));
        }
        match &write.action {
            Action::Put(item) => Ok(Some(item.clone())),
            Action::Delete => Ok(None),
            Action::Check => Ok(old.map(|item| Item::clone(item))),
            Action::Update(update) => {
                let mut after = match update {
                    Some(update) => update.apply(before).map_err(Refused::Invalid)?,
                    None => before.clone(),
                };
                after.extend(write.key.item());
                check(&after, TOO_LARGE).map_err(Refused::Invalid)?;
                Ok(Some(after))
            }
        }
    }

    fn write(&mut self, write: &Write) -> Result<String, Failure> {
        let after = self.evaluate(write).map_err(|refused| match refused {
            Refused::Condition(item) => Failure { item, ..Failure::new("ConditionalCheckFailedException", "The conditional request failed") },
            Refused::Invalid(words) => Failure::invalid(words),
        })?;
        let before = self.data.get(&write.key).cloned();
        let attributes = if write.returns == Return::None { None } else { returned(write, before.as_deref(), after.as_ref()) };
        self.data.set(&write.key, after);
        Ok(json(&attributes.map(|item| BTreeMap::from([("Attributes", item)])).unwrap_or_default()))
    }

    fn transact(&mut self, writes: &[Write]) -> Result<(), Failure> {
        let results: Vec<Result<Option<Item>, Refused>> = writes.iter().map(|write| self.evaluate(write)).collect();
        if results.iter().any(Result::is_err) && self.planted != Some(Planted::HalfTransactions) {
            return Err(Failure::cancelled(results.into_iter().map(|result| result.err().map_or_else(none, because)).collect()));
        }
        for (write, result) in writes.iter().zip(results) {
            if let Ok(after) = result
                && !matches!(write.action, Action::Check)
            {
                self.data.set(&write.key, after);
            }
        }
        Ok(())
    }
}

fn returned(write: &Write, before: Option<&Item>, after: Option<&Item>) -> Option<Item> {
    let parts = |item: Option<&Item>| {
        let Action::Update(Some(update)) = &write.action else { return None };
        let paths: Vec<_> = update.targets().into_iter().cloned().collect();
        item.map(|item| project(item, &paths)).filter(|item| !item.is_empty())
    };
    match write.returns {
        Return::None => None,
        Return::AllOld => before.cloned(),
        Return::AllNew => after.cloned(),
        Return::UpdatedOld => parts(before),
        Return::UpdatedNew => parts(after),
    }
}

fn one(item: Option<Item>) -> String {
    json(&item.map(|item| BTreeMap::from([("Item", item)])).unwrap_or_default())
}

/// A part of a batch as it was asked for.
fn request(write: &Write) -> BTreeMap<&'static str, BTreeMap<&'static str, Item>> {
    match &write.action {
        Action::Put(item) => BTreeMap::from([("PutRequest", BTreeMap::from([("Item", item.clone())]))]),
        _ => BTreeMap::from([("DeleteRequest", BTreeMap::from([("Key", write.key.item())]))]),
    }
}

fn none() -> Reason {
    Reason { code: "None", message: None, item: None }
}

fn conflict() -> Reason {
    Reason { code: "TransactionConflict", message: Some("Transaction is ongoing for the item".into()), item: None }
}

fn because(refused: Refused) -> Reason {
    match refused {
        Refused::Condition(item) => Reason { code: "ConditionalCheckFailed", message: Some("The conditional request failed".into()), item },
        Refused::Invalid(words) => Reason { code: "ValidationError", message: Some(words), item: None },
    }
}
