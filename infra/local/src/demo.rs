//! A ready-made sign-in link for a demo account, asked for as a person would ask: over HTTP, read from the mail.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::json;

use crate::mail::Mailbox;

pub const ADDRESS: &str = "demo@kiln.local";
const WITHIN: Duration = Duration::from_secs(10);

pub async fn sign_in_link(client: &reqwest::Client, api: &str, mailbox: &Mailbox) -> Result<String> {
    // An adopted stand-in may still list a link of an earlier run.
    let asked = jiff::Timestamp::now();
    let answer = client.post(format!("{api}/auth/request-link")).json(&json!({ "email": ADDRESS })).send().await?;
    if !answer.status().is_success() {
        bail!("asking for the link answered {}", answer.status());
    }
    let deadline = Instant::now() + WITHIN;
    // A mail is on its way until the stand-in lists it, and it offers nothing to wait on.
    while Instant::now() < deadline {
        mailbox.refresh().await?;
        if let Some(mail) = mailbox.list(Some(ADDRESS)).iter().find(|mail| mail.at >= asked) {
            return mail.link().map(str::to_owned).context("the mail holds no link");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    bail!("no mail to {ADDRESS} came within {} s", WITHIN.as_secs())
}
