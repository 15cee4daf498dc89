//! EventBridge and Lambda's queue poller, as a laptop needs them: a schedule that never overlaps itself, and a
//! queue whose messages are deleted only when their function says that it is done with them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use aws_sdk_sqs::types::{DeleteMessageBatchRequestEntry, Message, MessageSystemAttributeName};
use serde_json::{Value, json};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::functions::Scheduled;
use crate::model::QueueSource;
use crate::resolve::Place;

/// After a queue could not be read.
const PAUSE: Duration = Duration::from_secs(2);

/// Fires one schedule until `stop`, and lets a run that has begun finish.
pub async fn schedule(function: Arc<Scheduled>, event: String, place: Place, every: Duration, mut stop: watch::Receiver<bool>) {
    let mut failing = false;
    while !*stop.borrow() {
        match function.call(scheduled_event(&place, &function.id, &event)).await {
            Ok(_) if failing => {
                info!("{} runs again", function.id);
                failing = false;
            }
            Ok(_) => {}
            // The same trouble each tick is told once a change, not once a tick.
            Err(error) if failing => tracing::debug!("{} failed: {error:#}", function.id),
            Err(error) => {
                warn!("{} failed: {error:#}", function.id);
                failing = true;
            }
        }
        let _ = tokio::time::timeout(every, stop.wait_for(|stop| *stop)).await;
    }
}

fn scheduled_event(place: &Place, function: &str, event: &str) -> Value {
    let Place { region, account, stack, .. } = place;
    json!({
        "version": "0",
        "id": format!("{:032x}", fastrand::u128(..)),
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": account,
        "time": jiff::Timestamp::now().to_string(),
        "region": region,
        "resources": [format!("arn:aws:events:{region}:{account}:rule/{stack}-{function}{event}")],
        "detail": {},
    })
}

/// Polls one queue for its function until `stop`; a batch that has come is seen through.
pub async fn queue(function: Arc<Scheduled>, source: QueueSource, place: Place, sqs: aws_sdk_sqs::Client, mut stop: watch::Receiver<bool>) {
    while !*stop.borrow() {
        let received = tokio::select! {
            received = receive(&source, &sqs) => received,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        let done = match received {
            Ok(messages) if messages.is_empty() => continue,
            Ok(messages) => handle(&function, &source, &place, &sqs, &messages).await,
            Err(error) => Err(error),
        };
        if let Err(error) = done {
            warn!("{} on {}: {error:#}", function.id, source.queue);
            let _ = tokio::time::timeout(PAUSE, stop.wait_for(|stop| *stop)).await;
        }
    }
}

async fn receive(source: &QueueSource, sqs: &aws_sdk_sqs::Client) -> Result<Vec<Message>> {
    let ask = sqs.receive_message().queue_url(&source.url).max_number_of_messages(source.batch.clamp(1, 10)).wait_time_seconds(20);
    let received = ask.message_system_attribute_names(MessageSystemAttributeName::All).send().await.context("receiving")?;
    Ok(received.messages.unwrap_or_default())
}

async fn handle(function: &Arc<Scheduled>, source: &QueueSource, place: &Place, sqs: &aws_sdk_sqs::Client, messages: &[Message]) -> Result<()> {
    let answer = function.call(queue_event(messages, source, place)).await?;
    let failed = if source.partial { failures(&answer) } else { BTreeSet::new() };
    if !failed.is_empty() {
        warn!("{} of {} messages of {} failed and come again", failed.len(), messages.len(), source.queue);
    }
    let done = messages.iter().filter(|message| !failed.contains(message.message_id().unwrap_or_default()));
    let entries = done
        .enumerate()
        .map(|(index, message)| DeleteMessageBatchRequestEntry::builder().id(index.to_string()).set_receipt_handle(message.receipt_handle.clone()).build())
        .collect::<std::result::Result<Vec<_>, _>>()?;
    if !entries.is_empty() {
        sqs.delete_message_batch().queue_url(&source.url).set_entries(Some(entries)).send().await.context("deleting")?;
    }
    Ok(())
}

fn queue_event(messages: &[Message], source: &QueueSource, place: &Place) -> Value {
    let records: Vec<_> = messages
        .iter()
        .map(|message| {
            let attributes: serde_json::Map<_, _> =
                message.attributes().into_iter().flatten().map(|(name, value)| (name.as_str().to_owned(), json!(value))).collect();
            json!({
                "messageId": message.message_id(),
                "receiptHandle": message.receipt_handle(),
                "body": message.body(),
                "attributes": attributes,
                "messageAttributes": {},
                "md5OfBody": message.md5_of_body(),
                "eventSource": "aws:sqs",
                "eventSourceARN": source.arn,
                "awsRegion": place.region,
            })
        })
        .collect();
    json!({ "Records": records })
}

/// The ids that a function reports as failed.
fn failures(answer: &Value) -> BTreeSet<String> {
    let items = answer["batchItemFailures"].as_array().into_iter().flatten();
    items.filter_map(|item| item["itemIdentifier"].as_str().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_reads_as_lambda_sends_it() {
        let message =
            Message::builder().message_id("m1").receipt_handle("r1").body("{}").attributes(MessageSystemAttributeName::ApproximateReceiveCount, "21").build();
        let source = QueueSource { event: "E".into(), queue: "Q".into(), arn: "arn:q".into(), url: String::new(), batch: 10, partial: true };
        let place = Place { stack: "s".into(), region: "r".into(), account: "1".into(), endpoint: String::new() };
        let event = queue_event(&[message], &source, &place);
        assert_eq!(event["Records"][0]["attributes"]["ApproximateReceiveCount"], "21");
        assert_eq!(event["Records"][0]["eventSourceARN"], "arn:q");
        assert_eq!(failures(&json!({"batchItemFailures": [{"itemIdentifier": "m1"}]})), BTreeSet::from(["m1".to_owned()]));
        assert_eq!(failures(&Value::Null), BTreeSet::new());
    }
}
