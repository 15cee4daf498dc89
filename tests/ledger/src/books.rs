//! What is stored of an account, read attribute by attribute, and what is wrong with it by the words of the invariants.

use kiln_dynamo::Memory;
use std::collections::{BTreeMap, HashMap};

type Item = HashMap<String, aws_sdk_dynamodb::types::AttributeValue>;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Job {
    pub state: String,
    pub attempt: i64,
    pub quote: i64,
    pub charged: i64,
    pub hold_open: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    pub open: bool,
    pub total: i64,
    pub left: i64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Entry {
    kind: String,
    available: i64,
    held: i64,
    cause: String,
    external: Option<String>,
}

/// One account's items.
#[derive(Debug, Clone, Default)]
pub struct Books {
    pub available: i64,
    pub held: i64,
    pub debt: i64,
    pub running: i64,
    pub queued: i64,
    pub jobs: BTreeMap<String, Job>,
    pub batches: BTreeMap<String, Batch>,
    entries: Vec<Entry>,
    markers: usize,
}

fn number(item: &Item, name: &str) -> i64 {
    item.get(name).and_then(|value| value.as_n().ok()).and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn text(item: &Item, name: &str) -> String {
    item.get(name).and_then(|value| value.as_s().ok()).cloned().unwrap_or_default()
}

impl Books {
    /// Reads the partition of an account.
    pub fn of(memory: &Memory, account: &str) -> Self {
        let mut books = Self::default();
        for item in memory.partition(&format!("ACC#{account}")) {
            let sk = text(&item, "sk");
            if sk == "ACCOUNT" {
                (books.available, books.held, books.debt) = (number(&item, "available"), number(&item, "held"), number(&item, "debt"));
                (books.running, books.queued) = (number(&item, "running"), number(&item, "queued"));
            } else if let Some(job) = sk.strip_prefix("JOB#") {
                let hold_open = item.get("hold_open").and_then(|value| value.as_bool().ok()).copied().unwrap_or(false);
                let (quote, charged) = (number(&item, "quote_millicredits"), number(&item, "charged_millicredits"));
                let job_of = Job { state: text(&item, "state"), attempt: number(&item, "attempt"), quote, charged, hold_open };
                books.jobs.insert(job.to_owned(), job_of);
            } else if let Some(batch) = sk.strip_prefix("BATCH#") {
                let open = text(&item, "state") == "open";
                let batch_of = Batch { open, total: number(&item, "total_millicredits"), left: number(&item, "left_millicredits") };
                books.batches.insert(batch.to_owned(), batch_of);
            } else if sk.starts_with("LEDGER#") {
                let external = item.get("external_id").and_then(|value| value.as_s().ok()).cloned();
                let (available, held) = (number(&item, "d_available"), number(&item, "d_held"));
                books.entries.push(Entry { kind: text(&item, "kind"), available, held, cause: text(&item, "cause"), external });
            } else if sk.starts_with("QUEUED#") {
                books.markers += 1;
            }
        }
        books
    }

    /// Entries of a kind.
    pub fn entries(&self, kind: &str) -> usize {
        self.entries.iter().filter(|entry| entry.kind == kind).count()
    }

    /// One line for each thing that breaks an invariant.
    pub fn wrong(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut must = |holds: bool, line: &dyn Fn() -> String| {
            if !holds {
                wrong.push(line());
            }
        };
        let sum = |of: &dyn Fn(&Entry) -> i64| self.entries.iter().map(of).sum::<i64>();
        let (available, held) = (sum(&|entry| entry.available), sum(&|entry| entry.held));
        must(available == self.available, &|| format!("available is {}, its entries sum to {available}", self.available));
        must(held == self.held, &|| format!("held is {}, its entries sum to {held}", self.held));
        let open: i64 = self.jobs.values().filter(|job| job.hold_open).map(|job| job.quote).sum();
        let reserved: i64 = self.batches.values().map(|batch| batch.left).sum();
        must(open + reserved == self.held, &|| format!("held is {}, open holds are {open} and batches have {reserved}", self.held));
        must(self.available >= 0, &|| format!("available is {}", self.available));
        must(self.debt >= 0 && self.held >= 0, &|| format!("debt is {}, held {}", self.debt, self.held));
        must(self.debt == 0 || self.available == 0, &|| format!("owes {} and has {}", self.debt, self.available));
        let count = |state: &str| self.jobs.values().filter(|job| job.state == state).count() as i64;
        must((self.running, self.queued) == (count("running"), count("queued")), &|| format!("counts {} running and {} queued", self.running, self.queued));
        must(self.markers as i64 == self.queued, &|| format!("{} are in the queue, {} are counted", self.markers, self.queued));
        let mut by_cause: BTreeMap<&str, Vec<&Entry>> = BTreeMap::new();
        let mut once: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        for entry in &self.entries {
            by_cause.entry(&entry.cause).or_default().push(entry);
            if let Some(external) = entry.external.as_deref().filter(|external| external.starts_with("cs_") || external.starts_with("in_")) {
                *once.entry((&entry.cause, external)).or_default() += 1;
            }
        }
        for ((cause, object), times) in once {
            must(times == 1, &|| format!("{object} of {cause} was applied {times} times"));
        }
        for (id, job) in &self.jobs {
            let entries = by_cause.remove(id.as_str()).unwrap_or_default();
            let kinds: Vec<&str> = entries.iter().map(|entry| entry.kind.as_str()).collect();
            let charged: i64 = -entries.iter().map(|entry| entry.available + entry.held).sum::<i64>();
            let expected: &[&str] = match job.state.as_str() {
                "succeeded" => &["hold", "capture"],
                "failed" | "cancelled" => &["hold", "release"],
                _ => &["hold"],
            };
            must(kinds == expected, &|| format!("{id} is {} with {kinds:?}", job.state));
            must(job.hold_open == (expected.len() == 1), &|| format!("{id} is {} and its hold open: {}", job.state, job.hold_open));
            must(charged == job.charged && (0..=job.quote).contains(&charged), &|| {
                format!("{id} says {} and was charged {charged} of {}", job.charged, job.quote)
            });
            must(job.charged == 0 || job.state == "succeeded", &|| format!("{id} is {} and was charged {}", job.state, job.charged));
            must(entries.first().is_some_and(|hold| (hold.available, hold.held) == (-job.quote, job.quote)), &|| format!("{id} does not hold its quote"));
        }
        for (id, batch) in &self.batches {
            let entries = by_cause.remove(id.as_str()).unwrap_or_default();
            let holds: Vec<i64> = entries.iter().filter(|entry| entry.kind == "hold").map(|entry| entry.held).collect();
            let left: i64 = entries.iter().map(|entry| entry.held).sum();
            must(holds == [batch.total], &|| format!("{id} of {} holds {holds:?}", batch.total));
            must(left == batch.left && left >= 0, &|| format!("{id} says {} are left, its entries say {left}", batch.left));
            must(batch.open || left == 0, &|| format!("{id} is closed with {left} left"));
            must(entries.iter().all(|entry| entry.available + entry.held == 0), &|| format!("{id} was charged"));
        }
        for (cause, entries) in by_cause {
            let held: Vec<i64> = entries.iter().map(|entry| entry.held).filter(|held| *held != 0).collect();
            must(held.is_empty(), &|| format!("{cause} is neither job nor batch and holds {held:?}"));
        }
        wrong
    }
}
