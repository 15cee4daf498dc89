//! Mail that bounces or is complained about: the address gets no more, its owner sees why, and nobody else can tell. The mailbox
//! simulator's addresses are those of SES.

use super::stored;
use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kiln_ses_webhook::fetch::{Fetch, NotFetched};
use kiln_tests::client::Answer;
use kiln_tests::system::{root, wait_for};
use kiln_tests::{Client, System};
use reqwest::Method;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use serde_json::{Value, json};
use std::sync::Arc;
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

/// The topic over HTTPS, on a system's own table: the code of the route with a signer of the test's in SNS's place. A certificate of SNS is
/// fetched by TLS from SNS's own host alone, which nothing on this machine can answer for; so here it is handed over instead of fetched.
struct Sns {
    route: Client,
    key: RsaKeyPair,
}

const TOPIC: &str = "arn:aws:sns:us-east-1:000000000000:kiln-local-MailFeedbackTopic";
const CERTIFICATE_URL: &str = "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-0123456789abcdef0123456789abcdef.pem";

struct HandedOver(String);

#[async_trait::async_trait]
impl Fetch for HandedOver {
    async fn get(&self, url: &str) -> Result<Vec<u8>, NotFetched> {
        if url == CERTIFICATE_URL { Ok(self.0.clone().into_bytes()) } else { Err(NotFetched("it is not the certificate's address".into())) }
    }
}

impl Sns {
    async fn on(system: &System) -> Result<Self> {
        // The key of the function's own tests: ring makes no RSA keys.
        let pkcs8 = std::fs::read(root().join("functions/ses-webhook/testdata/signer.pk8"))?;
        let mut params = rcgen::CertificateParams::new(vec!["sns.amazonaws.com".to_owned()])?;
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2199, 1, 1);
        let certificate = params.self_signed(&rcgen::KeyPair::try_from(pkcs8.as_slice())?)?.pem();
        let env = [("KILN_STAGE", "local"), ("KILN_TABLE", "kiln-local-Table"), ("KILN_MAIL_TOPIC", TOPIC)];
        let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let app = kiln_http::App::on(env, stored::config(&system.stand_in()?).await).await?;
        let router = kiln_ses_webhook::router_with(app, Arc::new(HandedOver(certificate)));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let route = Client::new(&format!("http://{}", listener.local_addr()?));
        tokio::spawn(async move { axum::serve(listener, router).await });
        let key = RsaKeyPair::from_pkcs8(&pkcs8).map_err(|error| anyhow::anyhow!("the signer's key: {error}"))?;
        Ok(Self { route, key })
    }

    /// The envelope of a message, signed as the SNS developer guide says for version 2.
    fn envelope(&self, message: &str) -> Result<Value> {
        let (id, at) = ("22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324", now());
        let text = format!("Message\n{message}\nMessageId\n{id}\nTimestamp\n{at}\nTopicArn\n{TOPIC}\nType\nNotification\n");
        let mut signature = vec![0; self.key.public().modulus_len()];
        let signed = self.key.sign(&RSA_PKCS1_SHA256, &ring::rand::SystemRandom::new(), text.as_bytes(), &mut signature);
        signed.map_err(|_| anyhow::anyhow!("the message could not be signed"))?;
        Ok(json!({
            "Type": "Notification", "MessageId": id, "TopicArn": TOPIC, "Message": message, "Timestamp": at, "SignatureVersion": "2",
            "Signature": STANDARD.encode(signature), "SigningCertURL": CERTIFICATE_URL, "UnsubscribeURL": "https://sns.us-east-1.amazonaws.com/",
        }))
    }

    async fn send(&self, envelope: &Value) -> Result<Answer> {
        let request = self.route.request(Method::POST, "/api/v1/webhooks/ses").header("content-type", "text/plain; charset=UTF-8");
        self.route.send(request.header("x-amz-sns-message-type", "Notification").body(envelope.to_string())).await
    }
}

#[tokio::test]
async fn a_bounce_and_a_complaint_that_sns_signed_show_in_me_and_no_other_message_does() -> Result<()> {
    let system = System::start(&[("KILN_POOL_MAX", "0")]).await?;
    let (ada, eve) = (system.signed_in("ada@example.org").await?, system.signed_in("eve@example.org").await?);
    let sns = Sns::on(&system).await?;
    let mail = async |client: &Client| -> Result<Value> { Ok(client.get("/api/v1/me").await?.expect(200)?["mail"].clone()) };
    let bounce = |kind: &str, address: &str| {
        let bounce = json!({ "bounceType": kind, "bounceSubType": "General", "timestamp": now(), "bouncedRecipients": [{ "emailAddress": address }] });
        json!({ "eventType": "Bounce", "bounce": bounce }).to_string()
    };
    let ok = json!({ "state": "ok", "since": null });

    // Signed for another address, and for another kind of bounce: nothing of either counts.
    let mut spoilt = sns.envelope(&bounce("Permanent", "bob@example.org"))?;
    spoilt["Message"] = json!(bounce("Permanent", "ada@example.org"));
    sns.send(&spoilt).await?.problem(403, "bad_signature", "")?;
    sns.send(&sns.envelope(&bounce("Transient", "ada@example.org"))?).await?.expect(204)?;
    ensure!(mail(&ada).await? == ok && mail(&eve).await? == ok);

    // Delivered twice, as SNS may, it is the same as once.
    let genuine = sns.envelope(&bounce("Permanent", "ada@example.org"))?;
    sns.send(&genuine).await?.expect(204)?;
    let told = mail(&ada).await?;
    ensure!(told["state"] == "bounced" && told["since"].as_str().is_some_and(|since| since.ends_with('Z')), "{told}");
    sns.send(&genuine).await?.expect(204)?;
    ensure!(mail(&ada).await? == told && mail(&eve).await? == ok);
    let complaint = json!({ "timestamp": now(), "complaintFeedbackType": "abuse", "complainedRecipients": [{ "emailAddress": "eve@example.org" }] });
    sns.send(&sns.envelope(&json!({ "eventType": "Complaint", "complaint": complaint }).to_string())?).await?.expect(204)?;
    ensure!(mail(&eve).await?["state"] == "complained", "{}", mail(&eve).await?);

    // No more mail goes there.
    let before = mails(&ada, "ada@example.org").await?;
    ada.post("/api/v1/auth/request-link", json!({ "email": "ada@example.org" })).await?.expect(202)?;
    ada.post("/api/v1/auth/request-link", json!({ "email": "bob@example.org" })).await?.expect(202)?;
    ada.mailed_token("bob@example.org", 0).await?;
    ensure!(mails(&ada, "ada@example.org").await? == before, "an address that bounced got a mail");
    Ok(())
}

fn now() -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    kiln_core::time::rfc3339(since.as_millis() as i64)
}
