//! The mail that the functions sent through SES, read back from the stand-in: listed at `/local/mail`, and printed once each.
//! Nothing leaves the machine. What was read is remembered here, since the stand-in forgets it when it stops.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::mpsc::UnboundedSender;

use crate::say;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mail {
    #[serde(skip)]
    pub id: String,
    pub to: String,
    pub subject: String,
    pub text: String,
    pub html: Option<String>,
    pub at: Timestamp,
}

impl Mail {
    /// The first address in the text that a person would click.
    pub fn link(&self) -> Option<&str> {
        let start = self.text.find("http://").or_else(|| self.text.find("https://"))?;
        self.text[start..].split(|c: char| c.is_whitespace() || c == '>' || c == '"').next()
    }
}

/// All mail so far, oldest first.
#[derive(Debug)]
pub struct Mailbox {
    client: reqwest::Client,
    address: String,
    known: Mutex<Known>,
    /// Is told of each mail once.
    sent: UnboundedSender<Mail>,
}

#[derive(Debug, Default)]
struct Known {
    ids: BTreeSet<String>,
    mails: Vec<Mail>,
}

impl Mailbox {
    /// `endpoint` is the stand-in's, without a final slash.
    pub fn new(client: reqwest::Client, endpoint: &str, sent: UnboundedSender<Mail>) -> Self {
        Self { client, address: format!("{endpoint}/_ministack/ses/messages"), known: Mutex::default(), sent }
    }

    /// Asks the stand-in, and prints what is new.
    pub async fn refresh(&self) -> Result<()> {
        for mail in self.remember().await? {
            say::mail(&mail);
            // Nobody listens while the system ends.
            let _ = self.sent.send(mail);
        }
        Ok(())
    }

    /// Asks the stand-in; returns what is new.
    pub async fn remember(&self) -> Result<Vec<Mail>> {
        let answer = self.client.get(&self.address).send().await?.error_for_status().context("the stand-in shows no mail")?;
        let found = parse(&answer.json().await?);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh: Vec<_> = found.into_iter().filter(|mail| known.ids.insert(format!("{} {}", mail.id, mail.to))).collect();
        known.mails.extend(fresh.iter().cloned());
        Ok(fresh)
    }

    /// Those to one address, or all.
    pub fn list(&self, to: Option<&str>) -> Vec<Mail> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.mails.iter().filter(|mail| to.is_none_or(|to| mail.to.eq_ignore_ascii_case(to))).cloned().collect()
    }
}

/// The stand-in's list, `{messages: {ACCOUNT: [{MessageId, To, Subject, BodyText, BodyHtml, Timestamp}]}}`: one mail for each
/// address, oldest first. What lacks an address or a time is passed over.
fn parse(answer: &Value) -> Vec<Mail> {
    let records = answer["messages"].as_object().into_iter().flat_map(|accounts| accounts.values()).filter_map(Value::as_array).flatten();
    let mut mails: Vec<_> = records
        .flat_map(|record| {
            let text = |field: &str| record[field].as_str().map(str::to_owned);
            let millis = record["Timestamp"].as_f64().map(|seconds| (seconds * 1000.0) as i64);
            let at = millis.and_then(|millis| Timestamp::from_millisecond(millis).ok());
            let addresses = record["To"].as_array().into_iter().flatten().filter_map(Value::as_str);
            addresses
                .filter_map(|to| {
                    Some(Mail {
                        id: text("MessageId")?,
                        to: to.to_owned(),
                        subject: text("Subject").unwrap_or_default(),
                        text: text("BodyText").unwrap_or_default(),
                        html: text("BodyHtml").filter(|html| !html.is_empty()),
                        at: at?,
                    })
                })
                .collect::<Vec<_>>()
        })
        .collect();
    mails.sort_by_key(|mail| mail.at);
    mails
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_address_of_a_message_gets_one_mail_in_order_of_time() {
        let answer = json!({"messages": {"000000000000": [
            {"MessageId": "2", "To": ["b@x"], "Subject": "Sign in", "BodyText": "Go to\nhttp://h/sign-in?token=T\n\nsoon", "BodyHtml": "", "Timestamp": 20.5},
            {"MessageId": "1", "To": ["a@x", "b@x"], "Subject": "s", "BodyText": "t", "BodyHtml": "<b>", "Timestamp": 10},
            {"MessageId": "3", "To": [], "Timestamp": 1},
        ]}});
        let mails = parse(&answer);
        let order: Vec<_> = mails.iter().map(|mail| (mail.id.as_str(), mail.to.as_str())).collect();
        assert_eq!(order, [("1", "a@x"), ("1", "b@x"), ("2", "b@x")]);
        assert_eq!(mails[2].link(), Some("http://h/sign-in?token=T"));
        assert_eq!(
            serde_json::to_value(&mails[2]).unwrap(),
            json!({"to": "b@x", "subject": "Sign in", "text": "Go to\nhttp://h/sign-in?token=T\n\nsoon", "html": null, "at": "1970-01-01T00:00:20.5Z"})
        );
        assert_eq!(mails[0].html.as_deref(), Some("<b>"));
        assert_eq!(parse(&json!({"messages": {}})), []);
    }
}
