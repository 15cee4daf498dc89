//! The least times between two calls of one kind, as published; off unless a test switches them on. Whoever is too early gets a 429, and who rents too
//! early must wait for longer.

use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// A kind of call, by its threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    Create,
    Destroy,
    List,
    Show,
    Charges,
}

impl Kind {
    fn of(method: &str, path: &str) -> Option<Self> {
        match method {
            "PUT" if path.starts_with("/api/v0/asks/") => Some(Self::Create),
            "DELETE" if path.starts_with("/api/v0/instances/") => Some(Self::Destroy),
            "GET" if path == "/api/v1/instances/" => Some(Self::List),
            "GET" if path.starts_with("/api/v0/instances/") => Some(Self::Show),
            "GET" if path == "/api/v0/charges/" => Some(Self::Charges),
            _ => None,
        }
    }
}

/// Milliseconds of the stand-in's clock.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Thresholds {
    pub create_ms: i64,
    /// After an order that came too early.
    pub penalty_ms: i64,
    pub destroy_ms: i64,
    pub list_ms: i64,
    pub show_ms: i64,
    pub charges_ms: i64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self { create_ms: 4_500, penalty_ms: 12_000, destroy_ms: 3_000, list_ms: 1_000, show_ms: 2_000, charges_ms: 1_000 }
    }
}

#[derive(Debug, Default)]
pub struct Pace {
    /// None: no call is too early.
    thresholds: Option<Thresholds>,
    /// From when the next call of a kind is served.
    served_from: HashMap<Kind, i64>,
}

impl Pace {
    pub fn new(thresholds: Thresholds) -> Self {
        Self { thresholds: Some(thresholds), served_from: HashMap::new() }
    }

    /// Whether a call of the account is too early; it is noted. Gives the threshold in seconds.
    pub fn too_early(&mut self, method: &str, path: &str, now: i64) -> Option<f64> {
        let (thresholds, kind) = (self.thresholds?, Kind::of(method, path)?);
        let least = match kind {
            Kind::Create => thresholds.create_ms,
            Kind::Destroy => thresholds.destroy_ms,
            Kind::List => thresholds.list_ms,
            Kind::Show => thresholds.show_ms,
            Kind::Charges => thresholds.charges_ms,
        };
        let early = self.served_from.get(&kind).is_some_and(|from| now < *from);
        let wait = if early && kind == Kind::Create { thresholds.penalty_ms } else { least };
        self.served_from.insert(kind, now + wait);
        early.then_some(least as f64 / 1_000.0)
    }
}
