//! What providers charged for a day, beside what was recorded of it, for thirteen months.
//!
//! Promises: what was charged beyond what was recorded is in the day's and the month's spend, once however often it is settled, since the row
//! and the sums are one transaction; settled anew with other numbers, the sums follow. What was charged less is shown and not given back: a
//! list that is not complete yet would let the budget be passed.

use crate::rent::KEPT_S;
use crate::rent::adding;
use crate::table::{Expr, Parts, Table, Written, absent, from_item, n, to_item};
use crate::{Error, keys};
use kiln_core::pool::budget::windows;
use kiln_core::time::{Millis, rfc3339};
use serde::{Deserialize, Serialize};

/// Times that a row that moves is read again.
const TRIES: usize = 4;

/// A day at a provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charged {
    pub provider: String,
    /// `2026-11-28`, UTC.
    pub day: String,
    pub recorded_microusd: i64,
    pub charged_microusd: i64,
    /// What of it is in the day's and the month's spend.
    pub counted_microusd: i64,
    pub at: Millis,
    /// Until when it is kept, in seconds.
    pub ttl: i64,
}

impl Table {
    /// Holds what was charged for the day that began at `day` against what was recorded of it, and counts what is more.
    pub async fn settle(&self, provider: &str, day: Millis, recorded_microusd: i64, charged_microusd: i64, now: Millis) -> Result<Charged, Error> {
        let name = rfc3339(day)[..10].to_owned();
        let key = keys::charges(&name, provider);
        let counted_microusd = (charged_microusd - recorded_microusd).max(0);
        let [_, of_day, of_month] = windows(day);
        for _ in 0..TRIES {
            let stood: Option<Charged> = self.get(&key).await?;
            let as_read = match &stood {
                None => absent(),
                Some(stood) => Expr::new("counted_microusd = :counted").value("counted", n(stood.counted_microusd)),
            };
            let row = Charged {
                provider: provider.to_owned(),
                day: name.clone(),
                recorded_microusd,
                charged_microusd,
                counted_microusd,
                at: now,
                ttl: day / 1000 + KEPT_S,
            };
            let mut parts = Parts::default();
            self.add_put(&mut parts, to_item(&key, &row)?, Some(as_read))?;
            let more = counted_microusd - stood.map_or(0, |stood| stood.counted_microusd);
            if more != 0 {
                for window in [&of_day, &of_month] {
                    self.add_update(&mut parts, &keys::spend(&window.0), adding(more, day), None)?;
                }
            }
            if matches!(self.transact(parts).await?, Written::Done) {
                return Ok(row);
            }
        }
        Err(Error::Busy)
    }

    /// The last days that were settled, the newest first.
    pub async fn charges(&self, limit: u32) -> Result<Vec<Charged>, Error> {
        let (items, _) = self.page(keys::SPEND, keys::CHARGES, true, limit, None).await?;
        items.into_iter().map(from_item).collect()
    }
}
