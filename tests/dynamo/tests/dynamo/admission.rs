//! What the store admits to an account and what it says when it doesn't: batches against the queue, the day and their uploads, and requests
//! whose clocks differ.

use anyhow::{Context, Result, ensure};
use kiln_core::batch::{self, Row};
use kiln_core::ids::{AccountId, BatchId, EntryId, JobId, UploadId};
use kiln_core::job::{Counters, Job, JobInput, MINUTE, Pace, Today};
use kiln_core::machine::{self, DAY};
use kiln_core::settings::Settings;
use kiln_dynamo::{Memory, TABLE};
use kiln_store::table::{absent, to_item};
use kiln_store::{Account, AccountKind, Commit, Started, Table, Upload, UploadState, Why, keys};

/// The last moment of a minute, of an hour and of a day.
const NOW: i64 = 1_763_769_600_000 - 1;

fn account_id() -> AccountId {
    AccountId::new(NOW, 1)
}

async fn table_with(counters: Counters) -> Result<Table> {
    let memory = Memory::new(1);
    let table = Table::new(&memory.sdk_config(), TABLE);
    let account = Account { counters, ..Account::new(account_id(), AccountKind::Person, 0, NOW) };
    table.put(to_item(&keys::account(&account_id()), &account)?, Some(absent())).await?;
    Ok(table)
}

fn job(inputs: Vec<JobInput>) -> Job {
    Job { quote_millicredits: 100, inputs, ..Job::draft(JobId::new(NOW, 0), account_id(), "noop", "image", 900, NOW) }
}

fn input(id: &UploadId) -> JobInput {
    JobInput { upload_id: id.clone(), key: "inputs/x".into(), content_type: "image/png".into(), bytes: 9, sha256: "00".into(), width: 1, height: 1 }
}

fn upload(id: &UploadId) -> Upload {
    Upload {
        v: 1,
        upload_id: id.clone(),
        account_id: account_id(),
        filename: "x.png".into(),
        content_type: "image/png".into(),
        bytes: 9,
        sha256: Some("00".into()),
        state: UploadState::Ready,
        created_at: NOW,
        expires_at: NOW + DAY,
        width: 1,
        height: 1,
        key: Some("inputs/x".into()),
        last_job_at: None,
        owed_shard: Some("upload#00".into()),
        next_check_at: Some(NOW + DAY),
    }
}

async fn reserved(table: &Table, rows: u32) -> Result<BatchId> {
    let id = BatchId::new(NOW, 7);
    let account = table.account(&account_id()).await?.context("an account")?;
    let reserve = batch::reserve(id.clone(), account_id(), rows, i64::from(rows) * 100, &account.counters, &Settings::default(), NOW)?;
    table.reserve_batch(&reserve, &EntryId::new(NOW, 50), None, NOW).await?.map_err(|why| anyhow::anyhow!("{why:?}"))?;
    Ok(id)
}

async fn start(table: &Table, id: &BatchId, rows: std::ops::Range<u32>, inputs: &[JobInput], entry: u128) -> Result<Started> {
    let rows: Vec<Row> = rows.map(|row| Row { row, job: job(inputs.to_vec()) }).collect();
    Ok(table.start_rows(&account_id(), id, &rows, &EntryId::new(NOW, entry), &Settings::default(), NOW).await?)
}

#[tokio::test]
async fn a_batch_s_rows_start_as_far_as_the_queue_has_room_and_then_say_so() -> Result<()> {
    let table = table_with(Counters { available: 10_000, max_queued: Some(3), paid: true, ..Counters::default() }).await?;
    let id = reserved(&table, 10).await?;
    let Started::New { jobs, left } = start(&table, &id, 0..10, &[], 100).await? else { anyhow::bail!("nothing started") };
    ensure!((jobs.len(), left) == (3, 7));
    ensure!(start(&table, &id, 3..10, &[], 200).await? == Started::Account(Why::QueuedFull));
    ensure!(start(&table, &id, 0..3, &[], 300).await? == Started::Again);
    let account = table.account(&account_id()).await?.context("an account")?;
    ensure!((account.counters.available, account.counters.held, account.counters.queued) == (9_000, 1_000, 3));
    Ok(())
}

#[tokio::test]
async fn a_batch_s_rows_start_as_far_as_the_day_has_room_and_then_say_so() -> Result<()> {
    let table = table_with(Counters { available: 10_000, max_inferences_day: Some(2), ..Counters::default() }).await?;
    let id = reserved(&table, 5).await?;
    let Started::New { jobs, left } = start(&table, &id, 0..5, &[], 100).await? else { anyhow::bail!("nothing started") };
    ensure!((jobs.len(), left) == (2, 3));
    let refused = start(&table, &id, 2..5, &[], 200).await?;
    ensure!(refused == Started::Account(Why::DayFull { edits: false }), "{refused:?}");
    Ok(())
}

#[tokio::test]
async fn a_batch_s_rows_use_their_uploads_and_name_the_one_that_is_gone() -> Result<()> {
    let table = table_with(Counters { available: 10_000, paid: true, ..Counters::default() }).await?;
    let id = reserved(&table, 4).await?;
    let (there, gone) = (UploadId::new(NOW, 1), UploadId::new(NOW, 2));
    table.put(to_item(&keys::upload(&account_id(), &there), &upload(&there))?, Some(absent())).await?;
    let refused = start(&table, &id, 0..2, &[input(&there), input(&gone)], 100).await?;
    ensure!(refused == Started::Account(Why::Upload(1)), "{refused:?}");
    let Started::New { jobs, left: 0 } = start(&table, &id, 0..2, &[input(&there)], 200).await? else { anyhow::bail!("nothing started") };
    ensure!(jobs.len() == 2);
    // In use: it is no orphan any more, and can't be deleted.
    let used = table.upload(&account_id(), &there).await?.context("the upload")?;
    ensure!(used.last_job_at == Some(NOW) && used.owed_shard.is_none(), "{used:?}");
    Ok(())
}

/// Of two functions' clocks one is a millisecond, or a minute, behind the other's: neither is told that it has no credits.
#[tokio::test]
async fn a_request_whose_clock_is_behind_counts_for_the_later_minute_and_day() -> Result<()> {
    let (minute, day) = (NOW.div_euclid(MINUTE) + 1, NOW.div_euclid(DAY) + 1);
    let counters =
        Counters { available: 10_000, pace: Pace { minute, minute_made: 4 }, today: Today { day, day_inferences: 6, day_edits: 0 }, ..Counters::default() };
    let table = table_with(counters).await?;
    let account = table.account(&account_id()).await?.context("an account")?;
    let change = machine::submit(job(vec![]), &account.counters, &Settings::default(), NOW);
    let with = Commit { entry_id: Some(EntryId::new(NOW, 1)), ..Commit::default() };
    ensure!(table.commit(&change, with, NOW).await? == Ok(()));
    let after = table.account(&account_id()).await?.context("an account")?.counters;
    ensure!(after.pace == Pace { minute, minute_made: 5 } && after.today.day == day && after.today.day_inferences == 7, "{after:?}");
    // What was read before the minute turned, written after somebody else's of the next: read again, and not "no credits".
    let stale = Counters { pace: Pace { minute: minute - 1, minute_made: 0 }, today: Today { day: day - 1, ..Today::default() }, ..account.counters };
    let change = machine::submit(Job { job_id: JobId::new(NOW, 9), ..job(vec![]) }, &stale, &Settings::default(), NOW);
    let with = Commit { entry_id: Some(EntryId::new(NOW, 2)), ..Commit::default() };
    ensure!(table.commit(&change, with, NOW).await? == Err(Why::Moved));
    Ok(())
}
