//! The job queues: one for each capability and priority; and the queue of what is to be delivered. A message is only a hint, so sending may fail, repeat or be
//! late and no job is lost by it. The account is the message group, so that one account's backlog doesn't delay others.

use crate::Error;
use aws_config::SdkConfig;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::QueueAttributeName;
use kiln_core::ids::{AccountId, DeliveryId, EventId};
use kiln_core::job::{Hint, Priority};
use kiln_core::kinds::CAPABILITIES;
use serde::{Deserialize, Serialize};

/// The longest delay that SQS takes; what is due later is hinted again when it is due.
const MAX_DELAY_S: i64 = 900;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    pub url: String,
    pub capability: String,
    pub priority: Priority,
}

/// About how many messages a queue holds, as SQS counts them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueueDepth {
    pub visible: u64,
    pub in_flight: u64,
    pub delayed: u64,
}

/// What a message to the sender of webhooks says. Only a hint: the table decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryHint {
    pub version: u32,
    pub account_id: AccountId,
    /// An event that is owed, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_id: Option<EventId>,
    /// … or a delivery that is due; with neither, whatever events are owed to the account's endpoints.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery_id: Option<DeliveryId>,
}

impl DeliveryHint {
    pub fn event(account: &AccountId, event: &EventId) -> Self {
        Self { version: 1, account_id: account.clone(), event_id: Some(event.clone()), delivery_id: None }
    }

    pub fn account(account: &AccountId) -> Self {
        Self { version: 1, account_id: account.clone(), event_id: None, delivery_id: None }
    }

    pub fn delivery(account: &AccountId, delivery: &DeliveryId) -> Self {
        Self { version: 1, account_id: account.clone(), event_id: None, delivery_id: Some(delivery.clone()) }
    }
}

#[derive(Debug, Clone)]
pub struct Queues {
    client: Client,
    queues: Vec<Queue>,
    dlq: Option<String>,
    deliveries: Option<String>,
}

impl Queues {
    /// URLs from `KILN_QUEUE_{CAPABILITY}_{PRIORITY}` and `KILN_QUEUE_DLQ`; those that aren't set this function doesn't use.
    pub fn new(config: &SdkConfig, env: impl Fn(&str) -> Option<String>) -> Self {
        let url = |name: &str| env(name).filter(|url| !url.is_empty());
        Self { client: Client::new(config), queues: queues(&env), dlq: url("KILN_QUEUE_DLQ"), deliveries: url("KILN_QUEUE_DELIVERIES") }
    }

    /// Rush first, as workers poll them.
    pub fn all(&self) -> Vec<Queue> {
        self.queues.clone()
    }

    pub fn of(&self, capability: &str, priority: Priority) -> Option<&Queue> {
        self.queues.iter().find(|queue| queue.capability == capability && queue.priority == priority)
    }

    /// Tells a worker that a job may be waiting, after `delay_ms` (15 minutes at most).
    pub async fn hint(&self, hint: &Hint, capability: &str, priority: Priority, delay_ms: i64) -> Result<(), Error> {
        let queue = self.of(capability, priority).ok_or_else(|| Error::internal(format!("{} is not set", variable(capability, priority))))?;
        let body = serde_json::to_string(hint).map_err(Error::internal)?;
        self.client
            .send_message()
            .queue_url(&queue.url)
            .message_body(body)
            .message_group_id(hint.account_id.as_str())
            .delay_seconds(delay_s(delay_ms))
            .send()
            .await
            .map_err(Error::aws)?;
        Ok(())
    }

    /// Tells the sender of webhooks that something is owed, after `delay_ms` (15 minutes at most).
    pub async fn deliver(&self, hint: &DeliveryHint, delay_ms: i64) -> Result<(), Error> {
        let url = self.deliveries.as_ref().ok_or_else(|| Error::internal("KILN_QUEUE_DELIVERIES is not set"))?;
        let body = serde_json::to_string(hint).map_err(Error::internal)?;
        let call = self.client.send_message().queue_url(url).message_body(body).message_group_id(hint.account_id.as_str());
        call.delay_seconds(delay_s(delay_ms)).send().await.map_err(Error::aws)?;
        Ok(())
    }

    pub async fn depth(&self, queue: &Queue) -> Result<QueueDepth, Error> {
        self.depth_of(&queue.url).await
    }

    /// What no worker could take, or `None` where this function has no right to look.
    pub async fn dlq_depth(&self) -> Result<Option<QueueDepth>, Error> {
        match &self.dlq {
            Some(url) => self.depth_of(url).await.map(Some),
            None => Ok(None),
        }
    }

    async fn depth_of(&self, url: &str) -> Result<QueueDepth, Error> {
        use QueueAttributeName::{
            ApproximateNumberOfMessages as Visible, ApproximateNumberOfMessagesDelayed as Delayed, ApproximateNumberOfMessagesNotVisible as InFlight,
        };
        let call = self.client.get_queue_attributes().queue_url(url);
        let output = call.attribute_names(Visible).attribute_names(InFlight).attribute_names(Delayed).send().await.map_err(Error::aws)?;
        let attributes = output.attributes.unwrap_or_default();
        let count = |name| attributes.get(&name).and_then(|text| text.parse().ok()).unwrap_or(0);
        Ok(QueueDepth { visible: count(Visible), in_flight: count(InFlight), delayed: count(Delayed) })
    }
}

fn variable(capability: &str, priority: Priority) -> String {
    format!("KILN_QUEUE_{capability}_{}", priority.as_str()).to_uppercase()
}

fn queues(env: impl Fn(&str) -> Option<String>) -> Vec<Queue> {
    let named = Priority::ALL.into_iter().flat_map(|priority| CAPABILITIES.map(|capability| (capability, priority)));
    named
        .filter_map(|(capability, priority)| {
            let url = env(&variable(capability, priority)).filter(|url| !url.is_empty())?;
            Some(Queue { url, capability: capability.to_owned(), priority })
        })
        .collect()
}

/// Rounded up: a hint that comes before its job is due is wasted.
fn delay_s(delay_ms: i64) -> i32 {
    (delay_ms.max(0).saturating_add(999) / 1000).min(MAX_DELAY_S) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rush_comes_first_and_unset_queues_are_left_out() {
        let both = queues(|name| Some(format!("https://sqs/{name}")));
        assert_eq!(
            both.iter().map(|queue| queue.url.as_str()).collect::<Vec<_>>(),
            ["https://sqs/KILN_QUEUE_IMAGE_RUSH", "https://sqs/KILN_QUEUE_IMAGE_STANDARD"]
        );
        assert_eq!(both[0].priority, Priority::Rush);
        assert_eq!(queues(|name| (name == "KILN_QUEUE_IMAGE_STANDARD").then(|| "u".to_owned())).len(), 1);
        assert!(queues(|_| Some(String::new())).is_empty());
    }

    #[test]
    fn a_delay_is_rounded_up_and_bounded() {
        for (ms, s) in [(i64::MIN, 0), (-5, 0), (0, 0), (1, 1), (1000, 1), (1001, 2), (899_001, 900), (i64::MAX, 900)] {
            assert_eq!(delay_s(ms), s, "{ms} ms");
        }
    }

    #[tokio::test]
    async fn a_hint_for_a_queue_that_is_not_there_names_its_setting() {
        use kiln_core::ids::{AccountId, JobId};
        let queues = Queues::new(&crate::testing::config(), |_| None);
        let hint = Hint { version: 1, job_id: JobId::new(1, 1), account_id: AccountId::new(1, 1) };
        let error = queues.hint(&hint, "image", Priority::Rush, 0).await.unwrap_err();
        assert_eq!(error.to_string(), "KILN_QUEUE_IMAGE_RUSH is not set");
        assert_eq!(queues.dlq_depth().await.unwrap(), None);
    }
}
