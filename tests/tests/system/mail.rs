//! Mail that bounces or is complained about: the address gets no more, its owner sees why, and nobody else can tell. The mailbox
//! simulator's addresses are those of SES.

use anyhow::{Context, Result, ensure};
use kiln_tests::system::wait_for;
use kiln_tests::{Client, System};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);

async fn mails(client: &Client, address: &str) -> Result<usize> {
    let mails = client.get(&format!("/local/mail?to={}", address.replace('+', "%2B"))).await?.expect(200)?;
    Ok(mails["items"].as_array().context("items")?.len())
}

/// Signs in by the first mail, which is on its way back; the mail's state as `me` shows it once it is known.
async fn signs_in_and_bounces(client: &Client, address: &str) -> Result<Value> {
    client.post("/api/v1/auth/request-link", json!({ "email": address })).await?.expect(202)?;
    let token = client.mailed_token(address, 0).await?;
    client.post("/api/v1/auth/verify-link", json!({ "token": token })).await?.expect(200)?;
    wait_for("the mail to come back", SOON, || async {
        let me = client.get("/api/v1/me").await?.expect(200)?;
        Ok((me["mail"]["state"] != "ok").then(|| me["mail"].clone()))
    })
    .await
}

#[tokio::test]
async fn an_address_that_bounced_gets_no_more_mail_and_only_its_owner_is_told() -> Result<()> {
    let system = System::start(&[("KILN_POOL_MAX", "0")]).await?;
    let (ada, eve, bob) = (system.client(), system.client(), system.client());
    let address = "bounce+ada@simulator.amazonses.com";
    let mail = signs_in_and_bounces(&ada, address).await?;
    ensure!(mail["state"] == "bounced" && mail["since"].as_str().is_some_and(|since| since.ends_with('Z')), "{mail}");
    let before = mails(&ada, address).await?;

    let refused = eve.post("/api/v1/auth/request-link", json!({ "email": address.to_uppercase() })).await?.expect(202)?;
    let sent = bob.post("/api/v1/auth/request-link", json!({ "email": "bob@example.org" })).await?.expect(202)?;
    ensure!(refused == sent, "the answer tells {refused} from {sent}");
    bob.mailed_token("bob@example.org", 0).await?;
    ensure!(mails(&ada, address).await? == before, "an address that bounced got a mail");

    let complained = signs_in_and_bounces(&eve, "complaint+eve@simulator.amazonses.com").await?;
    ensure!(complained["state"] == "complained", "{complained}");
    let bob = system.signed_in("bob@example.org").await?;
    let me = bob.get("/api/v1/me").await?.expect(200)?;
    ensure!(me["mail"] == json!({ "state": "ok", "since": null }), "{me}");
    // An address is nowhere in the log, not even one that is refused.
    ensure!(
        !system
            .log()
            .lines()
            .iter()
            .filter(|line| !line.contains("To:") && !line.contains("mail to"))
            .any(|line| line.contains("WARN") && line.contains("simulator"))
    );
    Ok(())
}

#[tokio::test]
async fn the_https_route_takes_nothing_that_sns_has_not_signed() -> Result<()> {
    let system = System::start(&[("KILN_POOL_MAX", "0")]).await?;
    let ada = system.client();
    let envelope = |changes: Value| {
        let mut envelope = json!({
            "Type": "Notification", "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324", "TopicArn": "arn:aws:sns:us-east-1:000000000000:kiln-local-MailFeedbackTopic",
            "Message": r#"{"eventType":"Bounce","bounce":{"bounceType":"Permanent","bouncedRecipients":[{"emailAddress":"ada@example.org"}]}}"#,
            "Timestamp": now(), "SignatureVersion": "2", "Signature": "AAAA", "SigningCertURL": "https://sns.us-east-1.amazonaws.com/x.pem",
        });
        for (name, value) in changes.as_object().into_iter().flatten() {
            envelope[name] = value.clone();
        }
        envelope
    };
    for (changes, code) in [
        (json!({ "TopicArn": "arn:aws:sns:us-east-1:000000000000:other" }), "other_topic"),
        (json!({ "SignatureVersion": "1" }), "signature_version"),
        (json!({ "Timestamp": "2020-01-01T00:00:00.000Z" }), "stale_message"),
        (json!({ "SigningCertURL": "https://evil.example/x.pem" }), "certificate_url"),
        (json!({ "SigningCertURL": "https://sns.eu-central-1.amazonaws.com/x.pem" }), "certificate_url"),
        (json!({ "Signature": "no base64!" }), "bad_signature"),
    ] {
        let request = ada.request(Method::POST, "/api/v1/webhooks/ses").header("content-type", "text/plain; charset=UTF-8");
        let request = request.header("x-amz-sns-message-type", "Notification").body(envelope(changes).to_string());
        ada.send(request).await?.problem(403, code, "").with_context(|| code)?;
    }
    let raw = ada.request(Method::POST, "/api/v1/webhooks/ses").header("x-amz-sns-rawdelivery", "true").body(r#"{"eventType":"Bounce"}"#);
    ada.send(raw).await?.problem(403, "raw_delivery", "")?;
    ada.sign_in("ada@example.org").await?;
    Ok(())
}

fn now() -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    kiln_core::time::rfc3339(since.as_millis() as i64)
}
