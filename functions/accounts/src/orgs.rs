//! Organisations: made by a person, who is their first owner; listed for those who belong to them. A new one is granted no credits: a
//! person could make them only for that.

use crate::{TRIES, not_by, place, refused};
use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use kiln_core::access::Role;
use kiln_core::ids::AccountId;
use kiln_core::profile;
use kiln_core::time::rfc3339;
use kiln_http::idempotency::replay_response;
use kiln_http::{App, Body, Id, Key, Once, Page, Paging, Person, Problem, Result, pace};
use kiln_store::{Account, AccountKind, Member, NoChange, Room, Tally, keys};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What an organisation is called.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OrgName {
    /// 1 to 80 characters.
    #[schema(min_length = 1, max_length = 80, example = "Analytical Engines")]
    name: String,
}

/// An organisation, as one who belongs to it sees it.
#[derive(Debug, Serialize, ToSchema)]
pub struct OrgView {
    /// Also what `Kiln-Account` takes.
    #[schema(example = "acc_01JD6Z3M8Q4V5X7Y9A2B3C4D5E")]
    id: String,
    name: String,
    /// Yours in it.
    role: Role,
    members: u32,
    owners: u32,
    #[schema(format = DateTime)]
    created_at: String,
}

impl OrgView {
    pub fn new(org: &Account, role: Role) -> Self {
        Self {
            id: org.account_id.to_string(),
            name: org.name.clone().unwrap_or_default(),
            role,
            members: org.tally.n_members,
            owners: org.tally.n_owners,
            created_at: rfc3339(org.created_at),
        }
    }
}

/// Makes an organisation, with you as its owner.
#[utoipa::path(post, path = "/api/v1/orgs", tag = "accounts", request_body = OrgName,
    params(("Idempotency-Key" = Option<String>, Header, pattern = "^[!-~]{1,128}$", description = "Repeats with the same key and body get the same answer for 24 hours.")),
    responses((status = 201, body = OrgView), (status = 409)), security(("session" = [])))]
pub async fn create(State(app): State<App>, person: Person, key: Key, body: Body<OrgName>) -> Result<Response> {
    let once = Once::new("orgs", key, &body.bytes);
    let name = profile::name(&body.value.name)?;
    for _ in 0..TRIES {
        if let Some(replayed) = once.earlier(&app, &person.account_id).await? {
            return Ok(replay_response(replayed));
        }
        let now = app.now();
        let person_account = app.table().account(&person.account_id).await?.ok_or_else(|| Problem::unauthorized("The account is gone."))?;
        let room = Room::of(&person_account, app.settings(), now);
        let tally = Tally { n_members: 1, n_owners: 1, ..Tally::default() };
        let empty = Account::new(AccountId::new(now, app.random()), AccountKind::Organisation, 0, now);
        let org = Account { name: Some(name.clone()), tally, ..empty };
        let view = OrgView::new(&org, Role::Owner);
        let stored = serde_json::to_string(&view).map_err(Problem::internal)?;
        let record = once.record(&person.account_id, StatusCode::CREATED, stored, now);
        match app.table().create_org(&org, &person.account_id, &room, record.as_ref()).await? {
            Ok(()) => {
                tracing::info!(org_id = %org.account_id, "organisation made");
                let location = [(header::LOCATION, format!("/api/v1/orgs/{}", view.id))];
                return Ok((StatusCode::CREATED, pace::headers(room.step, now), location, Json(view)).into_response());
            }
            Err(NoChange::Gone) => return Err(Problem::unauthorized("The account is gone.")),
            Err(why) => match refused(&app, why) {
                Some(problem) => return Err(problem),
                None => continue,
            },
        }
    }
    Err(kiln_store::Error::Busy.into())
}

/// The organisations that you belong to, newest first.
#[utoipa::path(get, path = "/api/v1/orgs", tag = "accounts", params(kiln_http::paging::PagingQuery), responses((status = 200, body = Page<OrgView>)), security(("session" = [])))]
pub async fn list(State(app): State<App>, person: Person, paging: Paging) -> Result<Json<Page<OrgView>>> {
    let after = paging.after(keys::MEMBERSHIP)?;
    let (orgs, next) = app.table().orgs(&person.account_id, paging.limit, after.as_deref()).await?;
    Ok(Json(Page::new(views(&orgs), next)))
}

pub fn views(orgs: &[(Account, Member)]) -> Vec<OrgView> {
    orgs.iter().filter(|(org, _)| org.state.is_none()).map(|(org, member)| OrgView::new(org, member.role)).collect()
}

/// One organisation that you belong to.
#[utoipa::path(get, path = "/api/v1/orgs/{id}", tag = "accounts", params(("id" = String, Path)), responses((status = 200, body = OrgView)), security(("session" = [])))]
pub async fn show(State(app): State<App>, person: Person, Id(id): Id<AccountId>) -> Result<Json<OrgView>> {
    let (org, member) = place(&app, &person, &id).await?;
    Ok(Json(OrgView::new(&org, member.role)))
}

/// Gives an organisation another name; an admin may.
#[utoipa::path(patch, path = "/api/v1/orgs/{id}", tag = "accounts", params(("id" = String, Path)), request_body = OrgName, responses((status = 200, body = OrgView)), security(("session" = [])))]
pub async fn rename(State(app): State<App>, person: Person, Id(id): Id<AccountId>, body: Body<OrgName>) -> Result<Json<OrgView>> {
    let (_, member) = place(&app, &person, &id).await?;
    if member.role < Role::Admin {
        return Err(not_by(&member));
    }
    let name = profile::name(&body.value.name)?;
    let org = app.table().rename_org(&id, &name).await?.ok_or_else(Problem::not_found)?;
    Ok(Json(OrgView::new(&org, member.role)))
}
