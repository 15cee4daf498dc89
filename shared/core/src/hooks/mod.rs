//! Outbound webhooks, the pure part: which events there are and what they carry, which of them an endpoint wants.
//!
//! - [`address`]: which network addresses may be spoken to; [`target`]: which URLs may be an endpoint
//! - [`schedule`]: when a delivery is tried again, and when not any more
//! - [`sign`]: signatures as the Standard Webhooks specification has them

pub mod address;
mod batches;
pub mod schedule;
pub mod sign;
pub mod target;

pub use batches::{of_chunk, of_close};

use crate::FieldError;
use crate::ids::{EndpointId, EventId};
use crate::job::State;
use crate::machine::Change;
use crate::time::{Millis, rfc3339};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

macro_rules! events {
    ($($name:ident = $text:literal;)*) => {
        /// What may be told to an endpoint.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum EventType { $(#[serde(rename = $text)] $name,)* }

        impl EventType {
            pub const ALL: &'static [EventType] = &[$(EventType::$name,)*];

            pub fn as_str(self) -> &'static str {
                match self { $(EventType::$name => $text,)* }
            }
        }
    };
}

events! {
    JobStarted = "job.started";
    JobSucceeded = "job.succeeded";
    JobFailed = "job.failed";
    JobCancelled = "job.cancelled";
    CreditsPurchased = "credits.purchased";
    CreditsGranted = "credits.granted";
    CreditsRefunded = "credits.refunded";
    CreditsReferred = "credits.referred";
    CreditsAdjusted = "credits.adjusted";
    BatchStarted = "batch.started";
    BatchFinished = "batch.finished";
    BatchCancelled = "batch.cancelled";
    WebhookTest = "webhook.test";
}

// By hand: the derive does not see names that come through a macro.
#[cfg(feature = "openapi")]
impl utoipa::PartialSchema for EventType {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        let names = EventType::ALL.iter().map(|kind| kind.as_str());
        utoipa::openapi::ObjectBuilder::new().schema_type(utoipa::openapi::schema::Type::String).enum_values(Some(names)).into()
    }
}

#[cfg(feature = "openapi")]
impl utoipa::ToSchema for EventType {}

impl EventType {
    /// The word before the dot.
    pub fn group(self) -> &'static str {
        self.as_str().split('.').next().unwrap_or_default()
    }

    /// A test is sent to one endpoint because its owner asks; nobody subscribes to it.
    fn subscribable(self) -> bool {
        self != EventType::WebhookTest
    }
}

/// What stands for all events, or for all of one group behind `.*`.
const ALL: &str = "*";
/// Lines of a list of wanted events.
pub const MAX_WANTED: usize = 20;

/// The events that an endpoint, or any enabled endpoint of an account, wants: `job.succeeded`, `job.*` or `*`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Wanted(Vec<String>);

impl Wanted {
    /// Checks what a client asked for; the field is `events`. With none, an endpoint hears only of the jobs that name it.
    pub fn parse(events: Vec<String>) -> Result<Self, FieldError> {
        if events.len() > MAX_WANTED {
            return Err(FieldError::new("events", format!("{MAX_WANTED} events at most, such as job.succeeded or job.*")));
        }
        for (i, event) in events.iter().enumerate() {
            if !known(event) {
                return Err(FieldError::new(format!("events[{i}]"), "no such event; there are job.*, credits.*, batch.* and those that they stand for"));
            }
            if events[..i].contains(event) {
                return Err(FieldError::new(format!("events[{i}]"), "the same event stands twice"));
            }
        }
        Ok(Self(events))
    }

    pub fn wants(&self, event: EventType) -> bool {
        self.0.iter().any(|wanted| match wanted.strip_suffix(".*") {
            Some(group) => group == event.group(),
            None => wanted == ALL || wanted == event.as_str(),
        })
    }

    /// Whether it wants any event of this group.
    pub fn wants_group(&self, group: &str) -> bool {
        EventType::ALL.iter().any(|event| event.group() == group && self.wants(*event))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn as_slice(&self) -> &[String] {
        &self.0
    }

    /// What any of these wants.
    pub fn union<'a>(all: impl IntoIterator<Item = &'a Wanted>) -> Self {
        let mut lines: Vec<String> = all.into_iter().flat_map(|wanted| wanted.0.iter().cloned()).collect();
        lines.sort();
        lines.dedup();
        if lines.iter().any(|line| line == ALL) {
            return Self(vec![ALL.to_owned()]);
        }
        let groups: Vec<String> = lines.iter().filter_map(|line| line.strip_suffix('*').map(str::to_owned)).collect();
        lines.retain(|line| line.ends_with('*') || !groups.iter().any(|group| line.starts_with(group)));
        Self(lines)
    }
}

fn known(text: &str) -> bool {
    let mut subscribable = EventType::ALL.iter().filter(|event| event.subscribable());
    match text.strip_suffix(".*") {
        Some(group) => subscribable.any(|event| event.group() == group),
        None => text == ALL || subscribable.any(|event| event.as_str() == text),
    }
}

/// Something that happened, as an endpoint is told of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub event_id: EventId,
    pub kind: EventType,
    pub at: Millis,
    pub data: Value,
    /// An endpoint that is told of it whatever it wants otherwise.
    pub also: Option<EndpointId>,
}

impl Event {
    /// `subject` is what it happened to (a job's or an entry's id): the same thing at the same time is the same event, however
    /// often it is written. `data` says a few things of the subject, in a kilobyte or two: it is kept until it is delivered.
    pub fn new(kind: EventType, at: Millis, subject: &str, data: Value) -> Self {
        Self { event_id: EventId::new(at, low_bits(&[kind.as_str(), subject])), kind, at, data, also: None }
    }

    /// Whether anybody is to be told: an endpoint that was named for it, or one that `wanted`, the account's sum of them, speaks for.
    pub fn told(&self, wanted: &Wanted) -> bool {
        self.also.is_some() || wanted.wants(self.kind)
    }

    /// What is sent, byte for byte, in each try.
    pub fn body(&self) -> String {
        #[derive(Serialize)]
        struct Envelope<'a> {
            r#type: EventType,
            timestamp: String,
            data: &'a Value,
        }
        let envelope = Envelope { r#type: self.kind, timestamp: rfc3339(self.at), data: &self.data };
        serde_json::to_string(&envelope).unwrap_or_default()
    }
}

/// Bits for an id that is the same whenever it is made from the same words.
pub fn low_bits(words: &[&str]) -> u128 {
    let hash = Sha256::digest(words.join("|").as_bytes());
    hash.iter().take(10).fold(0, |bits, byte| bits << 8 | u128::from(*byte))
}

/// What a change of a job is told as: its first start, and its end. The event is thin: who wants the artifacts or the
/// parameters asks for the job, since links expire.
pub fn of_change(change: &Change) -> Option<Event> {
    let job = &change.after;
    let before = change.before.as_ref();
    let (kind, at) = match job.state {
        State::Running if before.is_some_and(|before| before.started_at.is_none()) => (EventType::JobStarted, job.started_at?),
        state if state.ended() && before.is_none_or(|before| !before.state.ended()) => {
            let kind = match state {
                State::Succeeded => EventType::JobSucceeded,
                State::Failed => EventType::JobFailed,
                _ => EventType::JobCancelled,
            };
            (kind, job.finished_at?)
        }
        _ => return None,
    };
    let data = json!({
        "id": job.job_id,
        "kind": job.kind,
        "state": job.state,
        "attempt": job.attempt,
        "seq": job.seq,
        "priority": job.priority,
        "project_id": job.project_id,
        "quote_millicredits": job.quote_millicredits,
        "charged_millicredits": job.charged_millicredits,
        "error": job.error,
        "artifact_count": job.artifact_count,
        "created_at": rfc3339(job.created_at),
        "started_at": job.started_at.map(rfc3339),
        "finished_at": job.finished_at.map(rfc3339),
    });
    Some(Event { also: job.webhook.clone(), ..Event::new(kind, at, job.job_id.as_str(), data) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(lines: &[&str]) -> Result<Wanted, FieldError> {
        Wanted::parse(lines.iter().map(|line| (*line).to_owned()).collect())
    }

    #[test]
    fn an_endpoint_wants_events_one_by_one_by_group_or_all() {
        let some = wanted(&["job.succeeded", "credits.*"]).unwrap();
        assert!(some.wants(EventType::JobSucceeded) && some.wants(EventType::CreditsRefunded));
        assert!(!some.wants(EventType::JobFailed) && !some.wants(EventType::BatchFinished));
        assert!(EventType::ALL.iter().all(|event| wanted(&["*"]).unwrap().wants(*event)));
        assert!(!Wanted::default().wants(EventType::JobFailed));
        assert!(some.wants_group("credits") && some.wants_group("job") && !some.wants_group("batch"));
    }

    #[test]
    fn an_event_is_told_to_who_wants_it_or_is_named_for_it() {
        let event = Event::new(EventType::JobFailed, 1, "job_1", Value::Null);
        assert!(event.told(&wanted(&["job.*"]).unwrap()) && !event.told(&wanted(&[]).unwrap()));
        let named = Event { also: Some(EndpointId::new(1, 1)), ..event };
        assert!(named.told(&Wanted::default()));
    }

    #[test]
    fn what_is_no_event_is_refused_by_its_place() {
        let field = |lines: &[&str]| wanted(lines).unwrap_err().field;
        assert_eq!(field(&["job.*"; 21]), "events");
        assert_eq!(field(&["job.*", "job.*"]), "events[1]");
        for bad in ["job", "job.", ".*", "jobs.*", "job.succeeded.*", "webhook.test", "webhook.*", "JOB.*", "**", ""] {
            assert_eq!(field(&["*", bad]), "events[1]", "{bad}");
        }
    }

    #[test]
    fn a_union_wants_what_any_of_them_wants_and_says_nothing_twice() {
        let (a, b) = (wanted(&["job.succeeded", "credits.granted"]).unwrap(), wanted(&["job.*"]).unwrap());
        assert_eq!(Wanted::union([&a, &b]).as_slice(), ["credits.granted", "job.*"]);
        assert_eq!(Wanted::union([&a, &wanted(&["*"]).unwrap()]).as_slice(), ["*"]);
        assert!(Wanted::union([]).is_empty());
        let union = Wanted::union([&a, &b]);
        assert!(EventType::ALL.iter().all(|event| union.wants(*event) == (a.wants(*event) || b.wants(*event))));
    }

    #[test]
    fn the_same_event_has_the_same_id_and_another_another() {
        let event = |kind, at, subject| Event::new(kind, at, subject, Value::Null).event_id;
        let first = event(EventType::JobFailed, 1000, "job_1");
        assert_eq!(first, event(EventType::JobFailed, 1000, "job_1"));
        assert_ne!(first, event(EventType::JobSucceeded, 1000, "job_1"));
        assert_ne!(first, event(EventType::JobFailed, 1000, "job_2"));
        assert_eq!(first.time(), 1000);
    }

    #[test]
    fn a_body_is_type_timestamp_and_data() {
        let event = Event::new(EventType::CreditsGranted, 1_763_721_600_123, "led_1", json!({"amount_millicredits": 5}));
        assert_eq!(event.body(), r#"{"type":"credits.granted","timestamp":"2025-11-21T10:40:00.123Z","data":{"amount_millicredits":5}}"#);
    }
}
