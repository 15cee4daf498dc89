//! Deliveries: one event for one endpoint, with its tries.
//!
//! A try is begun by a conditional write that leases the delivery, so two senders never send the same try; a sender that dies
//! loses its lease, and the next one tries again. Every change raises `begun`, the number that fences a late sender out.

use super::{OWED, OwedEvent};
use crate::table::{Expr, Parts, Sorted, Table, Written, absent, from_item, n, s, to_item};
use crate::{Error, Idempotent, NoRoom, Room, keys};
use kiln_core::hooks::EventType;
use kiln_core::ids::{AccountId, DeliveryId, EndpointId, EventId};
use kiln_core::job::owed_shard;
use kiln_core::time::{Millis, seconds};
use serde::{Deserialize, Serialize};

/// How long a delivery is kept.
const KEPT: Millis = seconds(30 * 24 * 3600);
/// Tries that one delivery may have in all, those of its replays counted.
pub const MAX_TRIES: usize = 80;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// It is tried, or will be.
    Pending,
    Delivered,
    Failed,
}

impl DeliveryState {
    /// The state of this name.
    pub fn parse(name: &str) -> Option<Self> {
        [("pending", Self::Pending), ("delivered", Self::Delivered), ("failed", Self::Failed)]
            .into_iter()
            .find(|(known, _)| *known == name)
            .map(|(_, state)| state)
    }
}

/// One try, as it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Try {
    pub at: Millis,
    /// Of the answer, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Why there was none: `timed_out`, `dns`, `address_not_allowed`, `connect`, `tls` or `broken`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    pub latency_ms: u64,
    /// How the answer began, where it was no success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Delivery {
    pub v: u32,
    /// Also the `webhook-id` of every try.
    pub delivery_id: DeliveryId,
    pub account_id: AccountId,
    pub endpoint_id: EndpointId,
    pub event_id: EventId,
    pub kind: EventType,
    pub at: Millis,
    pub body: String,
    pub state: DeliveryState,
    pub tries: Vec<Try>,
    /// Where in `tries` the present round began: 0 until a replay.
    pub round: usize,
    /// When the present round began.
    pub round_at: Millis,
    /// Why it failed though no try said so: `endpoint_disabled`, `endpoint_deleted`, `expired`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    pub begun: u64,
    /// While a try runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_until: Option<Millis>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owed_shard: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_check_at: Option<Millis>,
    pub ttl: i64,
}

/// Which deliveries are asked for; by default all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeliveryFilter {
    pub endpoint: Option<EndpointId>,
    pub state: Option<DeliveryState>,
}

impl DeliveryFilter {
    fn takes(&self, delivery: &Delivery) -> bool {
        self.endpoint.as_ref().is_none_or(|id| *id == delivery.endpoint_id) && self.state.is_none_or(|state| state == delivery.state)
    }
}

/// What a filtered list reads for one page: calls, and rows in each.
const FILTER_READS: (usize, u32) = (10, 100);

/// How a replay ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replayed {
    Done,
    /// The delivery has changed since it was read: read again.
    Moved,
    /// The same idempotency key has been used; read its record.
    Repeated,
    /// The account makes or sends too much at once, or may make nothing.
    NoRoom(NoRoom),
}

impl Delivery {
    pub(super) fn new(delivery_id: DeliveryId, event: &OwedEvent, endpoint_id: EndpointId, now: Millis) -> Self {
        Self {
            v: 1,
            owed_shard: Some(owed_shard(OWED, delivery_id.as_str())),
            delivery_id,
            account_id: event.account_id.clone(),
            endpoint_id,
            event_id: event.event_id.clone(),
            kind: event.kind,
            at: event.at,
            body: event.body.clone(),
            state: DeliveryState::Pending,
            tries: vec![],
            round: 0,
            round_at: now,
            reason: None,
            begun: 0,
            lease_until: None,
            next_check_at: Some(now),
            ttl: (now + KEPT) / 1000,
        }
    }

    /// Tries of the present round.
    pub fn tries_now(&self) -> usize {
        self.tries.len().saturating_sub(self.round)
    }

    /// Over: delivered, or failed with what the last try or `reason` says.
    pub fn ended(mut self, state: DeliveryState, reason: Option<&str>) -> Self {
        self.state = state;
        self.reason = reason.map(str::to_owned);
        self.owed_shard = None;
        self.next_check_at = None;
        self.lease_until = None;
        self
    }

    /// To be looked at again at that time.
    pub fn again(mut self, at: Millis) -> Self {
        self.next_check_at = Some(at);
        self.lease_until = None;
        self
    }

    /// A new round of tries, from now on.
    pub fn replayed(mut self, now: Millis) -> Self {
        self.state = DeliveryState::Pending;
        self.round = self.tries.len();
        self.round_at = now;
        self.reason = None;
        self.owed_shard = Some(owed_shard(OWED, self.delivery_id.as_str()));
        self.next_check_at = Some(now);
        self.lease_until = None;
        self.ttl = self.ttl.max((now + KEPT) / 1000);
        self
    }
}

impl Table {
    pub async fn delivery(&self, account: &AccountId, id: &DeliveryId) -> Result<Option<Delivery>, Error> {
        self.get(&keys::delivery(account, id)).await
    }

    /// The account's deliveries that the filter takes, newest first. One call looks at a thousand rows at most: a page may be short, or
    /// empty, and go on all the same.
    pub async fn deliveries(
        &self,
        account: &AccountId,
        filter: &DeliveryFilter,
        limit: u32,
        after: Option<&str>,
    ) -> Result<(Vec<Delivery>, Option<String>), Error> {
        let reads = if *filter == DeliveryFilter::default() { (1, limit) } else { FILTER_READS };
        self.sift(&keys::account_pk(account), Sorted::Prefix(keys::DELIVERY), reads, limit, after, |delivery: &Delivery| filter.takes(delivery)).await
    }

    /// Leases the delivery for one try, if it is still as it was read. Gives it as it is then.
    pub async fn begin_try(&self, delivery: &Delivery, until: Millis) -> Result<Option<Delivery>, Error> {
        let update = Expr::new("SET lease_until = :until, next_check_at = :until ADD begun :one").value("until", n(until)).value("one", n(1));
        let key = keys::delivery(&delivery.account_id, &delivery.delivery_id);
        self.update(&key, update, Some(still(delivery).and("#state = :pending").name("state").value("pending", s("pending")))).await?.map(from_item).transpose()
    }

    /// Writes what became of it, unless it has changed since `seen`.
    pub async fn put_delivery(&self, seen: &Delivery, mut after: Delivery) -> Result<bool, Error> {
        after.begun = seen.begun + 1;
        self.put(to_item(&keys::delivery(&after.account_id, &after.delivery_id), &after)?, Some(still(seen))).await
    }

    /// A new round of tries, with the record of its request.
    pub async fn replay_delivery(&self, seen: &Delivery, mut after: Delivery, room: &Room, idempotent: Option<&Idempotent>) -> Result<Replayed, Error> {
        after.begun = seen.begun + 1;
        let mut parts = Parts::default();
        self.add_put(&mut parts, to_item(&keys::delivery(&after.account_id, &after.delivery_id), &after)?, Some(still(seen)))?;
        self.write_once(parts, &after.account_id, room, idempotent).await
    }

    /// A delivery of its own: a test that the owner of an endpoint asked for.
    pub async fn add_delivery(&self, delivery: &Delivery, room: &Room, idempotent: Option<&Idempotent>) -> Result<Replayed, Error> {
        let mut parts = Parts::default();
        self.add_put(&mut parts, to_item(&keys::delivery(&delivery.account_id, &delivery.delivery_id), delivery)?, Some(absent()))?;
        self.write_once(parts, &delivery.account_id, room, idempotent).await
    }

    async fn write_once(&self, mut parts: Parts, account: &AccountId, room: &Room, idempotent: Option<&Idempotent>) -> Result<Replayed, Error> {
        let room_part = self.add_room(&mut parts, account, room)?;
        let repeat = idempotent.map(|record| self.add_idempotency(&mut parts, record)).transpose()?;
        Ok(match self.transact(parts).await? {
            Written::Done => Replayed::Done,
            Written::Refused(refused) if refused.has(repeat) => Replayed::Repeated,
            Written::Refused(refused) => match self.no_room(&refused, room_part, room)? {
                None | Some(NoRoom::Moved) => Replayed::Moved,
                Some(why) => Replayed::NoRoom(why),
            },
        })
    }
}

fn still(seen: &Delivery) -> Expr {
    Expr::new("begun = :seen").value("seen", n(seen.begun))
}
