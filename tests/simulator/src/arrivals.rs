//! When jobs come and what each takes: a stream drawn from a seed alone, so that every policy and the lower bound meet the same jobs.

use crate::parameters::{Coming, KINDS, LONGEST_JOB_S, mean_service_ms};
use fastrand::Rng;
use kiln_core::time::{Millis, seconds};

/// One job that comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// Since the run's beginning.
    pub at: Millis,
    pub service_ms: Millis,
}

/// The stream of one seed, in the order of time.
pub struct Arrivals {
    rng: Rng,
    end: Millis,
    source: Source,
}

enum Source {
    /// Candidates at the highest rate (jobs a millisecond), of which as many are kept as the hour's rate asks for.
    Thinned { next: f64, most: f64, coming: Coming },
    /// All drawn beforehand, the earliest last.
    Listed(Vec<Arrival>),
}

impl Arrivals {
    pub fn new(coming: Coming, hours: u64, seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed ^ 0x6172_7269_7661_6c73);
        let end = seconds(hours * 3_600);
        let source = match coming {
            Coming::Steady { busy: most } | Coming::Day { high: most, .. } => Source::Thinned { next: 0.0, most: most / mean_service_ms(), coming },
            Coming::Crowds { crowds, jobs, within_s } => {
                let mut times = vec![];
                for n in 0..crowds {
                    // One in each part of the day, so that none falls into another, and never in the hour that isn't counted.
                    let part = (end - seconds(3_600)) / Millis::from(crowds);
                    let begins = seconds(3_600) + Millis::from(n) * part + rng.i64(0..part * 2 / 3);
                    times.extend((0..rng.u32(jobs.0..=jobs.1)).map(|_| begins + rng.i64(0..seconds(within_s))));
                }
                Source::listed(times.into_iter().map(|at| (at, None)).collect(), end, &mut rng)
            }
            Coming::Recorded { trace } => {
                let times = trace.lines().filter(|line| !line.starts_with('#')).map(|line| {
                    let (at, kind) = line.split_once(' ').expect("a line of a trace is a second and a kind");
                    let at: f64 = at.parse().expect("a second");
                    ((at * 1000.0) as Millis + rng.i64(-30_000..=30_000), KINDS.iter().position(|known| known.name == kind))
                });
                let times: Vec<_> = times.collect();
                Source::listed(times, end, &mut rng)
            }
        };
        Self { rng, end, source }
    }
}

impl Source {
    fn listed(times: Vec<(Millis, Option<usize>)>, end: Millis, rng: &mut Rng) -> Self {
        let times = times.into_iter().filter(|(at, _)| (0..end).contains(at));
        let mut all: Vec<_> = times
            .map(|(at, kind)| Arrival {
                at,
                service_ms: match kind {
                    Some(kind) => of_kind(kind, rng),
                    None => service(rng),
                },
            })
            .collect();
        all.sort_by_key(|arrival| std::cmp::Reverse(arrival.at));
        Source::Listed(all)
    }
}

impl Iterator for Arrivals {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        match &mut self.source {
            Source::Listed(rest) => rest.pop(),
            Source::Thinned { next, most, coming } => loop {
                *next += -(1.0 - self.rng.f64()).ln() / *most;
                let at = *next as Millis;
                if at >= self.end {
                    return None;
                }
                if let Coming::Day { low, high } = coming {
                    // The lowest at six in the morning, counted from the run's beginning.
                    let turn = std::f64::consts::TAU * (at as f64 / 86_400_000.0 - 0.25);
                    let share = (*low + (*high - *low) * (1.0 - turn.cos()) / 2.0) / *high;
                    if self.rng.f64() >= share {
                        continue;
                    }
                }
                return Some(Arrival { at, service_ms: service(&mut self.rng) });
            },
        }
    }
}

fn service(rng: &mut Rng) -> Millis {
    let mut left = rng.f64();
    let kind = KINDS.iter().position(|kind| {
        left -= kind.share;
        left < 0.0
    });
    of_kind(kind.unwrap_or(0), rng)
}

fn of_kind(kind: usize, rng: &mut Rng) -> Millis {
    KINDS[kind].service.draw(rng).min(seconds(LONGEST_JOB_S))
}

/// A day of a small studio, as a trace's text: quiet nights, two slopes, and bursts when a link is passed around.
pub fn studio_day(seed: u64) -> String {
    use std::fmt::Write;
    let mut rng = Rng::with_seed(seed);
    let bursts: Vec<(f64, f64, f64)> = (0..6).map(|_| (rng.f64() * 54_000.0 + 25_000.0, rng.f64() * 1_500.0 + 300.0, rng.f64() * 3.0 + 2.0)).collect();
    let mut text = String::from("# A studio's day: seconds since midnight and the kind of job. Made by `kiln-simulator trace`, not by people.\n");
    let mut at = 0.0;
    while at < 86_400.0 {
        let hour = at / 3_600.0;
        let usual = if hour < 6.0 { 0.0 } else { 2.2 * (std::f64::consts::PI * (hour - 6.0) / 18.0).sin().max(0.0) };
        let burst: f64 = bursts.iter().filter(|(begins, lasts, _)| (*begins..begins + lasts).contains(&at)).map(|(_, _, busy)| busy).sum();
        let busy = usual + burst;
        if busy < 0.05 {
            at += 60.0;
            continue;
        }
        at += -(1.0 - rng.f64()).ln() * mean_service_ms() / 1000.0 / busy;
        let mut left = rng.f64();
        let kind = KINDS.iter().find(|kind| {
            left -= kind.share;
            left < 0.0
        });
        let _ = writeln!(text, "{at:.1} {}", kind.unwrap_or(&KINDS[0]).name);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parameters::FAMILIES;

    #[test]
    fn a_seed_gives_the_same_jobs_in_order_and_as_many_as_its_family_says() {
        for family in FAMILIES {
            let jobs: Vec<_> = Arrivals::new(family.coming, family.hours, 7).collect();
            assert_eq!(jobs, Arrivals::new(family.coming, family.hours, 7).collect::<Vec<_>>());
            assert_ne!(jobs, Arrivals::new(family.coming, family.hours, 8).collect::<Vec<_>>());
            assert!(jobs.is_sorted_by_key(|job| job.at), "{}", family.name);
            let busy = jobs.iter().map(|job| job.service_ms).sum::<Millis>() as f64 / seconds(family.hours * 3_600) as f64;
            if let Coming::Steady { busy: meant } = family.coming {
                assert!((busy / meant - 1.0).abs() < 0.2, "{}: {busy}", family.name);
            }
            assert!(jobs.len() > 100, "{}", family.name);
        }
    }
}
