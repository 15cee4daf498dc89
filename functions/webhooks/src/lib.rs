//! Outbound webhooks for their owner: endpoints with their secrets, and the deliveries with every try. What is sent, `deliveries` sends.
//!
//! Promises: a secret is shown once, when it is made, and kept sealed; an endpoint is an https address of the public internet; tests and
//! replays are limited, so that nobody uses us to flood somebody else.

mod deliveries;
mod endpoints;
mod view;

use kiln_core::ids::AccountId;
use kiln_core::time::Millis;
use kiln_http::{App, Problem, Result};
use kiln_store::hooks::Delivery;
use kiln_store::{DeliveryHint, Room};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// How often "read, decide, write" is repeated: a second time finds what a first lost to.
const TRIES: usize = 8;
/// Tests and replays of one account in an hour.
const BY_HAND: u64 = 60;

fn api() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(endpoints::create, endpoints::list))
        .routes(routes!(endpoints::show, endpoints::change, endpoints::remove))
        .routes(routes!(endpoints::rotate))
        .routes(routes!(endpoints::test))
        .routes(routes!(deliveries::list))
        .routes(routes!(deliveries::show))
        .routes(routes!(deliveries::replay))
}

/// The function's endpoints.
pub fn router(app: App) -> axum::Router {
    kiln_http::lambda::finish(api().with_state(app).split_for_parts().0)
}

/// The function's part of the OpenAPI document.
pub fn openapi() -> utoipa::openapi::OpenApi {
    api().into_openapi()
}

/// The room that one more webhook sent by hand takes in its account.
async fn by_hand(app: &App, account: &AccountId, now: Millis) -> Result<Room> {
    let account = app.table().account(account).await?.ok_or_else(Problem::not_found)?;
    Ok(Room::of(&account, app.settings(), now).by_hand(&account, BY_HAND, now))
}

/// Has it sent at once; if that can't be said, its schedule finds it within a minute.
async fn send_now(app: &App, delivery: &Delivery) {
    if let Err(error) = app.queues().deliver(&DeliveryHint::delivery(&delivery.account_id, &delivery.delivery_id), 0).await {
        tracing::warn!(%error, delivery_id = %delivery.delivery_id, "a delivery was not hinted; its schedule will find it");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_route_is_documented_and_needs_a_session() {
        let document = openapi();
        let paths: Vec<_> = document.paths.paths.keys().map(String::as_str).collect();
        let expected = [
            "/api/v1/deliveries",
            "/api/v1/deliveries/{id}",
            "/api/v1/deliveries/{id}/replay",
            "/api/v1/webhook-endpoints",
            "/api/v1/webhook-endpoints/{id}",
            "/api/v1/webhook-endpoints/{id}/rotate-secret",
            "/api/v1/webhook-endpoints/{id}/test",
        ];
        assert_eq!(paths, expected);
        for (path, item) in &document.paths.paths {
            let operations = [&item.get, &item.post, &item.patch, &item.delete].into_iter().flatten();
            assert!(operations.into_iter().all(|operation| operation.security.is_some()), "{path}");
        }
    }
}
