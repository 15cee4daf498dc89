//! Batches are told to the account's endpoints: each event stands in the transaction of the change that it tells of, or not at all.

use anyhow::{Context, Result, ensure};
use kiln_core::batch::{self, Row};
use kiln_core::hooks::{EventType, Wanted};
use kiln_core::ids::{AccountId, BatchId, EntryId, JobId, UploadId};
use kiln_core::job::{Counters, Job, JobInput};
use kiln_core::settings::Settings;
use kiln_dynamo::{Memory, TABLE};
use kiln_store::hooks::OwedEvent;
use kiln_store::table::{absent, to_item};
use kiln_store::{Account, AccountKind, Closed, Started, Table, Why, keys};
use serde_json::Value;

const NOW: i64 = 1_763_721_600_000;

fn account_id() -> AccountId {
    AccountId::new(NOW, 1)
}

struct World {
    memory: Memory,
    table: Table,
    batch_id: BatchId,
}

impl World {
    /// An account whose endpoints want this, with a batch of so many rows at 100 millicredits each.
    async fn new(wanted: &[&str], rows: u32) -> Result<Self> {
        let memory = Memory::new(1);
        let table = Table::new(&memory.sdk_config(), TABLE);
        let hook_events = Wanted::parse(wanted.iter().map(|line| (*line).to_owned()).collect())?;
        let counters = Counters { available: 10_000, paid: true, hook_events, ..Counters::default() };
        let account = Account { counters, ..Account::new(account_id(), AccountKind::Person, 0, NOW) };
        table.put(to_item(&keys::account(&account_id()), &account)?, Some(absent())).await?;
        let batch_id = BatchId::new(NOW, 7);
        let reserve = batch::reserve(batch_id.clone(), account_id(), rows, i64::from(rows) * 100, &account.counters, &Settings::default(), NOW)?;
        table.reserve_batch(&reserve, &EntryId::new(NOW, 50), None, NOW).await?.map_err(|why| anyhow::anyhow!("{why:?}"))?;
        Ok(Self { memory, table, batch_id })
    }

    async fn start(&self, row: u32, inputs: Vec<JobInput>) -> Result<Started> {
        let job = Job { quote_millicredits: 100, inputs, ..Job::draft(JobId::new(NOW, 0), account_id(), "noop", "image", 900, NOW) };
        let entry = EntryId::new(NOW, 1_000 + u128::from(row) * 10);
        Ok(self.table.start_rows(&account_id(), &self.batch_id, &[Row { row, job }], &entry, &Settings::default(), NOW).await?)
    }

    async fn close(&self) -> Result<Closed> {
        Ok(self.table.close_batch(&account_id(), &self.batch_id, &EntryId::new(NOW, 9_000), NOW + 1).await?)
    }

    fn events(&self) -> Result<Vec<OwedEvent>> {
        Ok(self.memory.typed(&keys::account_pk(&account_id()), keys::EVENT)?)
    }

    /// What is owed to the endpoints, sorted by its name.
    fn told(&self) -> Result<Vec<EventType>> {
        let mut kinds: Vec<_> = self.events()?.into_iter().map(|event| event.kind).collect();
        kinds.sort();
        Ok(kinds)
    }
}

#[tokio::test]
async fn a_batch_is_told_when_its_first_rows_start_and_when_it_is_closed_before_its_last() -> Result<()> {
    let world = World::new(&["batch.*"], 3).await?;
    ensure!(world.told()?.is_empty(), "nothing has started");
    for row in 0..2 {
        ensure!(matches!(world.start(row, vec![]).await?, Started::New { left: 0, .. }));
        ensure!(world.told()? == [EventType::BatchStarted], "{:?}", world.told()?);
    }
    ensure!(world.close().await? == Closed::New { millicredits: 100 });
    ensure!(world.told()? == [EventType::BatchStarted, EventType::BatchCancelled], "{:?}", world.told()?);
    ensure!(world.close().await? == Closed::Again && world.told()?.len() == 2);
    let cancelled = world.events()?.into_iter().find(|event| event.kind == EventType::BatchCancelled).context("the close")?;
    let body: Value = serde_json::from_str(&cancelled.body)?;
    ensure!(body["data"]["id"] == world.batch_id.as_str() && body["data"]["started"] == 2 && body["data"]["released_millicredits"] == 100, "{body}");
    Ok(())
}

#[tokio::test]
async fn a_batch_of_which_every_row_has_started_is_told_as_finished() -> Result<()> {
    let world = World::new(&["batch.finished"], 1).await?;
    world.start(0, vec![]).await?;
    // Nothing is left to give back, and it is told all the same.
    ensure!(world.close().await? == Closed::New { millicredits: 0 });
    ensure!(world.told()? == [EventType::BatchFinished], "{:?}", world.told()?);
    Ok(())
}

#[tokio::test]
async fn a_chunk_that_is_refused_is_not_told() -> Result<()> {
    let world = World::new(&["*"], 1).await?;
    let gone = JobInput {
        upload_id: UploadId::new(NOW, 1),
        key: "inputs/x".into(),
        content_type: "image/png".into(),
        bytes: 9,
        sha256: "00".into(),
        width: 1,
        height: 1,
    };
    ensure!(world.start(0, vec![gone]).await? == Started::Account(Why::Upload(0)));
    ensure!(world.told()?.is_empty(), "{:?}", world.told()?);
    Ok(())
}

#[tokio::test]
async fn a_batch_of_an_account_whose_endpoints_want_none_of_it_writes_no_event() -> Result<()> {
    let world = World::new(&["job.*"], 2).await?;
    world.start(0, vec![]).await?;
    world.close().await?;
    ensure!(world.told()?.is_empty(), "{:?}", world.told()?);
    Ok(())
}
