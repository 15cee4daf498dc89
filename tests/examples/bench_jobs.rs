//! How long from a submit to the worker's start, beside the floor: the same AWS calls made bare and in sequence, a parked long poll
//! included, on the same stand-in in the same run. Then the throughput of 32 clients on 4 slots beside the stand-in's own
//! transactions a second.
//!
//! Before that, how long a cold system takes to its first picture.
//!
//! `cargo run --release -p kiln-tests --example bench_jobs [sequential jobs] [parallel jobs]`; the system's binaries are taken from
//! beside this one, so build them with the same profile first (scripts/bench does).

use anyhow::{Context, Result, ensure};
use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes, Put, TransactWriteItem};
use kiln_core::time::parse_rfc3339;
use kiln_tests::system::wait_for;
use kiln_tests::{Client, System, picture};
use serde_json::json;
use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

fn main() -> Result<()> {
    let mut numbers = std::env::args().skip(1).map(|text| text.parse::<usize>());
    let sequential = numbers.next().transpose()?.unwrap_or(1000);
    let parallel = numbers.next().transpose()?.unwrap_or(2000);
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(run(sequential, parallel))
}

async fn run(sequential: usize, parallel: usize) -> Result<()> {
    let settings = [
        ("KILN_SIGNUP_MILLICREDITS", "1000000000"),
        ("KILN_FREE_INFERENCES_DAY", "10000000"),
        ("KILN_CREATES_PER_MINUTE", "1000000"),
        ("KILN_LEASE_S", "60"),
        ("KILN_HEARTBEAT_S", "15"),
        ("KILN_HINT_S", "60"),
        ("KILN_TICK_S", "60"),
        ("KILN_POOL_DESIRED", "1"),
    ];
    first_result().await?;
    let system = System::start(&settings).await?;
    let ada = system.signed_in("bench@example.org").await?;
    // Warm: connections, the worker, its polls.
    for _ in 0..20 {
        one(&ada).await?;
    }
    let mut begun = Vec::with_capacity(sequential);
    for _ in 0..sequential {
        begun.push(one(&ada).await?);
    }
    let starts = wait_for("the last line of the worker's log", Duration::from_secs(30), || async {
        let starts = starts(&system)?;
        Ok(begun.iter().all(|(id, _)| starts.contains_key(id)).then_some(starts))
    })
    .await?;
    let mut waits: Vec<f64> = begun.iter().map(|(id, at)| Ok(starts.get(id).context("a job never started")? - at)).collect::<Result<_>>()?;
    let floor = Floor::new(&system.stand_in()?).await?;
    for _ in 0..20 {
        floor.once().await?;
    }
    let mut bare = Vec::with_capacity(sequential);
    for _ in 0..sequential.min(300) {
        bare.push(floor.once().await?);
    }
    let (p50, p99) = (percentile(&mut waits, 50), percentile(&mut waits, 99));
    let (f50, f99) = (percentile(&mut bare, 50), percentile(&mut bare, 99));
    println!("submit → worker starts, {sequential} sequential jobs: p50 {p50:.1} ms, p99 {p99:.1} ms");
    println!("floor (the same calls bare, {} times):           p50 {f50:.1} ms, p99 {f99:.1} ms", bare.len());
    println!("ratio: p50 {:.2} × the floor's p50 (goal 1.5), p99 {:.2} × the floor's p50, {:.2} × its p99 (goal 4)", p50 / f50, p99 / f50, p99 / f99);
    drop(system);

    let settings =
        [settings.as_slice(), &[("KILN_POOL_DESIRED", "4"), ("KILN_POOL_MAX", "4"), ("KILN_ACCOUNT_RUNNING", "4"), ("KILN_ACCOUNT_QUEUED", "10000")]].concat();
    let system = System::start(&settings).await?;
    throughput(&system, parallel).await
}

/// From nothing (no data, no process) to the first picture in hand, with the clocks that `scripts/dev` has.
async fn first_result() -> Result<()> {
    let begun = Instant::now();
    let clocks =
        [("KILN_TICK_S", "60"), ("KILN_POLL_S", "20"), ("KILN_LEASE_S", "60"), ("KILN_HEARTBEAT_S", "15"), ("KILN_HINT_S", "60"), ("KILN_TEST_ENGINES", "0")];
    let system = System::start(&clocks).await?;
    let up = begun.elapsed().as_secs_f64();
    let ada = system.signed_in("first@example.org").await?;
    let upload = ada.upload("photo.png", "image/png", &picture::png(640, 480)).await?;
    let id = ada.job(json!({ "kind": "upscale", "params": { "scale": 2 }, "inputs": [upload] })).await?;
    let job = ada.ended(&id, Duration::from_secs(120)).await?;
    ensure!(job["state"] == "succeeded", "{job}");
    ada.download(&job["artifacts"][0]).await?;
    let all = begun.elapsed().as_secs_f64();
    println!("zero → first result (sign-in, 640 × 480 photo, x2, download): {all:.1} s, the system was up after {up:.1} s (goal 10)");
    Ok(())
}

/// One job from its request to its end: its id, and when it was asked for, in milliseconds since 1970.
async fn one(client: &Client) -> Result<(String, f64)> {
    let begun = SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros() as f64 / 1000.0;
    let id = client.noop(0).await?;
    let job = client.ended(&id, Duration::from_secs(120)).await?;
    ensure!(job["state"] == "succeeded", "{job}");
    Ok((id, begun))
}

/// When the worker had each job in its hands, by its own log: `… 2026-11-21T10:00:00.000000Z INFO job{job_id=job_… …}: claimed`. The
/// job's `started_at` is earlier, since it is in the claim's own transaction.
fn starts(system: &System) -> Result<HashMap<String, f64>> {
    let mut starts = HashMap::new();
    for line in system.log().lines().iter().filter(|line| line.contains(": claimed inputs")) {
        let at = line.split_whitespace().find(|word| word.len() > 20 && word.ends_with('Z') && word.contains('T')).context("a line without a time")?;
        let (seconds, fraction) = at.trim_end_matches('Z').split_once('.').context("a time without a fraction")?;
        let whole = parse_rfc3339(&format!("{seconds}Z")).context("a time that is none")?;
        let id = line.split("job_id=").nth(1).and_then(|rest| rest.split_whitespace().next()).context("a line without a job")?;
        starts.insert(id.to_owned(), whole as f64 + format!("0.{fraction}").parse::<f64>()? * 1000.0);
    }
    Ok(starts)
}

async fn throughput(system: &System, jobs: usize) -> Result<()> {
    let clients = 32;
    let mut signed = Vec::new();
    for n in 0..clients {
        signed.push(system.signed_in(&format!("bench{n}@example.org")).await?);
    }
    let begun = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for (n, client) in signed.into_iter().enumerate() {
        let share = jobs / clients + usize::from(n < jobs % clients);
        tasks.spawn(async move {
            let mut ids = Vec::new();
            for _ in 0..share {
                ids.push(client.job(json!({ "kind": "noop" })).await?);
            }
            for id in &ids {
                let job = client.ended(id, Duration::from_secs(600)).await?;
                ensure!(job["state"] == "succeeded", "{job}");
            }
            client.check_books().await?;
            anyhow::Ok(ids.len())
        });
    }
    let mut done = 0;
    while let Some(result) = tasks.join_next().await {
        done += result??;
    }
    let seconds = begun.elapsed().as_secs_f64();
    ensure!(done == jobs);
    let bare = Floor::new(&system.stand_in()?).await?.transactions_a_second(clients, jobs).await?;
    let rate = jobs as f64 / seconds;
    println!("{clients} clients, 4 slots, {jobs} jobs: all succeeded, books right, {rate:.1} jobs a second, which is {:.1} transactions a second", 3.0 * rate);
    println!("the stand-in's own: {bare:.1} transactions of 5 items a second, {clients} at once");
    Ok(())
}

fn percentile(values: &mut [f64], p: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    values[(values.len() * p / 100).min(values.len() - 1)]
}

/// The bare calls of a submit and a claim, on a table and a queue of their own.
struct Floor {
    dynamo: aws_sdk_dynamodb::Client,
    sqs: aws_sdk_sqs::Client,
    queue: String,
}

impl Floor {
    async fn new(endpoint: &str) -> Result<Self> {
        let config = aws_config::defaults(aws_config::BehaviorVersion::latest())
            .endpoint_url(endpoint)
            .region("us-east-1")
            .credentials_provider(aws_sdk_dynamodb::config::Credentials::new("test", "test", None, None, "bench"))
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .load()
            .await;
        let dynamo = aws_sdk_dynamodb::Client::new(&config);
        let sqs = aws_sdk_sqs::Client::new(&config);
        use aws_sdk_dynamodb::types::{AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType};
        let mut table = dynamo.create_table().table_name("floor").billing_mode(BillingMode::PayPerRequest);
        for (name, kind) in [("pk", KeyType::Hash), ("sk", KeyType::Range)] {
            table = table
                .attribute_definitions(AttributeDefinition::builder().attribute_name(name).attribute_type(ScalarAttributeType::S).build()?)
                .key_schema(KeySchemaElement::builder().attribute_name(name).key_type(kind).build()?);
        }
        table.send().await?;
        let queue = sqs.create_queue().queue_name("floor").send().await?.queue_url.context("queue")?;
        Ok(Self { dynamo, sqs, queue })
    }

    async fn read(&self, keys: usize) -> Result<()> {
        let keys = (0..keys).map(|n| item(n, "")).collect();
        let keys = KeysAndAttributes::builder().set_keys(Some(keys)).consistent_read(true).build()?;
        self.dynamo.batch_get_item().request_items("floor", keys).send().await?;
        Ok(())
    }

    async fn write(&self, items: usize) -> Result<()> {
        self.write_at(0, items).await
    }

    async fn write_at(&self, first: usize, items: usize) -> Result<()> {
        let text = "x".repeat(700);
        let puts = (first..first + items).map(|n| {
            let mut item = item(n, "");
            item.insert("text".into(), AttributeValue::S(text.clone()));
            Ok(TransactWriteItem::builder().put(Put::builder().table_name("floor").set_item(Some(item)).build()?).build())
        });
        self.dynamo.transact_write_items().set_transact_items(Some(puts.collect::<Result<_>>()?)).send().await?;
        Ok(())
    }

    /// `jobs` transactions by `clients` at once, each client on items of its own.
    async fn transactions_a_second(self, clients: usize, jobs: usize) -> Result<f64> {
        let floor = std::sync::Arc::new(self);
        let begun = Instant::now();
        let mut tasks = tokio::task::JoinSet::new();
        for client in 0..clients {
            let floor = floor.clone();
            tasks.spawn(async move {
                for _ in 0..jobs / clients {
                    floor.write_at(client * 10, 5).await?;
                }
                anyhow::Ok(())
            });
        }
        while let Some(result) = tasks.join_next().await {
            result??;
        }
        Ok((jobs / clients * clients) as f64 / begun.elapsed().as_secs_f64())
    }

    /// Reads, writes, sends into a parked poll, reads, writes: milliseconds.
    async fn once(&self) -> Result<f64> {
        let (sqs, queue) = (self.sqs.clone(), self.queue.clone());
        let parked = tokio::spawn(async move { sqs.receive_message().queue_url(queue).wait_time_seconds(20).send().await });
        // The poll is parked once the stand-in has it in hand; nothing tells, so it gets a moment as a worker's would have had.
        tokio::time::sleep(Duration::from_millis(30)).await;
        let begun = Instant::now();
        self.read(3).await?;
        self.write(5).await?;
        self.sqs.send_message().queue_url(&self.queue).message_body("{}").message_group_id("a").send().await?;
        let received = parked.await??;
        self.read(3).await?;
        self.write(5).await?;
        let ms = begun.elapsed().as_secs_f64() * 1000.0;
        for message in received.messages.unwrap_or_default() {
            self.sqs.delete_message().queue_url(&self.queue).set_receipt_handle(message.receipt_handle).send().await?;
        }
        Ok(ms)
    }
}

fn item(n: usize, text: &str) -> HashMap<String, AttributeValue> {
    let mut item = HashMap::from([("pk".to_owned(), AttributeValue::S(format!("p{n}"))), ("sk".to_owned(), AttributeValue::S("s".into()))]);
    if !text.is_empty() {
        item.insert("text".into(), AttributeValue::S(text.into()));
    }
    item
}
