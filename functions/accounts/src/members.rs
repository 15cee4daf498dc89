//! Who belongs to an organisation, as what, and no longer. Taking yourself out is leaving.

use crate::{TRIES, not_by, place, refused};
use axum::Json;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use kiln_core::access::Role;
use kiln_core::ids::AccountId;
use kiln_core::time::rfc3339;
use kiln_http::{App, Body, Id, Page, Paging, Person, Problem, Result};
use kiln_store::{Account, Member, keys};
use serde::{Deserialize, Serialize};
use std::str::FromStr;
use utoipa::ToSchema;

/// The two ids in a path; what isn't one is not found.
pub struct Two<A, B>(pub A, pub B);

impl<S: Send + Sync, A: FromStr, B: FromStr> FromRequestParts<S> for Two<A, B> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        let Path((a, b)) = Path::<(String, String)>::from_request_parts(parts, state).await.map_err(|_| Problem::not_found())?;
        match (a.parse(), b.parse()) {
            (Ok(a), Ok(b)) => Ok(Self(a, b)),
            _ => Err(Problem::not_found()),
        }
    }
}

/// Who belongs to an organisation.
#[derive(Debug, Serialize, ToSchema)]
pub struct MemberView {
    /// The member's own account.
    #[schema(example = "acc_01JD6Z3M8Q4V5X7Y9A2B3C4D5E")]
    id: String,
    email: Option<String>,
    name: Option<String>,
    role: Role,
    #[schema(format = DateTime)]
    joined_at: String,
}

impl MemberView {
    pub fn new(member: &Member, account: Option<&Account>) -> Self {
        Self {
            id: member.account_id.to_string(),
            email: account.and_then(|account| account.email.clone()),
            name: account.and_then(|account| account.name.clone()),
            role: member.role,
            joined_at: rfc3339(member.joined_at),
        }
    }
}

/// What a member shall be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RoleChange {
    role: Role,
}

/// Who belongs to the organisation; every member may see that.
#[utoipa::path(get, path = "/api/v1/orgs/{id}/members", tag = "accounts", params(("id" = String, Path), kiln_http::paging::PagingQuery), responses((status = 200, body = Page<MemberView>)), security(("session" = [])))]
pub async fn list(State(app): State<App>, person: Person, Id(id): Id<AccountId>, paging: Paging) -> Result<Json<Page<MemberView>>> {
    let after = paging.after(keys::MEMBER)?;
    place(&app, &person, &id).await?;
    let (members, next) = app.table().members(&id, paging.limit, after.as_deref()).await?;
    Ok(Json(Page::new(views(&app, &members).await?, next)))
}

/// Members with what they are called, which only their own accounts say. 100 at most.
pub async fn views(app: &App, members: &[Member]) -> Result<Vec<MemberView>> {
    let ids: Vec<_> = members.iter().map(|member| member.account_id.clone()).collect();
    let accounts = app.table().accounts(&ids).await?;
    let of = |member: &Member| accounts.iter().find(|account| account.account_id == member.account_id);
    Ok(members.iter().map(|member| MemberView::new(member, of(member))).collect())
}

/// Makes a member another role. An admin makes members and admins of each other, an owner also owners; anybody may step down.
#[utoipa::path(patch, path = "/api/v1/orgs/{id}/members/{member_id}", tag = "accounts", params(("id" = String, Path), ("member_id" = String, Path)), request_body = RoleChange, responses((status = 200, body = MemberView), (status = 409)), security(("session" = [])))]
pub async fn change(State(app): State<App>, person: Person, Two(id, member_id): Two<AccountId, AccountId>, body: Body<RoleChange>) -> Result<Json<MemberView>> {
    let to = body.value.role;
    for _ in 0..TRIES {
        let (actor, member) = both(&app, &person, &id, &member_id).await?;
        let steps_down = actor.account_id == member.account_id && to < member.role;
        if !steps_down && !actor.role.may_change(Some(member.role), Some(to)) {
            return Err(not_by(&actor));
        }
        let done = if to == member.role { Ok(()) } else { app.table().change_role(&member, to, &actor).await? };
        match done.map_err(|why| refused(&app, why)) {
            Ok(()) => {
                tracing::info!(org_id = %id, member_id = %member_id, role = to.as_str(), "a member has another role");
                let account = app.table().account(&member_id).await?;
                return Ok(Json(MemberView::new(&Member { role: to, ..member }, account.as_ref())));
            }
            Err(Some(problem)) => return Err(problem),
            Err(None) => {}
        }
    }
    Err(kiln_store::Error::Busy.into())
}

/// Takes a member out; your own id is how you leave.
#[utoipa::path(delete, path = "/api/v1/orgs/{id}/members/{member_id}", tag = "accounts", params(("id" = String, Path), ("member_id" = String, Path)), responses((status = 204), (status = 409)), security(("session" = [])))]
pub async fn remove(State(app): State<App>, person: Person, Two(id, member_id): Two<AccountId, AccountId>) -> Result<StatusCode> {
    for _ in 0..TRIES {
        let (actor, member) = both(&app, &person, &id, &member_id).await?;
        if actor.account_id != member.account_id && !actor.role.may_change(Some(member.role), None) {
            return Err(not_by(&actor));
        }
        match app.table().remove_member(&member, &actor).await?.map_err(|why| refused(&app, why)) {
            Ok(()) => {
                tracing::info!(org_id = %id, member_id = %member_id, "a member is out");
                return Ok(StatusCode::NO_CONTENT);
            }
            Err(Some(problem)) => return Err(problem),
            Err(None) => {}
        }
    }
    Err(kiln_store::Error::Busy.into())
}

/// Who acts, and on whom. A stranger learns nothing, a member that there is no such member.
async fn both(app: &App, person: &Person, org: &AccountId, member: &AccountId) -> Result<(Member, Member)> {
    let (_, actor) = place(app, person, org).await?;
    if *member == actor.account_id {
        return Ok((actor.clone(), actor));
    }
    let member = app.table().member(org, member).await?.ok_or_else(Problem::not_found)?;
    Ok((actor, member))
}
