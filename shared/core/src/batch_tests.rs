use super::*;
use crate::ids::EntryId;
use crate::job::{Priority, State};
use crate::ledger::{Entry, Sums, audit};

const NOW: Millis = 1_763_721_600_000;

fn account() -> AccountId {
    AccountId::new(NOW, 2)
}

fn reserved(rows: u32, total: i64) -> Reserve {
    reserve(BatchId::new(NOW, 9), account(), rows, total, &Counters::default(), &Settings::default(), NOW).unwrap()
}

fn row(row: u32, quote: i64) -> Row {
    let draft = crate::machine::tests::draft();
    Row { row, job: Job { account_id: account(), quote_millicredits: quote, priority: Priority::Rush, ..draft } }
}

fn start(batch: &Batch, rows: Vec<Row>) -> Result<Chunk, NoBatch> {
    start_chunk(batch, rows, &Counters::default(), &Settings::default(), NOW + 5)
}

#[test]
fn a_batch_reserves_once_starts_in_chunks_and_gives_the_rest_back() {
    let Reserve { batch, account: delta, money } = reserved(4, 4000);
    assert_eq!((money, delta.needs_available, delta.step.is_some(), delta.queued), (Move::hold(4000), Some(4000), true, 0));
    let chunk = start(&batch, vec![row(2, 1000), row(0, 500)]).unwrap();
    assert_eq!((chunk.after.left_millicredits, chunk.after.started, chunk.after.seq), (2500, 2, 2));
    assert_eq!((chunk.release, chunk.account.queued, chunk.account.needs_available), (Move::release(1500), 2, None));
    let jobs: Vec<_> = chunk.rows.iter().map(|row| &row.job).collect();
    assert!(jobs.iter().all(|job| job.state == State::Queued && job.hold_open && job.owed_shard.is_some() && job.created_at == NOW + 5));
    assert_eq!((&jobs[0].job_id, &jobs[1].job_id), (&job_id(&batch.batch_id, 2), &job_id(&batch.batch_id, 0)));
    assert_eq!((chunk.name(), chunk.row_name(2)), ("chunk 2".to_owned(), format!("{}/2", batch.batch_id)));
    let closed = close(&chunk.after, NOW + 9).unwrap();
    assert_eq!((closed.money, closed.after.state, closed.after.left_millicredits), (Some(Move::release(2500)), BatchState::Closed, 0));
    assert_eq!((close(&closed.after, NOW), start(&closed.after, vec![row(1, 1)])), (None, Err(NoBatch::Closed)));
    // The books of all this.
    let entry = |n: u128, step: Move, cause: &str| step.entry(EntryId::new(NOW, n), account(), NOW, cause);
    let bat = batch.batch_id.as_str();
    let mut entries: Vec<Entry> = vec![entry(1, Move::grant(5000), "signup"), entry(2, money, bat), entry(3, chunk.release, bat)];
    entries.push(entry(4, Move::hold(1000), jobs[0].job_id.as_str()));
    entries.push(entry(5, Move::hold(500), jobs[1].job_id.as_str()));
    let holds = [(jobs[0].job_id.clone(), 1000, false), (jobs[1].job_id.clone(), 500, false)];
    let at = |available, held| Sums { available, held };
    let none = Vec::<String>::new();
    assert_eq!(audit(at(1000, 4000), &entries, &holds, std::slice::from_ref(&chunk.after)), none);
    entries.push(entry(6, closed.money.unwrap(), bat));
    assert_eq!(audit(at(3500, 1500), &entries, &holds, std::slice::from_ref(&closed.after)), none);
    // And what is caught: left is not what the entries say, a closed one that holds, more given back than reserved.
    assert!(!audit(at(3500, 1500), &entries, &holds, std::slice::from_ref(&chunk.after)).is_empty());
    assert!(!audit(at(1000, 4000), &entries[..5], &holds, std::slice::from_ref(&closed.after)).is_empty());
    let still = Batch { left_millicredits: 2500, ..closed.after.clone() };
    assert!(!audit(at(1000, 4000), &entries[..5], &holds, std::slice::from_ref(&still)).is_empty());
    entries.push(entry(7, closed.money.unwrap(), bat));
    assert!(audit(at(6000, -1000), &entries, &holds, &[closed.after]).iter().any(|line| line.starts_with(bat)));
}

#[test]
fn rows_that_are_none_and_more_than_was_reserved_are_refused() {
    let batch = reserved(30, 3000).batch;
    assert_eq!(start(&batch, vec![]), Err(NoBatch::Chunk));
    assert_eq!(start(&batch, (0..26).map(|n| row(n, 1)).collect()), Err(NoBatch::Chunk));
    assert_eq!(start(&batch, vec![row(30, 1)]), Err(NoBatch::NoRow(30)));
    assert_eq!(start(&batch, vec![row(3, 1), row(3, 1)]), Err(NoBatch::Twice(3)));
    assert_eq!(start(&batch, vec![row(3, -1)]), Err(NoBatch::Row(3)));
    assert_eq!(start(&batch, vec![row(3, 2000), row(4, 1001)]), Err(NoBatch::Exceeds { cost: 3001, left: 3000 }));
    let stranger = Row { row: 1, job: Job { account_id: AccountId::new(NOW, 3), ..row(1, 1).job } };
    assert_eq!(start(&batch, vec![stranger]), Err(NoBatch::Row(1)));
    assert!(start(&batch, (0..25).map(|n| row(n, 120)).collect()).is_ok());
    let reserve = |rows, total| reserve(BatchId::new(NOW, 9), account(), rows, total, &Counters::default(), &Settings::default(), NOW);
    assert_eq!((reserve(0, 5).err(), reserve(MAX_ROWS + 1, 5).err(), reserve(1, -1).err()), (Some(NoBatch::Rows), Some(NoBatch::Rows), Some(NoBatch::Total)));
}

#[test]
fn a_chunk_counts_all_its_jobs_for_queue_and_day() {
    let (settings, batch) = (Settings::default(), reserved(30, 3000).batch);
    let counters = Counters { queued: 90, ..Counters::default() };
    let chunk = start_chunk(&batch, (0..10).map(|n| row(n, 1)).collect(), &counters, &settings, NOW).unwrap();
    let daily = chunk.account.daily.unwrap();
    assert_eq!((chunk.account.queued_below, daily.jobs, daily.inferences_below, daily.edits), (Some(91), 10, Some(91), 0));
    assert_eq!((room(&counters, &settings, NOW), room(&Counters { queued: 200, ..counters.clone() }, &settings, NOW)), (10, 0));
    let busy = Counters { today: crate::job::Today { day: NOW / DAY, day_inferences: 97, day_edits: 0 }, ..counters };
    assert_eq!((room(&busy, &settings, NOW), room(&busy, &settings, NOW + DAY), room(&Counters { paid: true, ..busy }, &settings, NOW)), (3, 10, 10));
}
