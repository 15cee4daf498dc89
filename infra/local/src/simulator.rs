//! SES's mailbox simulator, as a laptop needs it: mail to `bounce@simulator.amazonses.com` bounces for good, and `complaint@…` is called
//! spam, as AWS has it; a label keeps several apart (`bounce+ada@…`). The function that hears the mail's topic is told so as Lambda
//! would tell it, since the stand-in has no mail servers that could refuse.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedReceiver;
use tracing::{info, warn};

use crate::functions::Scheduled;
use crate::mail::Mail;

const HOST: &str = "@simulator.amazonses.com";

/// Tells each function of what its topic would, until nobody sends mail any more. `listeners` are functions and the ARNs of their topics.
pub async fn run(listeners: Vec<(Arc<Scheduled>, String)>, mut sent: UnboundedReceiver<Mail>) {
    while let Some(mail) = sent.recv().await {
        let Some(feedback) = feedback(&mail) else { continue };
        for (function, topic) in &listeners {
            match function.call(event(topic, &feedback)).await {
                Ok(_) => info!("{} was told what became of a mail to the simulator", function.id),
                Err(error) => warn!("{} failed: {error:#}", function.id),
            }
        }
    }
}

/// What SES would publish about a mail; nothing for one that arrives.
fn feedback(mail: &Mail) -> Option<Value> {
    let local = mail.to.to_ascii_lowercase().strip_suffix(HOST)?.to_owned();
    let about = json!({ "timestamp": mail.at.to_string(), "messageId": mail.id, "destination": [mail.to] });
    let at = Timestamp::now().to_string();
    Some(match local.split('+').next()? {
        "bounce" => json!({
            "eventType": "Bounce", "mail": about,
            "bounce": { "bounceType": "Permanent", "bounceSubType": "General", "timestamp": at, "feedbackId": mail.id,
                "bouncedRecipients": [{ "emailAddress": mail.to, "action": "failed", "status": "5.1.1", "diagnosticCode": "smtp; 550 5.1.1 user unknown" }] },
        }),
        "complaint" => json!({
            "eventType": "Complaint", "mail": about,
            "complaint": { "complaintFeedbackType": "abuse", "timestamp": at, "feedbackId": mail.id, "complainedRecipients": [{ "emailAddress": mail.to }] },
        }),
        _ => return None,
    })
}

/// An event as Lambda hands it to a function that is subscribed to the topic.
fn event(topic: &str, feedback: &Value) -> Value {
    json!({ "Records": [{
        "EventSource": "aws:sns",
        "EventVersion": "1.0",
        "EventSubscriptionArn": format!("{topic}:{:032x}", fastrand::u128(..)),
        "Sns": {
            "Type": "Notification",
            "MessageId": format!("{:032x}", fastrand::u128(..)),
            "TopicArn": topic,
            "Subject": "Amazon SES Email Event Notification",
            "Message": feedback.to_string(),
            "Timestamp": Timestamp::now().to_string(),
        },
    }] })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(address: &str) -> Option<Value> {
        feedback(&Mail { id: "1".into(), to: address.into(), subject: String::new(), text: String::new(), html: None, at: Timestamp::UNIX_EPOCH })
    }

    #[test]
    fn the_simulator_s_addresses_bounce_and_complain_and_no_others() {
        assert_eq!(to("Bounce+ada@simulator.amazonses.com").unwrap()["bounce"]["bouncedRecipients"][0]["emailAddress"], "Bounce+ada@simulator.amazonses.com");
        assert_eq!(to("complaint@simulator.amazonses.com").unwrap()["eventType"], "Complaint");
        for other in ["success@simulator.amazonses.com", "bounce@example.org", "bounce@simulator.amazonses.com.example.org", "bounced@simulator.amazonses.com"]
        {
            assert_eq!(to(other), None, "{other}");
        }
    }
}
