//! The one table: its key, its index, and what DynamoDB says of an item by them. A test holds this against template.yaml.

use crate::value::{Item, Value, item_size};
use std::cmp::Ordering;

pub const TABLE: &str = "kiln";
pub const KEY: [&str; 2] = ["pk", "sk"];
/// The index's name and key: a text and a number.
pub const INDEX: &str = "owed";
pub const INDEX_KEY: [&str; 2] = ["owed_shard", "next_check_at"];
/// What the index holds beside the keys.
pub const INDEX_ATTRIBUTES: [&str; 8] = ["state", "kind", "capability", "priority", "queued_at", "account_id", "job_id", "not_before"];

const ITEM_BYTES: usize = 400 << 10;
const KEY_BYTES: [usize; 2] = [2048, 1024];

/// An item's place in the table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    pub pk: String,
    pub sk: String,
}

impl Key {
    pub fn item(&self) -> Item {
        Item::from([(KEY[0].to_owned(), Value::S(self.pk.clone())), (KEY[1].to_owned(), Value::S(self.sk.clone()))])
    }

    /// The key that a whole item has.
    pub fn of(item: &Item) -> Result<Self, String> {
        let part = |at: usize| match item.get(KEY[at]) {
            None => Err(format!("One or more parameter values were invalid: Missing the key {} in the item", KEY[at])),
            Some(Value::S(text)) => sound(at, text),
            Some(value) => Err(format!("One or more parameter values were invalid: Type mismatch for key {} expected: S actual: {}", KEY[at], value.kind())),
        };
        Ok(Self { pk: part(0)?, sk: part(1)? })
    }

    /// The key that a request gives, which must be just that.
    pub fn given(item: &Item) -> Result<Self, String> {
        match (item.len(), item.get(KEY[0]), item.get(KEY[1])) {
            (2, Some(Value::S(pk)), Some(Value::S(sk))) => Ok(Self { pk: sound(0, pk)?, sk: sound(1, sk)? }),
            _ => Err("The provided key element does not match the schema".into()),
        }
    }
}

fn sound(at: usize, text: &str) -> Result<String, String> {
    let name = KEY[at];
    if text.is_empty() {
        let said = "One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an empty string value.";
        return Err(format!("{said} Key: {name}"));
    }
    if text.len() > KEY_BYTES[at] {
        return Err(format!("One or more parameter values were invalid: Size of {name} has exceeded the maximum size limit of {} bytes", KEY_BYTES[at]));
    }
    Ok(text.to_owned())
}

/// Why an item can't be stored.
pub fn check(item: &Item, too_large: &str) -> Result<(), String> {
    for (name, kind) in INDEX_KEY.iter().zip(["S", "N"]) {
        match item.get(*name) {
            Some(Value::S(text)) if kind == "S" && text.is_empty() => {
                let said = "One or more parameter values are not valid. A value specified for a secondary index key is not supported.";
                return Err(format!(
                    "{said} The AttributeValue for a key attribute cannot contain an empty string value. IndexName: {INDEX}, IndexKey: {name}"
                ));
            }
            Some(value) if value.kind() != kind => {
                let said = "One or more parameter values were invalid: Type mismatch for Index Key";
                return Err(format!("{said} {name} Expected: {kind} Actual: {} IndexName: {INDEX}", value.kind()));
            }
            _ => {}
        }
    }
    if item.contains_key("") {
        return Err("One or more parameter values were invalid: An attribute name is empty".into());
    }
    if !item.values().all(Value::nests_well) {
        return Err("Nesting Levels have exceeded supported limits".into());
    }
    if item_size(item).cmp(&ITEM_BYTES) == Ordering::Greater {
        return Err(too_large.into());
    }
    Ok(())
}
