//! Shares: a link that shows what one job made to whoever holds it, until it expires or is deleted.
//!
//! Promises: the token is 256 random bits, shown once and kept by its hash; a link that is unknown, expired or deleted
//! answers the same 404; what a link shows names neither the account nor the job.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use kiln_core::FieldError;
use kiln_core::ids::{JobId, ShareId};
use kiln_core::job::State as JobState;
use kiln_core::time::{Millis, parse_rfc3339, rfc3339};
use kiln_http::idempotency::replay_response;
use kiln_http::view::{ArtifactView, with_urls};
use kiln_http::{App, Body, For, Id, Key, Once, Page, Paging, Problem, Result, new_secret, pace, scope};
use kiln_store::{NoRoom, Room, Share, keys};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// How often "look for an earlier answer, then write" is repeated: a second time finds what a first lost to.
const TRIES: usize = 3;

fn api() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(create, list)).routes(routes!(remove)).routes(routes!(show))
}

/// The function's endpoints.
pub fn router(app: App) -> axum::Router {
    kiln_http::lambda::finish(api().with_state(app).split_for_parts().0)
}

/// The function's part of the OpenAPI document.
pub fn openapi() -> utoipa::openapi::OpenApi {
    api().into_openapi()
}

/// What to share: a job or a creation (which has its job's id), and until when.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ShareRequest {
    #[schema(value_type = Option<String>, example = "job_01JD6Z3M8Q4V5X7Y9A2B3C4D5E")]
    job_id: Option<JobId>,
    #[schema(value_type = Option<String>)]
    creation_id: Option<JobId>,
    /// In the future; left out, the link works until it is deleted.
    #[schema(example = "2027-01-01T00:00:00Z", format = DateTime)]
    expires_at: Option<String>,
}

/// A new link.
#[derive(Debug, Serialize, ToSchema)]
struct NewShare {
    #[schema(example = "shr_01JD6Z3M8Q4V5X7Y9A2B3C4D5E")]
    id: String,
    /// Shown this once: it isn't stored, so the answer to a repeated request lacks it.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    /// Has the token in it, so it too is shown this once.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "https://kiln.example/share/3q2-7wAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")]
    url: Option<String>,
    #[schema(example = "2027-01-01T00:00:00.000Z", format = DateTime)]
    expires_at: Option<String>,
}

impl NewShare {
    /// As it may be stored and told again.
    fn without_secret(share: &Share) -> Self {
        Self { id: share.share_id.to_string(), token: None, url: None, expires_at: share.expires_at.map(rfc3339) }
    }

    fn with_secret(self, public_url: &str, token: String) -> Self {
        Self { url: Some(format!("{public_url}/share/{token}")), token: Some(token), ..self }
    }
}

/// A link as its owner sees it: the token is not kept, so it can't be shown again.
#[derive(Debug, Serialize, ToSchema)]
struct ShareView {
    #[schema(example = "shr_01JD6Z3M8Q4V5X7Y9A2B3C4D5E")]
    id: String,
    #[schema(example = "job_01JD6Z3M8Q4V5X7Y9A2B3C4D5E")]
    job_id: String,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    expires_at: Option<String>,
}

impl From<&Share> for ShareView {
    fn from(share: &Share) -> Self {
        Self {
            id: share.share_id.to_string(),
            job_id: share.job_id.to_string(),
            created_at: rfc3339(share.created_at),
            expires_at: share.expires_at.map(rfc3339),
        }
    }
}

/// What the holder of a link sees.
#[derive(Debug, Serialize, ToSchema)]
struct Shared {
    #[schema(example = "upscale")]
    kind: String,
    /// When it was made.
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    expires_at: Option<String>,
    artifacts: Vec<ArtifactView>,
}

impl ShareRequest {
    fn job(&self) -> std::result::Result<&JobId, FieldError> {
        match (&self.job_id, &self.creation_id) {
            (Some(id), None) | (None, Some(id)) => Ok(id),
            (Some(_), Some(_)) => Err(FieldError::new("creation_id", "share one thing: a job_id or a creation_id")),
            (None, None) => Err(FieldError::new("job_id", "what is to be shared is missing")),
        }
    }

    fn expires_at(&self, now: Millis) -> std::result::Result<Option<Millis>, FieldError> {
        let Some(text) = &self.expires_at else { return Ok(None) };
        let at = parse_rfc3339(text).ok_or_else(|| FieldError::new("expires_at", "a time such as 2027-01-01T00:00:00Z"))?;
        if at <= now {
            return Err(FieldError::new("expires_at", "this time has passed"));
        }
        Ok(Some(at))
    }
}

/// True while the link may be used; an expired one may still be stored.
fn is_open(share: &Share, now: Millis) -> bool {
    share.expires_at.is_none_or(|at| at > now)
}

/// What can't be a token isn't looked for.
fn is_token(text: &str) -> bool {
    text.len() == 43 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// Makes a link to what a succeeded job made.
#[utoipa::path(post, path = "/api/v1/shares", tag = "shares", request_body = ShareRequest,
    params(("Idempotency-Key" = Option<String>, Header, pattern = "^[!-~]{1,128}$", description = "Repeats with the same key and body get the same answer for 24 hours, without `token` and `url`.")),
    responses((status = 201, body = NewShare), (status = 404), (status = 409)), security(("session" = []), ("api_key" = ["shares:write"])))]
async fn create(State(app): State<App>, caller: For<scope::SharesWrite>, key: Key, body: Body<ShareRequest>) -> Result<Response> {
    let once = Once::new("shares", key, &body.bytes);
    let request = body.value;
    for _ in 0..TRIES {
        let now = app.now();
        if let Some((route, hash)) = once.lookup() {
            let replay = app.table().replay(&caller.account_id, route, hash).await?;
            if let Some(replayed) = once.replayed(replay, now)? {
                return Ok(replay_response(replayed));
            }
        }
        let job_id = request.job()?;
        let expires_at = request.expires_at(now)?;
        let (job, creation) = app.table().job_and_creation(&caller.account_id, job_id).await?;
        let job = job.ok_or_else(Problem::not_found)?;
        if job.state != JobState::Succeeded {
            return Err(Problem::conflict("job_not_finished", "Only what a job has made can be shared; this one has not succeeded."));
        }
        // Its owner has deleted what it made.
        if creation.is_none() {
            return Err(Problem::not_found());
        }
        let secret = new_secret("");
        let share = Share {
            v: 1,
            share_id: ShareId::new(now, app.random()),
            account_id: caller.account_id.clone(),
            job_id: job.job_id,
            token_hash: secret.hash,
            created_at: now,
            expires_at,
        };
        let answer = NewShare::without_secret(&share);
        let stored = serde_json::to_string(&answer).map_err(Problem::internal)?;
        let record = once.record(&caller.account_id, StatusCode::CREATED, stored, now);
        let account = app.table().account(&caller.account_id).await?.ok_or_else(Problem::not_found)?;
        let room = Room::of(&account, app.settings(), now);
        match app.table().put_share(&share, &account, &room, record.as_ref()).await? {
            Ok(true) => {
                tracing::info!(share_id = %share.share_id, job_id = %share.job_id, "share made");
                let answer = answer.with_secret(app.public_url(), secret.token);
                return Ok((StatusCode::CREATED, pace::headers(room.step, now), Json(answer)).into_response());
            }
            // The same key came in between, so its answer is to be found now.
            Ok(false) | Err(NoRoom::Moved) => {}
            Err(why) => return Err(pace::no_room(why, app.settings(), now)),
        }
    }
    Err(kiln_store::Error::Busy.into())
}

/// The account's links, newest first; expired ones too, until they are deleted.
#[utoipa::path(get, path = "/api/v1/shares", tag = "shares", params(kiln_http::paging::PagingQuery), responses((status = 200, body = Page<ShareView>)), security(("session" = []), ("api_key" = ["shares:write"])))]
async fn list(State(app): State<App>, caller: For<scope::SharesWrite>, paging: Paging) -> Result<Json<Page<ShareView>>> {
    let after = paging.after(keys::SHARE)?;
    let (shares, next) = app.table().shares(&caller.account_id, paging.limit, after.as_deref()).await?;
    Ok(Json(Page::new(shares.iter().map(ShareView::from).collect(), next)))
}

/// Ends a link: from now on it is as unknown as any other.
#[utoipa::path(delete, path = "/api/v1/shares/{id}", tag = "shares", params(("id" = String, Path)), responses((status = 204)), security(("session" = []), ("api_key" = ["shares:write"])))]
async fn remove(State(app): State<App>, caller: For<scope::SharesWrite>, Id(id): Id<ShareId>) -> Result<StatusCode> {
    let share = app.table().share(&caller.account_id, &id).await?.ok_or_else(Problem::not_found)?;
    app.table().forget_share(&share).await?;
    tracing::info!(share_id = %share.share_id, "share ended");
    Ok(StatusCode::NO_CONTENT)
}

/// What a link shows, to anybody who holds it.
#[utoipa::path(get, path = "/api/v1/share/{token}", tag = "shares", params(("token" = String, Path)), responses((status = 200, body = Shared)))]
async fn show(State(app): State<App>, Id(token): Id<String>) -> Result<Json<Shared>> {
    if !is_token(&token) {
        return Err(Problem::not_found());
    }
    let share = app.table().share_by_token(&kiln_store::hash(&token)).await?;
    let share = share.filter(|share| is_open(share, app.now())).ok_or_else(Problem::not_found)?;
    // What was shared may have been deleted since.
    let creation = app.table().creation(&share.account_id, &share.job_id).await?.ok_or_else(Problem::not_found)?;
    Ok(Json(Shared {
        kind: creation.kind,
        created_at: rfc3339(creation.created_at),
        expires_at: share.expires_at.map(rfc3339),
        artifacts: with_urls(app.files(), &creation.artifacts).await?,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_core::ids::AccountId;

    fn request(json: serde_json::Value) -> ShareRequest {
        serde_json::from_value(json).unwrap()
    }

    fn share(expires_at: Option<Millis>) -> Share {
        Share {
            v: 1,
            share_id: ShareId::new(1, 1),
            account_id: AccountId::new(1, 2),
            job_id: JobId::new(1, 3),
            token_hash: kiln_store::hash("token"),
            created_at: 1,
            expires_at,
        }
    }

    #[test]
    fn one_thing_is_shared() {
        let id = JobId::new(1, 3);
        assert_eq!(request(serde_json::json!({"job_id": id})).job().unwrap(), &id);
        assert_eq!(request(serde_json::json!({"creation_id": id})).job().unwrap(), &id);
        assert_eq!(request(serde_json::json!({})).job().unwrap_err().field, "job_id");
        assert_eq!(request(serde_json::json!({"job_id": id, "creation_id": id})).job().unwrap_err().field, "creation_id");
        assert!(serde_json::from_value::<ShareRequest>(serde_json::json!({"version_id": "ver_1"})).is_err());
        assert!(serde_json::from_value::<ShareRequest>(serde_json::json!({"job_id": "upl_1"})).is_err());
    }

    #[test]
    fn a_link_ends_in_the_future() {
        let at = |text: &str| request(serde_json::json!({"job_id": JobId::new(1, 3), "expires_at": text})).expires_at(10_000);
        assert_eq!(at("1970-01-01T00:00:10.001Z").unwrap(), Some(10_001));
        assert_eq!(at("1970-01-01T01:00:11+01:00").unwrap(), Some(11_000));
        for bad in ["1970-01-01T00:00:10Z", "tomorrow", "", "2027-01-01"] {
            assert_eq!(at(bad).unwrap_err().field, "expires_at", "{bad}");
        }
        assert_eq!(request(serde_json::json!({})).expires_at(10_000).unwrap(), None);
    }

    #[test]
    fn an_expired_link_is_closed_before_it_is_swept() {
        assert!(is_open(&share(None), i64::MAX));
        assert!(is_open(&share(Some(11)), 10));
        assert!(!is_open(&share(Some(10)), 10));
    }

    #[test]
    fn a_token_is_256_bits_of_base64url_and_kept_as_its_hash() {
        let secret = new_secret("");
        assert!(is_token(&secret.token));
        assert_eq!(secret.hash, kiln_store::hash(&secret.token));
        for bad in ["", "short", &"a".repeat(42), &"a".repeat(44), &"=".repeat(43), &format!("{}#", "a".repeat(42))] {
            assert!(!is_token(bad), "{bad}");
        }
    }

    #[test]
    fn the_recorded_answer_has_no_secret_and_the_first_one_has() {
        let stored = serde_json::to_value(NewShare::without_secret(&share(Some(11_000)))).unwrap();
        assert_eq!(stored, serde_json::json!({"id": ShareId::new(1, 1).as_str(), "expires_at": "1970-01-01T00:00:11.000Z"}));
        let first = NewShare::without_secret(&share(None)).with_secret("https://kiln.example", "tok".to_owned());
        let first = serde_json::to_value(first).unwrap();
        let expected = serde_json::json!({"id": ShareId::new(1, 1).as_str(), "token": "tok", "url": "https://kiln.example/share/tok", "expires_at": null});
        assert_eq!(first, expected);
    }

    #[test]
    fn each_route_is_documented() {
        let document = openapi();
        let paths: Vec<_> = document.paths.paths.keys().map(String::as_str).collect();
        assert_eq!(paths, ["/api/v1/share/{token}", "/api/v1/shares", "/api/v1/shares/{id}"]);
        let open = document.paths.paths["/api/v1/share/{token}"].get.as_ref().unwrap();
        assert!(open.security.is_none(), "whoever holds a link needs no account");
    }
}
