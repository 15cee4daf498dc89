//! What belongs to an account beside its work: API keys, organisations with their members and invites, everything of it as a file, and
//! its end.
//!
//! Promises: a key is shown once and kept by its hash; an organisation always has an owner; an invite is accepted once, by the address that
//! it was sent to; nothing here takes an API key, so that a leaked key makes no other.

mod api_keys;
mod deletion;
mod export;
mod invites;
mod members;
mod orgs;

use kiln_core::ids::AccountId;
use kiln_http::caller::role_missing;
use kiln_http::{App, Person, Problem, Result};
use kiln_store::{Account, Member, NoChange};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Tries at deciding about what changes in between.
const TRIES: usize = 6;

fn api() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(api_keys::create, api_keys::list))
        .routes(routes!(api_keys::revoke))
        .routes(routes!(orgs::create, orgs::list))
        .routes(routes!(orgs::show, orgs::rename, deletion::delete_org))
        .routes(routes!(members::list))
        .routes(routes!(members::change, members::remove))
        .routes(routes!(invites::create, invites::list))
        .routes(routes!(invites::revoke))
        .routes(routes!(invites::accept))
        .routes(routes!(export::export))
        .routes(routes!(deletion::delete_me))
}

/// The function's endpoints.
pub fn router(app: App) -> axum::Router {
    kiln_http::lambda::finish(api().with_state(app).split_for_parts().0)
}

/// The function's part of the OpenAPI document.
pub fn openapi() -> utoipa::openapi::OpenApi {
    api().into_openapi()
}

/// An organisation and the caller's place in it; one that isn't theirs is not found.
async fn place(app: &App, person: &Person, org: &AccountId) -> Result<(Account, Member)> {
    match app.table().org_and_member(org, &person.account_id).await? {
        (Some(org), Some(member)) if org.state.is_none() => Ok((org, member)),
        _ => Err(Problem::not_found()),
    }
}

/// The refusal that no further try will change; `None` asks for another.
fn refused(app: &App, why: NoChange) -> Option<Problem> {
    use kiln_core::access::{MOST_MEMBERS, MOST_ORGS, MOST_OWNED};
    Some(match why {
        NoChange::Moved | NoChange::Repeated | NoChange::NoRoom(kiln_store::NoRoom::Moved) => return None,
        NoChange::NoRoom(why) => kiln_http::pace::no_room(why, app.settings(), app.now()),
        NoChange::Gone => Problem::not_found(),
        NoChange::LastOwner => Problem::conflict("last_owner", "An organisation has an owner, always: make somebody else one first."),
        NoChange::OrgFull => Problem::conflict("org_full", format!("An organisation has {MOST_MEMBERS} members at most.")),
        NoChange::TooManyOrgs => Problem::conflict("too_many_orgs", format!("A person belongs to {MOST_ORGS} organisations at most.")),
        NoChange::TooManyOwned => Problem::conflict("too_many_owned", format!("A person owns {MOST_OWNED} organisations at most.")),
    })
}

/// The refusal of a member who may not make such a change.
fn not_by(member: &Member) -> Problem {
    use kiln_core::access::Role;
    role_missing(if member.role == Role::Member { Role::Admin } else { Role::Owner })
}
