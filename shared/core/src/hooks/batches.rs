//! What batches are told as: the first of their rows becoming jobs, and their close. What becomes of each row's job is told as that job.

use super::{Event, EventType};
use crate::batch::{Batch, Chunk, Close};
use crate::time::{Millis, rfc3339};
use serde_json::{Value, json};

/// The first rows of a batch have become jobs; later chunks of it are no news.
pub fn of_chunk(chunk: &Chunk, now: Millis) -> Option<Event> {
    let batch = &chunk.after;
    (chunk.before.started == 0).then(|| Event::new(EventType::BatchStarted, now, batch.batch_id.as_str(), data(batch, 0)))
}

/// A batch is closed: finished where each of its rows had become a job, cancelled where rows were left that will never start.
pub fn of_close(close: &Close, now: Millis) -> Event {
    let (before, after) = (&close.before, &close.after);
    let kind = if before.started == before.rows { EventType::BatchFinished } else { EventType::BatchCancelled };
    Event::new(kind, now, after.batch_id.as_str(), data(after, before.left_millicredits))
}

fn data(batch: &Batch, released_millicredits: i64) -> Value {
    json!({
        "id": batch.batch_id,
        "state": batch.state,
        "seq": batch.seq,
        "rows": batch.rows,
        "started": batch.started,
        "total_millicredits": batch.total_millicredits,
        "left_millicredits": batch.left_millicredits,
        "released_millicredits": released_millicredits,
        "created_at": rfc3339(batch.created_at),
        "closed_at": batch.closed_at.map(rfc3339),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{self, Row};
    use crate::ids::{AccountId, BatchId, JobId};
    use crate::job::{Counters, Job};
    use crate::settings::Settings;

    const NOW: Millis = 1_763_721_600_000;

    fn reserved(rows: u32) -> Batch {
        let counters = Counters { available: 1_000, ..Counters::default() };
        batch::reserve(BatchId::new(NOW, 7), AccountId::new(NOW, 1), rows, 1_000, &counters, &Settings::default(), NOW).unwrap().batch
    }

    fn start(batch: &Batch, row: u32) -> Chunk {
        let job = Job { quote_millicredits: 100, ..Job::draft(JobId::new(NOW, 1), AccountId::new(NOW, 1), "noop", "image", 900, NOW) };
        batch::start_chunk(batch, vec![Row { row, job }], &Counters::default(), &Settings::default(), NOW).unwrap()
    }

    #[test]
    fn a_batch_starts_once_and_says_what_it_has() {
        let first = start(&reserved(2), 0);
        let event = of_chunk(&first, NOW + 5).unwrap();
        assert_eq!((event.kind, event.at, &event.also), (EventType::BatchStarted, NOW + 5, &None));
        assert_eq!(event.data["id"], first.after.batch_id.as_str());
        assert_eq!((&event.data["started"], &event.data["rows"], &event.data["left_millicredits"]), (&json!(1), &json!(2), &json!(900)));
        assert_eq!(of_chunk(&start(&first.after, 1), NOW + 6), None);
    }

    #[test]
    fn a_batch_is_finished_when_all_its_rows_were_started_and_else_cancelled() {
        let half = start(&reserved(2), 0).after;
        let close = batch::close(&half, NOW + 9).unwrap();
        let event = of_close(&close, NOW + 9);
        assert_eq!(event.kind, EventType::BatchCancelled);
        assert_eq!((&event.data["state"], &event.data["released_millicredits"], &event.data["left_millicredits"]), (&json!("closed"), &json!(900), &json!(0)));
        let whole = start(&half, 1).after;
        assert_eq!(of_close(&batch::close(&whole, NOW + 9).unwrap(), NOW + 9).kind, EventType::BatchFinished);
        let none = batch::close(&reserved(2), NOW + 9).unwrap();
        assert_eq!(of_close(&none, NOW + 9).kind, EventType::BatchCancelled);
    }
}
