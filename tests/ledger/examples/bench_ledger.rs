//! How many jobs a second the ledger holds and captures by the store's real code: on one hot account, and on a thousand accounts, each job
//! three transactions (hold, claim, capture) on the stand-in that the system tests use, behind a proxy that fails overlapping writes as
//! DynamoDB does. Beside it, the stand-in's bare transactions of five items in the same run, through the same proxy.
//!
//! scripts/bench-ledger [JOBS] runs it.

use anyhow::{Context, Result, ensure};
use aws_sdk_dynamodb::types::{AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType};
use futures::future::try_join_all;
use kiln_core::ids::{AccountId, EntryId, InstanceId, JobId};
use kiln_core::job::{Counters, Job};
use kiln_core::machine::{self, Claim, Step, Worker};
use kiln_core::settings::Settings;
use kiln_core::time::Millis;
use kiln_ledger_proof::world::draft_of;
use kiln_store::table::{Key, Parts, to_item};
use kiln_store::{Account, AccountKind, Commit, Table, Why, keys};
use kiln_tests::Faults;
use std::time::Instant;

const CLIENTS: usize = 32;
const NOW: Millis = 1_795_257_600_000;
const TABLE: &str = "bench";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let jobs = std::env::args().nth(1).map(|text| text.parse()).transpose()?.unwrap_or(2000);
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = tempfile::tempdir()?;
    let (_process, url) = kiln_tests::system::start_standin(folder.path()).await?;
    let faults = Faults::start(&url).await?;
    faults.overlapping_writes_conflict();
    let config = aws_config::defaults(aws_config::BehaviorVersion::latest())
        .endpoint_url(&faults.url)
        .region("us-east-1")
        .credentials_provider(aws_sdk_dynamodb::config::Credentials::new("test", "test", None, None, "bench"))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .load()
        .await;
    create(&config).await?;
    let table = Table::new(&config, TABLE);
    bare(&table, &faults, jobs).await?;
    for accounts in [1, 1000] {
        pairs(&table, &faults, accounts, jobs).await?;
    }
    Ok(())
}

async fn create(config: &aws_config::SdkConfig) -> Result<()> {
    let mut table = aws_sdk_dynamodb::Client::new(config).create_table().table_name(TABLE).billing_mode(BillingMode::PayPerRequest);
    for (name, kind) in [("pk", KeyType::Hash), ("sk", KeyType::Range)] {
        table = table
            .attribute_definitions(AttributeDefinition::builder().attribute_name(name).attribute_type(ScalarAttributeType::S).build()?)
            .key_schema(KeySchemaElement::builder().attribute_name(name).key_type(kind).build()?);
    }
    table.send().await?;
    Ok(())
}

/// Transactions of five items, each client on items of its own.
async fn bare(table: &Table, faults: &Faults, count: usize) -> Result<()> {
    faults.reset();
    let begun = Instant::now();
    let text = "x".repeat(700);
    try_join_all((0..CLIENTS).map(|client| {
        let text = &text;
        async move {
            for _ in 0..count / CLIENTS {
                let mut parts = Parts::default();
                for item in 0..5 {
                    let key = Key { pk: format!("bare{client}"), sk: item.to_string() };
                    table.add_put(&mut parts, to_item(&key, &serde_json::json!({ "text": text }))?, None)?;
                }
                table.transact(parts).await?;
            }
            anyhow::Ok(())
        }
    }))
    .await?;
    let rate = (count / CLIENTS * CLIENTS) as f64 / begun.elapsed().as_secs_f64();
    println!("bare: {rate:.0} transactions of 5 items a second, {CLIENTS} clients, {} conflicts", faults.conflicts());
    Ok(())
}

async fn pairs(table: &Table, faults: &Faults, accounts: usize, jobs: usize) -> Result<()> {
    let ids: Vec<AccountId> = (0..accounts).map(|n| AccountId::new(NOW, ((accounts as u128) << 32) + n as u128)).collect();
    for id in &ids {
        let counters = Counters { available: 1_000_000_000, max_running: Some(1_000_000), max_queued: Some(1_000_000), paid: true, ..Counters::default() };
        let account = Account { counters, ..Account::new(id.clone(), AccountKind::Person, 0, NOW) };
        table.put(to_item(&keys::account(id), &account)?, None).await?;
    }
    faults.reset();
    let settings = Settings { creates_per_minute: 1_000_000, ..Settings::default() };
    let begun = Instant::now();
    let share = jobs / CLIENTS;
    let (ids, settings) = (&ids, &settings);
    let busy: Vec<usize> = try_join_all((0..CLIENTS).map(|client| async move {
        let mut busy = 0;
        for job in 0..share {
            let number = client * share + job;
            let account = &ids[number % ids.len()];
            // Whoever is told that the account is busy asks again, as a client does after a 503.
            while let Err(error) = pair(table, settings, account, ((accounts as u128) << 40) + number as u128).await {
                ensure!(matches!(error.downcast_ref::<kiln_store::Error>(), Some(kiln_store::Error::Busy)), "{error:#}");
                busy += 1;
            }
        }
        anyhow::Ok(busy)
    }))
    .await?;
    let seconds = begun.elapsed().as_secs_f64();
    let (mut held, mut used) = (0, 0);
    for id in ids {
        let account = table.account(id).await?.context("an account")?;
        held += account.counters.held;
        used += 1_000_000_000 - account.counters.available;
    }
    let done = share * CLIENTS;
    ensure!((held, used) == (0, done as i64 * 1000), "{held} held and {used} used after {done} jobs");
    let tries = faults.counts().get("TransactWriteItems").copied().unwrap_or(0);
    println!(
        "{accounts} account{}: {:.1} hold → capture pairs ({:.0} transactions) a second, {CLIENTS} clients, {done} jobs in {seconds:.1} s; {} conflicts, {:.2} tries a transaction, {} told busy; books right",
        if accounts == 1 { "" } else { "s" },
        done as f64 / seconds,
        3.0 * done as f64 / seconds,
        faults.conflicts(),
        tries as f64 / (3 * done) as f64,
        busy.iter().sum::<usize>(),
    );
    Ok(())
}

/// One job held, claimed and captured. Called again for the same number it goes on where it stopped.
async fn pair(table: &Table, settings: &Settings, account_id: &AccountId, number: u128) -> Result<()> {
    let job_id = JobId::new(NOW, number);
    let instance = InstanceId::new(NOW, number);
    let capabilities = ["image".to_owned()];
    let worker = Worker { instance_id: &instance, host: "h", trusted: true, capabilities: &capabilities, draining: false, busy: false };
    loop {
        let (job, account) = table.job_and_account(account_id, &job_id).await?;
        let account = account.context("an account")?;
        let change = match job {
            None => {
                let draft = Job { account_id: account_id.clone(), job_id: job_id.clone(), ..draft_of(1000) };
                table.put(to_item(&keys::instance(&instance), &serde_json::json!({}))?, None).await?;
                machine::submit(draft, &account.counters, settings, NOW)
            }
            Some(job) if job.attempt == 0 => match machine::claim(&job, &account.counters, &worker, "claim", settings, NOW) {
                Ok(Claim::New(change)) => *change,
                other => anyhow::bail!("{other:?}"),
            },
            Some(job) => match machine::complete(&job, &instance, 1, 0, NOW + 1000) {
                Ok(Step::New(change)) => *change,
                Ok(Step::Again) => return Ok(()),
                Err(state) => anyhow::bail!("{state:?}"),
            },
        };
        let entry_id = change.money.map(|_| EntryId::new(NOW, fastrand::u128(..)));
        let with = Commit { entry_id, account: Some(&account.counters), ..Commit::default() };
        match table.commit(&change, with, NOW).await? {
            Ok(()) if change.after.state.ended() => return Ok(()),
            Ok(()) | Err(Why::Moved) => {}
            Err(why) => anyhow::bail!("{why:?}"),
        }
    }
}
