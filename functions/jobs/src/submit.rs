//! Quote and submit. A submit is: read once, decide, ONE transaction (hold, counters, entry, job, uploads in use, idempotency
//! record), then a hint. Accepted means committed.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use kiln_core::access::Scope;
use kiln_core::machine::{self, DAY};
use kiln_core::price::{self, Quote};
use kiln_core::time::Millis;
use kiln_http::ask::{self, JobRequest};
use kiln_http::flow::{self, TRIES};
use kiln_http::idempotency::replay_response;
use kiln_http::view::JobView;
use kiln_http::{App, Body, Key, Once, Problem, RequestId, Result, Signed};
use kiln_store::{Commit, Submitted, Why};

/// What a job would cost, line by line.
#[utoipa::path(post, path = "/api/v1/jobs/quote", tag = "jobs", request_body = JobRequest, responses((status = 200, body = Quote)), security(("session" = []), ("api_key" = ["jobs:write"])))]
pub(crate) async fn quote(State(app): State<App>, signed: Signed, body: Body<JobRequest>) -> Result<Json<Quote>> {
    let request = body.value;
    ask::check_inputs(&request)?;
    let found = app.table().before_submit(&signed.asked, &request.inputs, request.webhook.as_ref(), None).await?;
    signed.check(found.proof.clone(), Some(Scope::JobsWrite), app.now())?.note_use(&app).await;
    let valid = ask::validate(&app, &request)?;
    let inputs = ask::inputs(&request, &found.uploads)?;
    ask::check_webhook(&request, found.webhook.as_ref())?;
    let own = found.account.map(|account| account.prices).unwrap_or_default();
    Ok(Json(price::quote(app.prices(), &own, valid.kind.name, &valid.params, &inputs, request.priority)?.quote))
}

/// Asks for a job: its price is held, and a worker will take it.
#[utoipa::path(post, path = "/api/v1/jobs", tag = "jobs", request_body = JobRequest,
    params(("Idempotency-Key" = Option<String>, Header, pattern = "^[!-~]{1,128}$", description = "Repeats with the same key and body get the same answer for 24 hours.")),
    responses((status = 202, body = JobView), (status = 402)), security(("session" = []), ("api_key" = ["jobs:write"])))]
pub(crate) async fn submit(State(app): State<App>, signed: Signed, RequestId(request_id): RequestId, key: Key, body: Body<JobRequest>) -> Result<Response> {
    let once = Once::new("jobs", key, &body.bytes);
    let request = body.value;
    // Before the one call that reads all of them: it takes a hundred keys.
    ask::check_inputs(&request)?;
    for _ in 0..TRIES {
        let now = app.now();
        let found = app.table().before_submit(&signed.asked, &request.inputs, request.webhook.as_ref(), once.lookup()).await?;
        let caller = signed.check(found.proof.clone(), Some(Scope::JobsWrite), now)?;
        if let Some(replayed) = once.replayed(found.replay.clone(), now)? {
            return Ok(replay_response(replayed));
        }
        let valid = ask::validate(&app, &request)?;
        let account = admit(&app, &found)?;
        let inputs = ask::inputs(&request, &found.uploads)?;
        ask::check_webhook(&request, found.webhook.as_ref())?;
        let priced = price::quote(app.prices(), &account.prices, valid.kind.name, &valid.params, &inputs, request.priority)?;
        // The read was consistent: a transaction that can only be refused would be in the way of those that can't.
        if account.counters.available < priced.quote.quote_millicredits {
            return Err(lacking(priced.quote.quote_millicredits, account.counters.available));
        }
        let draft = ask::draft(&app, &caller.account_id, &request, &valid, inputs, &priced, &request_id);
        let change = machine::submit(draft, &account.counters, app.settings(), now);
        let view = JobView::new(&change.after, vec![], None);
        let answer = serde_json::to_string(&view).map_err(Problem::internal)?;
        let record = once.record(&caller.account_id, StatusCode::ACCEPTED, answer, now);
        let with = Commit { entry_id: flow::entry_id(&app, &change), uses: &request.inputs, idempotent: record.as_ref(), ..Commit::default() };
        match app.table().commit(&change, with, now).await? {
            Ok(()) => {
                tracing::info!(job_id = %change.after.job_id, kind = valid.kind.name, "job accepted");
                futures::join!(flow::after_commit(&app, &change, &account.counters), flow::wake(&app, &change.after, found.standing.as_ref()));
                caller.note_use(&app).await;
                let paced = change.account.step.map(|step| kiln_http::pace::headers(step, now));
                return Ok((StatusCode::ACCEPTED, paced, [(header::LOCATION, format!("/api/v1/jobs/{}", view.id))], Json(view)).into_response());
            }
            Err(Why::NoFunds { available }) => return Err(lacking(priced.quote.quote_millicredits, available)),
            Err(Why::TooFast) => return Err(kiln_http::pace::too_fast(app.settings(), now)),
            Err(Why::DayFull { edits }) => return Err(day_full(edits, now)),
            Err(Why::QueuedFull) => return Err(Problem::too_many("account_queue_full", "Your queue is full; wait for some of your jobs to finish.", 30)),
            Err(Why::AccountGone | Why::Suspended) => return Err(suspended()),
            // An upload or the idempotency record changed under us: look again, and say what is found.
            Err(Why::Upload(_) | Why::Repeated | Why::Moved | Why::RunningFull) => {}
        }
    }
    Err(kiln_store::Error::Busy.into())
}

/// What the job costs, what there is and what is lacking.
fn lacking(quote: i64, available: i64) -> Problem {
    let detail = format!("The job costs {}; available: {}; lacking: {}.", credits(quote), credits(available), credits(quote - available));
    Problem::new(StatusCode::PAYMENT_REQUIRED, "insufficient_credits", detail)
}

fn day_full(edits: bool, now: Millis) -> Problem {
    let what = if edits { "edits" } else { "jobs" };
    let until_midnight = (DAY - now.rem_euclid(DAY)) as u64 / 1000;
    Problem::too_many(
        "daily_limit",
        format!("Today's {what} are used up; they begin anew at midnight UTC. Whoever has bought credits has no such limit."),
        until_midnight,
    )
}

fn suspended() -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "account_suspended", "This account may not ask for jobs.")
}

fn credits(millicredits: i64) -> String {
    let number = format!("{:.3}", millicredits as f64 / 1000.0);
    let number = number.trim_end_matches('0').trim_end_matches('.');
    format!("{number} credit{}", if number == "1" { "" } else { "s" })
}

/// The account, if it and the queue as a whole take another job.
fn admit<'a>(app: &App, found: &'a Submitted) -> Result<&'a kiln_store::Account> {
    let account = found.account.as_ref().filter(|account| !account.suspended).ok_or_else(suspended)?;
    let unfinished = found.depth.as_ref().map_or(0, kiln_store::Depth::unfinished);
    if unfinished >= app.settings().queue_ceiling {
        return Err(Problem::too_many("queue_full", format!("{unfinished} jobs are waiting, which is as many as we take; please ask again later."), 60));
    }
    Ok(account)
}
