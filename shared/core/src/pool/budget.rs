//! What machines cost and may cost. A rental is *covered* for a span of time: its whole cost over that span is reserved in the hours, days and
//! months (UTC) that the span touches, before the machine is asked for. A machine that is to stay is covered further, bit by bit; one that
//! can't be is drained while its cover still lasts for the longest job, so that no budget is passed and no job is lost for money.
//!
//! Promises: integers only, in millionths of a dollar; the shares of neighbouring spans add up to the share of both, so that what was reserved
//! can be given back to the last millionth.

use super::policy::Policy;
use crate::time::{Millis, rfc3339, seconds};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

const HOUR: Millis = seconds(3600);

/// What a machine costs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// GPU and disk together, for an hour.
    pub microusd_per_hour: i64,
    /// Once, when it boots: what it downloads.
    pub microusd_once: i64,
}

impl Rate {
    /// What a rental comes to by the hour if it lasts for one: hosts set the price of what it downloads as they like, and a low price by the hour
    /// must not hide it.
    pub fn hour(&self) -> i64 {
        self.microusd_per_hour.saturating_add(self.microusd_once)
    }
}

/// How long things may take, for the worst case of a rental.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// Until a machine has booted, or is given back.
    pub boot_s: u64,
    /// The longest job.
    pub job_s: u64,
    pub tick_s: u64,
}

impl Deadlines {
    /// What must still be covered of a machine that takes jobs: the longest one, and the ticks until it is noticed and gone.
    pub fn work_ms(&self) -> Millis {
        seconds(self.job_s + 3 * self.tick_s)
    }

    /// What is covered when a machine is asked for.
    pub fn first_ms(&self) -> Millis {
        seconds(self.boot_s) + self.work_ms()
    }

    /// With no more left than this a machine is given back, whatever it does.
    pub fn last_ms(&self) -> Millis {
        seconds(3 * self.tick_s)
    }
}

/// A span of time that a budget is for, as the key of its item: `hour#2026-11-29T06`, `day#2026-11-29`, `month#2026-11`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Window(pub String);

/// The spans that a moment lies in: hour, day and month.
pub fn windows(at: Millis) -> [Window; 3] {
    let text = rfc3339(at);
    [Window(format!("hour#{}", &text[..13])), Window(format!("day#{}", &text[..10])), Window(format!("month#{}", &text[..7]))]
}

impl Window {
    /// The budget that the policy sets for such a span.
    pub fn budget(&self, policy: &Policy) -> Option<i64> {
        match self.0.split_once('#').map(|(span, _)| span) {
            Some("hour") => policy.budget_hour_microusd,
            Some("day") => policy.budget_day_microusd,
            _ => policy.budget_month_microusd,
        }
    }

    pub fn name(&self) -> &str {
        self.0.split_once('#').map_or("", |(span, _)| span)
    }
}

/// What a machine that was asked for at `begun` has cost until `at`, rounded up. Differences of it are what spans cost.
pub fn cost_until(rate: Rate, begun: Millis, at: Millis) -> i64 {
    let for_time = i128::from(rate.microusd_per_hour) * i128::from((at - begun).max(0));
    let once = if at > begun { rate.microusd_once } else { 0 };
    once + ((for_time + i128::from(HOUR) - 1) / i128::from(HOUR)) as i64
}

/// What the span from `from` to `to` of a machine that was asked for at `begun` adds to each window that it touches.
pub fn shares(rate: Rate, begun: Millis, from: Millis, to: Millis) -> BTreeMap<Window, i64> {
    let mut shares = BTreeMap::new();
    let mut at = from;
    while at < to {
        // Hours lie within days, and days within months.
        let end = ((at.div_euclid(HOUR) + 1) * HOUR).min(to);
        let cost = cost_until(rate, begun, end) - cost_until(rate, begun, at);
        for window in windows(at) {
            *shares.entry(window).or_insert(0) += cost;
        }
        at = end;
    }
    shares
}

/// The windows of a stretch of time, named once, for many machines that are covered within it: naming them is most of what [`shares`] costs.
#[derive(Debug, Clone)]
pub struct Ahead {
    pub windows: Vec<Window>,
    /// The end of each hour, and which windows it lies in.
    hours: Vec<(Millis, [usize; 3])>,
}

impl Ahead {
    pub fn new(from: Millis, to: Millis) -> Self {
        let mut ahead = Self { windows: vec![], hours: vec![] };
        let mut at = from;
        while at < to {
            let end = (at.div_euclid(HOUR) + 1) * HOUR;
            let of = windows(at).map(|window| {
                ahead.windows.iter().position(|known| *known == window).unwrap_or_else(|| {
                    ahead.windows.push(window);
                    ahead.windows.len() - 1
                })
            });
            ahead.hours.push((end, of));
            at = end;
        }
        ahead
    }

    /// As [`shares`], for a span within the stretch, by the places of the windows.
    pub fn shares(&self, rate: Rate, begun: Millis, from: Millis, to: Millis) -> Vec<i64> {
        let mut shares = vec![0; self.windows.len()];
        let mut at = from;
        for (end, of) in self.hours.iter().filter(|(end, _)| *end > from) {
            let end = (*end).min(to);
            if at >= end {
                break;
            }
            let cost = cost_until(rate, begun, end) - cost_until(rate, begun, at);
            of.iter().for_each(|window| shares[*window] += cost);
            at = end;
        }
        shares
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-29T06:59:30Z.
    const NOW: Millis = 1_795_935_570_000;
    const RATE: Rate = Rate { microusd_per_hour: 333_333, microusd_once: 1_000 };

    #[test]
    fn a_span_over_the_end_of_an_hour_is_shared_between_both_and_counts_once_in_its_day() {
        assert_eq!(rfc3339(NOW), "2026-11-29T06:59:30.000Z");
        let shares = shares(RATE, NOW, NOW, NOW + seconds(90));
        let share = |name: &str| shares[&Window(name.into())];
        assert_eq!(share("hour#2026-11-29T06") + share("hour#2026-11-29T07"), share("day#2026-11-29"));
        assert_eq!(share("day#2026-11-29"), cost_until(RATE, NOW, NOW + seconds(90)));
        assert_eq!(share("month#2026-11"), 1_000 + 8_334);
        // What it downloads is paid at once.
        assert_eq!(share("hour#2026-11-29T06"), 1_000 + 2_778);
    }

    #[test]
    fn neighbouring_spans_add_up_wherever_they_are_cut() {
        let (from, to) = (NOW, NOW + seconds(3 * 86_400));
        let whole = shares(RATE, NOW, from, to);
        let mut random = 7_u64;
        for _ in 0..200 {
            let mut sum: BTreeMap<Window, i64> = BTreeMap::new();
            let mut at = from;
            while at < to {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let next = (at + (random >> 40) as i64).min(to);
                for (window, share) in shares(RATE, NOW, at, next) {
                    *sum.entry(window).or_insert(0) += share;
                }
                at = next;
            }
            assert_eq!(sum, whole);
        }
    }

    #[test]
    fn windows_that_are_named_once_give_the_same_shares() {
        let ahead = Ahead::new(NOW, NOW + seconds(40 * 3_600));
        for (from, to) in [(0, 60), (0, 40 * 3_600), (29, 31), (3_600, 90_000), (77_777, 77_778), (5, 5)] {
            let (from, to) = (NOW + seconds(from), NOW + seconds(to));
            let named: BTreeMap<_, _> = ahead.windows.iter().cloned().zip(ahead.shares(RATE, NOW, from, to)).filter(|(_, share)| *share != 0).collect();
            assert_eq!(named, shares(RATE, NOW, from, to));
        }
    }
}
