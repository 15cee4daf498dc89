//! One request's hold on the state: reads, writes, events. What it has done is kept or undone as a whole by `Inner::work`.

use serde_json::{Map, Value, json};

use crate::{
    config::{API_VERSION, Config},
    error::Refusal,
    state::{Delivery, DeliveryState, State},
};

pub struct Work<'a> {
    pub state: &'a mut State,
    pub config: &'a Config,
    /// Seconds since 1970, by the stand-in's clock.
    pub now: i64,
    /// The request that asked, for its events. None: the stand-in itself.
    pub request: Option<(String, Option<String>)>,
}

/// An object as the API shows it: without what begins with `_`, which only the stand-in reads.
pub fn public(value: &Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(fields.iter().filter(|(name, _)| !name.starts_with('_')).map(|(n, v)| (n.clone(), v.clone())).collect()),
        other => other.clone(),
    }
}

/// The text of a field, or nothing.
pub fn text<'v>(value: &'v Value, field: &str) -> &'v str {
    value[field].as_str().unwrap_or_default()
}

/// The whole number of a field, or 0.
pub fn int(value: &Value, field: &str) -> i64 {
    value[field].as_i64().unwrap_or_default()
}

/// The names that a caller may know a kind by, for its errors.
fn spoken(kind: &str) -> &str {
    match kind {
        "payment_intent" => "payment_intent",
        "checkout.session" => "checkout.session",
        "billing_portal.session" => "billing portal session",
        "billing_portal.configuration" => "configuration",
        "webhook_endpoint" => "webhook endpoint",
        other => other,
    }
}

impl Work<'_> {
    pub fn id(&mut self, prefix: &str) -> String {
        // Checkout's ids are longer than the others.
        self.state.id(prefix, if prefix == "cs_test" { 58 } else { 24 })
    }

    /// An object of one kind. `param`: what the id came in, `id` for the path.
    pub fn get(&self, kind: &str, id: &str, param: &str) -> Result<Value, Refusal> {
        match self.state.get(id) {
            Some(value) if value["object"] == kind => Ok(value.clone()),
            _ => Err(Refusal::no_such(spoken(kind), id, param)),
        }
    }

    /// The same, and not deleted.
    pub fn live(&self, kind: &str, id: &str, param: &str) -> Result<Value, Refusal> {
        self.get(kind, id, param).and_then(|value| if value["deleted"] == true { Err(Refusal::no_such(spoken(kind), id, param)) } else { Ok(value) })
    }

    /// Refuses when the stand-in is full; asked before anything is made.
    pub fn room(&self) -> Result<(), Refusal> {
        let most = self.config.max_objects;
        // One request makes a dozen objects at most.
        if self.state.made() + 12 > most {
            return Err(Refusal::invalid(format!("The stand-in is full: it keeps {most} objects. Empty it by POST /stand-in/reset.")).code("stand_in_full"));
        }
        Ok(())
    }

    pub fn put(&mut self, value: &Value) {
        self.state.put(value.clone());
    }

    /// A new object and its event.
    pub fn made(&mut self, event: &str, value: &Value) {
        self.put(value);
        self.emit(event, value);
    }

    /// A changed object and its event, with what the changed fields held before. Nothing changed: no event.
    pub fn changed(&mut self, event: &str, value: &Value) {
        let before = self.state.get(text(value, "id")).cloned().unwrap_or_default();
        self.put(value);
        let previous = difference(&public(&before), &public(value));
        if !previous.is_empty() {
            self.event(event, value, Some(Value::Object(previous)));
        }
    }

    pub fn emit(&mut self, event: &str, value: &Value) {
        self.event(event, value, None);
    }

    fn event(&mut self, kind: &str, value: &Value, previous: Option<Value>) -> String {
        let id = self.id("evt");
        let mut data = json!({ "object": public(value) });
        if let Some(previous) = previous {
            data["previous_attributes"] = previous;
        }
        let request = self.request.as_ref().map_or(json!({ "id": null, "idempotency_key": null }), |(id, key)| json!({ "id": id, "idempotency_key": key }));
        let event = json!({
            "id": id, "object": "event", "api_version": API_VERSION, "created": self.now, "data": data, "livemode": false,
            "pending_webhooks": 0, "request": request, "type": kind,
        });
        self.publish(event);
        id
    }

    /// Keeps an event and makes a delivery for each endpoint that wants it.
    pub fn publish(&mut self, mut event: Value) {
        let kind = text(&event, "type").to_owned();
        let wanting: Vec<String> = self.state.all("webhook_endpoint").filter(|e| wants(e, &kind)).map(|e| text(e, "id").to_owned()).collect();
        event["pending_webhooks"] = wanting.len().into();
        self.put(&event);
        let state = if self.state.hold { DeliveryState::Held } else { DeliveryState::Waiting };
        for endpoint in wanting {
            self.deliver(&event, &endpoint, state);
        }
    }

    /// Makes one delivery and tells its id.
    pub fn deliver(&mut self, event: &Value, endpoint: &str, state: DeliveryState) -> String {
        let id = format!("delivery_{}", self.state.number());
        self.state.deliveries.push_back(Delivery {
            id: id.clone(),
            event: text(event, "id").into(),
            kind: text(event, "type").into(),
            endpoint: endpoint.into(),
            state,
            tries: Vec::new(),
            due_ms: 0,
            body: event.to_string(),
        });
        id
    }
}

/// Whether an endpoint is on and asked for events of this type.
pub fn wants(endpoint: &Value, kind: &str) -> bool {
    let listed = endpoint["enabled_events"].as_array().is_some_and(|types| types.iter().any(|t| t == "*" || t == kind));
    listed && endpoint["status"] == "enabled"
}

/// The old values of the fields that differ; of metadata and other groups only the members that do.
fn difference(before: &Value, after: &Value) -> Map<String, Value> {
    let (Value::Object(before), Value::Object(after)) = (before, after) else { return Map::new() };
    let mut old = Map::new();
    for (name, value) in before {
        match after.get(name) {
            Some(now) if now == value => {}
            Some(now) if value.is_object() && now.is_object() => {
                old.insert(name.clone(), Value::Object(difference(value, now)));
            }
            _ => {
                old.insert(name.clone(), value.clone());
            }
        }
    }
    for name in after.keys().filter(|name| !before.contains_key(*name)) {
        old.insert(name.clone(), Value::Null);
    }
    old
}
