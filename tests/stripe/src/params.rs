//! Typed reading of a request's parameters. It promises: each name is read once, what was never asked for is refused as unknown, and each
//! refusal names its field with the brackets that the client wrote.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::{error::Refusal, form::Node};

/// The longest text that one parameter may hold, in bytes.
const MAX_TEXT: usize = 5_000;
const MAX_METADATA: usize = 50;

/// A group of parameters, with the name it stands under.
#[derive(Debug, Default)]
pub struct Params {
    prefix: String,
    left: BTreeMap<String, Node>,
}

impl Params {
    pub fn new(left: BTreeMap<String, Node>) -> Self {
        Self { prefix: String::new(), left }
    }

    /// The full name of a parameter of this group.
    pub fn name(&self, key: &str) -> String {
        if self.prefix.is_empty() { key.to_owned() } else { format!("{}[{key}]", self.prefix) }
    }

    pub fn has(&self, key: &str) -> bool {
        self.left.contains_key(key)
    }

    pub fn keys(&self) -> Vec<String> {
        self.left.keys().cloned().collect()
    }

    /// Text; an empty one is `Some("")`, which in an update means "unset".
    pub fn text(&mut self, key: &str) -> Result<Option<String>, Refusal> {
        match self.left.remove(key) {
            None => Ok(None),
            Some(Node::Text(text)) if text.len() <= MAX_TEXT => Ok(Some(text)),
            Some(Node::Text(_)) => Err(Refusal::field(self.name(key), format!("Invalid string: {} is longer than {MAX_TEXT} characters.", self.name(key)))),
            Some(Node::Group(_)) => Err(Refusal::field(self.name(key), "Invalid string: a group of values was given.")),
        }
    }

    /// Text that isn't empty, or nothing.
    pub fn filled(&mut self, key: &str) -> Result<Option<String>, Refusal> {
        match self.text(key)? {
            Some(text) if text.is_empty() => Err(Refusal::field(
                self.name(key),
                format!(
                    "You passed an empty string for '{}'. We assume empty values are an attempt to unset a parameter; however '{}' cannot be unset.",
                    self.name(key),
                    self.name(key)
                ),
            )
            .code("parameter_invalid_empty")),
            other => Ok(other),
        }
    }

    pub fn required(&mut self, key: &str) -> Result<String, Refusal> {
        self.filled(key)?.ok_or_else(|| Refusal::missing(&self.name(key)))
    }

    pub fn int(&mut self, key: &str) -> Result<Option<i64>, Refusal> {
        let Some(text) = self.filled(key)? else { return Ok(None) };
        let number = text.parse::<i64>().ok().filter(|n| n.abs() <= 99_999_999_999);
        number.map(Some).ok_or_else(|| Refusal::field(self.name(key), format!("Invalid integer: {text}")).code("parameter_invalid_integer"))
    }

    pub fn int_in(&mut self, key: &str, least: i64, most: i64) -> Result<Option<i64>, Refusal> {
        match self.int(key)? {
            Some(number) if number < least => {
                Err(Refusal::field(self.name(key), format!("This value must be greater than or equal to {least}.")).code("parameter_invalid_integer"))
            }
            Some(number) if number > most => {
                Err(Refusal::field(self.name(key), format!("This value must be less than or equal to {most}.")).code("parameter_invalid_integer"))
            }
            other => Ok(other),
        }
    }

    pub fn boolean(&mut self, key: &str) -> Result<Option<bool>, Refusal> {
        match self.filled(key)?.as_deref() {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(other) => Err(Refusal::field(self.name(key), format!("Invalid boolean: {other}"))),
        }
    }

    pub fn one_of(&mut self, key: &str, allowed: &[&str]) -> Result<Option<String>, Refusal> {
        match self.filled(key)? {
            Some(text) if !allowed.contains(&text.as_str()) => {
                Err(Refusal::field(self.name(key), format!("Invalid {}: must be one of {}", self.name(key), allowed.join(", "))))
            }
            other => Ok(other),
        }
    }

    /// A three-letter currency, in lower case.
    pub fn currency(&mut self, key: &str) -> Result<Option<String>, Refusal> {
        let Some(text) = self.filled(key)? else { return Ok(None) };
        let code = text.to_ascii_lowercase();
        if code.len() == 3 && code.bytes().all(|b| b.is_ascii_lowercase()) {
            Ok(Some(code))
        } else {
            Err(Refusal::field(self.name(key), format!("Invalid currency: {text}")))
        }
    }

    /// An absolute http(s) address.
    pub fn url(&mut self, key: &str) -> Result<Option<String>, Refusal> {
        let Some(text) = self.filled(key)? else { return Ok(None) };
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        match rest.filter(|rest| !rest.is_empty() && !rest.starts_with('/') && !text.contains(char::is_whitespace)) {
            Some(_) => Ok(Some(text)),
            None => Err(Refusal::field(self.name(key), "Not a valid URL").code("url_invalid")),
        }
    }

    /// A group of its own, if it was given.
    pub fn group(&mut self, key: &str) -> Result<Option<Params>, Refusal> {
        match self.left.remove(key) {
            None => Ok(None),
            Some(Node::Group(left)) => Ok(Some(Params { prefix: self.name(key), left })),
            // An empty value unsets a group.
            Some(Node::Text(text)) if text.is_empty() => Ok(None),
            Some(Node::Text(_)) => Err(Refusal::field(self.name(key), "Invalid object")),
        }
    }

    /// The groups of a list, in their order.
    pub fn groups(&mut self, key: &str) -> Result<Vec<Params>, Refusal> {
        let name = self.name(key);
        self.members(key)?
            .into_iter()
            .map(|(index, node)| match node {
                Node::Group(left) => Ok(Params { prefix: format!("{name}[{index}]"), left }),
                Node::Text(_) => Err(Refusal::field(format!("{name}[{index}]"), "Invalid object")),
            })
            .collect()
    }

    /// The texts of a list, in their order. `None`: the list wasn't given.
    pub fn texts(&mut self, key: &str) -> Result<Option<Vec<String>>, Refusal> {
        if !self.has(key) {
            return Ok(None);
        }
        let name = self.name(key);
        let members = self.members(key)?.into_iter().map(|(index, node)| match node {
            Node::Text(text) if text.len() <= MAX_TEXT => Ok(text),
            _ => Err(Refusal::field(format!("{name}[{index}]"), "Invalid string")),
        });
        members.collect::<Result<_, _>>().map(Some)
    }

    fn members(&mut self, key: &str) -> Result<Vec<(usize, Node)>, Refusal> {
        let name = self.name(key);
        let invalid = || Refusal::field(name.clone(), "Invalid array");
        match self.left.remove(key) {
            None => Ok(Vec::new()),
            Some(Node::Text(text)) if text.is_empty() => Ok(Vec::new()),
            Some(Node::Text(_)) => Err(invalid()),
            Some(Node::Group(map)) => {
                let mut members =
                    map.into_iter().map(|(index, node)| index.parse::<usize>().map(|i| (i, node))).collect::<Result<Vec<_>, _>>().map_err(|_| invalid())?;
                members.sort_by_key(|(index, _)| *index);
                Ok(members)
            }
        }
    }

    /// Changes `current` as `metadata[…]` says: an empty value removes its key, an empty `metadata` all of them.
    pub fn metadata(&mut self, key: &str, current: &Value) -> Result<Value, Refusal> {
        let mut all: Map<String, Value> = current.as_object().cloned().unwrap_or_default();
        let name = self.name(key);
        match self.left.remove(key) {
            None => {}
            Some(Node::Text(text)) if text.is_empty() => all.clear(),
            Some(Node::Text(_)) => return Err(Refusal::field(name, "Invalid object")),
            Some(Node::Group(entries)) => {
                for (entry, node) in entries {
                    let Node::Text(text) = node else { return Err(Refusal::field(format!("{name}[{entry}]"), "Metadata values must be strings.")) };
                    if entry.len() > 40 || text.len() > 500 {
                        return Err(Refusal::field(format!("{name}[{entry}]"), "Metadata keys hold up to 40 characters, values up to 500."));
                    }
                    if text.is_empty() {
                        all.remove(&entry);
                    } else {
                        all.insert(entry, text.into());
                    }
                }
            }
        }
        if all.len() > MAX_METADATA {
            return Err(Refusal::field(name, format!("Metadata holds up to {MAX_METADATA} keys.")));
        }
        Ok(Value::Object(all))
    }

    /// Texts by name (`address[line1]`), of the given names only; the others are null.
    pub fn record(&mut self, key: &str, names: &[&str]) -> Result<Option<Value>, Refusal> {
        let Some(mut group) = self.group(key)? else { return Ok(None) };
        let mut record = Map::new();
        for name in names {
            record.insert((*name).into(), group.text(name)?.filter(|t| !t.is_empty()).into());
        }
        group.done()?;
        Ok(Some(Value::Object(record)))
    }

    /// Refuses what was never asked for.
    pub fn done(self) -> Result<(), Refusal> {
        match self.left.keys().next() {
            None => Ok(()),
            Some(key) => Err(Refusal::unknown(&self.name(key))),
        }
    }
}
