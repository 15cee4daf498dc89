//! Every request to the API that was seen, with what became of it, so that a test can hold a system's records against it.

use std::collections::VecDeque;

use serde::Serialize;

#[derive(Debug, Clone, Serialize)]
pub struct Seen {
    /// Counts from 1 and is never used again.
    pub n: u64,
    pub at_ms: i64,
    pub method: String,
    pub path: String,
    pub query: Option<String>,
    /// The label in the body, or of the instance that the path names.
    pub label: Option<String>,
    /// `account`, `instance:ID` or `nobody`.
    pub by: String,
    /// The kind of the planned fault that it met.
    pub fault: Option<&'static str>,
    /// What was answered; null while there is no answer, and where there never was one.
    pub status: Option<u16>,
}

pub struct Journal {
    seen: VecDeque<Seen>,
    next: u64,
    most: usize,
}

impl Journal {
    pub fn new(most: usize) -> Self {
        Self { seen: VecDeque::new(), next: 1, most }
    }

    /// Writes a request down and tells its number.
    pub fn write(&mut self, mut seen: Seen) -> u64 {
        seen.n = self.next;
        self.next += 1;
        self.seen.push_back(seen);
        while self.seen.len() > self.most {
            self.seen.pop_front();
        }
        self.next - 1
    }

    pub fn answered(&mut self, n: u64, status: u16) {
        if let Some(seen) = self.seen.iter_mut().rev().find(|s| s.n == n) {
            seen.status = Some(status);
        }
    }

    pub fn after(&self, n: u64) -> impl Iterator<Item = &Seen> {
        self.seen.iter().filter(move |s| s.n > n)
    }
}
