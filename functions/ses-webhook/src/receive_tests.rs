//! The route itself, with the test's own signer in SNS's place. What a genuine notification changes is the system's tests' to say.

use crate::sns::{Envelope, Kind};
use crate::testing::{Shelf, TOPIC, certificate, confirmation, notification, signed};
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use kiln_core::time::rfc3339;
use kiln_http::{App, Problem};
use serde_json::{Value, json};
use std::sync::Arc;
use tower::ServiceExt;

async fn app() -> App {
    let env = [("KILN_STAGE", "local"), ("KILN_TABLE", "none"), ("KILN_MAIL_TOPIC", TOPIC)];
    App::new(env.map(|(name, value)| (name.to_owned(), value.to_owned())).into()).await.unwrap()
}

fn json_of(envelope: &Envelope) -> Value {
    let mut body = json!({
        "Type": envelope.kind.as_str(), "MessageId": envelope.message_id, "TopicArn": envelope.topic_arn, "Message": envelope.message,
        "Timestamp": envelope.timestamp, "SignatureVersion": envelope.signature_version, "Signature": envelope.signature,
        "SigningCertURL": envelope.signing_cert_url, "UnsubscribeURL": "https://sns.eu-central-1.amazonaws.com/?Action=Unsubscribe",
    });
    for (name, value) in [("Subject", &envelope.subject), ("SubscribeURL", &envelope.subscribe_url), ("Token", &envelope.token)] {
        if let Some(value) = value {
            body[name] = json!(value);
        }
    }
    body
}

/// Signed as of now, since the route asks the clock.
fn fresh(app: &App, envelope: Envelope) -> Envelope {
    signed(Envelope { timestamp: rfc3339(app.now()), ..envelope })
}

async fn post(app: &App, shelf: &Arc<Shelf>, kind: &str, body: impl Into<Body>) -> (StatusCode, Option<Problem>) {
    let request = Request::post("/api/v1/webhooks/ses").header("content-type", "text/plain; charset=UTF-8").header("x-amz-sns-message-type", kind);
    answer(app, shelf, request.body(body.into()).unwrap()).await
}

async fn answer(app: &App, shelf: &Arc<Shelf>, request: Request<Body>) -> (StatusCode, Option<Problem>) {
    let response = crate::router_with(app.clone(), shelf.clone()).oneshot(request).await.unwrap();
    let status = response.status();
    let body = to_bytes(response.into_body(), 100_000).await.unwrap();
    (status, serde_json::from_slice(&body).ok())
}

async fn refused(app: &App, shelf: &Arc<Shelf>, kind: &str, body: impl Into<Body>) -> (u16, String, String) {
    let (status, problem) = post(app, shelf, kind, body).await;
    let problem = problem.expect("a problem");
    assert_eq!(status.as_u16(), problem.status);
    (problem.status, problem.code, problem.field.unwrap_or_default())
}

#[tokio::test]
async fn a_genuine_subscription_of_our_topic_is_confirmed_by_visiting_sns() {
    let (app, shelf) = (app().await, Shelf::new(certificate(2020, 2199)));
    let envelope = fresh(&app, confirmation());
    let (status, _) = post(&app, &shelf, "SubscriptionConfirmation", json_of(&envelope).to_string()).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert_eq!((shelf.asked(), shelf.last()), (2, envelope.subscribe_url.clone()));
    let elsewhere = fresh(&app, Envelope { subscribe_url: Some("https://evil.example/?Action=ConfirmSubscription".into()), ..envelope });
    let told = refused(&app, &shelf, "SubscriptionConfirmation", json_of(&elsewhere).to_string()).await;
    assert_eq!(told, (403, "subscribe_url".into(), String::new()));
    let (status, _) =
        post(&app, &shelf, "UnsubscribeConfirmation", json_of(&fresh(&app, Envelope { kind: Kind::UnsubscribeConfirmation, ..confirmation() })).to_string())
            .await;
    assert_eq!(status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn quiet_feedback_is_taken_and_a_spoilt_or_strange_message_is_not() {
    let (app, shelf) = (app().await, Shelf::new(certificate(2020, 2199)));
    let genuine = fresh(&app, notification(r#"{"eventType":"Delivery"}"#));
    let (status, problem) = post(&app, &shelf, "Notification", json_of(&genuine).to_string()).await;
    assert_eq!(status, StatusCode::NO_CONTENT, "{problem:?}");
    let spoilt = |change: fn(&mut Envelope)| {
        let mut envelope = genuine.clone();
        change(&mut envelope);
        json_of(&envelope).to_string()
    };
    for (body, code) in [
        (spoilt(|e| e.message = r#"{"eventType":"Bounce"}"#.into()), "bad_signature"),
        (spoilt(|e| e.signature_version = "1".into()), "signature_version"),
        (spoilt(|e| e.topic_arn = TOPIC.replace("kiln", "other")), "other_topic"),
        (spoilt(|e| e.timestamp = "2020-01-01T00:00:00.000Z".into()), "stale_message"),
        (spoilt(|e| e.signing_cert_url = "https://evil.example/x.pem".into()), "certificate_url"),
    ] {
        assert_eq!(refused(&app, &shelf, "Notification", body).await, (403, code.to_owned(), String::new()));
    }
    let away = Shelf::failing();
    assert_eq!(refused(&app, &away, "Notification", json_of(&genuine).to_string()).await, (503, "sns_unreachable".into(), String::new()));
}

#[tokio::test]
async fn what_is_no_envelope_is_refused_by_the_name_of_what_is_wrong() {
    let (app, shelf) = (app().await, Shelf::failing());
    let whole = json_of(&notification("{}"));
    for field in ["Type", "MessageId", "TopicArn", "Message", "Timestamp", "SignatureVersion", "Signature", "SigningCertURL"] {
        let mut body = whole.clone();
        body.as_object_mut().unwrap().remove(field);
        assert_eq!(refused(&app, &shelf, "Notification", body.to_string()).await, (422, "bad_field".into(), field.into()));
        body[field] = if field == "Type" { json!("Other") } else { json!(7) };
        assert_eq!(refused(&app, &shelf, "Notification", body.to_string()).await, (422, "bad_field".into(), field.into()));
    }
    assert_eq!(refused(&app, &shelf, "SubscriptionConfirmation", whole.to_string()).await, (422, "bad_field".into(), "Type".into()));
    assert_eq!(refused(&app, &shelf, "", whole.to_string()).await, (422, "bad_field".into(), "Type".into()));
    assert_eq!(refused(&app, &shelf, "Notification", "not json").await, (400, "bad_json".into(), String::new()));
    assert_eq!(refused(&app, &shelf, "Notification", " ".repeat(300_000)).await, (413, "too_large".into(), String::new()));
    let raw = Request::post("/api/v1/webhooks/ses").header("x-amz-sns-rawdelivery", "true").header("x-amz-sns-message-type", "Notification");
    let (status, problem) = answer(&app, &shelf, raw.body(Body::from(r#"{"eventType":"Bounce"}"#)).unwrap()).await;
    assert_eq!((status.as_u16(), problem.unwrap().code.as_str()), (403, "raw_delivery"));
    assert_eq!(shelf.asked(), 0);
}
