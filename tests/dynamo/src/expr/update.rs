//! Update expressions. Every part of one sees the item as it was before it.

use super::path::{Path, Step, find};
use crate::value::{Item, Value};
use std::cmp::Reverse;

#[derive(Debug, Clone, PartialEq)]
pub enum Term {
    Path(Path),
    Value(Value),
    IfNotExists(Path, Box<Term>),
    ListAppend(Box<Term>, Box<Term>),
}

#[derive(Debug, Clone, PartialEq)]
pub enum SetTo {
    Term(Term),
    Plus(Term, Term),
    Minus(Term, Term),
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Update {
    pub set: Vec<(Path, SetTo)>,
    pub remove: Vec<Path>,
    pub add: Vec<(Path, Value)>,
    pub delete: Vec<(Path, Value)>,
}

const MISSING: &str = "The provided expression refers to an attribute that does not exist in the item";
const TYPE: &str = "An operand in the update expression has an incorrect data type";
const PLACE: &str = "The document path provided in the update expression is invalid for update";

impl Term {
    fn of(&self, item: &Item) -> Result<Value, String> {
        match self {
            Term::Path(path) => find(item, path).cloned().ok_or_else(|| MISSING.into()),
            Term::Value(value) => Ok(value.clone()),
            Term::IfNotExists(path, term) => find(item, path).cloned().map_or_else(|| term.of(item), Ok),
            Term::ListAppend(first, second) => match (first.of(item)?, second.of(item)?) {
                (Value::L(first), Value::L(second)) => Ok(Value::L([first, second].concat())),
                _ => Err(TYPE.into()),
            },
        }
    }
}

impl SetTo {
    fn of(&self, item: &Item) -> Result<Value, String> {
        let (a, b, minus) = match self {
            SetTo::Term(term) => return term.of(item),
            SetTo::Plus(a, b) => (a, b, false),
            SetTo::Minus(a, b) => (a, b, true),
        };
        match (a.of(item)?, b.of(item)?) {
            (Value::N(a), Value::N(b)) => if minus { a.subtract(b) } else { a.add(b) }.map(Value::N).map_err(|bad| bad.to_string()),
            _ => Err(TYPE.into()),
        }
    }
}

impl Update {
    /// Every path that it writes.
    pub fn targets(&self) -> Vec<&Path> {
        let set = self.set.iter().map(|(path, _)| path);
        set.chain(&self.remove).chain(self.add.iter().chain(&self.delete).map(|(path, _)| path)).collect()
    }

    /// The item after it, or why the item can't take it.
    pub fn apply(&self, before: &Item) -> Result<Item, String> {
        let mut writes: Vec<(&Path, Value)> = Vec::new();
        let mut removals: Vec<&Path> = self.remove.iter().collect();
        for (path, to) in &self.set {
            writes.push((path, to.of(before)?));
        }
        for (path, value) in &self.add {
            writes.push((path, added(find(before, path), value)?));
        }
        for (path, value) in &self.delete {
            match find(before, path).map(|old| without(old, value)).transpose()? {
                Some(Some(left)) => writes.push((path, left)),
                Some(None) => removals.push(path),
                None => {}
            }
        }
        let mut after = before.clone();
        // Elements set past a list's end are appended in the order of their indexes; removals count from the end, so that none moves another.
        writes.sort_by(|a, b| a.0.cmp(b.0));
        for (path, value) in writes {
            put(&mut after, path, value)?;
        }
        removals.sort_by_key(|path| Reverse(*path));
        for path in removals {
            remove(&mut after, before, path)?;
        }
        Ok(after)
    }
}

fn added(old: Option<&Value>, value: &Value) -> Result<Value, String> {
    match (old, value) {
        (None, value) => Ok(value.clone()),
        (Some(Value::N(old)), Value::N(number)) => old.add(*number).map(Value::N).map_err(|bad| bad.to_string()),
        (Some(Value::Ss(old)), Value::Ss(more)) => Ok(Value::Ss(old.union(more).cloned().collect())),
        (Some(Value::Ns(old)), Value::Ns(more)) => Ok(Value::Ns(old.union(more).copied().collect())),
        (Some(Value::Bs(old)), Value::Bs(more)) => Ok(Value::Bs(old.union(more).cloned().collect())),
        _ => Err(TYPE.into()),
    }
}

/// What a set keeps; `None` when nothing is left, because there are no empty sets.
fn without(old: &Value, value: &Value) -> Result<Option<Value>, String> {
    Ok(match (old, value) {
        (Value::Ss(old), Value::Ss(less)) => Some(Value::Ss(old - less)).filter(|_| !old.is_subset(less)),
        (Value::Ns(old), Value::Ns(less)) => Some(Value::Ns(old - less)).filter(|_| !old.is_subset(less)),
        (Value::Bs(old), Value::Bs(less)) => Some(Value::Bs(old - less)).filter(|_| !old.is_subset(less)),
        _ => return Err(TYPE.into()),
    })
}

/// The list or map that holds a path's last step.
fn holder<'a>(item: &'a mut Item, path: &[Step]) -> Option<&'a mut Value> {
    let (Step::Name(first), rest) = path.split_first()? else { return None };
    rest.iter().try_fold(item.get_mut(first)?, |value, step| match (value, step) {
        (Value::M(map), Step::Name(name)) => map.get_mut(name),
        (Value::L(list), Step::Index(index)) => list.get_mut(*index),
        _ => None,
    })
}

fn put(item: &mut Item, path: &Path, value: Value) -> Result<(), String> {
    let (last, parents) = path.split_last().expect("a path has a step");
    if let (Step::Name(name), []) = (last, parents) {
        item.insert(name.clone(), value);
        return Ok(());
    }
    match (holder(item, parents), last) {
        (Some(Value::M(map)), Step::Name(name)) => {
            map.insert(name.clone(), value);
        }
        (Some(Value::L(list)), Step::Index(index)) => match list.get_mut(*index) {
            Some(place) => *place = value,
            None => list.push(value),
        },
        _ => return Err(PLACE.into()),
    }
    Ok(())
}

fn remove(item: &mut Item, before: &Item, path: &Path) -> Result<(), String> {
    let (last, parents) = path.split_last().expect("a path has a step");
    if let (Step::Name(name), []) = (last, parents) {
        item.remove(name);
        return Ok(());
    }
    let was = find(before, path).is_some();
    match (holder(item, parents), last) {
        (Some(Value::M(map)), Step::Name(name)) => {
            map.remove(name);
        }
        (Some(Value::L(list)), Step::Index(index)) => {
            if was {
                list.remove(*index);
            }
        }
        _ => return Err(PLACE.into()),
    }
    Ok(())
}
