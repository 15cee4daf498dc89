//! What a run is judged by: waits, cost, and what went wrong. Money is integers: millionths of a dollar an hour times milliseconds, divided once.

use kiln_core::time::Millis;

const HOUR: Millis = 3_600_000;
/// Waits are counted in tenths of a second, up to four hours.
const STEP_MS: Millis = 100;
const MOST_STEPS: usize = 4 * 36_000;

#[derive(Debug, Clone)]
pub struct Meter {
    from: Millis,
    to: Millis,
    start_within_ms: Millis,
    /// Jobs that came within the time that counts.
    pub jobs: u64,
    pub late: u64,
    pub never_started: u64,
    waits: Vec<u32>,
    cost_micro_ms: i128,
    busy_ms: i128,
    /// What each hour since 1970 was billed, in millionths of a dollar times milliseconds an hour.
    hours: Vec<i64>,
    first_hour: i64,
    pub completed: u64,
    pub killed_by_scale_in: u64,
    pub killed_for_cover: u64,
    pub late_completes_refused: u64,
    /// Since the death of a worker: until its job waits again, and until it starts again.
    pub longest_requeue_ms: Millis,
    pub longest_restart_ms: Millis,
    pub restarts: u64,
    pub boots: u64,
    pub stops: u64,
    pub starts: u64,
    /// Starts that never come to anything, starts of a machine that was starting already, and jobs given to a machine that did not run.
    pub starts_failed: u64,
    pub started_twice: u64,
    pub jobs_to_stopped: u64,
}

impl Meter {
    pub fn new(from: Millis, to: Millis, start_within_ms: Millis) -> Self {
        Self {
            from,
            to,
            start_within_ms,
            jobs: 0,
            late: 0,
            never_started: 0,
            waits: vec![0; MOST_STEPS + 1],
            cost_micro_ms: 0,
            busy_ms: 0,
            hours: vec![],
            first_hour: crate::world::EPOCH / HOUR,
            completed: 0,
            killed_by_scale_in: 0,
            killed_for_cover: 0,
            late_completes_refused: 0,
            longest_requeue_ms: 0,
            longest_restart_ms: 0,
            restarts: 0,
            boots: 0,
            stops: 0,
            starts: 0,
            starts_failed: 0,
            started_twice: 0,
            jobs_to_stopped: 0,
        }
    }

    fn counts(&self, at: Millis) -> bool {
        at >= self.from
    }

    pub fn came(&mut self, at: Millis) {
        if self.counts(at) {
            self.jobs += 1;
        }
    }

    pub fn started(&mut self, arrived: Millis, now: Millis) {
        if self.counts(arrived) {
            let wait = now - arrived;
            self.late += u64::from(wait > self.start_within_ms);
            // Rounded up, so that no percentile is told too small.
            self.waits[(((wait + STEP_MS - 1) / STEP_MS) as usize).min(MOST_STEPS)] += 1;
        }
    }

    pub fn requeued(&mut self, after: Millis) {
        self.longest_requeue_ms = self.longest_requeue_ms.max(after);
    }

    pub fn restarted(&mut self, after: Millis) {
        self.restarts += 1;
        self.longest_restart_ms = self.longest_restart_ms.max(after);
    }

    pub fn busy(&mut self, from: Millis, to: Millis) {
        self.busy_ms += i128::from((to - from.max(self.from)).max(0));
    }

    pub fn bill(&mut self, from: Millis, to: Millis, microusd_per_hour: i64) {
        self.cost_micro_ms += i128::from((to.min(self.to) - from.max(self.from)).max(0)) * i128::from(microusd_per_hour);
        let mut at = from;
        while at < to {
            let hour = at.div_euclid(HOUR);
            let end = ((hour + 1) * HOUR).min(to);
            let slot = (hour - self.first_hour) as usize;
            if self.hours.len() <= slot {
                self.hours.resize(slot + 1, 0);
            }
            self.hours[slot] += (end - at) * microusd_per_hour;
            at = end;
        }
    }

    /// Jobs that nobody has started are late if their time was over.
    pub fn finish(&mut self, now: Millis, waiting: &[Millis]) {
        for arrived in waiting {
            if !self.counts(*arrived) {
                continue;
            }
            let wait = now - arrived;
            if wait > self.start_within_ms {
                self.late += 1;
                self.never_started += 1;
                self.waits[((wait / STEP_MS) as usize).min(MOST_STEPS)] += 1;
            } else {
                self.jobs -= 1;
            }
        }
    }

    /// In millionths of a dollar, rounded up.
    pub fn cost(&self) -> i64 {
        ((self.cost_micro_ms + i128::from(HOUR) - 1) / i128::from(HOUR)) as i64
    }

    /// The mean number of machines at work.
    pub fn mean_busy(&self) -> f64 {
        self.busy_ms as f64 / (self.to - self.from) as f64
    }

    /// What each hour was billed, rounded up, with the hour's beginning.
    pub fn hours(&self) -> impl Iterator<Item = (Millis, i64)> + '_ {
        self.hours.iter().enumerate().map(|(n, sum)| ((self.first_hour + n as i64) * HOUR, (sum + HOUR - 1) / HOUR))
    }

    pub fn waits(&self) -> &[u32] {
        &self.waits
    }

    pub fn late_share(&self) -> f64 {
        self.late as f64 / self.jobs.max(1) as f64
    }
}

/// The wait that this share of the jobs does not exceed, in milliseconds, over counts that were added up.
pub fn percentile(counts: &[u64], share: f64) -> Millis {
    let all: u64 = counts.iter().sum();
    let mut left = (all as f64 * share).ceil() as u64;
    for (step, count) in counts.iter().enumerate() {
        if *count >= left {
            return step as Millis * STEP_MS;
        }
        left -= count;
    }
    counts.len() as Millis * STEP_MS
}
