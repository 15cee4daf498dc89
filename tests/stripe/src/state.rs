//! All that the stand-in knows: objects by id, deliveries, answers to idempotency keys. It promises: a request that fails changes nothing
//! (`begin`, `roll_back`), and no collection grows without bound.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    io,
    path::Path,
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ids;

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Stored {
    /// The order of making; lists are newest first.
    seq: u64,
    value: Value,
}

/// Where one delivery of an event to an endpoint stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// Kept back until a test releases it.
    Held,
    Waiting,
    Sending,
    Delivered,
    /// No try is left.
    Failed,
    /// Its endpoint is gone, or a test dropped it.
    Dropped,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Try {
    /// Milliseconds since 1970.
    pub at_ms: i64,
    pub took_ms: u64,
    /// The endpoint's status; none if there was no answer.
    pub status: Option<u16>,
    pub error: Option<String>,
}

impl Try {
    pub fn accepted(&self) -> bool {
        self.status.is_some_and(|s| (200..300).contains(&s))
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Delivery {
    pub id: String,
    pub event: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub endpoint: String,
    pub state: DeliveryState,
    pub tries: Vec<Try>,
    /// When the next try is due, in milliseconds since 1970.
    pub due_ms: i64,
    /// Exactly what is sent, at each try.
    pub body: String,
}

/// The answer that an idempotency key stands for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Saved {
    /// Method, path and parameters.
    pub request: String,
    pub path: String,
    pub status: u16,
    pub body: Value,
    pub at_s: i64,
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub struct State {
    seed: u64,
    number: u64,
    /// How far the stand-in's clock was put forward, in seconds.
    pub ahead_s: i64,
    pub hold: bool,
    objects: HashMap<String, Stored>,
    pub deliveries: VecDeque<Delivery>,
    pub saved: HashMap<String, Saved>,
    saved_order: VecDeque<String>,
    #[serde(skip)]
    by_kind: HashMap<String, BTreeMap<u64, String>>,
    #[serde(skip)]
    undo: Vec<(String, Option<Stored>)>,
    #[serde(skip)]
    deliveries_before: usize,
}

fn kind_of(value: &Value) -> String {
    value["object"].as_str().unwrap_or_default().to_owned()
}

impl State {
    pub fn new(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    pub fn read(path: &Path) -> io::Result<Option<Self>> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut state: Self = serde_json::from_slice(&bytes)?;
        for (id, stored) in &state.objects {
            state.by_kind.entry(kind_of(&stored.value)).or_default().insert(stored.seq, id.clone());
        }
        // What was on its way when the process ended is sent again: a try that may have arrived is no reason to leave one out.
        for delivery in state.deliveries.iter_mut().filter(|d| d.state == DeliveryState::Sending) {
            delivery.state = DeliveryState::Waiting;
        }
        Ok(Some(state))
    }

    /// Written beside and moved over, so that a reader finds the old state or the new one.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let beside = path.with_extension("new");
        std::fs::write(&beside, serde_json::to_vec(self)?)?;
        std::fs::rename(&beside, path)
    }

    pub fn number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    pub fn id(&mut self, prefix: &str, length: usize) -> String {
        let number = self.number();
        ids::make(prefix, self.seed, number, length)
    }

    pub fn get(&self, id: &str) -> Option<&Value> {
        self.objects.get(id).map(|stored| &stored.value)
    }

    /// All of one kind, the newest first.
    pub fn all(&self, kind: &str) -> impl Iterator<Item = &Value> {
        self.by_kind.get(kind).into_iter().flat_map(|ids| ids.values().rev()).filter_map(|id| self.get(id))
    }

    pub fn count(&self, kind: &str) -> usize {
        self.by_kind.get(kind).map_or(0, BTreeMap::len)
    }

    /// Objects that stand for something made by a caller: all but events.
    pub fn made(&self) -> usize {
        self.objects.len() - self.count("event")
    }

    /// Puts an object in, or in the place of the one with its id. A deleted one keeps its id and leaves the lists.
    pub fn put(&mut self, value: Value) {
        let id = value["id"].as_str().unwrap_or_default().to_owned();
        let before = self.objects.get(&id).cloned();
        let seq = before.as_ref().map_or_else(|| self.number(), |b| b.seq);
        self.list(&id, seq, &value);
        self.undo.push((id.clone(), before));
        self.objects.insert(id, Stored { seq, value });
    }

    fn list(&mut self, id: &str, seq: u64, value: &Value) {
        let ids = self.by_kind.entry(kind_of(value)).or_default();
        if value["deleted"] == Value::Bool(true) {
            ids.remove(&seq);
        } else {
            ids.insert(seq, id.to_owned());
        }
    }

    pub fn begin(&mut self) {
        self.undo.clear();
        self.deliveries_before = self.deliveries.len();
    }

    /// Whether anything was put since `begin`.
    pub fn changed(&self) -> bool {
        !self.undo.is_empty() || self.deliveries.len() != self.deliveries_before
    }

    pub fn roll_back(&mut self) {
        while let Some((id, before)) = self.undo.pop() {
            if let Some(now) = self.objects.remove(&id) {
                self.by_kind.entry(kind_of(&now.value)).or_default().remove(&now.seq);
            }
            if let Some(stored) = before {
                self.list(&id, stored.seq, &stored.value);
                self.objects.insert(id, stored);
            }
        }
        self.deliveries.truncate(self.deliveries_before);
    }

    /// Lets the oldest events, finished deliveries and idempotency keys go beyond `most` of each.
    pub fn trim(&mut self, most: usize) {
        while self.count("event") > most {
            if let Some((_, id)) = self.by_kind.get_mut("event").and_then(BTreeMap::pop_first) {
                self.objects.remove(&id);
            }
        }
        while self.deliveries.len() > most {
            self.deliveries.pop_front();
        }
        while self.saved_order.len() > most {
            if let Some(key) = self.saved_order.pop_front() {
                self.saved.remove(&key);
            }
        }
    }

    pub fn save(&mut self, key: String, saved: Saved) {
        if self.saved.insert(key.clone(), saved).is_none() {
            self.saved_order.push_back(key);
        }
    }

    pub fn delivery(&mut self, id: &str) -> Option<&mut Delivery> {
        self.deliveries.iter_mut().find(|d| d.id == id)
    }
}
