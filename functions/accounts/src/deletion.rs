//! The end of an account: a person's own, or an organisation's by its owner. What opens it ends within the request; its files and items are
//! maintenance's, which owes them from the moment of the commit.

use crate::{TRIES, place, refused};
use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{AppendHeaders, IntoResponse};
use kiln_core::FieldError;
use kiln_core::access::Role;
use kiln_core::ids::AccountId;
use kiln_core::job::Counters;
use kiln_core::time::{Millis, rfc3339};
use kiln_http::caller::cookie;
use kiln_http::mail::AccountDeleted;
use kiln_http::{App, Body, Id, Person, Problem, Result, limits};
use kiln_store::{Account, Member, NoEnd, Places};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Pages of sessions, keys and links that end within the request; maintenance ends what is beyond.
const ROUNDS: u32 = 20;

/// That it is meant.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Confirm {
    /// For a person, their mail address; for an organisation, its name.
    #[schema(max_length = 254, example = "ada@example.org")]
    confirm: String,
}

/// What happens now.
#[derive(Debug, Serialize, ToSchema)]
pub struct Going {
    /// Nothing opens the account any more from here on; its files are removed within minutes.
    #[schema(format = DateTime)]
    deleted_at: String,
}

fn going(now: Millis) -> Going {
    Going { deleted_at: rfc3339(now) }
}

fn check(given: &str, expected: &str, what: &str) -> Result<()> {
    // Without case and outer space, as addresses are compared.
    if given.trim().to_lowercase() == expected.trim().to_lowercase() && !expected.is_empty() {
        return Ok(());
    }
    Err(FieldError::new("confirm", what).into())
}

fn idle(counters: &Counters) -> bool {
    counters.running == 0 && counters.queued == 0 && counters.held == 0
}

fn plan_runs() -> Problem {
    Problem::conflict("plan_runs", "A plan is paid by this account; end it first, and wait for the end of its period.")
}

fn unfinished() -> Problem {
    Problem::conflict("jobs_unfinished", "There are jobs that have not ended; cancel them first, or wait for them.")
}

/// Deletes your account: signed out everywhere at once, files and jobs removed, the books kept without you. Credits are gone with it.
#[utoipa::path(delete, path = "/api/v1/me", tag = "accounts", request_body = Confirm, responses((status = 202, body = Going, headers(("set-cookie" = String, description = "Clears kiln_session"))), (status = 409, description = "Jobs have not ended, or an organisation would be left without an owner.")), security(("session" = [])))]
pub async fn delete_me(State(app): State<App>, person: Person, body: Body<Confirm>) -> Result<impl IntoResponse> {
    let id = &person.account_id;
    for _ in 0..TRIES {
        let gone = || Problem::unauthorized("The account is gone.");
        let account = app.table().account(id).await?.filter(|account| account.state.is_none()).ok_or_else(gone)?;
        let email = account.email.clone().ok_or_else(gone)?;
        check(&body.value.confirm, &email, "your mail address, to confirm that your account is to be deleted")?;
        if !idle(&account.counters) {
            return Err(unfinished());
        }
        // Else the payment service would go on taking money for an account that is gone.
        if account.subscription.as_ref().is_some_and(kiln_store::Subscription::runs) {
            return Err(plan_runs());
        }
        let orgs = all_orgs(&app, id).await?;
        orgs.iter().try_for_each(|(org, member)| may_leave(org, member))?;
        let Some(places) = places(&app, &orgs).await? else { continue };
        let now = app.now();
        let fingerprint = limits::address(&app, &email).await?;
        match app.table().delete_person(&account, &email, &fingerprint, &places, now).await? {
            Ok(()) => {}
            Err(NoEnd::Unfinished) => return Err(unfinished()),
            Err(NoEnd::PlanRuns) => return Err(plan_runs()),
            Err(NoEnd::Gone | NoEnd::Moved) => continue,
        }
        shut(&app, id).await?;
        for org in places.ended.iter().map(|member| &member.org_id).chain(orgs.iter().filter(|(org, _)| org.state.is_some()).map(|(org, _)| &org.account_id)) {
            shut(&app, org).await?;
        }
        if let Err(error) = app.send_mail(&email, &AccountDeleted { account: None, at: now }).await {
            tracing::error!(%error, "a mail about a deleted account could not be sent");
        }
        tracing::info!(account_id = %id, "account deleted");
        return Ok((StatusCode::ACCEPTED, AppendHeaders([(header::SET_COOKIE, cookie(&app, "", 0))]), Json(going(now))));
    }
    Err(kiln_store::Error::Busy.into())
}

/// Also those that are being deleted, so that what a death left half done is finished.
async fn all_orgs(app: &App, person: &AccountId) -> Result<Vec<(Account, Member)>> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let (orgs, next) = app.table().orgs(person, 50, after.as_deref()).await?;
        all.extend(orgs);
        after = next;
        if after.is_none() {
            return Ok(all);
        }
    }
}

/// Whether a person's end leaves the organisation in order: one with other members keeps an owner, one without ends too.
fn may_leave(org: &Account, member: &Member) -> Result<()> {
    let name = org.name.as_deref().unwrap_or_default();
    if org.state.is_some() {
        return Ok(());
    }
    if org.tally.n_members <= 1 {
        if org.subscription.as_ref().is_some_and(kiln_store::Subscription::runs) {
            return Err(Problem::conflict("plan_runs", format!("The organisation “{name}”, which ends with you, pays for a plan; end that first.")));
        }
        return if idle(&org.counters) {
            Ok(())
        } else {
            Err(Problem::conflict("jobs_unfinished", format!("The organisation “{name}”, which ends with you, has jobs that have not ended.")))
        };
    }
    if member.role == Role::Owner && org.tally.n_owners <= 1 {
        let detail = format!("You are the last owner of “{name}”, which has other members: make one of them an owner, or delete it.");
        return Err(Problem::conflict("last_owner", detail));
    }
    Ok(())
}

/// What ends and what is left together with the person's account. Places beyond what fits into one transaction are left before; `None` when
/// one has changed meanwhile.
async fn places(app: &App, orgs: &[(Account, Member)]) -> Result<Option<Places>> {
    let mut places = Places::default();
    for (org, member) in orgs.iter().filter(|(org, _)| org.state.is_none()) {
        if org.tally.n_members <= 1 {
            places.ended.push(member.clone());
        } else {
            places.left.push(member.clone());
        }
    }
    if places.left.len() <= Places::MOST_LEFT {
        return Ok(Some(places));
    }
    for member in places.left.split_off(Places::MOST_LEFT) {
        if let Err(Some(problem)) = app.table().remove_member(&member, &member).await?.map_err(|why| refused(app, why)) {
            return Err(problem);
        }
    }
    // What the account says of its places has changed by that.
    Ok(None)
}

/// Ends what opens an account; what is more than fits into a request is maintenance's.
async fn shut(app: &App, account: &AccountId) -> Result<()> {
    if !app.table().shut(account, ROUNDS).await? {
        tracing::warn!(account_id = %account, "an account under deletion has more that opens it than one request ends");
    }
    Ok(())
}

/// Deletes an organisation; an owner may. Its members are out at once, its files and jobs removed, its books kept without its name.
#[utoipa::path(delete, path = "/api/v1/orgs/{id}", tag = "accounts", params(("id" = String, Path)), request_body = Confirm, responses((status = 202, body = Going), (status = 409)), security(("session" = [])))]
pub async fn delete_org(State(app): State<App>, person: Person, Id(id): Id<AccountId>, body: Body<Confirm>) -> Result<(StatusCode, Json<Going>)> {
    for _ in 0..TRIES {
        let (org, member) = place(&app, &person, &id).await?;
        if member.role < Role::Owner {
            return Err(kiln_http::caller::role_missing(Role::Owner));
        }
        check(&body.value.confirm, org.name.as_deref().unwrap_or_default(), "the organisation's name, to confirm that it is to be deleted")?;
        let now = app.now();
        match app.table().delete_org(&member, now).await? {
            Ok(()) => {}
            Err(NoEnd::Unfinished) => return Err(unfinished()),
            Err(NoEnd::PlanRuns) => return Err(plan_runs()),
            Err(NoEnd::Gone) => return Err(Problem::not_found()),
            Err(NoEnd::Moved) => continue,
        }
        shut(&app, &id).await?;
        tracing::info!(org_id = %id, "organisation deleted");
        return Ok((StatusCode::ACCEPTED, Json(going(now))));
    }
    Err(kiln_store::Error::Busy.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_store::{AccountKind, Tally};

    #[test]
    fn a_deletion_is_meant_by_the_address_and_by_nothing_else() {
        assert!(check(" Ada@Example.org ", "ada@example.org", "").is_ok());
        for bad in ["", "ada@example.com", "yes"] {
            assert_eq!(check(bad, "ada@example.org", "").unwrap_err().field.as_deref(), Some("confirm"), "{bad}");
        }
        assert!(check("", "", "").is_err());
    }

    #[test]
    fn a_last_owner_may_go_only_where_nobody_else_is_left() {
        let id = AccountId::new(1, 1);
        let org = |n_members, n_owners, running| Account {
            tally: Tally { n_members, n_owners, ..Tally::default() },
            counters: Counters { running, ..Counters::default() },
            ..Account::new(id.clone(), AccountKind::Organisation, 0, 1)
        };
        let member = |role| Member { org_id: id.clone(), account_id: AccountId::new(1, 2), role, joined_at: 1 };
        let code = |org: Account, role| may_leave(&org, &member(role)).err().map(|problem| problem.code);
        assert_eq!(code(org(2, 1, 0), Role::Owner).as_deref(), Some("last_owner"));
        assert_eq!(code(org(2, 1, 1), Role::Member), None);
        assert_eq!(code(org(2, 2, 1), Role::Owner), None);
        assert_eq!(code(org(1, 1, 0), Role::Owner), None);
        assert_eq!(code(org(1, 1, 1), Role::Owner).as_deref(), Some("jobs_unfinished"));
    }
}
