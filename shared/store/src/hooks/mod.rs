//! Outbound webhooks in the table: endpoints, events that are owed, deliveries with their tries.
//!
//! Promises: an event is written in the transaction of what it tells of, and is in the owed index from then on until it has
//! become one delivery for each endpoint that wants it; a delivery is in the index until it has ended. So none is lost
//! though any process dies and every message is lost. Deliveries have ids that are the same in a repeat, so none is doubled.

mod deliveries;
mod endpoints;

pub use deliveries::{Delivery, DeliveryFilter, DeliveryState, MAX_TRIES, Replayed, Try};
pub use endpoints::{Endpoint, MAX_ENDPOINTS, Saved, WhyDisabled};

use crate::table::{Expr, Parts, Table, Written, from_item, to_item};
use crate::{Error, keys};
use kiln_core::hooks::{Event, EventType, Wanted, low_bits};
use kiln_core::ids::{AccountId, DeliveryId, EndpointId, EventId};
use kiln_core::job::owed_shard;
use kiln_core::time::Millis;
use serde::{Deserialize, Serialize};

/// What these rows are called in the owed index.
pub const OWED: &str = "hook";

/// An event that is not yet a delivery for each endpoint that wants it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OwedEvent {
    pub v: u32,
    pub event_id: EventId,
    pub account_id: AccountId,
    pub kind: EventType,
    pub at: Millis,
    /// What each endpoint is sent, byte for byte.
    pub body: String,
    /// An endpoint that is told of it whatever it wants otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub also: Option<EndpointId>,
    pub owed_shard: String,
    pub next_check_at: Millis,
}

impl OwedEvent {
    pub fn new(account: &AccountId, event: &Event) -> Self {
        Self {
            v: 1,
            event_id: event.event_id.clone(),
            account_id: account.clone(),
            kind: event.kind,
            at: event.at,
            body: event.body(),
            also: event.also.clone(),
            owed_shard: owed_shard(OWED, event.event_id.as_str()),
            next_check_at: event.at,
        }
    }

    /// Whether this endpoint is told.
    pub fn goes_to(&self, endpoint: &Endpoint) -> bool {
        endpoint.enabled && (endpoint.events.wants(self.kind) || self.also.as_ref() == Some(&endpoint.endpoint_id))
    }

    /// Its delivery to this endpoint; the same in a repeat.
    pub fn delivery(&self, endpoint: &Endpoint, now: Millis) -> Delivery {
        let id = DeliveryId::new(self.at, low_bits(&[self.event_id.as_str(), endpoint.endpoint_id.as_str()]));
        Delivery::new(id, self, endpoint.endpoint_id.clone(), now)
    }
}

impl Table {
    /// Adds the event to the transaction of what it tells of, if an endpoint of the account is to be told: `wanted` is the
    /// account's `counters.hook_events` as read. `false`: none is, and nothing was added. After the commit, send
    /// `Queues::deliver` its id; if that fails, the event is found by its schedule.
    pub fn add_owed_event(&self, parts: &mut Parts, account: &AccountId, wanted: &Wanted, event: &Event) -> Result<bool, Error> {
        if !event.told(wanted) {
            return Ok(false);
        }
        self.add_put(parts, to_item(&keys::event(account, &event.event_id), &OwedEvent::new(account, event))?, None)?;
        Ok(true)
    }

    /// Events that are owed to the account's endpoints, the oldest first.
    pub async fn owed_events(&self, account: &AccountId, limit: u32) -> Result<Vec<OwedEvent>, Error> {
        let (items, _) = self.page(&keys::account_pk(account), keys::EVENT, false, limit, None).await?;
        items.into_iter().map(from_item).collect()
    }

    pub async fn owed_event(&self, account: &AccountId, id: &EventId) -> Result<Option<OwedEvent>, Error> {
        self.get(&keys::event(account, id)).await
    }

    /// The event becomes these deliveries and is owed no longer: all at once. `false` when somebody else has done it.
    pub async fn fan_out(&self, event: &OwedEvent, deliveries: &[Delivery]) -> Result<bool, Error> {
        let mut parts = Parts::default();
        self.add_delete(&mut parts, &keys::event(&event.account_id, &event.event_id), Some(Expr::new("attribute_exists(pk)")))?;
        for delivery in deliveries {
            self.add_put(&mut parts, to_item(&keys::delivery(&delivery.account_id, &delivery.delivery_id), delivery)?, None)?;
        }
        Ok(matches!(self.transact(parts).await?, Written::Done))
    }
}
