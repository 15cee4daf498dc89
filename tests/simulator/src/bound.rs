//! What no policy can go below: the cost of a fleet that knows the future, may split machines and jobs into fractions, and meets no fault.
//!
//! A linear program over slots of time. Its variables for a slot: machines that are on (m), machines switched on (u), work done since the
//! beginning (c), and work that is allowed to be late (z). It is a bound on every real schedule in which at most one percent of the jobs start
//! later than D, because each of its constraints holds for such a schedule, averaged over slots:
//!
//! - Work done by a slot's end is at most the work that has come by then, and at least the work of the jobs whose start deadline and service time
//!   are both over by then, less that of late jobs. A job's work may be done by several machines at once, in pieces and in any order, which only helps.
//! - Late jobs: z of a slot costs at least z / (the longest job due in the slot) jobs of the one percent.
//! - Work done within a slot is at most the machines that were on in it, in the mean.
//! - Machines switched on: the positive differences between the means of neighbouring slots. Those of a schedule's own means add up to no more than
//!   the machines that it switched on, since a mean over shifted instants varies no more than what it is taken of. Each costs its warm-up, the mean of it;
//!   those that are on at the beginning cost none, and nothing is asked of what is due after the end.
//! - Every machine has the cheapest host's price; pulls, disks and minimum bills cost nothing.
//! - Where crowds can't be foreseen, their work comes one quick boot (the 5th percentile) after the crowd's first job: who keeps nothing can't
//!   be quicker, and who keeps a crowd's machines for hours pays far more.
//!
//! The interior point solver's dual value is taken, so that what it leaves unsolved makes the bound smaller, never larger. `exact.rs` holds the
//! program against an exact optimum on small traces.

use crate::arrivals::{Arrival, Arrivals};
use crate::parameters::*;
use clarabel::algebra::CscMatrix;
use clarabel::solver::{DefaultSettingsBuilder, DefaultSolver, IPSolver, NonnegativeConeT, SolverStatus};
use kiln_core::time::{Millis, seconds};
use std::collections::BTreeMap;

/// The share of the jobs that may start too late.
pub const LATE: f64 = 0.01;
const SLOT: Millis = seconds(10);

/// One instance of the program. Times in milliseconds from its beginning.
#[derive(Debug, Clone)]
pub struct Problem {
    /// From when each job's work may be done, its start deadline, and the work.
    pub jobs: Vec<(Millis, Millis, Millis)>,
    pub length: Millis,
    pub slot: Millis,
    pub warm_ms: f64,
    pub late_jobs: f64,
    /// Nothing is on at the beginning: what is switched on in the first slot is paid.
    pub from_nothing: bool,
}

/// What a family's jobs of one seed cost at least, in millionths of a dollar.
pub fn lower_bound(family: &Family, seed: u64) -> Result<i64, String> {
    let jobs: Vec<Arrival> = Arrivals::new(family.coming, family.hours, seed).filter(|job| job.at >= SETTLE).collect();
    let mut crowd = Millis::MIN / 2;
    let mut last = Millis::MIN / 2;
    let timed = jobs.iter().map(|job| {
        // Ten minutes without a job end a crowd.
        if job.at - last > seconds(600) {
            crowd = job.at;
        }
        last = job.at;
        let from = if family.unforeseen { job.at.max(crowd + seconds(BOOT_P05_S)) } else { job.at };
        (from - SETTLE, job.at + seconds(family.start_within_s) - SETTLE, job.service_ms)
    });
    let problem = Problem {
        jobs: timed.collect(),
        length: seconds(family.hours * 3_600) - SETTLE,
        slot: SLOT,
        warm_ms: WARM.mean_ms(),
        late_jobs: LATE * jobs.len() as f64,
        from_nothing: false,
    };
    Ok((problem.solve()? * CHEAPEST as f64 / 3_600_000.0) as i64)
}

impl Problem {
    /// The least milliseconds of machines that are paid.
    pub fn solve(&self) -> Result<f64, String> {
        let slots = (self.length / self.slot) as usize;
        let unit = self.slot as f64;
        // By slot, in slots' worth of work: what has come and what is due by its end, and the longest of what is due in it.
        let (mut come, mut due, mut longest) = (vec![0.0; slots], vec![0.0; slots], vec![0.0_f64; slots]);
        for (from, deadline, work) in &self.jobs {
            let size = *work as f64 / unit;
            if let Some(come) = come.get_mut((from / self.slot) as usize) {
                *come += size;
            }
            // Its end is over by the end of the slot before the one that it lies in.
            let over = (deadline + work + self.slot - 1) / self.slot - 1;
            if let Some(due) = due.get_mut(over as usize) {
                *due += size;
                longest[over as usize] = longest[over as usize].max(size);
            }
        }
        // Columns: c, m, u, z of each slot, z only where something is due; rows as triplets, all of the form a x <= b.
        let (c, m, u) = (|t: usize| 3 * t, |t: usize| 3 * t + 1, |t: usize| 3 * t + 2);
        let mut columns = 3 * slots;
        let mut cost = vec![0.0; columns];
        let mut rows = Rows::default();
        let mut late: BTreeMap<usize, f64> = BTreeMap::new();
        let (mut come_sum, mut due_sum) = (0.0, 0.0);
        // Late work since the beginning, as one variable of its own at each slot where it grows.
        let mut late_so_far: Option<usize> = None;
        for t in 0..slots {
            come_sum += come[t];
            due_sum += due[t];
            cost[m(t)] = 1.0;
            cost[u(t)] = self.warm_ms / unit;
            rows.add(&[(c(t), 1.0)], come_sum);
            if due[t] > 0.0 && self.late_jobs > 0.0 {
                let (z, before) = (columns, late_so_far.replace(columns));
                columns += 1;
                cost.push(0.0);
                // What grows here is between nothing and all that is due here.
                let grows = |sign: f64| match before {
                    Some(before) => vec![(z, sign), (before, -sign)],
                    None => vec![(z, sign)],
                };
                rows.add(&grows(1.0), due[t]);
                rows.add(&grows(-1.0), 0.0);
                for (column, share) in grows(1.0 / longest[t]) {
                    *late.entry(column).or_default() += share;
                }
            }
            if due[t] > 0.0 {
                let mut row = vec![(c(t), -1.0)];
                row.extend(late_so_far.map(|z| (z, -1.0)));
                rows.add(&row, -due_sum);
            }
            if t == 0 {
                rows.add(&[(c(0), 1.0), (m(0), -1.0)], 0.0);
                rows.add(&[(c(0), -1.0)], 0.0);
            } else {
                rows.add(&[(c(t), 1.0), (c(t - 1), -1.0), (m(t), -1.0)], 0.0);
                rows.add(&[(c(t), -1.0), (c(t - 1), 1.0)], 0.0);
                rows.add(&[(m(t), 1.0), (m(t - 1), -1.0), (u(t), -1.0)], 0.0);
            }
            if t == 0 && self.from_nothing {
                rows.add(&[(m(0), 1.0), (u(0), -1.0)], 0.0);
            }
            rows.add(&[(u(t), -1.0)], 0.0);
        }
        // What is late is done all the same, before the end.
        if due_sum > 0.0 {
            rows.add(&[(c(slots - 1), -1.0)], -due_sum);
        }
        if !late.is_empty() {
            rows.add(&late.into_iter().collect::<Vec<_>>(), self.late_jobs);
        }
        let count = rows.bounds.len();
        let matrix = CscMatrix::new_from_triplets(count, columns, rows.row, rows.column, rows.value);
        let nothing = CscMatrix::<f64>::zeros((columns, columns));
        let settings = DefaultSettingsBuilder::default().verbose(false).build().map_err(|error| error.to_string())?;
        let mut solver = DefaultSolver::new(&nothing, &cost, &matrix, &rows.bounds, &[NonnegativeConeT(count)], settings).map_err(|error| error.to_string())?;
        solver.solve();
        let solution = &solver.solution;
        if !matches!(solution.status, SolverStatus::Solved | SolverStatus::AlmostSolved) {
            return Err(format!("the solver ended with {:?}", solution.status));
        }
        Ok(solution.obj_val_dual.min(solution.obj_val) * unit)
    }
}

#[derive(Default)]
struct Rows {
    row: Vec<usize>,
    column: Vec<usize>,
    value: Vec<f64>,
    bounds: Vec<f64>,
}

impl Rows {
    fn add(&mut self, terms: &[(usize, f64)], bound: f64) {
        for (column, value) in terms {
            self.row.push(self.bounds.len());
            self.column.push(*column);
            self.value.push(*value);
        }
        self.bounds.push(bound);
    }
}
