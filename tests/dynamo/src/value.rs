//! Attribute values: their form on the wire, their size as DynamoDB counts it, and what it refuses of them.

use crate::number::Number;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::{BTreeMap, BTreeSet};

pub type Item = BTreeMap<String, Value>;

/// Levels that lists and maps may nest.
const DEPTH: usize = 32;

/// One attribute's value. Sets hold each element once, in order.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Value {
    S(String),
    N(Number),
    B(Vec<u8>),
    Bool(bool),
    Null,
    L(Vec<Value>),
    M(BTreeMap<String, Value>),
    Ss(BTreeSet<String>),
    Ns(BTreeSet<Number>),
    Bs(BTreeSet<Vec<u8>>),
}

impl Value {
    /// DynamoDB's word for its type.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::S(_) => "S",
            Value::N(_) => "N",
            Value::B(_) => "B",
            Value::Bool(_) => "BOOL",
            Value::Null => "NULL",
            Value::L(_) => "L",
            Value::M(_) => "M",
            Value::Ss(_) => "SS",
            Value::Ns(_) => "NS",
            Value::Bs(_) => "BS",
        }
    }

    /// Bytes that it takes in an item.
    pub fn size(&self) -> usize {
        match self {
            Value::S(text) => text.len(),
            Value::N(number) => number.size(),
            Value::B(bytes) => bytes.len(),
            Value::Bool(_) | Value::Null => 1,
            Value::L(values) => 3 + values.iter().map(|value| value.size() + 1).sum::<usize>(),
            Value::M(values) => 3 + values.iter().map(|(name, value)| name.len() + value.size() + 1).sum::<usize>(),
            Value::Ss(set) => set.iter().map(String::len).sum(),
            Value::Ns(set) => set.iter().map(Number::size).sum(),
            Value::Bs(set) => set.iter().map(Vec::len).sum(),
        }
    }

    /// Whether lists and maps nest no deeper than DynamoDB allows.
    pub fn nests_well(&self) -> bool {
        fn depth(value: &Value) -> usize {
            match value {
                Value::L(values) => 1 + values.iter().map(depth).max().unwrap_or(0),
                Value::M(values) => 1 + values.values().map(depth).max().unwrap_or(0),
                _ => 0,
            }
        }
        depth(self) <= DEPTH
    }
}

/// Bytes of a whole item, names included.
pub fn item_size(item: &Item) -> usize {
    item.iter().map(|(name, value)| name.len() + value.size()).sum()
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        let kind = self.kind();
        match self {
            Value::S(text) => map.serialize_entry(kind, text)?,
            Value::N(number) => map.serialize_entry(kind, &number.to_string())?,
            Value::B(bytes) => map.serialize_entry(kind, &STANDARD.encode(bytes))?,
            Value::Bool(yes) => map.serialize_entry(kind, yes)?,
            Value::Null => map.serialize_entry(kind, &true)?,
            Value::L(values) => map.serialize_entry(kind, values)?,
            Value::M(values) => map.serialize_entry(kind, values)?,
            Value::Ss(set) => map.serialize_entry(kind, set)?,
            Value::Ns(set) => map.serialize_entry(kind, &set.iter().map(Number::to_string).collect::<Vec<_>>())?,
            Value::Bs(set) => map.serialize_entry(kind, &set.iter().map(|bytes| STANDARD.encode(bytes)).collect::<Vec<_>>())?,
        }
        map.end()
    }
}

/// Marks a message as DynamoDB's own words about a value, not the JSON reader's about its syntax.
pub const REFUSED: &str = "refused: ";

fn refused<E: serde::de::Error>(message: impl std::fmt::Display) -> E {
    E::custom(format!("{REFUSED}{message}"))
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Read)
    }
}

struct Read;

impl<'de> Visitor<'de> for Read {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str("an attribute value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let supplied = || refused("Supplied AttributeValue is empty, must contain exactly one of the supported datatypes");
        let kind: std::borrow::Cow<'de, str> = map.next_key()?.ok_or_else(supplied)?;
        let value = match kind.as_ref() {
            "S" => Value::S(map.next_value()?),
            "N" => Value::N(number(map.next_value::<String>()?)?),
            "B" => Value::B(bytes(map.next_value::<String>()?)?),
            "BOOL" => Value::Bool(map.next_value()?),
            "NULL" => match map.next_value()? {
                true => Value::Null,
                false => return Err(refused("One or more parameter values were invalid: Null attribute value types must have the value of true")),
            },
            "L" => Value::L(map.next_value()?),
            "M" => Value::M(map.next_value()?),
            "SS" => Value::Ss(set(map.next_value::<Vec<String>>()?)?),
            "NS" => Value::Ns(set(map.next_value::<Vec<String>>()?.into_iter().map(number).collect::<Result<_, _>>()?)?),
            "BS" => Value::Bs(set(map.next_value::<Vec<String>>()?.into_iter().map(bytes).collect::<Result<_, _>>()?)?),
            _ => return Err(supplied()),
        };
        if map.next_key::<String>()?.is_some() {
            return Err(refused("Supplied AttributeValue has more than one datatypes set, must contain exactly one of the supported datatypes"));
        }
        Ok(value)
    }
}

fn number<E: serde::de::Error>(text: String) -> Result<Number, E> {
    text.parse().map_err(refused)
}

fn bytes<E: serde::de::Error>(text: String) -> Result<Vec<u8>, E> {
    STANDARD.decode(text).map_err(E::custom)
}

fn set<T: Ord, E: serde::de::Error>(elements: Vec<T>) -> Result<BTreeSet<T>, E> {
    let count = elements.len();
    let set: BTreeSet<T> = elements.into_iter().collect();
    if count == 0 {
        return Err(refused("One or more parameter values were invalid: An set may not be empty"));
    }
    if set.len() < count {
        return Err(refused("One or more parameter values were invalid: Input collection contains duplicates."));
    }
    Ok(set)
}

impl From<&Value> for AttributeValue {
    fn from(value: &Value) -> Self {
        match value {
            Value::S(text) => AttributeValue::S(text.clone()),
            Value::N(number) => AttributeValue::N(number.to_string()),
            Value::B(bytes) => AttributeValue::B(Blob::new(bytes.clone())),
            Value::Bool(yes) => AttributeValue::Bool(*yes),
            Value::Null => AttributeValue::Null(true),
            Value::L(values) => AttributeValue::L(values.iter().map(Into::into).collect()),
            Value::M(values) => AttributeValue::M(values.iter().map(|(name, value)| (name.clone(), value.into())).collect()),
            Value::Ss(set) => AttributeValue::Ss(set.iter().cloned().collect()),
            Value::Ns(set) => AttributeValue::Ns(set.iter().map(Number::to_string).collect()),
            Value::Bs(set) => AttributeValue::Bs(set.iter().map(|bytes| Blob::new(bytes.clone())).collect()),
        }
    }
}
