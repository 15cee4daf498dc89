//! The handle that tests hold: settings, faults, counters, and what is in the table.

use crate::call::Connector;
use crate::engine::{Begun, Engine};
use crate::faults::{Chances, Fate, Fault, Faults};
use crate::plan::{Plan, plan};
use crate::schema::Key;
use crate::turns::{InTurns, Still};
use crate::value::Item;
use crate::wire::Failure;
use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_dynamodb::types::AttributeValue;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

/// A rule broken on purpose, so that a test can show that it would notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planted {
    ConditionsIgnored,
    /// A refused transaction writes its other parts.
    HalfTransactions,
    /// A query's limit counts what passes its filter.
    LimitAfterFilter,
}

/// A table in memory. Clones are the same table.
#[derive(Debug, Clone)]
pub struct Memory {
    seed: u64,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
pub struct State {
    pub engine: Engine,
    pub faults: Faults,
    pub random: fastrand::Rng,
    pub yields: RangeInclusive<u64>,
    pub on_drop: Option<Fate>,
    pub calls: BTreeMap<String, u64>,
    /// Requests that are applied at a later call: how many calls are left.
    pub late: Vec<(u64, Arc<Plan>)>,
    pub stopped: bool,
    pub waiting: Vec<Waker>,
    /// What the parameter store beside the table holds.
    pub parameters: BTreeMap<String, String>,
    pub invocations: Vec<(String, serde_json::Value)>,
}

impl Memory {
    /// An empty table. All that is drawn is drawn from the seed. Each phase of a call yields up to 3 turns, conflicts are on, no fault happens.
    pub fn new(seed: u64) -> Self {
        let state = State {
            engine: Engine::new(),
            faults: Faults::default(),
            random: fastrand::Rng::with_seed(seed),
            yields: 0..=3,
            on_drop: None,
            calls: BTreeMap::new(),
            late: vec![],
            stopped: false,
            waiting: vec![],
            parameters: BTreeMap::new(),
            invocations: vec![],
        };
        Self { seed, state: Arc::new(Mutex::new(state)) }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A configuration whose client speaks to this table: made-up credentials, three tries a call with short pauses, time in turns.
    pub fn sdk_config(&self) -> SdkConfig {
        let retry = RetryConfig::standard().with_initial_backoff(Duration::from_millis(4)).with_max_backoff(Duration::from_millis(20));
        SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("eu-central-1"))
            .endpoint_url("http://memory.invalid")
            .credentials_provider(SharedCredentialsProvider::new(Credentials::new("AKIDTEST", "made-up", None, None, "memory")))
            .http_client(Connector(self.clone()))
            .retry_config(retry)
            .sleep_impl(InTurns)
            .time_source(Still)
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .build()
    }

    /// Puts a secret into the parameter store beside the table; its reads take no turns.
    pub fn put_parameter(&self, name: &str, value: &str) -> &Self {
        self.state().parameters.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Asynchronous invocations of functions since the last call of this, each with its event.
    pub fn take_invocations(&self) -> Vec<(String, serde_json::Value)> {
        std::mem::take(&mut self.state().invocations)
    }

    pub(crate) fn note_invocation(&self, function: &str, event: &[u8]) {
        let event = serde_json::from_slice(event).unwrap_or_default();
        self.state().invocations.push((function.to_owned(), event));
    }

    pub(crate) fn parameter(&self, body: &[u8]) -> Result<String, Failure> {
        let asked: serde_json::Value = serde_json::from_slice(body).map_err(|error| Failure::new("SerializationException", error.to_string()))?;
        let name = asked["Name"].as_str().unwrap_or_default();
        let found = self.state().parameters.get(name).cloned();
        let value = found.ok_or_else(|| Failure::new("ParameterNotFound", name))?;
        Ok(serde_json::json!({ "Parameter": { "Name": name, "Type": "SecureString", "Value": value } }).to_string())
    }

    /// Another table with the same items and settings and a fresh start from the seed: no faults, nothing in flight, no counts.
    pub fn fork(&self) -> Self {
        let fork = Self::new(self.seed);
        {
            let (mut to, from) = (fork.state(), self.state());
            to.engine.data = from.engine.data.clone();
            to.engine.conflicts = from.engine.conflicts;
            to.engine.planted = from.engine.planted;
            to.yields = from.yields.clone();
            to.on_drop = from.on_drop;
            to.parameters = from.parameters.clone();
        }
        fork
    }

    /// Turns of the scheduler that each phase of a call takes: before it is begun, while a write is in flight, before the answer.
    /// `0..=0` for speed: no call is ever in another's way.
    pub fn yields(&self, turns: RangeInclusive<u64>) -> &Self {
        self.state().yields = turns;
        self
    }

    /// Without conflicts, overlapping writes are applied one after the other.
    pub fn conflicts(&self, on: bool) -> &Self {
        self.state().engine.conflicts = on;
        self
    }

    /// Faults by chance, for every call that no script speaks of.
    pub fn chances(&self, chances: Chances) -> &Self {
        self.state().faults.chances = Some(chances);
        self
    }

    /// Faults for the next calls, one each, after those that are waiting already.
    pub fn script(&self, faults: impl IntoIterator<Item = Fault>) -> &Self {
        self.state().faults.script.extend(faults);
        self
    }

    /// A fault for the next call of one operation, by DynamoDB's name for it; it comes before any script.
    pub fn fault_next(&self, operation: &str, fault: Fault) -> &Self {
        self.state().faults.next_of.entry(operation.to_owned()).or_default().push_back(fault);
        self
    }

    /// Ends all faults, those by chance, by script and those of late requests.
    pub fn calm(&self) -> &Self {
        let mut state = self.state();
        state.faults = Faults::default();
        state.late.clear();
        drop(state);
        self
    }

    /// Applies the late requests now, so that nothing is under way any more.
    pub fn settle(&self) -> &Self {
        let mut state = self.state();
        for (_, plan) in std::mem::take(&mut state.late) {
            let _ = state.engine.at_once(&plan, false);
        }
        drop(state);
        self
    }

    /// What becomes of a request whose future is dropped before it was applied; drawn from the seed unless said.
    pub fn on_drop(&self, fate: Fate) -> &Self {
        self.state().on_drop = Some(fate);
        self
    }

    /// The `n`-th call from now (1 is the next) never answers: there the process dies. Wait for [`Memory::stopped`], then drop the future.
    pub fn stop_after(&self, n: u64, fate: Fate) -> &Self {
        let mut state = self.state();
        state.faults.stop = Some((n.max(1), fate));
        state.stopped = false;
        drop(state);
        self
    }

    /// Until the call that never answers has been made.
    pub async fn stopped(&self) {
        std::future::poll_fn(|context| {
            let mut state = self.state();
            if state.stopped {
                return Poll::Ready(());
            }
            state.waiting.push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    #[doc(hidden)]
    pub fn plant(&self, planted: Planted) -> &Self {
        self.state().engine.planted = Some(planted);
        self
    }

    /// Calls by operation, each try of the SDK counted.
    pub fn calls(&self) -> BTreeMap<String, u64> {
        self.state().calls.clone()
    }

    /// Calls that failed because they met another in flight.
    pub fn conflicted(&self) -> u64 {
        self.state().engine.conflicted
    }

    pub fn reset_counts(&self) {
        let mut state = self.state();
        state.calls.clear();
        state.engine.conflicted = 0;
    }

    /// Every item, in the order of the keys.
    pub fn items(&self) -> Vec<HashMap<String, AttributeValue>> {
        self.state().engine.data.all().map(|(_, _, item)| out(item)).collect()
    }

    /// The items of one partition, in the order of their sort keys.
    pub fn partition(&self, pk: &str) -> Vec<HashMap<String, AttributeValue>> {
        self.state().engine.data.partition(pk).map(|item| out(item)).collect()
    }

    pub fn item(&self, pk: &str, sk: &str) -> Option<HashMap<String, AttributeValue>> {
        self.state().engine.data.get(&Key { pk: pk.to_owned(), sk: sk.to_owned() }).map(|item| out(item))
    }

    /// The keys of all partitions.
    pub fn partitions(&self) -> Vec<String> {
        let mut keys: Vec<String> = self.state().engine.data.all().map(|(pk, _, _)| pk.to_owned()).collect();
        keys.dedup();
        keys
    }

    /// The items of one partition whose sort key begins so, each as a `T`.
    pub fn typed<T: DeserializeOwned>(&self, pk: &str, prefix: &str) -> Result<Vec<T>, serde_dynamo::Error> {
        let items = self.partition(pk);
        let wanted = items.into_iter().filter(|item| item.get("sk").and_then(|sk| sk.as_s().ok()).is_some_and(|sk| sk.starts_with(prefix)));
        wanted.map(serde_dynamo::from_item).collect()
    }

    /// One item as a `T`.
    pub fn typed_item<T: DeserializeOwned>(&self, pk: &str, sk: &str) -> Result<Option<T>, serde_dynamo::Error> {
        self.item(pk, sk).map(serde_dynamo::from_item).transpose()
    }

    /// The answer to a raw request, at once and without faults: the HTTP status and the body.
    pub fn answer(&self, operation: &str, body: &serde_json::Value) -> (u16, serde_json::Value) {
        let planned = plan(operation, body.to_string().as_bytes());
        let result = planned.and_then(|plan| self.state().engine.at_once(&Arc::new(plan), false));
        let (status, text) = match result {
            Ok(text) => (200, text),
            Err(failure) => (failure.status, failure.body()),
        };
        (status, serde_json::from_str(&text).unwrap_or_default())
    }
}

fn out(item: &Item) -> HashMap<String, AttributeValue> {
    item.iter().map(|(name, value)| (name.clone(), value.into())).collect()
}

impl Engine {
    /// Begun and ended with nothing between.
    pub fn at_once(&mut self, plan: &Arc<Plan>, partial: bool) -> Result<String, Failure> {
        match self.begin(plan, partial)? {
            Begun::Answer(answer) => Ok(answer),
            Begun::Flight(flight) => self.finish(&flight),
        }
    }
}

impl State {
    /// One more call: what was late and is due now is applied.
    pub fn count(&mut self, operation: &str) {
        match self.calls.get_mut(operation) {
            Some(count) => *count += 1,
            None => {
                self.calls.insert(operation.to_owned(), 1);
            }
        }
        if self.late.is_empty() {
            return;
        }
        for (left, _) in &mut self.late {
            *left -= 1;
        }
        let due: Vec<(u64, Arc<Plan>)> = self.late.extract_if(.., |(left, _)| *left == 0).collect();
        for (_, plan) in due {
            // Whoever asked does not hear whether it was refused.
            let _ = self.engine.at_once(&plan, false);
        }
    }

    pub fn draw(&mut self) -> u64 {
        let (least, most) = (*self.yields.start(), *self.yields.end());
        if most == 0 { 0 } else { self.random.u64(least..=most) }
    }
}
