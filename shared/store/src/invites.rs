//! Invites into an organisation: a mailed token, kept by its hash, one for each address. Accepting uses it up in the transaction that
//! makes the member.

use crate::accounts::address_hash;
use crate::api_keys::active;
use crate::ledger::AccountUpdate;
use crate::orgs::{is, why_person};
use crate::room::with_room;
use crate::table::{Expr, Parts, Table, Written, from_item, n, s, to_item};
use crate::{Error, Idempotent, Member, NoChange, Room, keys};
use kiln_core::access::{MOST_INVITES, MOST_MEMBERS, Role};
use kiln_core::ids::{AccountId, InviteId};
use kiln_core::time::Millis;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invite {
    pub invite_id: InviteId,
    pub org_id: AccountId,
    pub email: String,
    pub role: Role,
    pub token_hash: String,
    pub invited_by: AccountId,
    pub created_at: Millis,
    pub expires_at: Millis,
    /// Seconds since 1970; only sweeps.
    pub ttl: i64,
}

impl Table {
    /// Records an invite in place of an earlier one to the same address, by the word of `actor`.
    pub async fn put_invite(&self, invite: &Invite, actor: &Member, room: &Room, idempotent: Option<&Idempotent>) -> Result<Result<(), NoChange>, Error> {
        let mut parts = Parts::default();
        self.add_put(&mut parts, to_item(&keys::invite(&invite.org_id, &address_hash(&invite.email)), invite)?, None)?;
        let actor_part = self.add_check(&mut parts, &keys::member(&actor.org_id, &actor.account_id), is(actor))?;
        let (update, condition) = with_room(AccountUpdate::new(), active(), room);
        let org_part = self.add_update(&mut parts, &keys::account(&invite.org_id), update.expr(), Some(condition))?;
        let repeat = idempotent.map(|record| self.add_idempotency(&mut parts, record)).transpose()?;
        Ok(match self.transact(parts).await? {
            Written::Done => Ok(()),
            Written::Refused(refused) if refused.has(repeat) => Err(NoChange::Repeated),
            Written::Refused(refused) if refused.has(Some(actor_part)) => Err(NoChange::Moved),
            Written::Refused(refused) => Err(match refused.found(Some(org_part)) {
                Some(org) if !org.contains_key("state") => self.no_room(&refused, org_part, room)?.map_or(NoChange::Moved, NoChange::NoRoom),
                _ if refused.has(Some(org_part)) => NoChange::Gone,
                _ => NoChange::Moved,
            }),
        })
    }

    /// The open invites of an organisation, newest first. There are few: see [`MOST_INVITES`].
    pub async fn invites(&self, org: &AccountId, now: Millis) -> Result<Vec<Invite>, Error> {
        let (mut open, mut after) = (Vec::<Invite>::new(), None);
        loop {
            let (items, next) = self.page(&keys::account_pk(org), keys::INVITE, false, MOST_INVITES * 2, after.as_deref()).await?;
            for item in items {
                open.push(from_item(item)?);
            }
            after = next;
            if after.is_none() {
                break;
            }
        }
        // TTL only sweeps.
        open.retain(|invite| invite.expires_at > now);
        open.sort_by(|a, b| b.invite_id.cmp(&a.invite_id));
        Ok(open)
    }

    /// A page of an organisation's invites, expired ones among them.
    pub async fn invite_page(&self, org: &AccountId, limit: u32, after: Option<&str>) -> Result<(Vec<Invite>, Option<String>), Error> {
        let (items, next) = self.page(&keys::account_pk(org), keys::INVITE, false, limit, after).await?;
        Ok((items.into_iter().map(from_item).collect::<Result<_, _>>()?, next))
    }

    /// Takes an invite back. `false` when it has been used or replaced.
    pub async fn revoke_invite(&self, invite: &Invite) -> Result<bool, Error> {
        let mut parts = Parts::default();
        self.add_delete(&mut parts, &keys::invite(&invite.org_id, &address_hash(&invite.email)), Some(same(invite)))?;
        Ok(matches!(self.transact(parts).await?, Written::Done))
    }

    /// Uses an invite up and makes its person a member. The person must still have the address that was invited.
    pub async fn accept_invite(&self, invite: &Invite, person: &AccountId, now: Millis) -> Result<Result<Member, NoChange>, Error> {
        let mut parts = Parts::default();
        let open = same(invite).and("expires_at > :now").value("now", n(now));
        let invite_part = self.add_delete(&mut parts, &keys::invite(&invite.org_id, &address_hash(&invite.email)), Some(open))?;
        let member = Member { org_id: invite.org_id.clone(), account_id: person.clone(), role: invite.role, joined_at: now };
        let member_part = self.add_member(&mut parts, &member)?;
        let owners = i64::from(invite.role == Role::Owner);
        let org_part = self.add_org(&mut parts, &invite.org_id, 1, owners)?;
        let theirs = active().and("email = :email").value("email", s(&invite.email));
        let person_part = self.add_person(&mut parts, person, 1, owners, theirs)?;
        // Who invited may still invite: an owner who was put out leaves no way back in behind.
        let may: Vec<Role> = Role::ALL.into_iter().filter(|role| role.may_change(None, Some(invite.role))).collect();
        let mut still = Expr::new(format!("#role IN ({})", (0..may.len()).map(|i| format!(":may{i}")).collect::<Vec<_>>().join(", "))).name("role");
        for (i, role) in may.iter().enumerate() {
            still = still.value(&format!("may{i}"), s(role.as_str()));
        }
        self.add_check(&mut parts, &keys::member(&invite.org_id, &invite.invited_by), still)?;
        Ok(match self.transact(parts).await? {
            Written::Done => Ok(member),
            Written::Refused(refused) if refused.has(Some(invite_part)) || refused.has(Some(member_part)) => Err(NoChange::Moved),
            Written::Refused(refused) if refused.has(Some(org_part)) => Err(match refused.found(Some(org_part)) {
                Some(org) if !org.contains_key("state") => NoChange::OrgFull,
                _ => NoChange::Gone,
            }),
            Written::Refused(refused) => Err(why_person(&refused, person_part, owners > 0)),
        })
    }
}

/// The invite is the one that was read, not one that replaced it.
fn same(invite: &Invite) -> Expr {
    Expr::new("token_hash = :token").value("token", s(&invite.token_hash))
}

/// So that a page of members and their accounts is one batch.
const _: () = assert!(MOST_MEMBERS <= 100);
