//! The one table, low down: typed gets, conditional writes, transactions, queries. What an item means is said by
//! the modules beside this one.
//!
//! Promises: reads are consistent; a cancelled transaction says which of its parts refused; a
//! `TransactionConflict` is retried with jitter, because DynamoDB returns it whenever two transactions touch one item, or a single write meets one.

use crate::Error;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{AsyncSleep, SharedAsyncSleep};
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{AttributeValue, ConditionCheck, Delete, KeysAndAttributes, Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update};
use serde::{Serialize, de::DeserializeOwned};
use std::collections::HashMap;
use std::time::Duration;

pub type Item = HashMap<String, AttributeValue>;

/// A base-table key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    pub pk: String,
    pub sk: String,
}

impl Key {
    pub fn item(&self) -> Item {
        HashMap::from([("pk".to_owned(), s(&self.pk)), ("sk".to_owned(), s(&self.sk))])
    }
}

pub fn s(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

pub fn n(number: impl std::fmt::Display) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

/// A value as an item under its key.
pub fn to_item<T: Serialize>(key: &Key, value: &T) -> Result<Item, Error> {
    let mut item: Item = serde_dynamo::to_item(value).map_err(|error| Error::internal(format!("item of {}: {error}", key.sk)))?;
    item.extend(key.item());
    Ok(item)
}

pub fn from_item<T: DeserializeOwned>(item: Item) -> Result<T, Error> {
    let key = item.get("sk").and_then(|sk| sk.as_s().ok()).cloned().unwrap_or_default();
    serde_dynamo::from_item(item).map_err(|error| Error::internal(format!("stored item {key}: {error}")))
}

/// The table and the client that speaks to it.
#[derive(Debug, Clone)]
pub struct Table {
    pub(crate) client: Client,
    pub(crate) name: String,
    /// How the configuration sleeps, where it says so: a test's time is not the clock's.
    sleep: Option<SharedAsyncSleep>,
}

/// Which parts of a cancelled transaction refused: index into its items, with the item as it was found.
#[derive(Debug)]
pub struct Refused(pub Vec<(usize, Option<Item>)>);

impl Refused {
    pub fn has(&self, index: Option<usize>) -> bool {
        index.is_some_and(|index| self.0.iter().any(|(i, _)| *i == index))
    }

    /// The item that part `index` found.
    pub fn found(&self, index: Option<usize>) -> Option<&Item> {
        self.0.iter().find(|(i, _)| Some(*i) == index).and_then(|(_, item)| item.as_ref())
    }
}

#[derive(Debug)]
pub enum Written {
    Done,
    Refused(Refused),
}

/// The parts of one transaction, in order; each `push` gives its index.
#[derive(Debug, Default)]
pub struct Parts(Vec<TransactWriteItem>);

impl Parts {
    fn push(&mut self, item: TransactWriteItem) -> usize {
        self.0.push(item);
        self.0.len() - 1
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A condition or update with its names and values.
#[derive(Debug, Default, Clone)]
pub struct Expr {
    text: String,
    names: HashMap<String, String>,
    values: HashMap<String, AttributeValue>,
}

impl Expr {
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }

    /// `#name` stands for the attribute of that name (reserved words need it).
    pub fn name(mut self, name: &str) -> Self {
        self.names.insert(format!("#{name}"), name.to_owned());
        self
    }

    /// `#alias` stands for this attribute, whose name is no word that an expression takes.
    pub fn alias(mut self, alias: &str, attribute: &str) -> Self {
        self.names.insert(format!("#{alias}"), attribute.to_owned());
        self
    }

    /// Adds to numbers, which begin at zero: an `ADD` clause after the text.
    pub fn adding<N: std::fmt::Display>(mut self, counters: &[(String, N)]) -> Self {
        for (i, (attribute, number)) in counters.iter().enumerate() {
            let lead = if i == 0 { " ADD" } else { "," };
            self.text += &format!("{lead} #add{i} :add{i}");
            self = self.alias(&format!("add{i}"), attribute).value(&format!("add{i}"), n(number));
        }
        self
    }

    /// The same names and values under another text.
    pub fn text(mut self, text: String) -> Self {
        self.text = text;
        self
    }

    pub fn value(mut self, name: &str, value: AttributeValue) -> Self {
        self.values.insert(format!(":{name}"), value);
        self
    }

    pub fn and(mut self, text: &str) -> Self {
        if self.text.is_empty() {
            self.text = text.to_owned();
        } else {
            self.text = format!("{} AND {text}", self.text);
        }
        self
    }
}

/// True where no such item exists yet.
pub fn absent() -> Expr {
    Expr::new("attribute_not_exists(pk)")
}

fn some<K, V>(map: HashMap<K, V>) -> Option<HashMap<K, V>> {
    (!map.is_empty()).then_some(map)
}

impl Table {
    pub fn new(config: &aws_config::SdkConfig, name: impl Into<String>) -> Self {
        Self { client: Client::new(config), name: name.into(), sleep: config.sleep_impl() }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// One consistent read.
    pub async fn get<T: DeserializeOwned>(&self, key: &Key) -> Result<Option<T>, Error> {
        self.get_item(key).await?.map(from_item).transpose()
    }

    /// The same, as it is stored.
    pub(crate) async fn get_item(&self, key: &Key) -> Result<Option<Item>, Error> {
        let output = self.client.get_item().table_name(&self.name).set_key(Some(key.item())).consistent_read(true).send().await.map_err(Error::aws)?;
        Ok(output.item)
    }

    /// Consistent reads of up to 100 keys in one call; what does not exist is missing from the answer.
    pub async fn get_many(&self, keys: &[Key]) -> Result<HashMap<Key, Item>, Error> {
        let mut found = HashMap::new();
        let mut wanted: Vec<Key> = Vec::new();
        for key in keys {
            if !wanted.contains(key) {
                wanted.push(key.clone());
            }
        }
        let mut patience = Patience::default();
        while !wanted.is_empty() {
            let keys =
                KeysAndAttributes::builder().set_keys(Some(wanted.iter().map(Key::item).collect())).consistent_read(true).build().map_err(Error::internal)?;
            let output = self.client.batch_get_item().request_items(&self.name, keys).send().await.map_err(Error::aws)?;
            for item in output.responses.into_iter().flat_map(|mut tables| tables.remove(&self.name).unwrap_or_default()) {
                found.insert(key_of(&item), item);
            }
            wanted =
                output.unprocessed_keys.and_then(|mut tables| tables.remove(&self.name)).map(|keys| keys.keys.iter().map(key_of).collect()).unwrap_or_default();
            if !wanted.is_empty() {
                self.pause(&mut patience).await?;
            }
        }
        Ok(found)
    }

    /// Writes the whole item if `condition` holds; `false` when it does not.
    pub async fn put(&self, item: Item, condition: Option<Expr>) -> Result<bool, Error> {
        let mut call = self.client.put_item().table_name(&self.name).set_item(Some(item));
        if let Some(condition) = condition {
            call = call
                .condition_expression(condition.text)
                .set_expression_attribute_names(some(condition.names))
                .set_expression_attribute_values(some(condition.values));
        }
        let mut patience = Patience::default();
        loop {
            match call.clone().send().await {
                Ok(_) => return Ok(true),
                Err(error) if error.as_service_error().is_some_and(|e| e.is_conditional_check_failed_exception()) => return Ok(false),
                Err(error) if error.as_service_error().is_some_and(|e| e.is_transaction_conflict_exception()) => self.pause(&mut patience).await?,
                Err(error) => return Err(Error::aws(error)),
            }
        }
    }

    /// Changes attributes of one item if `condition` holds; gives the item as it is then, or `None`.
    pub async fn update(&self, key: &Key, update: Expr, condition: Option<Expr>) -> Result<Option<Item>, Error> {
        let both = merge(update, condition);
        let call = self
            .client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(key.item()))
            .update_expression(both.update)
            .set_condition_expression(both.condition)
            .set_expression_attribute_names(some(both.names))
            .set_expression_attribute_values(some(both.values))
            .return_values(aws_sdk_dynamodb::types::ReturnValue::AllNew);
        let mut patience = Patience::default();
        loop {
            match call.clone().send().await {
                Ok(output) => return Ok(Some(output.attributes.unwrap_or_default())),
                Err(error) if error.as_service_error().is_some_and(|e| e.is_conditional_check_failed_exception()) => return Ok(None),
                Err(error) if error.as_service_error().is_some_and(|e| e.is_transaction_conflict_exception()) => self.pause(&mut patience).await?,
                Err(error) => return Err(Error::aws(error)),
            }
        }
    }

    pub async fn delete(&self, key: &Key) -> Result<(), Error> {
        let call = self.client.delete_item().table_name(&self.name).set_key(Some(key.item()));
        let mut patience = Patience::default();
        loop {
            match call.clone().send().await {
                Ok(_) => return Ok(()),
                Err(error) if error.as_service_error().is_some_and(|e| e.is_transaction_conflict_exception()) => self.pause(&mut patience).await?,
                Err(error) => return Err(Error::aws(error)),
            }
        }
    }

    pub fn add_put(&self, parts: &mut Parts, item: Item, condition: Option<Expr>) -> Result<usize, Error> {
        let mut put =
            Put::builder().table_name(&self.name).set_item(Some(item)).return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        if let Some(condition) = condition {
            put = put
                .condition_expression(condition.text)
                .set_expression_attribute_names(some(condition.names))
                .set_expression_attribute_values(some(condition.values));
        }
        Ok(parts.push(TransactWriteItem::builder().put(put.build().map_err(Error::internal)?).build()))
    }

    pub fn add_update(&self, parts: &mut Parts, key: &Key, update: Expr, condition: Option<Expr>) -> Result<usize, Error> {
        let both = merge(update, condition);
        let update = Update::builder()
            .table_name(&self.name)
            .set_key(Some(key.item()))
            .update_expression(both.update)
            .set_condition_expression(both.condition)
            .set_expression_attribute_names(some(both.names))
            .set_expression_attribute_values(some(both.values))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()
            .map_err(Error::internal)?;
        Ok(parts.push(TransactWriteItem::builder().update(update).build()))
    }

    pub fn add_delete(&self, parts: &mut Parts, key: &Key, condition: Option<Expr>) -> Result<usize, Error> {
        let mut delete = Delete::builder().table_name(&self.name).set_key(Some(key.item()));
        if let Some(condition) = condition {
            delete = delete
                .condition_expression(condition.text)
                .set_expression_attribute_names(some(condition.names))
                .set_expression_attribute_values(some(condition.values));
        }
        Ok(parts.push(TransactWriteItem::builder().delete(delete.build().map_err(Error::internal)?).build()))
    }

    /// Holds the transaction to an item that it doesn't change.
    pub fn add_check(&self, parts: &mut Parts, key: &Key, condition: Expr) -> Result<usize, Error> {
        let check = ConditionCheck::builder()
            .table_name(&self.name)
            .set_key(Some(key.item()))
            .condition_expression(condition.text)
            .set_expression_attribute_names(some(condition.names))
            .set_expression_attribute_values(some(condition.values))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()
            .map_err(Error::internal)?;
        Ok(parts.push(TransactWriteItem::builder().condition_check(check).build()))
    }

    /// All of the parts or none. Conflicts with other transactions are retried here; refused conditions are told.
    ///
    /// All tries have one token, so that one whose answer was lost, or that arrives late, and a later one are one transaction: else the
    /// later would be refused by what the first has written.
    pub async fn transact(&self, parts: Parts) -> Result<Written, Error> {
        let token = format!("{:032x}", fastrand::u128(..));
        let mut patience = Patience::default();
        loop {
            let call = self.client.transact_write_items().set_transact_items(Some(parts.0.clone()));
            let result = call.client_request_token(&token).send().await;
            let error = match result {
                Ok(_) => return Ok(Written::Done),
                Err(error) => error,
            };
            let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) = error.as_service_error() else {
                return Err(Error::aws(error));
            };
            let reasons = cancelled.cancellation_reasons();
            let refused: Vec<_> = reasons
                .iter()
                .enumerate()
                .filter(|(_, reason)| reason.code() == Some("ConditionalCheckFailed"))
                .map(|(i, reason)| (i, reason.item.clone().filter(|item| !item.is_empty())))
                .collect();
            if !refused.is_empty() {
                return Ok(Written::Refused(Refused(refused)));
            }
            let passing =
                reasons.iter().any(|reason| matches!(reason.code(), Some("TransactionConflict" | "ThrottlingError" | "ProvisionedThroughputExceeded")));
            if !passing {
                return Err(Error::aws(error));
            }
            self.pause(&mut patience).await?;
        }
    }

    /// Full jitter over a window that doubles up to 400 ms; [`Error::Busy`] where it has gone on for too long.
    async fn pause(&self, patience: &mut Patience) -> Result<(), Error> {
        if patience.waited >= CONFLICT_MS {
            return Err(Error::Busy);
        }
        let ms = fastrand::u64(1..=patience.window);
        let time = Duration::from_millis(ms);
        match &self.sleep {
            Some(sleep) => sleep.sleep(time).await,
            None => tokio::time::sleep(time).await,
        }
        patience.window = (patience.window * 2).min(400);
        patience.waited += ms;
        Ok(())
    }

    /// One page of a partition: items whose sort key begins with `prefix`, from `after` (a sort key) on.
    pub async fn page(&self, pk: &str, prefix: &str, newest_first: bool, limit: u32, after: Option<&str>) -> Result<(Vec<Item>, Option<String>), Error> {
        self.page_of(pk, Sorted::Prefix(prefix), newest_first, limit, after).await
    }

    /// The newest of a partition that `takes` takes, from `after` on, which must be one of `sorted`, and the sort key to go on after.
    /// `reads` is how many queries of how many rows it may take: a page may be short, or empty, and go on all the same.
    pub(crate) async fn sift<T: DeserializeOwned>(
        &self,
        pk: &str,
        sorted: Sorted<'_>,
        reads: (usize, u32),
        limit: u32,
        after: Option<&str>,
        takes: impl Fn(&T) -> bool,
    ) -> Result<(Vec<T>, Option<String>), Error> {
        let mut found = Vec::new();
        let mut next = after.map(str::to_owned);
        for _ in 0..reads.0 {
            let (items, more) = self.page_of(pk, sorted, true, reads.1, next.as_deref()).await?;
            let (read, last) = (items.len(), more.is_none());
            for (i, item) in items.into_iter().enumerate() {
                let sk = key_of(&item).sk;
                let one: T = from_item(item)?;
                if !takes(&one) {
                    continue;
                }
                found.push(one);
                if found.len() == limit as usize {
                    let end = last && i + 1 == read;
                    return Ok((found, (!end).then_some(sk)));
                }
            }
            next = more;
            if last {
                break;
            }
        }
        Ok((found, next))
    }

    async fn page_of(&self, pk: &str, sorted: Sorted<'_>, newest_first: bool, limit: u32, after: Option<&str>) -> Result<(Vec<Item>, Option<String>), Error> {
        let start = after.map(|sk| Key { pk: pk.to_owned(), sk: sk.to_owned() }.item());
        let query = self.client.query().table_name(&self.name).expression_attribute_values(":pk", s(pk));
        // DynamoDB takes no empty prefix.
        let query = match sorted {
            Sorted::Prefix("") => query.key_condition_expression("pk = :pk"),
            Sorted::Prefix(prefix) => query.key_condition_expression("pk = :pk AND begins_with(sk, :prefix)").expression_attribute_values(":prefix", s(prefix)),
            Sorted::Between(first, last) => query
                .key_condition_expression("pk = :pk AND sk BETWEEN :first AND :last")
                .expression_attribute_values(":first", s(first))
                .expression_attribute_values(":last", s(last)),
        };
        let output = query
            .consistent_read(true)
            .scan_index_forward(!newest_first)
            .limit(limit as i32)
            .set_exclusive_start_key(start)
            .send()
            .await
            .map_err(Error::aws)?;
        let next = output.last_evaluated_key.map(|key| key_of(&key).sk);
        Ok((output.items.unwrap_or_default(), next))
    }
}

/// Which of a partition's sort keys.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Sorted<'a> {
    Prefix(&'a str),
    /// Both included.
    Between(&'a str, &'a str),
}

/// The pauses of one call, in milliseconds.
struct Patience {
    window: u64,
    waited: u64,
}

impl Default for Patience {
    fn default() -> Self {
        Self { window: 10, waited: 0 }
    }
}

/// Milliseconds that a transaction which only conflicts pauses in all before it gives up: sixty-four clients on one account come through,
/// and a function still answers within its time-out of 15 s.
const CONFLICT_MS: u64 = 8_000;

pub fn key_of(item: &Item) -> Key {
    let text = |name: &str| item.get(name).and_then(|value| value.as_s().ok()).cloned().unwrap_or_default();
    Key { pk: text("pk"), sk: text("sk") }
}

struct Both {
    update: String,
    condition: Option<String>,
    names: HashMap<String, String>,
    values: HashMap<String, AttributeValue>,
}

fn merge(update: Expr, condition: Option<Expr>) -> Both {
    let mut both = Both { update: update.text, condition: None, names: update.names, values: update.values };
    if let Some(condition) = condition {
        both.condition = Some(condition.text);
        both.names.extend(condition.names);
        both.values.extend(condition.values);
    }
    both
}
