//! Organisations: an account without a person, and who belongs to it. A member stands under the organisation (that decides) and under the
//! person (to be listed); both, and the counters in the two accounts, change in one transaction.
//!
//! Promises: an organisation that is not being deleted has an owner, whatever happens at once; nobody acts by a role that they no longer
//! have when the transaction commits; the limits of [`kiln_core::access`] hold.

use crate::api_keys::active;
use crate::ledger::AccountUpdate;
use crate::room::with_room;
use crate::table::{Expr, Item, Parts, Refused, Table, Written, absent, from_item, n, s, to_item};
use crate::{Account, Error, Idempotent, NoRoom, Room, keys};
use kiln_core::access::{MOST_MEMBERS, MOST_ORGS, MOST_OWNED, Role};
use kiln_core::ids::AccountId;
use kiln_core::time::Millis;
use serde::{Deserialize, Serialize};

/// Who belongs to an organisation, and as what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    pub org_id: AccountId,
    pub account_id: AccountId,
    pub role: Role,
    pub joined_at: Millis,
}

/// Why a change of an organisation was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoChange {
    /// A member, or who acts, is not what was read: read again and decide again.
    Moved,
    /// It would leave the organisation without an owner.
    LastOwner,
    /// The organisation has [`MOST_MEMBERS`].
    OrgFull,
    /// The person belongs to [`MOST_ORGS`].
    TooManyOrgs,
    /// The person owns [`MOST_OWNED`].
    TooManyOwned,
    /// The organisation, or the account, is gone.
    Gone,
    /// Who acts makes too much at once, or may make nothing.
    NoRoom(NoRoom),
    /// The same idempotency key has been used; read its record.
    Repeated,
}

impl Table {
    /// Makes an organisation whose only member, its owner, is this person.
    pub async fn create_org(&self, org: &Account, owner: &AccountId, room: &Room, idempotent: Option<&Idempotent>) -> Result<Result<(), NoChange>, Error> {
        let mut parts = Parts::default();
        self.add_put(&mut parts, to_item(&keys::account(&org.account_id), org)?, Some(absent()))?;
        let member = Member { org_id: org.account_id.clone(), account_id: owner.clone(), role: Role::Owner, joined_at: org.created_at };
        self.add_member(&mut parts, &member)?;
        let person = self.add_person_with(&mut parts, owner, 1, 1, active(), Some(room))?;
        let repeat = idempotent.map(|record| self.add_idempotency(&mut parts, record)).transpose()?;
        Ok(match self.transact(parts).await? {
            Written::Done => Ok(()),
            Written::Refused(refused) if refused.has(repeat) => Err(NoChange::Repeated),
            Written::Refused(refused) => Err(match why_person(&refused, person, true) {
                NoChange::Moved => self.no_room(&refused, person, room)?.map_or(NoChange::Moved, NoChange::NoRoom),
                why => why,
            }),
        })
    }

    pub async fn member(&self, org: &AccountId, person: &AccountId) -> Result<Option<Member>, Error> {
        self.get(&keys::member(org, person)).await
    }

    /// The organisation and this person's place in it, in one call.
    pub async fn org_and_member(&self, org: &AccountId, person: &AccountId) -> Result<(Option<Account>, Option<Member>), Error> {
        let (org_key, member_key) = (keys::account(org), keys::member(org, person));
        let mut found = self.get_many(&[org_key.clone(), member_key.clone()]).await?;
        Ok((found.remove(&org_key).map(from_item).transpose()?, found.remove(&member_key).map(from_item).transpose()?))
    }

    /// One page of members, by id of their account.
    pub async fn members(&self, org: &AccountId, limit: u32, after: Option<&str>) -> Result<(Vec<Member>, Option<String>), Error> {
        let (items, next) = self.page(&keys::account_pk(org), keys::MEMBER, false, limit, after).await?;
        Ok((items.into_iter().map(from_item).collect::<Result<_, _>>()?, next))
    }

    /// One page of the organisations that a person belongs to, newest first, each with the person's place in it.
    pub async fn orgs(&self, person: &AccountId, limit: u32, after: Option<&str>) -> Result<(Vec<(Account, Member)>, Option<String>), Error> {
        let (items, next) = self.page(&keys::account_pk(person), keys::MEMBERSHIP, true, limit.min(MOST_ORGS), after).await?;
        let rows: Vec<Member> = items.into_iter().map(from_item).collect::<Result<_, _>>()?;
        let wanted: Vec<_> = rows.iter().flat_map(|row| [keys::account(&row.org_id), keys::member(&row.org_id, person)]).collect();
        let mut found = self.get_many(&wanted).await?;
        let mut orgs = Vec::new();
        for row in rows {
            // The organisation's side decides.
            let (org, member) = (found.remove(&keys::account(&row.org_id)), found.remove(&keys::member(&row.org_id, person)));
            if let (Some(org), Some(member)) = (org, member) {
                orgs.push((from_item(org)?, from_item(member)?));
            }
        }
        Ok((orgs, next))
    }

    /// The accounts of these ids, in one call; what is gone is missing.
    pub async fn accounts(&self, ids: &[AccountId]) -> Result<Vec<Account>, Error> {
        self.get_many(&ids.iter().map(keys::account).collect::<Vec<_>>()).await?.into_values().map(from_item).collect()
    }

    /// Where an account's mail goes: a person's own address, an organisation's owners'. Nowhere for a guest or a deleted account.
    pub async fn addresses_of(&self, account: &Account) -> Result<Vec<String>, Error> {
        if account.kind == crate::AccountKind::Person {
            return Ok(account.email.iter().cloned().collect());
        }
        let (members, _) = self.members(&account.account_id, MOST_MEMBERS, None).await?;
        let owners: Vec<AccountId> = members.into_iter().filter(|member| member.role == Role::Owner).map(|member| member.account_id).collect();
        Ok(self.accounts(&owners).await?.into_iter().filter_map(|owner| owner.email).collect())
    }

    pub async fn rename_org(&self, org: &AccountId, name: &str) -> Result<Option<Account>, Error> {
        let update = Expr::new("SET #name = :name").name("name").value("name", s(name));
        self.update(&keys::account(org), update, Some(active())).await?.map(from_item).transpose()
    }

    /// Makes a member another role, by the word of `actor`.
    pub async fn change_role(&self, member: &Member, to: Role, actor: &Member) -> Result<Result<(), NoChange>, Error> {
        let mut parts = Parts::default();
        let update = Expr::new("SET #role = :to").name("role").value("to", s(to.as_str()));
        self.add_update(&mut parts, &keys::member(&member.org_id, &member.account_id), update, Some(is(member)))?;
        let actor_part = self.add_actor(&mut parts, actor, member)?;
        let owners = i64::from(to == Role::Owner) - i64::from(member.role == Role::Owner);
        let (mut org_part, mut person_part) = (None, None);
        if owners != 0 {
            org_part = Some(self.add_org(&mut parts, &member.org_id, 0, owners)?);
            person_part = Some(self.add_person(&mut parts, &member.account_id, 0, owners, Expr::new("attribute_exists(pk)"))?);
        }
        Ok(match self.transact(parts).await? {
            Written::Done => Ok(()),
            Written::Refused(refused) if refused.has(Some(0)) || refused.has(actor_part) => Err(NoChange::Moved),
            Written::Refused(refused) if refused.has(org_part) => Err(why_org(&refused, org_part)),
            Written::Refused(refused) => Err(person_part.map_or(NoChange::Moved, |part| why_person(&refused, part, owners > 0))),
        })
    }

    /// Takes a member out, by the word of `actor`, who may be the member.
    pub async fn remove_member(&self, member: &Member, actor: &Member) -> Result<Result<(), NoChange>, Error> {
        let mut parts = Parts::default();
        let org_part = Some(self.add_leave(&mut parts, member)?);
        let actor_part = self.add_actor(&mut parts, actor, member)?;
        let owners = -i64::from(member.role == Role::Owner);
        self.add_person(&mut parts, &member.account_id, -1, owners, Expr::new("attribute_exists(pk)"))?;
        Ok(match self.transact(parts).await? {
            Written::Done => Ok(()),
            Written::Refused(refused) if refused.has(Some(0)) || refused.has(actor_part) => Err(NoChange::Moved),
            Written::Refused(refused) => Err(why_org(&refused, org_part)),
        })
    }

    /// A member's own leave, but for the counters in their account.
    pub(crate) fn add_leave(&self, parts: &mut Parts, member: &Member) -> Result<usize, Error> {
        self.add_delete(parts, &keys::member(&member.org_id, &member.account_id), Some(is(member)))?;
        self.add_delete(parts, &keys::membership(&member.account_id, &member.org_id), None)?;
        self.add_org(parts, &member.org_id, -1, -i64::from(member.role == Role::Owner))
    }

    /// The part that a member of an organisation under deletion is taken out by: no owner is needed any more.
    pub(crate) async fn drop_member(&self, member: &Member) -> Result<(), Error> {
        let mut parts = Parts::default();
        self.add_delete(&mut parts, &keys::member(&member.org_id, &member.account_id), Some(is(member)))?;
        self.add_delete(&mut parts, &keys::membership(&member.account_id, &member.org_id), None)?;
        let owners = -i64::from(member.role == Role::Owner);
        self.add_person(&mut parts, &member.account_id, -1, owners, Expr::new("attribute_exists(pk)"))?;
        // Refused: another run has taken them out.
        self.transact(parts).await.map(drop)
    }

    /// The two items of a new member.
    pub(crate) fn add_member(&self, parts: &mut Parts, member: &Member) -> Result<usize, Error> {
        let first = self.add_put(parts, to_item(&keys::member(&member.org_id, &member.account_id), member)?, Some(absent()))?;
        self.add_put(parts, to_item(&keys::membership(&member.account_id, &member.org_id), member)?, None)?;
        Ok(first)
    }

    /// Moves a person's counters; those that rise stay within their limits.
    pub(crate) fn add_person(&self, parts: &mut Parts, person: &AccountId, orgs: i64, owned: i64, condition: Expr) -> Result<usize, Error> {
        self.add_person_with(parts, person, orgs, owned, condition, None)
    }

    /// The same, where the person makes something by it.
    fn add_person_with(&self, parts: &mut Parts, person: &AccountId, orgs: i64, owned: i64, mut condition: Expr, room: Option<&Room>) -> Result<usize, Error> {
        let mut update = AccountUpdate::new().add("n_orgs", orgs).add("n_owned", owned);
        if orgs > 0 {
            condition = condition.and("(attribute_not_exists(n_orgs) OR n_orgs < :most_orgs)").value("most_orgs", n(MOST_ORGS));
        }
        if owned > 0 {
            condition = condition.and("(attribute_not_exists(n_owned) OR n_owned < :most_owned)").value("most_owned", n(MOST_OWNED));
        }
        if let Some(room) = room {
            (update, condition) = with_room(update, condition, room);
        }
        self.add_update(parts, &keys::account(person), update.expr(), Some(condition))
    }

    /// Moves an organisation's counters: owners never to none, members never above their limit.
    pub(crate) fn add_org(&self, parts: &mut Parts, org: &AccountId, members: i64, owners: i64) -> Result<usize, Error> {
        let update = Expr::new("ADD n_members :members, n_owners :owners").value("members", n(members)).value("owners", n(owners));
        let mut condition = active();
        if members > 0 {
            condition = condition.and("n_members < :most").value("most", n(MOST_MEMBERS));
        }
        if owners < 0 {
            condition = condition.and("n_owners > :one").value("one", n(1));
        }
        self.add_update(parts, &keys::account(org), update, Some(condition))
    }

    /// Who acts still has the role that they act by; about themselves, the member's own condition says it.
    fn add_actor(&self, parts: &mut Parts, actor: &Member, member: &Member) -> Result<Option<usize>, Error> {
        if actor.account_id == member.account_id {
            return Ok(None);
        }
        self.add_check(parts, &keys::member(&actor.org_id, &actor.account_id), is(actor)).map(Some)
    }
}

/// The member is what was read.
pub(crate) fn is(member: &Member) -> Expr {
    Expr::new("#role = :role").name("role").value("role", s(member.role.as_str()))
}

fn number(item: &Item, name: &str) -> i64 {
    item.get(name).and_then(|value| value.as_n().ok()).and_then(|text| text.parse().ok()).unwrap_or(0)
}

pub(crate) fn why_org(refused: &Refused, part: Option<usize>) -> NoChange {
    match refused.found(part) {
        Some(org) if org.contains_key("state") => NoChange::Gone,
        Some(org) if number(org, "n_owners") <= 1 => NoChange::LastOwner,
        Some(_) => NoChange::Moved,
        None => NoChange::Gone,
    }
}

pub(crate) fn why_person(refused: &Refused, part: usize, owning: bool) -> NoChange {
    match refused.found(Some(part)) {
        _ if !refused.has(Some(part)) => NoChange::Moved,
        Some(person) if person.contains_key("state") => NoChange::Gone,
        Some(person) if owning && number(person, "n_owned") >= i64::from(MOST_OWNED) => NoChange::TooManyOwned,
        Some(person) if number(person, "n_orgs") >= i64::from(MOST_ORGS) => NoChange::TooManyOrgs,
        Some(_) => NoChange::Moved,
        None => NoChange::Gone,
    }
}
