//! Messages signed by a key of the test's own, and each way to spoil one.

use super::*;
use crate::testing::{self, HOST, NOW, Shelf, TOPIC, confirmation, notification, signed};

async fn verdict(envelope: &Envelope) -> Result<(), Refusal> {
    Verifier::new(TOPIC.into(), Shelf::new(testing::certificate(2026, 2027))).verify(envelope, NOW).await
}

/// The code of the refusal; empty when there is none.
async fn code(envelope: &Envelope) -> &'static str {
    verdict(envelope).await.err().map_or("", |why| why.code())
}

#[tokio::test]
async fn a_signed_message_of_each_type_is_genuine() {
    for kind in [Kind::Notification, Kind::SubscriptionConfirmation, Kind::UnsubscribeConfirmation] {
        let envelope = if kind == Kind::Notification { notification("{}") } else { signed(Envelope { kind, ..confirmation() }) };
        verdict(&envelope).await.unwrap();
    }
    verdict(&signed(Envelope { subject: Some("Amazon SES".into()), ..notification("x\ny") })).await.unwrap();
}

#[test]
fn what_is_signed_is_each_present_field_by_name() {
    let envelope = Envelope { subject: Some("S".into()), ..notification("M") };
    assert_eq!(
        envelope.signed_text(),
        format!("Message\nM\nMessageId\n{}\nSubject\nS\nTimestamp\n{}\nTopicArn\n{TOPIC}\nType\nNotification\n", envelope.message_id, envelope.timestamp)
    );
    let envelope = confirmation();
    assert_eq!(
        envelope.signed_text(),
        format!(
            "Message\n{}\nMessageId\n{}\nSubscribeURL\n{}\nTimestamp\n{}\nToken\n{}\nTopicArn\n{TOPIC}\nType\nSubscriptionConfirmation\n",
            envelope.message,
            envelope.message_id,
            envelope.subscribe_url.as_deref().unwrap(),
            envelope.timestamp,
            envelope.token.as_deref().unwrap()
        )
    );
}

#[tokio::test]
async fn a_change_of_any_signed_field_is_noticed() {
    let spoil: [fn(&mut Envelope); 6] = [
        |envelope| envelope.message.push(' '),
        |envelope| envelope.message_id.push('0'),
        |envelope| envelope.subject = Some(String::new()),
        |envelope| envelope.timestamp = envelope.timestamp.replace(".000Z", ".001Z"),
        |envelope| envelope.kind = Kind::UnsubscribeConfirmation,
        |envelope| envelope.signature.replace_range(0..1, if envelope.signature.starts_with('A') { "B" } else { "A" }),
    ];
    for (i, spoil) in spoil.iter().enumerate() {
        let mut envelope = notification("{}");
        spoil(&mut envelope);
        assert_eq!(code(&envelope).await, "bad_signature", "{i}");
    }
    let spoil: [fn(&mut Envelope); 5] = [
        |envelope| envelope.token = Some("0".repeat(64)),
        |envelope| envelope.token = None,
        |envelope| envelope.subscribe_url = Some(format!("https://{HOST}/?Action=Other")),
        |envelope| envelope.subscribe_url = None,
        |envelope| envelope.kind = Kind::UnsubscribeConfirmation,
    ];
    for (i, spoil) in spoil.iter().enumerate() {
        let mut envelope = confirmation();
        spoil(&mut envelope);
        assert_eq!(code(&envelope).await, "bad_signature", "{i}");
    }
    for signature in ["", "!", "AAAA"] {
        assert_eq!(code(&Envelope { signature: signature.into(), ..notification("{}") }).await, "bad_signature");
    }
}

#[tokio::test]
async fn a_subject_that_comes_empty_is_signed_as_empty() {
    // A field that is present is signed, so an empty subject and none are two texts.
    verdict(&signed(Envelope { subject: Some(String::new()), ..notification("{}") })).await.unwrap();
}

#[tokio::test]
async fn another_key_s_signature_is_none() {
    let other = Shelf::new(testing::other_certificate());
    let verifier = Verifier::new(TOPIC.into(), other);
    assert_eq!(verifier.verify(&notification("{}"), NOW).await.unwrap_err().code(), "bad_signature");
}

#[tokio::test]
async fn version_1_and_any_other_is_refused_before_anything_is_fetched() {
    let shelf = Shelf::new(testing::certificate(2026, 2027));
    let verifier = Verifier::new(TOPIC.into(), shelf.clone());
    for version in ["1", "3", "", "02", "2 "] {
        let envelope = signed(Envelope { signature_version: version.into(), ..notification("{}") });
        assert_eq!(verifier.verify(&envelope, NOW).await.unwrap_err().code(), "signature_version", "{version}");
    }
    assert_eq!(shelf.asked(), 0);
}

#[tokio::test]
async fn another_topic_is_refused_before_anything_is_fetched() {
    let shelf = Shelf::new(testing::certificate(2026, 2027));
    let verifier = Verifier::new(TOPIC.into(), shelf.clone());
    for topic in ["", "arn:aws:sns:eu-central-1:123456789012:other", "arn:aws:sns:eu-central-1:999999999999:kiln-MailFeedbackTopic", &TOPIC.to_uppercase()] {
        let envelope = signed(Envelope { topic_arn: topic.to_owned(), ..notification("{}") });
        assert_eq!(verifier.verify(&envelope, NOW).await.unwrap_err().code(), "other_topic", "{topic}");
    }
    let unset = Verifier::new(String::new(), shelf.clone());
    assert_eq!(unset.verify(&signed(Envelope { topic_arn: String::new(), ..notification("{}") }), NOW).await.unwrap_err().code(), "other_topic");
    assert_eq!(shelf.asked(), 0);
}

#[tokio::test]
async fn an_old_message_does_not_come_again_and_a_future_one_not_at_all() {
    for (apart, wanted) in [(0, ""), (-59 * 60_000, ""), (-61 * 60_000, "stale_message"), (4 * 60_000, ""), (6 * 60_000, "stale_message")] {
        let envelope = signed(Envelope { timestamp: kiln_core::time::rfc3339(NOW + apart), ..notification("{}") });
        assert_eq!(code(&envelope).await, wanted, "{apart}");
    }
    assert_eq!(code(&signed(Envelope { timestamp: "yesterday".into(), ..notification("{}") })).await, "stale_message");
}

#[tokio::test]
async fn a_certificate_from_elsewhere_is_never_fetched() {
    let shelf = Shelf::new(testing::certificate(2026, 2027));
    let verifier = Verifier::new(TOPIC.into(), shelf.clone());
    for url in
        ["https://evil.example/x.pem", "https://sns.us-east-1.amazonaws.com/x.pem", &format!("https://{HOST}:443/x.pem"), &format!("http://{HOST}/x.pem")]
    {
        let envelope = signed(Envelope { signing_cert_url: url.to_owned(), ..notification("{}") });
        assert_eq!(verifier.verify(&envelope, NOW).await.unwrap_err().code(), "certificate_url", "{url}");
    }
    assert_eq!(shelf.asked(), 0);
}

#[tokio::test]
async fn a_certificate_out_of_its_dates_or_unreadable_is_refused_and_one_that_is_not_there_asked_for_again() {
    for (pem, wanted) in
        [(testing::certificate(2020, 2021), "bad_certificate"), (testing::certificate(2030, 2031), "bad_certificate"), ("<html>".into(), "bad_certificate")]
    {
        let verifier = Verifier::new(TOPIC.into(), Shelf::new(pem));
        assert_eq!(verifier.verify(&notification("{}"), NOW).await.unwrap_err().code(), wanted);
    }
    let shelf = Shelf::failing();
    let verifier = Verifier::new(TOPIC.into(), shelf.clone());
    for asked in 1..=2 {
        assert_eq!(verifier.verify(&notification("{}"), NOW).await.unwrap_err().code(), "sns_unreachable");
        assert_eq!(shelf.asked(), asked);
    }
}

#[tokio::test]
async fn a_certificate_is_fetched_once_and_ends_with_its_dates() {
    let shelf = Shelf::new(testing::certificate(2026, 2027));
    let verifier = Verifier::new(TOPIC.into(), shelf.clone());
    for _ in 0..3 {
        verifier.verify(&notification("{}"), NOW).await.unwrap();
    }
    assert_eq!(shelf.asked(), 1);
    let later = NOW + 400 * 86_400_000;
    let envelope = signed(Envelope { timestamp: kiln_core::time::rfc3339(later), ..notification("{}") });
    assert_eq!(verifier.verify(&envelope, later).await.unwrap_err().code(), "bad_certificate");
}

#[tokio::test]
async fn a_subscription_is_confirmed_at_sns_for_our_topic_alone() {
    let shelf = Shelf::new(testing::certificate(2026, 2027));
    let verifier = Verifier::new(TOPIC.into(), shelf.clone());
    verifier.confirm(&confirmation()).await.unwrap();
    assert_eq!(shelf.last(), confirmation().subscribe_url);
    let token = confirmation().token.unwrap();
    let good = confirmation().subscribe_url.unwrap();
    for bad in [
        good.replace(HOST, "evil.example"),
        good.replace(HOST, "sns.us-east-1.amazonaws.com"),
        good.replace("https", "http"),
        good.replace("ConfirmSubscription", "DeleteTopic"),
        good.replace("TopicArn=", "TopicArn=x"),
        format!("{good}&Action=DeleteTopic"),
        good.replace(&token, "abc"),
        String::new(),
    ] {
        let envelope = Envelope { subscribe_url: Some(bad.clone()), ..confirmation() };
        assert_eq!(verifier.confirm(&envelope).await.unwrap_err().code(), "subscribe_url", "{bad}");
    }
    assert_eq!(shelf.asked(), 1);
    let escaped = good.replace(TOPIC, &TOPIC.replace(':', "%3A"));
    verifier.confirm(&Envelope { subscribe_url: Some(escaped), ..confirmation() }).await.unwrap();
}
