//! The items and the index, and what reads find in them. Reads are of this instant, those of the index too.

use crate::expr::{Comparison, project};
use crate::number::Number;
use crate::plan::{Range, Select};
use crate::schema::{INDEX_ATTRIBUTES, INDEX_KEY, KEY, Key};
use crate::value::{Item, Value, item_size};
use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

/// Bytes after which a page ends.
const PAGE_BYTES: usize = 1 << 20;

#[derive(Debug, Clone, Default)]
pub struct Data {
    partitions: BTreeMap<String, BTreeMap<String, Arc<Item>>>,
    index: BTreeMap<String, BTreeSet<(Number, Key)>>,
}

/// One page of a query or scan.
#[derive(Debug)]
pub struct Page {
    pub items: Vec<Item>,
    pub scanned: usize,
    pub last: Option<Item>,
}

fn indexed(item: &Item) -> Option<(&String, Number)> {
    match (item.get(INDEX_KEY[0]), item.get(INDEX_KEY[1])) {
        (Some(Value::S(shard)), Some(Value::N(at))) => Some((shard, *at)),
        _ => None,
    }
}

impl Data {
    pub fn get(&self, key: &Key) -> Option<&Arc<Item>> {
        self.partitions.get(&key.pk)?.get(&key.sk)
    }

    pub fn set(&mut self, key: &Key, item: Option<Item>) {
        let old = match &item {
            None => {
                let Some(partition) = self.partitions.get_mut(&key.pk) else { return };
                let old = partition.remove(&key.sk);
                if partition.is_empty() {
                    self.partitions.remove(&key.pk);
                }
                old
            }
            Some(item) => {
                if let Some((shard, at)) = indexed(item) {
                    self.index.entry(shard.clone()).or_default().insert((at, key.clone()));
                }
                let item = Arc::new(item.clone());
                match self.partitions.get_mut(&key.pk) {
                    Some(partition) => partition.insert(key.sk.clone(), item),
                    None => self.partitions.entry(key.pk.clone()).or_default().insert(key.sk.clone(), item),
                }
            }
        };
        let Some(old) = old else { return };
        let gone = indexed(&old).filter(|place| item.as_ref().and_then(indexed) != Some(*place));
        if let Some((shard, at)) = gone
            && let Some(rows) = self.index.get_mut(shard)
        {
            rows.remove(&(at, key.clone()));
        }
    }

    /// Every item, by key.
    pub fn all(&self) -> impl Iterator<Item = (&str, &str, &Arc<Item>)> {
        self.partitions.iter().flat_map(|(pk, items)| items.iter().map(move |(sk, item)| (pk.as_str(), sk.as_str(), item)))
    }

    pub fn partition(&self, pk: &str) -> impl Iterator<Item = &Arc<Item>> {
        self.partitions.get(pk).into_iter().flat_map(BTreeMap::values)
    }

    /// `limit_last` breaks the rule that a limit counts what is looked at, not what passes the filter.
    pub fn select(&self, select: &Select, limit_last: bool) -> Page {
        match (&select.partition, select.index) {
            (Some(shard), true) => self.select_index(shard, select, limit_last),
            (Some(pk), false) => match self.partitions.get(pk) {
                None => Page { items: vec![], scanned: 0, last: None },
                Some(items) => {
                    let (from, to) = bounds(select);
                    let empty = matches!((&from, &to), (Bound::Included(a) | Bound::Excluded(a), Bound::Included(b) | Bound::Excluded(b)) if a > b)
                        || matches!((&from, &to), (Bound::Excluded(a), Bound::Excluded(b)) if a == b);
                    if empty {
                        return Page { items: vec![], scanned: 0, last: None };
                    }
                    let rows = items.range::<String, _>((from, to)).map(|(_, item)| &**item);
                    if select.backward { page(rows.rev(), select, limit_last) } else { page(rows, select, limit_last) }
                }
            },
            (None, _) => {
                let after = select.start.as_ref().and_then(|start| Key::given(start).ok());
                let rows = self.all().filter(|(pk, sk, _)| {
                    let mine = select.segment.is_none_or(|(segment, total)| spread(pk) % total == segment);
                    mine && after.as_ref().is_none_or(|after| (*pk, *sk) > (after.pk.as_str(), after.sk.as_str()))
                });
                page(rows.map(|(_, _, item)| &**item), select, limit_last)
            }
        }
    }

    fn select_index(&self, shard: &str, select: &Select, limit_last: bool) -> Page {
        let after = select.start.as_ref().and_then(|start| {
            let (_, at) = indexed(start)?;
            Some((at, Key::of(start).ok()?))
        });
        let rows = self.index.get(shard).into_iter().flatten().filter(|row| {
            let past = after.as_ref().is_none_or(|after| if select.backward { *row < after } else { *row > after });
            past && within(&select.range, &Value::N(row.0))
        });
        let held: Vec<&str> = INDEX_ATTRIBUTES.into_iter().chain(KEY).chain(INDEX_KEY).collect();
        let shown = |(_, key): &(Number, Key)| {
            let item = self.get(key).expect("the index follows the table");
            held.iter().filter_map(|name| Some(((*name).to_owned(), item.get(*name)?.clone()))).collect::<Item>()
        };
        if select.backward { page(rows.rev().map(shown), select, limit_last) } else { page(rows.map(shown), select, limit_last) }
    }
}

/// A number of the partition for the segments of a scan, always the same.
fn spread(pk: &str) -> u64 {
    pk.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

fn within(range: &Range, value: &Value) -> bool {
    use std::cmp::Ordering::{Equal, Greater, Less};
    let to = |other: &Value| match (value, other) {
        (Value::S(a), Value::S(b)) => a.cmp(b),
        (Value::N(a), Value::N(b)) => a.cmp(b),
        _ => unreachable!("the plan checked the types"),
    };
    match range {
        Range::All => true,
        Range::Compare(how, other) => match how {
            Comparison::Equal => to(other) == Equal,
            Comparison::Unequal => to(other) != Equal,
            Comparison::Less => to(other) == Less,
            Comparison::LessOrEqual => to(other) != Greater,
            Comparison::Greater => to(other) == Greater,
            Comparison::GreaterOrEqual => to(other) != Less,
        },
        Range::Between(low, high) => to(low) != Less && to(high) != Greater,
        Range::Prefix(prefix) => matches!(value, Value::S(text) if text.starts_with(prefix.as_str())),
    }
}

/// The least text that is greater than all with this prefix.
fn past(prefix: &str) -> Option<String> {
    let mut left = prefix.to_owned();
    while let Some(last) = left.pop() {
        let next = if last == '\u{D7FF}' { Some('\u{E000}') } else { char::from_u32(last as u32 + 1) };
        if let Some(next) = next {
            left.push(next);
            return Some(left);
        }
    }
    None
}

/// From where to where a query of the base table goes.
fn bounds(select: &Select) -> (Bound<String>, Bound<String>) {
    let text = |value: &Value| match value {
        Value::S(text) => text.clone(),
        _ => unreachable!("the plan checked the types"),
    };
    let (mut from, mut to) = match &select.range {
        Range::All => (Bound::Unbounded, Bound::Unbounded),
        Range::Compare(Comparison::Less, value) => (Bound::Unbounded, Bound::Excluded(text(value))),
        Range::Compare(Comparison::LessOrEqual, value) => (Bound::Unbounded, Bound::Included(text(value))),
        Range::Compare(Comparison::Greater, value) => (Bound::Excluded(text(value)), Bound::Unbounded),
        Range::Compare(Comparison::GreaterOrEqual, value) => (Bound::Included(text(value)), Bound::Unbounded),
        Range::Compare(_, value) => (Bound::Included(text(value)), Bound::Included(text(value))),
        Range::Between(low, high) => (Bound::Included(text(low)), Bound::Included(text(high))),
        Range::Prefix(prefix) => (Bound::Included(prefix.clone()), past(prefix).map_or(Bound::Unbounded, Bound::Excluded)),
    };
    if let Some(Value::S(after)) = select.start.as_ref().and_then(|start| start.get(KEY[1])) {
        let inside = |bound: &Bound<String>, below: bool| match bound {
            Bound::Unbounded => true,
            Bound::Included(edge) | Bound::Excluded(edge) => {
                if below {
                    after >= edge
                } else {
                    after <= edge
                }
            }
        };
        if select.backward && inside(&to, false) {
            to = Bound::Excluded(after.clone());
        } else if !select.backward && inside(&from, true) {
            from = Bound::Excluded(after.clone());
        }
    }
    (from, to)
}

fn page<T: Borrow<Item>>(rows: impl Iterator<Item = T>, select: &Select, limit_last: bool) -> Page {
    let mut page = Page { items: vec![], scanned: 0, last: None };
    let mut bytes = 0;
    for row in rows {
        let item = row.borrow();
        page.scanned += 1;
        bytes += item_size(item);
        if select.filter.as_ref().is_none_or(|filter| filter.holds(item)) {
            page.items.push(match &select.projection {
                None => item.clone(),
                Some(paths) => project(item, paths),
            });
        }
        let counted = if limit_last { page.items.len() } else { page.scanned };
        if select.limit == Some(counted) || bytes > PAGE_BYTES {
            let names = KEY.iter().chain(if select.index { INDEX_KEY.as_slice() } else { &[] });
            page.last = Some(names.filter_map(|name| Some(((*name).to_owned(), item.get(*name)?.clone()))).collect());
            break;
        }
    }
    page
}
