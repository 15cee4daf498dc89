//! Document paths: `a`, `a.b`, `a[3].#c`.

use crate::value::{Item, Value};
use std::collections::BTreeMap;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    Name(String),
    Index(usize),
}

/// Never empty; the first step is a name.
pub type Path = Vec<Step>;

fn step<'a>(value: &'a Value, step: &Step) -> Option<&'a Value> {
    match (value, step) {
        (Value::M(map), Step::Name(name)) => map.get(name),
        (Value::L(list), Step::Index(index)) => list.get(*index),
        _ => None,
    }
}

pub fn find<'a>(item: &'a Item, path: &[Step]) -> Option<&'a Value> {
    let Some((Step::Name(first), rest)) = path.split_first() else { return None };
    rest.iter().try_fold(item.get(first)?, step)
}

/// Why two paths can't stand beside each other, if they can't: one holds the other, or they need one value to be a list and a map.
pub fn overlap(paths: &[&Path]) -> Option<String> {
    for (i, one) in paths.iter().enumerate() {
        for two in &paths[..i] {
            let same = one.iter().zip(two.iter()).take_while(|(a, b)| a == b).count();
            let clash = if same == one.len() || same == two.len() {
                "overlap with each other"
            } else if std::mem::discriminant(&one[same]) != std::mem::discriminant(&two[same]) {
                "conflict with each other"
            } else {
                continue;
            };
            return Some(format!("Two document paths {clash}; must remove or rewrite one of these paths; path one: {}, path two: {}", shown(two), shown(one)));
        }
    }
    None
}

fn shown(path: &Path) -> String {
    let steps: Vec<String> = path
        .iter()
        .map(|step| match step {
            Step::Name(name) => name.clone(),
            Step::Index(index) => format!("[{index}]"),
        })
        .collect();
    format!("[{}]", steps.join(", "))
}

/// The parts of an item that the paths name, in their places; elements of a list close ranks.
pub fn project(item: &Item, paths: &[Path]) -> Item {
    let steps: Vec<&[Step]> = paths.iter().map(Vec::as_slice).collect();
    fields(item, &steps)
}

fn fields(map: &BTreeMap<String, Value>, paths: &[&[Step]]) -> BTreeMap<String, Value> {
    let mut by_name: BTreeMap<&str, Vec<&[Step]>> = BTreeMap::new();
    for path in paths {
        if let Some((Step::Name(name), rest)) = path.split_first() {
            by_name.entry(name).or_default().push(rest);
        }
    }
    by_name.into_iter().filter_map(|(name, rests)| Some((name.to_owned(), part(map.get(name)?, &rests)?))).collect()
}

fn part(value: &Value, paths: &[&[Step]]) -> Option<Value> {
    if paths.iter().any(|path| path.is_empty()) {
        return Some(value.clone());
    }
    match value {
        Value::M(map) => Some(fields(map, paths)).filter(|map| !map.is_empty()).map(Value::M),
        Value::L(list) => {
            let mut by_index: BTreeMap<usize, Vec<&[Step]>> = BTreeMap::new();
            for path in paths {
                if let Some((Step::Index(index), rest)) = path.split_first() {
                    by_index.entry(*index).or_default().push(rest);
                }
            }
            let parts: Vec<Value> = by_index.into_iter().filter_map(|(index, rests)| part(list.get(index)?, &rests)).collect();
            Some(parts).filter(|parts| !parts.is_empty()).map(Value::L)
        }
        _ => None,
    }
}
