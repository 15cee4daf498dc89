//! The table: every family, every policy, every seed; what is printed, and which goals were missed.

use crate::bound::{LATE, lower_bound};
use crate::meter::{Meter, percentile};
use crate::parameters::*;
use crate::rivals::{self, Setting};
use crate::run;
use kiln_core::pool::{Keep, Policy};
use kiln_core::time::Millis;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Rivals are to be so much dearer.
const CHEAPER: f64 = 0.9;

/// The production policy that a family's operator would write, with machines kept stopped or none.
pub fn our_policy(family: &Family, keep: Keep, keep_stopped: bool) -> Policy {
    Policy { max: 100, keep, keep_stopped, start_within_s: family.policy_start_within_s, ..Policy::default() }
}

/// Whether machines without work are stopped and kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    Kept,
    GivenBack,
}

/// Who steers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Who {
    Ours(Keep, Stopped),
    Rival(&'static str, Setting),
}

impl Who {
    pub fn run(self, family: &Family, seed: u64, samples: Option<&mut Vec<run::Sample>>) -> Meter {
        match self {
            Who::Ours(keep, stopped) => run::ours(family, &our_policy(family, keep, stopped == Stopped::Kept), seed, samples),
            Who::Rival(_, setting) => rivals::rival(family, setting, seed, samples),
        }
    }

    pub fn name(self) -> String {
        match self {
            Who::Ours(Keep::Learned, Stopped::Kept) => "Kiln, learned".into(),
            Who::Ours(Keep::Learned, Stopped::GivenBack) => "Kiln, learned, none stopped".into(),
            Who::Ours(Keep::Idle, Stopped::Kept) => "Kiln, idle 15 min".into(),
            Who::Ours(Keep::Idle, Stopped::GivenBack) => "Kiln, idle 15 min, none stopped".into(),
            Who::Rival(name, _) => name.into(),
        }
    }

    fn setting(self) -> String {
        match self {
            Who::Ours(..) => String::new(),
            Who::Rival(_, Setting { rule, least, idle_s }) => format!("{rule:?}, least {least}, idle {idle_s} s").replace(" { ", " ").replace(" }", ""),
        }
    }
}

/// One policy in one family, over all seeds.
#[derive(Debug, Clone)]
pub struct Row {
    pub who: Who,
    pub jobs: u64,
    pub late: u64,
    pub seeds_late: u32,
    pub median_ms: Millis,
    pub p99_ms: Millis,
    /// In millionths of a dollar, over all seeds.
    pub cost: i64,
    /// Machines rented, each of which pulls its image, and stopped ones started again.
    pub boots: u64,
    pub starts: u64,
    pub killed: u64,
    pub longest_requeue_ms: Millis,
}

impl Row {
    pub fn in_time(&self) -> bool {
        self.late as f64 <= LATE * self.jobs as f64
    }
}

/// Lower bounds that are known already, by family and seed: they change with the world's parameters alone, and take longest.
pub type Bounds = BTreeMap<(String, u64), i64>;

/// A family's rows.
pub struct Cell {
    pub family: Family,
    /// The lower bound over all seeds.
    pub bound: i64,
    pub busy: f64,
    pub ours: Vec<Row>,
    /// By rival: its defaults, then the swept settings.
    pub rivals: Vec<Vec<Row>>,
}

impl Cell {
    pub fn ratio(&self, row: &Row) -> f64 {
        row.cost as f64 / self.bound as f64
    }

    /// A rival's cheapest setting that meets the SLO.
    pub fn best(rows: &[Row]) -> Option<&Row> {
        rows.iter().filter(|row| row.in_time()).min_by_key(|row| row.cost)
    }

    /// The cheapest setting of all rivals whose wait is no worse than ours.
    pub fn best_at_our_wait(&self) -> Option<&Row> {
        let wait = self.ours[0].p99_ms;
        self.rivals.iter().flatten().filter(|row| row.in_time() && row.p99_ms <= wait).min_by_key(|row| row.cost)
    }

    pub fn best_of_all(&self) -> Option<&Row> {
        self.rivals.iter().filter_map(|rows| Self::best(rows)).min_by_key(|row| row.cost)
    }
}

/// Runs every item on so many threads, and gives the results in the items' order.
pub fn in_parallel<T: Sync, R: Send>(threads: usize, items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::with_capacity(items.len()));
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                while let Some((at, item)) = Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|at| Some((at, items.get(at)?))) {
                    let result = work(item);
                    results.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push((at, result));
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    results.sort_by_key(|(at, _)| *at);
    results.into_iter().map(|(_, result)| result).collect()
}

/// One policy over all seeds, with the mean number of busy machines.
pub fn row(family: &Family, who: Who, seeds: Range<u64>) -> (Row, f64) {
    let mut row = Row { who, jobs: 0, late: 0, seeds_late: 0, median_ms: 0, p99_ms: 0, cost: 0, boots: 0, starts: 0, killed: 0, longest_requeue_ms: 0 };
    let mut waits: Vec<u64> = vec![];
    let (mut busy, count) = (0.0, seeds.end - seeds.start);
    for seed in seeds {
        let meter = who.run(family, seed, None);
        row.jobs += meter.jobs;
        row.late += meter.late;
        row.seeds_late += u32::from(meter.late_share() > LATE);
        row.cost += meter.cost();
        row.boots += meter.boots;
        row.starts += meter.starts;
        row.killed += meter.killed_by_scale_in + meter.killed_for_cover;
        row.longest_requeue_ms = row.longest_requeue_ms.max(meter.longest_requeue_ms);
        busy += meter.mean_busy() / count as f64;
        waits.resize(meter.waits().len(), 0);
        for (sum, count) in waits.iter_mut().zip(meter.waits()) {
            *sum += u64::from(*count);
        }
    }
    (row.median_ms, row.p99_ms) = (percentile(&waits, 0.5), percentile(&waits, 0.99));
    (row, busy)
}

/// Who is in a table beside the rivals. The first is the production plan as it is asked about: with machines kept stopped, or without.
pub fn ours(keeps: bool) -> Vec<Who> {
    if keeps {
        vec![Who::Ours(Keep::Learned, Stopped::Kept), Who::Ours(Keep::Learned, Stopped::GivenBack), Who::Ours(Keep::Idle, Stopped::GivenBack)]
    } else {
        vec![Who::Ours(Keep::Learned, Stopped::GivenBack), Who::Ours(Keep::Idle, Stopped::GivenBack)]
    }
}

/// One family, whole. Without rivals it takes seconds.
pub fn cell(family: Family, seeds: &Range<u64>, threads: usize, ours: &[Who], with_rivals: bool, known: &mut Bounds) -> Result<Cell, String> {
    let mut bound = 0;
    let each: Vec<u64> = seeds.clone().collect();
    let found = in_parallel(threads, &each, |seed| match known.get(&(family.name.to_owned(), *seed)) {
        Some(bound) => Ok(*bound),
        None => lower_bound(&family, *seed),
    });
    for (seed, found) in each.into_iter().zip(found) {
        let found = found?;
        known.insert((family.name.to_owned(), seed), found);
        bound += found;
    }
    let rivals = if with_rivals { rivals::all(&family) } else { vec![] };
    let all: Vec<Who> =
        ours.iter().copied().chain(rivals.iter().flat_map(|rival| rival.settings.iter().map(|setting| Who::Rival(rival.name, *setting)))).collect();
    let mut rows = in_parallel(threads, &all, |who| row(&family, *who, seeds.clone())).into_iter();
    let mut own = vec![];
    let mut busy = 0.0;
    for (row, mean) in rows.by_ref().take(ours.len()) {
        busy = mean;
        own.push(row);
    }
    let rivals = rivals.iter().map(|rival| rows.by_ref().take(rival.settings.len()).map(|(row, _)| row).collect()).collect();
    Ok(Cell { family, bound, busy, ours: own, rivals })
}

/// A cell as lines of a Markdown table, and the goals that it misses.
pub fn print(cell: &Cell, missed: &mut Vec<String>) -> String {
    use std::fmt::Write;
    let family = &cell.family;
    let goal = family.goal.map_or("none".to_owned(), |goal| format!("{goal}"));
    let mut text = format!(
        "\n### {}: {:.2} busy in the mean, 99 % within {} s, goal {goal}, the bound is ${:.2}\n\n",
        family.name,
        cell.busy,
        family.start_within_s,
        cell.bound as f64 / 1e6
    );
    text.push_str(
        "| policy | late | seeds late | median wait | p99 wait | cost | cost / bound | boots | starts again |  |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |\n",
    );
    let mut line = |row: &Row, note: &str| {
        let _ = writeln!(
            text,
            "| {}{note} | {:.2} %{} | {} | {:.1} s | {:.1} s | ${:.2} | {:.3} | {} | {} | {} |",
            row.who.name(),
            100.0 * row.late as f64 / row.jobs.max(1) as f64,
            if row.in_time() { "" } else { ", failed" },
            row.seeds_late,
            row.median_ms as f64 / 1000.0,
            row.p99_ms as f64 / 1000.0,
            row.cost as f64 / 1e6,
            cell.ratio(row),
            row.boots,
            row.starts,
            row.who.setting()
        );
    };
    for row in &cell.ours {
        line(row, "");
    }
    for rows in &cell.rivals {
        line(&rows[0], ", default");
        if let Some(best) = Cell::best(rows) {
            line(best, ", cheapest in time");
        }
    }
    if let Some(best) = cell.best_at_our_wait() {
        line(best, ", cheapest at our p99");
    }
    let own = &cell.ours[0];
    let mut miss = |what: String| missed.push(format!("{}: {what}", family.name));
    if !own.in_time() {
        miss(format!("{:.2} % start late", 100.0 * own.late as f64 / own.jobs.max(1) as f64));
    }
    if let Some(goal) = family.goal.filter(|goal| cell.ratio(own) > *goal) {
        miss(format!("cost is {:.3} of the bound, not {goal}", cell.ratio(own)));
    }
    if own.killed > 0 {
        miss(format!("{} jobs were killed by scaling in", own.killed));
    }
    if own.longest_requeue_ms > 2 * 1000 * LEASE_S as i64 {
        miss(format!("a dead worker's job waited again only after {} s", own.longest_requeue_ms / 1000));
    }
    for (best, which) in [(cell.best_at_our_wait(), "with a p99 wait no worse than ours"), (cell.best_of_all(), "in time")] {
        if let Some(best) = best {
            let quotient = own.cost as f64 / best.cost as f64;
            let _ = writeln!(text, "\nOurs costs {quotient:.2} of the cheapest rival setting {which} ({}).", best.who.name());
            if quotient > CHEAPER && which.starts_with("with") {
                miss(format!("{:.0} % of the cost of {} {which}, not {:.0} %", 100.0 * quotient, best.who.name(), 100.0 * CHEAPER));
            }
        }
    }
    if !cell.rivals.is_empty() && cell.best_at_our_wait().is_none() {
        text.push_str("\nNo rival's setting waits as little as ours at its 99th percentile.\n");
    }
    text
}
