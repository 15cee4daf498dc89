//! What SES says in a message: JSON in the message's text, in the form of feedback notifications (`notificationType`) or of event
//! publishing (`eventType`). Pure. Unknown fields are passed over and unknown types are quiet, since SES may add both.

use kiln_core::time::{Millis, parse_rfc3339};
use kiln_store::Reason;
use serde_json::Value;

/// SES puts at most 50 recipients into one mail, and we one.
const MOST_RECIPIENTS: usize = 100;
/// Longest address that SES could know, in bytes.
const MOST_ADDRESS_BYTES: usize = 320;
/// What SES writes into a topic, as plain text, when an event destination is made.
const GREETING: &str = "Successfully validated SNS topic for Amazon SES";

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Feedback {
    Stop(Stop),
    /// Nothing that stops mail; `kind` is for the log and holds no address.
    Quiet {
        kind: String,
    },
}

/// These addresses get no more mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop {
    pub reason: Reason,
    pub addresses: Vec<String>,
    /// Recipients that are no addresses.
    pub unreadable: usize,
    pub at: Option<Millis>,
    pub detail: Option<String>,
}

/// Reads a message; the error says what it lacks and quotes nothing of it.
pub fn parse(message: &str) -> Result<Feedback, &'static str> {
    if message.starts_with(GREETING) {
        return Ok(Feedback::Quiet { kind: "greeting".into() });
    }
    let told: Value = serde_json::from_str(message).map_err(|_| "it is not JSON")?;
    let kind = told["notificationType"].as_str().or_else(|| told["eventType"].as_str()).ok_or("it names no type")?;
    match kind {
        "Bounce" => bounce(&told["bounce"]),
        "Complaint" => complaint(&told["complaint"]),
        other => Ok(Feedback::Quiet { kind: word(other) }),
    }
}

fn bounce(bounce: &Value) -> Result<Feedback, &'static str> {
    let kind = bounce["bounceType"].as_str().ok_or("the bounce has no type")?;
    // A full mailbox or a greylist passes; what SES couldn't tell is not held against an address.
    if kind != "Permanent" {
        return Ok(Feedback::Quiet { kind: format!("Bounce {}", word(kind)) });
    }
    stop(Reason::Bounced, bounce, "bouncedRecipients", bounce["bounceSubType"].as_str())
}

fn complaint(complaint: &Value) -> Result<Feedback, &'static str> {
    let kind = complaint["complaintFeedbackType"].as_str();
    // The reader has taken our mail out of the spam.
    if kind == Some("not-spam") {
        return Ok(Feedback::Quiet { kind: "Complaint not-spam".into() });
    }
    stop(Reason::Complained, complaint, "complainedRecipients", kind.or(complaint["complaintSubType"].as_str()))
}

fn stop(reason: Reason, told: &Value, recipients: &str, detail: Option<&str>) -> Result<Feedback, &'static str> {
    let recipients = told[recipients].as_array().filter(|list| !list.is_empty()).ok_or("it names no recipients")?;
    if recipients.len() > MOST_RECIPIENTS {
        return Err("it names more recipients than a mail has");
    }
    let addresses: Vec<_> = recipients.iter().filter_map(|recipient| address(recipient["emailAddress"].as_str()?)).collect();
    Ok(Feedback::Stop(Stop {
        reason,
        unreadable: recipients.len() - addresses.len(),
        addresses,
        at: told["timestamp"].as_str().and_then(parse_rfc3339),
        detail: detail.map(word).filter(|word| !word.is_empty()),
    }))
}

/// The address in `a@b` or `Ada <a@b>`.
fn address(text: &str) -> Option<String> {
    let inner = text.rsplit_once('<').map_or(text, |(_, rest)| rest.split('>').next().unwrap_or_default()).trim();
    let sound = inner.len() <= MOST_ADDRESS_BYTES && inner.split_once('@').is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty());
    (sound && !inner.contains(char::is_whitespace)).then(|| inner.to_owned())
}

/// A word of SES's own, for the log and the record: letters, digits and hyphens.
fn word(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn stopped(told: Value) -> Stop {
        match parse(&told.to_string()).unwrap() {
            Feedback::Stop(stop) => stop,
            quiet => panic!("{quiet:?}"),
        }
    }

    #[test]
    fn a_hard_bounce_stops_each_of_its_recipients_in_both_forms() {
        let bounce = json!({
            "bounceType": "Permanent", "bounceSubType": "General", "timestamp": "2026-11-21T10:00:00.123Z", "feedbackId": "x", "new": [1],
            "bouncedRecipients": [{"emailAddress": "ada@example.org", "action": "failed"}, {"emailAddress": "Eve E. <eve@example.org>"}],
        });
        for kind in ["notificationType", "eventType"] {
            let stop = stopped(json!({ kind: "Bounce", "bounce": bounce, "mail": {"destination": ["ada@example.org"]}, "unknown": {} }));
            assert_eq!(stop.addresses, ["ada@example.org", "eve@example.org"]);
            assert_eq!((stop.reason, stop.unreadable, stop.at), (Reason::Bounced, 0, Some(1_795_255_200_123)));
            assert_eq!(stop.detail.as_deref(), Some("General"));
        }
    }

    #[test]
    fn a_complaint_stops_mail_unless_it_takes_one_back() {
        let told = |kind: Value| json!({"notificationType": "Complaint", "complaint": {"complainedRecipients": [{"emailAddress": "a@b.c"}], "complaintFeedbackType": kind}});
        let stop = stopped(told(json!("abuse")));
        assert_eq!((stop.reason, stop.detail.as_deref()), (Reason::Complained, Some("abuse")));
        assert_eq!(stopped(told(Value::Null)).detail, None);
        assert_eq!(parse(&told(json!("not-spam")).to_string()), Ok(Feedback::Quiet { kind: "Complaint not-spam".into() }));
    }

    #[test]
    fn what_passes_or_is_unknown_is_quiet() {
        for kind in ["Transient", "Undetermined", "Lunar <a@b.c>"] {
            let told = json!({"eventType": "Bounce", "bounce": {"bounceType": kind, "bouncedRecipients": [{"emailAddress": "a@b.c"}]}});
            let Ok(Feedback::Quiet { kind }) = parse(&told.to_string()) else { panic!("{kind}") };
            assert!(!kind.contains('@'), "{kind}");
        }
        for kind in [
            "Delivery",
            "Send",
            "Reject",
            "Open",
            "Click",
            "Rendering Failure",
            "DeliveryDelay",
            "Subscription",
            "Something New",
            "AmazonSnsSubscriptionSucceeded",
        ] {
            assert!(matches!(parse(&json!({"eventType": kind}).to_string()), Ok(Feedback::Quiet { .. })), "{kind}");
        }
        assert!(matches!(parse("Successfully validated SNS topic for Amazon SES event publishing."), Ok(Feedback::Quiet { .. })));
    }

    #[test]
    fn what_can_t_be_read_says_why_without_quoting_it() {
        for (message, why) in [
            ("", "it is not JSON"),
            ("ada@example.org", "it is not JSON"),
            ("[]", "it names no type"),
            (r#"{"notificationType": 3}"#, "it names no type"),
            (r#"{"notificationType": "Bounce"}"#, "the bounce has no type"),
            (r#"{"eventType": "Bounce", "bounce": {"bounceType": "Permanent"}}"#, "it names no recipients"),
            (r#"{"eventType": "Complaint", "complaint": {"complainedRecipients": []}}"#, "it names no recipients"),
        ] {
            assert_eq!(parse(message), Err(why), "{message}");
        }
        let many: Vec<_> = (0..101).map(|n| json!({"emailAddress": format!("{n}@b.c")})).collect();
        assert!(parse(&json!({"eventType": "Complaint", "complaint": {"complainedRecipients": many}}).to_string()).is_err());
    }

    #[test]
    fn a_recipient_that_is_no_address_does_not_hide_the_others() {
        let odd = ["", "ada", "@b", "a@", "a b@c", "<>"].map(|text| json!({"emailAddress": text}));
        let all: Vec<_> = odd.into_iter().chain([json!({}), json!({"emailAddress": "ok@b.c"})]).collect();
        let stop = stopped(json!({"eventType": "Complaint", "complaint": {"complainedRecipients": all}}));
        assert_eq!((stop.addresses, stop.unreadable), (vec!["ok@b.c".to_owned()], 7));
    }
}
