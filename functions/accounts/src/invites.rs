//! Invites: mailed to an address, accepted once by whoever is signed in with it, taken back, replaced by inviting again.

use crate::members::Two;
use crate::orgs::OrgView;
use crate::{TRIES, not_by, place, refused};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use kiln_core::access::{INVITE_FOR, MOST_INVITES, Role};
use kiln_core::ids::{AccountId, InviteId};
use kiln_core::time::rfc3339;
use kiln_http::caller::equal;
use kiln_http::idempotency::replay_response;
use kiln_http::mail::Invitation;
use kiln_http::{App, Body, Id, Key, Once, Page, Person, Problem, Result, limits, new_secret, pace};
use kiln_store::{Invite, NoChange, Room};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Who is invited, and as what.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewInvite {
    #[schema(format = "email", min_length = 5, max_length = 254, example = "grace@example.org")]
    email: String,
    role: Role,
}

/// An open invite. Its token is only in the mail.
#[derive(Debug, Serialize, ToSchema)]
pub struct InviteView {
    #[schema(example = "inv_01JD6Z3M8Q4V5X7Y9A2B3C4D5E")]
    id: String,
    email: String,
    role: Role,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    expires_at: String,
}

impl From<&Invite> for InviteView {
    fn from(invite: &Invite) -> Self {
        Self {
            id: invite.invite_id.to_string(),
            email: invite.email.clone(),
            role: invite.role,
            created_at: rfc3339(invite.created_at),
            expires_at: rfc3339(invite.expires_at),
        }
    }
}

/// Invites an address by mail; an earlier invite to it ends. An admin invites members and admins, an owner also owners.
#[utoipa::path(post, path = "/api/v1/orgs/{id}/invites", tag = "accounts", request_body = NewInvite,
    params(("id" = String, Path), ("Idempotency-Key" = Option<String>, Header, pattern = "^[!-~]{1,128}$", description = "Repeats with the same key and body get the same answer for 24 hours.")),
    responses((status = 201, body = InviteView), (status = 409)), security(("session" = [])))]
pub async fn create(State(app): State<App>, person: Person, Id(id): Id<AccountId>, key: Key, body: Body<NewInvite>) -> Result<Response> {
    let once = Once::new("invites", key, &body.bytes);
    let (email, role) = (kiln_core::address::parse(&body.value.email)?, body.value.role);
    let mut counted = false;
    for _ in 0..TRIES {
        let (org, actor) = place(&app, &person, &id).await?;
        if !actor.role.may_change(None, Some(role)) {
            return Err(not_by(&actor));
        }
        if let Some(replayed) = once.earlier(&app, &id).await? {
            return Ok(replay_response(replayed));
        }
        may_be_invited(&app, &id, &email, &mut counted).await?;
        let now = app.now();
        let room = Room::of(&org, app.settings(), now);
        let invite_id = InviteId::new(now, app.random());
        let secret = new_secret(&format!("{id}."));
        let expires_at = now + INVITE_FOR;
        let invite = Invite {
            invite_id,
            org_id: id.clone(),
            email: email.clone(),
            role,
            token_hash: secret.hash,
            invited_by: person.account_id.clone(),
            created_at: now,
            expires_at,
            ttl: expires_at / 1000,
        };
        let view = InviteView::from(&invite);
        let stored = serde_json::to_string(&view).map_err(Problem::internal)?;
        let record = once.record(&id, StatusCode::CREATED, stored, now);
        match app.table().put_invite(&invite, &actor, &room, record.as_ref()).await?.map_err(|why| refused(&app, why)) {
            Ok(()) => {}
            Err(Some(problem)) => return Err(problem),
            Err(None) => continue,
        }
        let by = app.table().account(&person.account_id).await?.and_then(|account| account.name.or(account.email));
        let link = format!("{}/invite?token={}", app.public_url(), secret.token);
        let organisation = org.name.as_deref().unwrap_or_default();
        let message = Invitation { link: &link, organisation, inviter: by.as_deref(), role: invite.role.as_str(), expires_at: invite.expires_at };
        // Swallowed on purpose: the invite stands in the list, and inviting again sends another mail.
        if let Err(error) = app.send_mail(&email, &message).await {
            tracing::error!(%error, "an invite could not be mailed");
        }
        tracing::info!(org_id = %id, invite_id = %invite.invite_id, "invite sent");
        return Ok((StatusCode::CREATED, pace::headers(room.step, now), Json(view)).into_response());
    }
    Err(kiln_store::Error::Busy.into())
}

/// `counted`: whether this request's mail counts already, so that a write that is tried again is no other mail.
async fn may_be_invited(app: &App, org: &AccountId, email: &str, counted: &mut bool) -> Result<()> {
    let open = app.table().invites(org, app.now()).await?;
    if open.iter().filter(|invite| invite.email != email).count() >= MOST_INVITES as usize {
        return Err(Problem::conflict("too_many_invites", format!("An organisation has {MOST_INVITES} open invites at most; take one back first.")));
    }
    // The caller may see the members with their addresses, so this tells nothing new.
    if let Some(account) = app.table().account_of(email).await?
        && app.table().member(org, &account).await?.is_some()
    {
        return Err(Problem::conflict("already_member", "This address belongs to a member already."));
    }
    // Also what keeps many requests at once from sending more than that many mails.
    if !*counted && !limits::take(app, "mail-account", org.as_str(), app.settings().mails_per_account).await? {
        let wait = limits::until_next(app.now());
        return Err(Problem::too_many("too_many_mails", "The organisation has sent as many mails as it may in an hour; try again later.", wait));
    }
    *counted = true;
    Ok(())
}

/// The open invites, newest first: all of them, since there are few.
#[utoipa::path(get, path = "/api/v1/orgs/{id}/invites", tag = "accounts", params(("id" = String, Path)), responses((status = 200, body = Page<InviteView>), (status = 403)), security(("session" = [])))]
pub async fn list(State(app): State<App>, person: Person, Id(id): Id<AccountId>) -> Result<Json<Page<InviteView>>> {
    let (_, actor) = place(&app, &person, &id).await?;
    if actor.role < Role::Admin {
        return Err(not_by(&actor));
    }
    let open = app.table().invites(&id, app.now()).await?;
    Ok(Json(Page::new(open.iter().map(InviteView::from).collect(), None)))
}

/// Takes an invite back: its link opens nothing any more.
#[utoipa::path(delete, path = "/api/v1/orgs/{id}/invites/{invite_id}", tag = "accounts", params(("id" = String, Path), ("invite_id" = String, Path)), responses((status = 204)), security(("session" = [])))]
pub async fn revoke(State(app): State<App>, person: Person, Two(id, invite_id): Two<AccountId, InviteId>) -> Result<StatusCode> {
    let (_, actor) = place(&app, &person, &id).await?;
    if actor.role < Role::Admin {
        return Err(not_by(&actor));
    }
    let open = app.table().invites(&id, app.now()).await?;
    let invite = open.iter().find(|invite| invite.invite_id == invite_id).ok_or_else(Problem::not_found)?;
    if !actor.role.may_change(None, Some(invite.role)) {
        return Err(not_by(&actor));
    }
    if app.table().revoke_invite(invite).await? { Ok(StatusCode::NO_CONTENT) } else { Err(Problem::not_found()) }
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InviteToken {
    /// What the mailed link ends in.
    #[schema(min_length = 1, max_length = 256)]
    token: String,
}

/// Accepts an invite, signed in with the address that it was sent to.
#[utoipa::path(post, path = "/api/v1/invites/accept", tag = "accounts", request_body = InviteToken, responses((status = 200, body = OrgView), (status = 403, description = "It was sent to another address."), (status = 404, description = "It was used, taken back, has expired or never existed."), (status = 409)), security(("session" = [])))]
pub async fn accept(State(app): State<App>, person: Person, body: Body<InviteToken>) -> Result<Json<OrgView>> {
    let token = &body.value.token;
    let org_id: AccountId = token.split_once('.').and_then(|(org, _)| org.parse().ok()).ok_or_else(invalid)?;
    let token_hash = kiln_store::hash(token);
    for _ in 0..TRIES {
        let now = app.now();
        let open = app.table().invites(&org_id, now).await?;
        let invite = open.into_iter().find(|invite| equal(&invite.token_hash, &token_hash)).ok_or_else(invalid)?;
        let inviter = app.table().member(&org_id, &invite.invited_by).await?;
        if !inviter.is_some_and(|inviter| inviter.role.may_change(None, Some(invite.role))) {
            return Err(invalid());
        }
        let account = app.table().account(&person.account_id).await?;
        if account.and_then(|account| account.email).as_ref() != Some(&invite.email) {
            let detail = "This invite was sent to another address; sign in with that one.";
            return Err(Problem::new(StatusCode::FORBIDDEN, "invite_for_another", detail));
        }
        if app.table().member(&org_id, &person.account_id).await?.is_some() {
            return Err(Problem::conflict("already_member", "You belong to this organisation already."));
        }
        match app.table().accept_invite(&invite, &person.account_id, now).await? {
            Ok(member) => {
                tracing::info!(org_id = %org_id, member_id = %person.account_id, "invite accepted");
                let org = app.table().account(&org_id).await?.ok_or_else(invalid)?;
                return Ok(Json(OrgView::new(&org, member.role)));
            }
            Err(NoChange::Gone) => return Err(invalid()),
            Err(why) => match refused(&app, why) {
                Some(problem) => return Err(problem),
                None => continue,
            },
        }
    }
    Err(kiln_store::Error::Busy.into())
}

/// Unknown, used, revoked and expired invites answer the same.
fn invalid() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "invite_invalid", "This invite was used or taken back, has expired or never existed; ask for another.").field("token")
}
