//! The sender of webhooks: turns what is owed into deliveries, and tries each until it has ended.
//!
//! Promises: a message is only a hint, the schedule finds everything by the owed index; a try is leased, so two senders never
//! send the same one; one account's slow endpoints get their share of a run and no more; nothing goes to an address inside.

mod net;
mod one;
mod tell;

pub use net::{Lookup, Net};

use kiln_core::job::OWED_SHARDS;
use kiln_http::{App, restoring};
use kiln_store::hooks::OWED;
use kiln_store::{DeliveryHint, OwedRow};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::future::Future;
use std::time::{Duration, Instant};

/// Rows of one shard that a run looks at; the rest waits for the next, oldest first.
const MOST_PER_SHARD: u32 = 250;
/// Rows of one account in one run.
const MOST_PER_ACCOUNT: usize = 25;
/// Tries at once.
const AT_ONCE: usize = 16;
/// Of a run's time: after this nothing more is begun, so that what was begun ends within the function's time-out.
const BEGIN_FOR: Duration = Duration::from_secs(30);

/// What a run did.
#[derive(Debug, Default)]
struct Done {
    tried: usize,
    failed: usize,
}

/// One run: an SQS event looks at what its messages name, anything else (the schedule) walks the index.
pub async fn handle(app: &App, net: &Net, event: Value) -> anyhow::Result<Value> {
    let began = Instant::now();
    if let Some(answer) = restoring::stands_still(app, "deliveries", &event).await? {
        return Ok(answer);
    }
    if let Some(records) = event["Records"].as_array() {
        let hints: Vec<DeliveryHint> = records.iter().filter_map(hint).collect();
        let done = all(began, hints.into_iter().map(|hint| one::hinted(app, net, hint, began))).await;
        tracing::debug!(tried = done.tried, failed = done.failed, "hints");
        // None comes again: what could not be done now is in the index.
        return Ok(json!({ "batchItemFailures": [] }));
    }
    let mut rows = Vec::new();
    for shard in 0..OWED_SHARDS {
        rows.extend(app.table().owed(OWED, shard, app.now(), MOST_PER_SHARD).await?);
    }
    let due = rows.len();
    let done = all(began, fair(rows).into_iter().map(|row| one::found(app, net, row))).await;
    if done.failed > 0 {
        tracing::warn!(due, tried = done.tried, failed = done.failed, "deliveries");
    }
    Ok(json!({ "due": due, "tried": done.tried, "failed": done.failed }))
}

fn hint(record: &Value) -> Option<DeliveryHint> {
    let hint = serde_json::from_str(record["body"].as_str().unwrap_or_default());
    // Nothing of ours: coming again would not make it so.
    hint.inspect_err(|_| tracing::error!("a message is no hint; dropped")).ok()
}

/// The rows in turns, an account each, oldest first: many of one don't stand before a few of another.
fn fair(mut rows: Vec<OwedRow>) -> Vec<OwedRow> {
    rows.sort_by_key(|row| row.next_check_at);
    let mut taken: BTreeMap<String, usize> = BTreeMap::new();
    let mut turns: Vec<(usize, OwedRow)> = rows
        .into_iter()
        .map(|row| {
            let turn = taken.entry(row.pk.clone()).or_default();
            *turn += 1;
            (*turn, row)
        })
        .filter(|(turn, _)| *turn <= MOST_PER_ACCOUNT)
        .collect();
    turns.sort_by_key(|(turn, _)| *turn);
    turns.into_iter().map(|(_, row)| row).collect()
}

/// Does them, several at a time and none begun once the run, which began then, has had its time; one that fails stops no other.
async fn all<F: Future<Output = anyhow::Result<bool>>>(began: Instant, work: impl IntoIterator<Item = F>) -> Done {
    use futures::stream::{FuturesUnordered, StreamExt};
    let mut done = Done::default();
    let mut waiting = work.into_iter();
    let mut running = FuturesUnordered::new();
    loop {
        while running.len() < AT_ONCE && began.elapsed() < BEGIN_FOR {
            let Some(next) = waiting.next() else { break };
            running.push(next);
        }
        match running.next().await {
            None => return done,
            Some(Ok(tried)) => done.tried += usize::from(tried),
            Some(Err(error)) => {
                tracing::error!("a row that is owed could not be handled: {error:#}");
                done.failed += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(pk: &str, sk: usize, at: i64) -> OwedRow {
        serde_json::from_value(json!({ "pk": pk, "sk": sk.to_string(), "next_check_at": at })).unwrap()
    }

    #[test]
    fn a_crowd_of_one_account_does_not_stand_before_another() {
        let mut rows: Vec<_> = (0..100).map(|i| row("many", i, i as i64)).collect();
        rows.push(row("few", 0, 1000));
        let order = fair(rows);
        assert_eq!(order.len(), MOST_PER_ACCOUNT + 1);
        assert_eq!((order[0].pk.as_str(), order[1].pk.as_str()), ("many", "few"));
        assert!(order.windows(2).all(|pair| pair[0].pk != pair[1].pk || pair[0].next_check_at < pair[1].next_check_at));
    }

    #[tokio::test]
    async fn a_run_that_has_had_its_time_begins_nothing_more() {
        let work = || (0..3).map(|_| async { anyhow::Ok(true) });
        assert_eq!(all(Instant::now(), work()).await.tried, 3);
        let long_ago = Instant::now().checked_sub(BEGIN_FOR).unwrap();
        assert_eq!(all(long_ago, work()).await.tried, 0);
    }
}
