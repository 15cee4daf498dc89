//! Endpoints: addresses outside that are told of an account's events.
//!
//! The account's item sums up what its enabled endpoints want, so that a commit knows without reading them. Whatever changes
//! what an endpoint adds to that sum writes it in the same transaction, on the condition that no other change came in between
//! (`hooks_rev`).

use crate::ledger::AccountUpdate;
use crate::room::with_room;
use crate::table::{Expr, Parts, Table, Written, absent, from_item, n, s, to_item};
use crate::{Error, Idempotent, NoRoom, Room, keys};
use kiln_core::hooks::Wanted;
use kiln_core::ids::{AccountId, EndpointId};
use kiln_core::job::owed_shard;
use kiln_core::time::Millis;
use serde::{Deserialize, Serialize};

/// Endpoints of one account.
pub const MAX_ENDPOINTS: usize = 10;

/// Why nothing is sent to an endpoint any more, when not its owner said so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhyDisabled {
    /// It answered 410.
    Gone,
    /// Nothing but failures for `KILN_HOOK_DISABLE_S`.
    Failing,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Endpoint {
    pub v: u32,
    pub endpoint_id: EndpointId,
    pub account_id: AccountId,
    pub url: String,
    pub events: Wanted,
    pub enabled: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled_because: Option<WhyDisabled>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled_at: Option<Millis>,
    /// The signing secret, sealed.
    pub secret: String,
    /// The one before it, sealed; it signs too until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_secret: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_secret_until: Option<Millis>,
    pub created_at: Millis,
    /// The first failure since the last success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing_since: Option<Millis>,
    /// As it asked by `Retry-After`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_until: Option<Millis>,
    /// Rises with every write.
    pub rev: u64,
    /// Present while the owner is still to be told that it was disabled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owed_shard: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_check_at: Option<Millis>,
    #[serde(default)]
    pub told: u32,
}

impl Endpoint {
    /// Where its secrets are sealed to belong.
    pub fn place(&self) -> String {
        format!("{}/{}", self.account_id, self.endpoint_id)
    }

    /// Switched off, its owner still to be told.
    pub fn disabled(mut self, why: WhyDisabled, now: Millis) -> Self {
        self.enabled = false;
        self.disabled_because = Some(why);
        self.disabled_at = Some(now);
        self.owed_shard = Some(owed_shard(super::OWED, self.endpoint_id.as_str()));
        self.next_check_at = Some(now);
        self.told = 0;
        self
    }

    /// Switched on by its owner, who knows then.
    pub fn enabled(mut self) -> Self {
        self.enabled = true;
        self.disabled_because = None;
        self.disabled_at = None;
        self.failing_since = None;
        self.paused_until = None;
        self.owner_told();
        self
    }

    fn owner_told(&mut self) {
        self.owed_shard = None;
        self.next_check_at = None;
    }
}

/// An account's endpoints, and where its sum of them stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Endpoints {
    /// Newest first.
    pub all: Vec<Endpoint>,
    rev: u64,
    wanted: Wanted,
}

impl Endpoints {
    pub fn find(&self, id: &EndpointId) -> Option<&Endpoint> {
        self.all.iter().find(|endpoint| endpoint.endpoint_id == *id)
    }
}

/// How a change of an endpoint ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Saved {
    Done,
    /// An endpoint of the account has changed since it was read: read again.
    Moved,
    /// The same idempotency key has been used; read its record.
    Repeated,
    /// The account makes too much at once, or may make nothing.
    NoRoom(NoRoom),
}

#[derive(Debug, Deserialize)]
struct Sum {
    #[serde(default)]
    hooks_rev: u64,
    #[serde(default)]
    hook_events: Wanted,
}

impl Table {
    pub async fn endpoint(&self, account: &AccountId, id: &EndpointId) -> Result<Option<Endpoint>, Error> {
        self.get(&keys::endpoint(account, id)).await
    }

    /// The account's endpoints, newest first, to be shown.
    pub async fn endpoint_page(&self, account: &AccountId, limit: u32, after: Option<&str>) -> Result<(Vec<Endpoint>, Option<String>), Error> {
        let (items, next) = self.page(&keys::account_pk(account), keys::ENDPOINT, true, limit, after).await?;
        Ok((items.into_iter().map(from_item).collect::<Result<_, _>>()?, next))
    }

    /// All endpoints of an account (there are [`MAX_ENDPOINTS`] at most), to be shown or changed.
    pub async fn endpoints(&self, account: &AccountId) -> Result<Endpoints, Error> {
        // The sum first: what changes after this read is refused by its number.
        let sum: Option<Sum> = self.get(&keys::account(account)).await?;
        let (items, _) = self.page(&keys::account_pk(account), keys::ENDPOINT, true, 2 * MAX_ENDPOINTS as u32, None).await?;
        let all = items.into_iter().map(from_item).collect::<Result<_, _>>()?;
        let (rev, wanted) = sum.map_or((0, Wanted::default()), |sum| (sum.hooks_rev, sum.hook_events));
        Ok(Endpoints { all, rev, wanted })
    }

    /// Writes a new endpoint, or an endpoint's new secret: what a request makes, and takes room for.
    pub async fn create_endpoint(&self, read: &Endpoints, endpoint: Endpoint, room: &Room, idempotent: Option<&Idempotent>) -> Result<Saved, Error> {
        self.write_endpoint(read, endpoint, Some(room), idempotent).await
    }

    /// Writes a changed endpoint, which was among those read.
    pub async fn save_endpoint(&self, read: &Endpoints, endpoint: Endpoint) -> Result<Saved, Error> {
        self.write_endpoint(read, endpoint, None, None).await
    }

    async fn write_endpoint(&self, read: &Endpoints, mut endpoint: Endpoint, room: Option<&Room>, idempotent: Option<&Idempotent>) -> Result<Saved, Error> {
        let mut parts = Parts::default();
        let key = keys::endpoint(&endpoint.account_id, &endpoint.endpoint_id);
        let before = read.find(&endpoint.endpoint_id);
        let guard = before.map_or_else(absent, unchanged);
        let changed = before.is_none_or(|before| (before.enabled, &before.events) != (endpoint.enabled, &endpoint.events));
        endpoint.rev += 1;
        let others = read.all.iter().filter(|other| other.endpoint_id != endpoint.endpoint_id);
        let wanted = union(others.chain([&endpoint]));
        self.add_put(&mut parts, to_item(&key, &endpoint)?, Some(guard))?;
        let sum = self.add_sum(&mut parts, read, &endpoint.account_id, wanted, changed, room)?;
        self.save(parts, sum.zip(room), idempotent).await
    }

    /// Forgets an endpoint. Its deliveries stay in the list; those that are not done fail at their next try.
    pub async fn forget_endpoint(&self, read: &Endpoints, endpoint: &Endpoint) -> Result<Saved, Error> {
        let mut parts = Parts::default();
        self.add_delete(&mut parts, &keys::endpoint(&endpoint.account_id, &endpoint.endpoint_id), Some(unchanged(endpoint)))?;
        let wanted = union(read.all.iter().filter(|other| other.endpoint_id != endpoint.endpoint_id));
        self.add_sum(&mut parts, read, &endpoint.account_id, wanted, true, None)?;
        self.save(parts, None, None).await
    }

    /// The sum is written where it changes, and where an endpoint comes, goes or adds something else to it, even if the sum stays the
    /// same: two changes at once each rely on what the other one takes away or brings, so the later must be refused, whichever it is.
    /// By this two at once can't pass the limit of endpoints either.
    fn add_sum(
        &self,
        parts: &mut Parts,
        read: &Endpoints,
        account: &AccountId,
        wanted: Wanted,
        changed: bool,
        room: Option<&Room>,
    ) -> Result<Option<usize>, Error> {
        if wanted == read.wanted && !changed {
            return room.map(|room| self.add_room(parts, account, room)).transpose();
        }
        let lines = wanted.as_slice().iter().map(s).collect();
        let mut update = AccountUpdate::new().set("hooks_rev", n(read.rev + 1)).set("hook_events", aws_sdk_dynamodb::types::AttributeValue::L(lines));
        let mut same = match read.rev {
            0 => Expr::new("attribute_exists(pk) AND attribute_not_exists(hooks_rev)"),
            rev => Expr::new("hooks_rev = :seen").value("seen", n(rev)),
        };
        if let Some(room) = room {
            (update, same) = with_room(update, same, room);
        }
        self.add_update(parts, &keys::account(account), update.expr(), Some(same)).map(Some)
    }

    async fn save(&self, mut parts: Parts, room: Option<(usize, &Room)>, idempotent: Option<&Idempotent>) -> Result<Saved, Error> {
        let repeat = idempotent.map(|record| self.add_idempotency(&mut parts, record)).transpose()?;
        Ok(match self.transact(parts).await? {
            Written::Done => Saved::Done,
            Written::Refused(refused) if refused.has(repeat) => Saved::Repeated,
            Written::Refused(refused) => match room.map(|(part, room)| self.no_room(&refused, part, room)).transpose()?.flatten() {
                None | Some(NoRoom::Moved) => Saved::Moved,
                Some(why) => Saved::NoRoom(why),
            },
        })
    }

    /// The first failure since a success is remembered; a later one changes nothing.
    pub async fn endpoint_fails(&self, endpoint: &Endpoint, since: Millis) -> Result<(), Error> {
        let update = Expr::new("SET failing_since = :since ADD rev :one").value("since", n(since)).value("one", n(1));
        let first = Expr::new("attribute_exists(pk) AND attribute_not_exists(failing_since)");
        self.update(&keys::endpoint(&endpoint.account_id, &endpoint.endpoint_id), update, Some(first)).await.map(drop)
    }

    /// It answered well: whatever failed before counts no more.
    pub async fn endpoint_works(&self, endpoint: &Endpoint) -> Result<(), Error> {
        let update = Expr::new("REMOVE failing_since, paused_until ADD rev :one").value("one", n(1));
        self.update(&keys::endpoint(&endpoint.account_id, &endpoint.endpoint_id), update, Some(Expr::new("attribute_exists(pk)"))).await.map(drop)
    }

    /// Nothing is sent to it until then; a shorter pause changes nothing.
    pub async fn pause_endpoint(&self, endpoint: &Endpoint, until: Millis) -> Result<(), Error> {
        let update = Expr::new("SET paused_until = :until ADD rev :one").value("until", n(until)).value("one", n(1));
        let later = Expr::new("attribute_exists(pk) AND (attribute_not_exists(paused_until) OR paused_until < :until)");
        self.update(&keys::endpoint(&endpoint.account_id, &endpoint.endpoint_id), update, Some(later)).await.map(drop)
    }

    /// Takes the telling of its owner on: the next one may try after `again_at`. `None`: another one has taken it.
    pub async fn begin_telling(&self, endpoint: &Endpoint, again_at: Millis) -> Result<bool, Error> {
        let update = Expr::new("SET next_check_at = :again ADD told :one, rev :one").value("again", n(again_at)).value("one", n(1));
        let seen = Expr::new("next_check_at = :seen").value("seen", n(endpoint.next_check_at.unwrap_or(0)));
        Ok(self.update(&keys::endpoint(&endpoint.account_id, &endpoint.endpoint_id), update, Some(seen)).await?.is_some())
    }

    /// The owner knows.
    pub async fn end_telling(&self, endpoint: &Endpoint) -> Result<(), Error> {
        let update = Expr::new("REMOVE owed_shard, next_check_at ADD rev :one").value("one", n(1));
        let same = Expr::new("disabled_at = :at").value("at", n(endpoint.disabled_at.unwrap_or(0)));
        self.update(&keys::endpoint(&endpoint.account_id, &endpoint.endpoint_id), update, Some(same)).await.map(drop)
    }
}

fn unchanged(before: &Endpoint) -> Expr {
    Expr::new("rev = :rev").value("rev", n(before.rev))
}

fn union<'a>(endpoints: impl Iterator<Item = &'a Endpoint>) -> Wanted {
    Wanted::union(endpoints.filter(|endpoint| endpoint.enabled).map(|endpoint| &endpoint.events))
}
