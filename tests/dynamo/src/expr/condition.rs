//! Conditions and filters: a tree that is true or false of an item.

use super::path::{Path, find};
use crate::number::Number;
use crate::value::{Item, Value};
use std::borrow::Cow;
use std::cmp::Ordering;

#[derive(Debug, Clone, PartialEq)]
pub enum Operand {
    Path(Path),
    Value(Value),
    Size(Path),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    And(Box<Condition>, Box<Condition>),
    Or(Box<Condition>, Box<Condition>),
    Not(Box<Condition>),
    Compare(Comparison, Operand, Operand),
    Between(Operand, Operand, Operand),
    In(Operand, Vec<Operand>),
    Exists(Path),
    NotExists(Path),
    /// The attribute has this type.
    Type(Path, String),
    BeginsWith(Operand, Operand),
    Contains(Operand, Operand),
}

impl Operand {
    fn of<'a>(&'a self, item: &'a Item) -> Option<Cow<'a, Value>> {
        match self {
            Operand::Path(path) => find(item, path).map(Cow::Borrowed),
            Operand::Value(value) => Some(Cow::Borrowed(value)),
            Operand::Size(path) => {
                let size = match find(item, path)? {
                    Value::S(text) => text.len(),
                    Value::B(bytes) => bytes.len(),
                    Value::L(list) => list.len(),
                    Value::M(map) => map.len(),
                    Value::Ss(set) => set.len(),
                    Value::Ns(set) => set.len(),
                    Value::Bs(set) => set.len(),
                    Value::N(_) | Value::Bool(_) | Value::Null => return None,
                };
                Some(Cow::Owned(Value::N(Number::from(size))))
            }
        }
    }
}

/// The order of two values of one type that has an order.
pub fn order(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::S(a), Value::S(b)) => Some(a.as_bytes().cmp(b.as_bytes())),
        (Value::N(a), Value::N(b)) => Some(a.cmp(b)),
        (Value::B(a), Value::B(b)) => Some(a.cmp(b)),
        _ => None,
    }
}

impl Comparison {
    fn holds(self, a: Option<&Value>, b: Option<&Value>) -> bool {
        let equal = || matches!((a, b), (Some(a), Some(b)) if a == b);
        let ordered = || order(a?, b?);
        match self {
            Comparison::Equal => equal(),
            // Something that is not there is unequal to everything.
            Comparison::Unequal => !equal(),
            Comparison::Less => ordered() == Some(Ordering::Less),
            Comparison::LessOrEqual => matches!(ordered(), Some(Ordering::Less | Ordering::Equal)),
            Comparison::Greater => ordered() == Some(Ordering::Greater),
            Comparison::GreaterOrEqual => matches!(ordered(), Some(Ordering::Greater | Ordering::Equal)),
        }
    }
}

impl Condition {
    /// Whether it is true of the item; one that doesn't exist has no attributes.
    pub fn holds(&self, item: &Item) -> bool {
        match self {
            Condition::And(a, b) => a.holds(item) && b.holds(item),
            Condition::Or(a, b) => a.holds(item) || b.holds(item),
            Condition::Not(inner) => !inner.holds(item),
            Condition::Compare(how, a, b) => how.holds(a.of(item).as_deref(), b.of(item).as_deref()),
            Condition::Between(value, low, high) => {
                let value = value.of(item);
                Comparison::GreaterOrEqual.holds(value.as_deref(), low.of(item).as_deref())
                    && Comparison::LessOrEqual.holds(value.as_deref(), high.of(item).as_deref())
            }
            Condition::In(value, list) => {
                let value = value.of(item);
                list.iter().any(|one| Comparison::Equal.holds(value.as_deref(), one.of(item).as_deref()))
            }
            Condition::Exists(path) => find(item, path).is_some(),
            Condition::NotExists(path) => find(item, path).is_none(),
            Condition::Type(path, kind) => find(item, path).is_some_and(|value| value.kind() == kind),
            Condition::BeginsWith(value, prefix) => match (value.of(item).as_deref(), prefix.of(item).as_deref()) {
                (Some(Value::S(text)), Some(Value::S(prefix))) => text.starts_with(prefix.as_str()),
                (Some(Value::B(bytes)), Some(Value::B(prefix))) => bytes.starts_with(prefix),
                _ => false,
            },
            Condition::Contains(value, part) => match (value.of(item).as_deref(), part.of(item).as_deref()) {
                (Some(Value::S(text)), Some(Value::S(part))) => text.contains(part.as_str()),
                (Some(Value::B(bytes)), Some(Value::B(part))) => part.is_empty() || bytes.windows(part.len()).any(|window| window == part),
                (Some(Value::Ss(set)), Some(Value::S(part))) => set.contains(part),
                (Some(Value::Ns(set)), Some(Value::N(part))) => set.contains(part),
                (Some(Value::Bs(set)), Some(Value::B(part))) => set.contains(part),
                (Some(Value::L(list)), Some(part)) => list.contains(part),
                _ => false,
            },
        }
    }

    /// Every path that it looks at.
    pub fn paths(&self) -> Vec<&Path> {
        fn of(operand: &Operand) -> Option<&Path> {
            match operand {
                Operand::Path(path) | Operand::Size(path) => Some(path),
                Operand::Value(_) => None,
            }
        }
        match self {
            Condition::And(a, b) | Condition::Or(a, b) => [a.paths(), b.paths()].concat(),
            Condition::Not(inner) => inner.paths(),
            Condition::Compare(_, a, b) | Condition::BeginsWith(a, b) | Condition::Contains(a, b) => of(a).into_iter().chain(of(b)).collect(),
            Condition::Between(a, b, c) => [a, b, c].into_iter().filter_map(of).collect(),
            Condition::In(a, list) => of(a).into_iter().chain(list.iter().filter_map(of)).collect(),
            Condition::Exists(path) | Condition::NotExists(path) | Condition::Type(path, _) => vec![path],
        }
    }
}
