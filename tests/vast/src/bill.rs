//! What an instance costs, by day. GPUs cost by the millisecond while it runs, disk in every state but offline, traffic by the byte.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::clock::{DAY_MS, HOUR_MS};

pub const GB: f64 = 1e9;

/// What was used on one day, and what it cost in dollars at the prices of that moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Usage {
    pub gpu_ms: i64,
    pub gpu_usd: f64,
    pub disk_ms: i64,
    pub disk_usd: f64,
    pub up_bytes: u64,
    pub up_usd: f64,
    pub down_bytes: u64,
    pub down_usd: f64,
}

impl Usage {
    pub fn total(&self) -> f64 {
        self.gpu_usd + self.disk_usd + self.up_usd + self.down_usd
    }

    fn add(&mut self, other: &Self) {
        self.gpu_ms += other.gpu_ms;
        self.gpu_usd += other.gpu_usd;
        self.disk_ms += other.disk_ms;
        self.disk_usd += other.disk_usd;
        self.up_bytes += other.up_bytes;
        self.up_usd += other.up_usd;
        self.down_bytes += other.down_bytes;
        self.down_usd += other.down_usd;
    }
}

/// Dollars an hour that are running up now.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rates {
    pub gpu: Option<f64>,
    pub disk: Option<f64>,
}

impl Rates {
    pub fn per_ms(&self) -> f64 {
        (self.gpu.unwrap_or(0.0) + self.disk.unwrap_or(0.0)) / HOUR_MS as f64
    }
}

#[derive(Debug, Clone, Default)]
pub struct Bill {
    /// By the day's number since 1970, UTC.
    pub days: BTreeMap<i64, Usage>,
}

impl Bill {
    /// Bills a span of time, cut at midnights.
    pub fn accrue(&mut self, from: i64, to: i64, rates: Rates) {
        if rates.gpu.is_none() && rates.disk.is_none() {
            return;
        }
        let mut at = from;
        while at < to {
            let day = at.div_euclid(DAY_MS);
            let end = ((day + 1) * DAY_MS).min(to);
            let hours = (end - at) as f64 / HOUR_MS as f64;
            let usage = self.days.entry(day).or_default();
            if let Some(rate) = rates.gpu {
                usage.gpu_ms += end - at;
                usage.gpu_usd += rate * hours;
            }
            if let Some(rate) = rates.disk {
                usage.disk_ms += end - at;
                usage.disk_usd += rate * hours;
            }
            at = end;
        }
    }

    /// Bills bytes, at dollars for a GB of 10⁹.
    pub fn traffic(&mut self, now: i64, (up_bytes, up_cost): (u64, f64), (down_bytes, down_cost): (u64, f64)) {
        let (up_usd, down_usd) = (up_bytes as f64 / GB * up_cost, down_bytes as f64 / GB * down_cost);
        self.days.entry(now.div_euclid(DAY_MS)).or_default().add(&Usage { up_bytes, up_usd, down_bytes, down_usd, ..Usage::default() });
    }

    /// Charges for GPUs what they did not cost.
    pub fn surcharge(&mut self, day: i64, usd: f64) {
        self.days.entry(day).or_default().gpu_usd += usd;
    }

    pub fn total(&self) -> Usage {
        let mut sum = Usage::default();
        for usage in self.days.values() {
            sum.add(usage);
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_cut_at_midnight_and_traffic_is_billed_by_the_byte() {
        let mut bill = Bill::default();
        let rates = Rates { gpu: Some(0.6), disk: Some(0.03) };
        bill.accrue(DAY_MS - HOUR_MS, 2 * DAY_MS + HOUR_MS / 2, rates);
        let hours: Vec<i64> = bill.days.values().map(|u| u.gpu_ms).collect();
        assert_eq!(hours, [HOUR_MS, DAY_MS, HOUR_MS / 2]);
        bill.traffic(DAY_MS, (3_000_000_000, 0.02), (500_000_000, 0.01));
        let sum = bill.total();
        assert!((sum.gpu_usd - 0.6 * 25.5).abs() < 1e-9 && (sum.disk_usd - 0.03 * 25.5).abs() < 1e-9);
        assert!((sum.up_usd - 0.06).abs() < 1e-12 && (sum.down_usd - 0.005).abs() < 1e-12);
        assert!((sum.total() - (0.63 * 25.5 + 0.065)).abs() < 1e-9);
    }

    #[test]
    fn disk_alone_is_billed_while_the_gpus_are_not() {
        let mut bill = Bill::default();
        bill.accrue(0, HOUR_MS, Rates { gpu: None, disk: Some(0.01) });
        bill.accrue(HOUR_MS, 2 * HOUR_MS, Rates::default());
        let sum = bill.total();
        assert_eq!((sum.gpu_ms, sum.disk_ms), (0, HOUR_MS));
    }
}
