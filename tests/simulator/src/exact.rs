//! The exact optimum of small traces, to hold the lower bound against: whole machines, whole jobs, one job at a time on a machine, all starts on the
//! borders of slots, the future known. Every state that can be reached is gone through, so it is exact and only for small traces.
//!
//! All jobs of a trace take the same time; then starting them in the order in which they came loses nothing (two starts that are swapped
//! meet both deadlines as well), and a state need not say which jobs are left.

use crate::bound::Problem;
use kiln_core::time::Millis;
use std::collections::HashMap;

/// A trace in slots: arrivals in order, how long each job takes, within how many slots it starts, and what switching on costs.
#[derive(Debug, Clone)]
pub struct Small {
    pub arrivals: Vec<u32>,
    pub service: u32,
    pub within: u32,
    pub warm: u32,
}

/// Machines that are idle, machines by the slots that their job still takes, and jobs started.
type State = (u8, Vec<u8>, u8);

impl Small {
    pub fn draw(rng: &mut fastrand::Rng) -> Self {
        let mut arrivals: Vec<u32> = (0..rng.usize(2..=8)).map(|_| rng.u32(0..24)).collect();
        arrivals.sort_unstable();
        Self { arrivals, service: rng.u32(2..=4), within: rng.u32(0..=5), warm: rng.u32(1..=4) }
    }

    fn slots(&self) -> u32 {
        self.arrivals.last().map_or(0, |last| last + self.within + self.service + 1)
    }

    /// The least slots of machines that are paid.
    pub fn optimum(&self) -> u32 {
        let jobs = self.arrivals.len() as u8;
        let mut states: HashMap<State, u32> = HashMap::from([((0, vec![0; self.service as usize], 0), 0)]);
        let mut best = u32::MAX;
        for t in 0..self.slots() {
            let come = self.arrivals.iter().filter(|at| **at <= t).count() as u8;
            // Those whose last slot to start in is this one.
            let must = self.arrivals.iter().filter(|at| **at + self.within <= t).count() as u8;
            let mut next: HashMap<State, u32> = HashMap::new();
            for ((idle, busy, started), cost) in states {
                for starts in must.saturating_sub(started)..=come - started {
                    // What is idle is used first; more may be switched on for later too, which a later slot does as cheaply.
                    let on = starts.saturating_sub(idle);
                    for kept in 0..=idle.saturating_sub(starts) {
                        let mut busy = busy.clone();
                        // Slots left, counted from this one on: the job that starts now has all of them.
                        busy[self.service as usize - 1] += starts;
                        let paid = cost + u32::from(on) * self.warm + u32::from(kept) + busy.iter().map(|n| u32::from(*n)).sum::<u32>();
                        let free = busy.remove(0);
                        busy.push(0);
                        let state = (kept + free, busy, started + starts);
                        if state.2 == jobs && state.1.iter().all(|n| *n == 0) {
                            best = best.min(paid);
                            continue;
                        }
                        next.entry(state).and_modify(|known| *known = (*known).min(paid)).or_insert(paid);
                    }
                }
            }
            states = next;
        }
        best
    }

    /// The program's bound on the same trace, in slots.
    pub fn bound(&self) -> Result<f64, String> {
        let slot: Millis = 10_000;
        let in_ms = |slots: u32| Millis::from(slots) * slot;
        let jobs = self.arrivals.iter().map(|at| (in_ms(*at), in_ms(at + self.within), in_ms(self.service))).collect();
        let problem = Problem { jobs, length: in_ms(self.slots()), slot, warm_ms: in_ms(self.warm) as f64, late_jobs: 0.0, from_nothing: true };
        Ok(problem.solve()? / slot as f64)
    }
}

/// How far the bound lies below the exact optimum on so many small traces: the mean and the largest quotient. An error where it lies above one.
pub fn gap(traces: u32, seed: u64) -> Result<(f64, f64), String> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let (mut sum, mut most) = (0.0, 0.0_f64);
    for _ in 0..traces {
        let small = Small::draw(&mut rng);
        let (exact, bound) = (f64::from(small.optimum()), small.bound()?);
        if bound > exact * (1.0 + 1e-6) {
            return Err(format!("the bound {bound} is above the optimum {exact} of {small:?}"));
        }
        sum += exact / bound;
        most = most.max(exact / bound);
    }
    Ok((sum / f64::from(traces), most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_optimum_of_traces_that_can_be_reckoned_by_hand() {
        let small = |arrivals: &[u32], within| Small { arrivals: arrivals.to_vec(), service: 3, within, warm: 2 };
        assert_eq!(small(&[4], 0).optimum(), 5);
        // The second waits for the first machine, or has its own.
        assert_eq!(small(&[0, 0], 3).optimum(), 8);
        assert_eq!(small(&[0, 0], 2).optimum(), 10);
        // A gap of one is bridged; one of five is not.
        assert_eq!(small(&[0, 4], 0).optimum(), 9);
        assert_eq!(small(&[0, 8], 0).optimum(), 10);
    }

    #[test]
    fn the_bound_is_never_above_the_optimum() {
        let (mean, most) = gap(60, 1).unwrap();
        assert!(mean < 1.5 && most < 2.5, "{mean} {most}");
    }

    #[test]
    fn fractions_alone_explain_a_gap_of_one_job() {
        // One job of three slots within two more: a fraction of 3/5 of a machine is on for five.
        let one = Small { arrivals: vec![0], service: 3, within: 2, warm: 2 };
        assert_eq!(one.optimum(), 5);
        assert!((one.bound().unwrap() - (3.0 + 2.0 * 0.6)).abs() < 1e-4);
    }
}
