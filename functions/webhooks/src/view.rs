//! How endpoints and deliveries are shown: never a secret that is kept.

use kiln_core::hooks::EventType;
use kiln_core::time::rfc3339;
use kiln_store::hooks::{Delivery, DeliveryState, Endpoint, Try, WhyDisabled};
use serde::Serialize;
use utoipa::ToSchema;

/// An endpoint as its owner sees it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EndpointView {
    #[schema(example = "whe_01JD6Z3M8Q4V5X7Y9A2B3C4D5E")]
    id: String,
    #[schema(example = "https://example.com/kiln")]
    url: String,
    #[schema(example = json!(["job.*", "credits.purchased"]))]
    events: Vec<String>,
    enabled: bool,
    /// Why it was disabled, when its owner didn't do it: `gone` (it answered 410) or `failing` (nothing but failures for days).
    disabled_because: Option<&'static str>,
    #[schema(format = DateTime)]
    disabled_at: Option<String>,
    /// The first failure since the last success.
    #[schema(format = DateTime)]
    failing_since: Option<String>,
    /// Until when the secret before this one signs too.
    #[schema(format = DateTime)]
    old_secret_until: Option<String>,
    #[schema(format = DateTime)]
    created_at: String,
}

impl EndpointView {
    pub(crate) fn new(endpoint: &Endpoint, now: kiln_core::time::Millis) -> Self {
        Self {
            id: endpoint.endpoint_id.to_string(),
            url: endpoint.url.clone(),
            events: endpoint.events.as_slice().to_vec(),
            enabled: endpoint.enabled,
            disabled_because: endpoint.disabled_because.map(|why| match why {
                WhyDisabled::Gone => "gone",
                WhyDisabled::Failing => "failing",
            }),
            disabled_at: endpoint.disabled_at.map(rfc3339),
            failing_since: endpoint.failing_since.map(rfc3339),
            old_secret_until: endpoint.old_secret_until.filter(|until| *until > now).map(rfc3339),
            created_at: rfc3339(endpoint.created_at),
        }
    }
}

/// A new endpoint, or an endpoint with a new secret.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WithSecret {
    #[serde(flatten)]
    pub(crate) endpoint: EndpointView,
    /// Shown this once: the answer to a repeated request lacks it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD")]
    pub(crate) secret: Option<String>,
}

/// One try of a delivery.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TryView {
    #[schema(format = DateTime)]
    at: String,
    /// Of the answer; null when there was none.
    #[schema(example = 200)]
    status: Option<u16>,
    /// Why there was no answer: `timed_out`, `dns`, `address_not_allowed`, `connect`, `tls` or `broken`.
    error: Option<String>,
    /// Until the answer's headers, or until it failed.
    latency_ms: u64,
    /// The first 200 bytes of an answer that was no success.
    answer: Option<String>,
}

impl From<&Try> for TryView {
    fn from(tried: &Try) -> Self {
        Self { at: rfc3339(tried.at), status: tried.status, error: tried.error.clone(), latency_ms: tried.latency_ms, answer: tried.answer.clone() }
    }
}

/// One event for one endpoint, with its tries.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeliveryView {
    /// Also the header `webhook-id` of each try.
    #[schema(example = "dlv_01JD6Z3M8Q4V5X7Y9A2B3C4D5E")]
    id: String,
    #[schema(example = "whe_01JD6Z3M8Q4V5X7Y9A2B3C4D5E")]
    endpoint_id: String,
    /// The same for the deliveries of one event to several endpoints.
    #[schema(example = "evt_01JD6Z3M8Q4V5X7Y9A2B3C4D5E")]
    event_id: String,
    r#type: EventType,
    /// `pending`, `delivered` or `failed`.
    state: &'static str,
    /// Why it failed: `tries_used_up`, `endpoint_gone`, `endpoint_disabled`, `endpoint_deleted`, `expired` or `sender_died`.
    reason: Option<String>,
    tries: Vec<TryView>,
    /// When it is tried next, if it is.
    #[schema(format = DateTime)]
    next_try_at: Option<String>,
    /// When it happened.
    #[schema(format = DateTime)]
    created_at: String,
    /// What is sent, byte for byte; absent in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
}

impl DeliveryView {
    pub(crate) fn new(delivery: &Delivery) -> Self {
        Self {
            id: delivery.delivery_id.to_string(),
            endpoint_id: delivery.endpoint_id.to_string(),
            event_id: delivery.event_id.to_string(),
            r#type: delivery.kind,
            state: match delivery.state {
                DeliveryState::Pending => "pending",
                DeliveryState::Delivered => "delivered",
                DeliveryState::Failed => "failed",
            },
            reason: delivery.reason.clone(),
            tries: delivery.tries.iter().map(TryView::from).collect(),
            next_try_at: delivery.next_check_at.filter(|_| delivery.state == DeliveryState::Pending).map(rfc3339),
            created_at: rfc3339(delivery.at),
            body: None,
        }
    }

    pub(crate) fn with_body(delivery: &Delivery) -> Self {
        Self { body: Some(delivery.body.clone()), ..Self::new(delivery) }
    }
}
