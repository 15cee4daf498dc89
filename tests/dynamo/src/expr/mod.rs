//! DynamoDB's expressions: parsed with their names and values put in, then applied to an item. A parse refuses what DynamoDB refuses
//! before it looks at any item; the words of a refusal follow the prefix `Invalid ConditionExpression: ` and its like.

mod condition;
mod lex;
mod parse;
mod path;
mod update;

pub use condition::{Comparison, Condition, Operand};
pub use parse::Parser;
use path::overlap;
pub use path::{Path, Step, project};
pub use update::{SetTo, Term, Update};

use crate::value::Value;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

/// The names and values of one request; remembers which were used, because an idle one is refused.
#[derive(Debug, Default)]
pub struct Refs<'a> {
    names: Option<&'a BTreeMap<String, String>>,
    values: Option<&'a BTreeMap<String, Value>>,
    used: RefCell<BTreeSet<String>>,
}

impl<'a> Refs<'a> {
    pub fn new(names: Option<&'a BTreeMap<String, String>>, values: Option<&'a BTreeMap<String, Value>>) -> Self {
        Self { names, values, used: RefCell::default() }
    }

    fn name(&self, reference: &str) -> Result<&'a str, String> {
        let found = self.names.and_then(|names| names.get(reference));
        let name = found.ok_or_else(|| format!("An expression attribute name used in the document path is not defined; attribute name: {reference}"))?;
        self.used.borrow_mut().insert(reference.to_owned());
        Ok(name)
    }

    fn value(&self, reference: &str) -> Result<&'a Value, String> {
        let found = self.values.and_then(|values| values.get(reference));
        let value = found.ok_or_else(|| format!("An expression attribute value used in expression is not defined; attribute value: {reference}"))?;
        self.used.borrow_mut().insert(reference.to_owned());
        Ok(value)
    }

    /// What is wrong with the maps themselves, once every expression has been read; `any` says whether there was an expression.
    pub fn check(&self, any: bool) -> Result<(), String> {
        let used = self.used.borrow();
        fn keys(map: Option<&BTreeMap<String, impl Sized>>) -> Option<Vec<&String>> {
            map.map(|map| map.keys().collect())
        }
        for (what, sign, keys) in [("ExpressionAttributeNames", '#', keys(self.names)), ("ExpressionAttributeValues", ':', keys(self.values))] {
            let Some(keys) = keys else { continue };
            if !any {
                return Err(format!("{what} can only be specified when using expressions"));
            }
            if keys.is_empty() {
                return Err(format!("{what} must not be empty"));
            }
            let sound =
                |key: &&String| key.strip_prefix(sign).is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'));
            if let Some(key) = keys.iter().find(|key| !sound(key)) {
                return Err(format!("{what} contains invalid key: Syntax error; key: \"{key}\""));
            }
            let idle: Vec<&str> = keys.iter().filter(|key| !used.contains(**key)).map(|key| key.as_str()).collect();
            if !idle.is_empty() {
                return Err(format!("Value provided in {what} unused in expressions: keys: {{{}}}", idle.join(", ")));
            }
        }
        Ok(())
    }
}
