//! The simulator's command: the table with its pictures (`table`), fault schedules (`faults`), a fleet-year's time (`year`), and the recorded
//! day's making (`trace`).

use kiln_core::pool::Keep;
use kiln_simulator::checker::Coverage;
use kiln_simulator::parameters::*;
use kiln_simulator::plot::{Drawn, svg};
use kiln_simulator::table::{self, Bounds, Cell, Who};
use kiln_simulator::{arrivals, exact, faults, run};
use std::path::PathBuf;
use std::time::Instant;

const USAGE: &str =
    "usage: kiln-simulator table [--seeds FROM..TO] [--training] [--family NAME] [--no-rivals] [--no-keep] [--out FOLDER] [--bounds FILE] [--threads N]
       kiln-simulator faults [SCHEDULES] [--from SEED] [--threads N]
       kiln-simulator year
       kiln-simulator trace";

struct Asked {
    what: String,
    seeds: std::ops::Range<u64>,
    family: Option<String>,
    rivals: bool,
    /// Machines without work are stopped and kept.
    keeps: bool,
    out: Option<PathBuf>,
    bounds: Option<PathBuf>,
    threads: usize,
    count: u64,
    from: u64,
}

fn asked() -> Option<Asked> {
    let mut words = std::env::args().skip(1);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut asked =
        Asked { what: words.next()?, seeds: FINAL_SEEDS, family: None, rivals: true, keeps: true, out: None, bounds: None, threads, count: 10_000, from: 1 };
    while let Some(word) = words.next() {
        match word.as_str() {
            "--training" => asked.seeds = TRAINING_SEEDS,
            "--no-rivals" => asked.rivals = false,
            "--no-keep" => asked.keeps = false,
            "--seeds" => {
                let text = words.next()?;
                let (from, to) = text.split_once("..")?;
                asked.seeds = from.parse().ok()?..to.parse().ok()?;
            }
            "--family" => asked.family = words.next(),
            "--out" => asked.out = words.next().map(PathBuf::from),
            "--bounds" => asked.bounds = words.next().map(PathBuf::from),
            "--from" => asked.from = words.next()?.parse().ok()?,
            "--threads" => asked.threads = words.next()?.parse().ok()?,
            count => asked.count = count.parse().ok()?,
        }
    }
    Some(asked)
}

fn main() {
    let Some(asked) = asked() else {
        eprintln!("{USAGE}");
        std::process::exit(2);
    };
    let done = match asked.what.as_str() {
        "table" => table(&asked),
        "faults" => Ok(faults(&asked)),
        "year" => {
            year(asked.keeps);
            Ok(true)
        }
        "trace" => {
            print!("{}", arrivals::studio_day(2026));
            Ok(true)
        }
        _ => Err(USAGE.to_owned()),
    };
    match done {
        Ok(true) => {}
        Ok(false) => std::process::exit(1),
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(2);
        }
    }
}

/// Prints the table; false where a goal is missed.
fn table(asked: &Asked) -> Result<bool, String> {
    let begun = Instant::now();
    println!("Seeds {} to {}, {} threads.", asked.seeds.start, asked.seeds.end - 1, asked.threads);
    let (mean, most) = exact::gap(500, 1)?;
    println!("On 500 small traces the exact optimum is {mean:.3} times the bound in the mean and {most:.3} times at most; never below it.");
    let mut missed = vec![];
    let mut known = asked.bounds.as_ref().map_or_else(Bounds::new, read_bounds);
    for family in FAMILIES.into_iter().filter(|family| asked.family.as_ref().is_none_or(|name| family.name == name)) {
        let cell = table::cell(family, &asked.seeds, asked.threads, &table::ours(asked.keeps), asked.rivals, &mut known)?;
        println!("{}", table::print(&cell, &mut missed));
        if let Some(folder) = &asked.out {
            picture(&cell, asked.seeds.start, folder).map_err(|error| error.to_string())?;
        }
    }
    if let Some(file) = &asked.bounds {
        let lines = known.iter().map(|((family, seed), bound)| format!("{family}\t{seed}\t{bound}\n"));
        std::fs::write(file, lines.collect::<String>()).map_err(|error| error.to_string())?;
    }
    println!("Goals missed: {}", if missed.is_empty() { "none." } else { "" });
    for miss in &missed {
        println!("- {miss}");
    }
    println!("\nTook {:.0} s.", begun.elapsed().as_secs_f64());
    Ok(missed.is_empty())
}

/// Bounds of an earlier table of the same parameters, to save time while the plan is worked on; a table to be published is made without.
fn read_bounds(file: &PathBuf) -> Bounds {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let line = |line: &str| {
        let mut parts = line.split('\t');
        Some(((parts.next()?.to_owned(), parts.next()?.parse().ok()?), parts.next()?.parse().ok()?))
    };
    text.lines().filter_map(line).collect()
}

/// Ours, and each rival at its cheapest setting in time, or at its defaults where none is.
fn picture(cell: &Cell, seed: u64, folder: &PathBuf) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let family = &cell.family;
    let shown = |who: Who| {
        let mut samples = vec![];
        who.run(family, seed, Some(&mut samples));
        Drawn { name: who.name(), samples }
    };
    let rivals = cell.rivals.iter().map(|rows| Cell::best(rows).unwrap_or(&rows[0]).who);
    let drawn: Vec<_> = cell.ours.iter().map(|row| row.who).chain(rivals).map(shown).collect();
    let title = format!("{}, seed {seed}; rivals at their cheapest setting that is in time, or at their defaults where none is", family.name);
    let name: String = family.name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    std::fs::write(folder.join(format!("{name}.svg")), svg(&title, &drawn))
}

/// Runs so many schedules of faults; false where one breaks a rule.
fn faults(asked: &Asked) -> bool {
    let begun = Instant::now();
    let seeds: Vec<u64> = (asked.from..asked.from.saturating_add(asked.count)).collect();
    let results = table::in_parallel(asked.threads, &seeds, |seed| {
        let mut coverage = Coverage::default();
        (faults::run(*seed, None, &mut coverage), coverage)
    });
    let mut coverage = Coverage::default();
    let mut broken = 0;
    for (rule, seen) in results {
        coverage.add(&seen);
        if let Some(rule) = rule {
            broken += 1;
            println!("{rule}");
        }
    }
    println!("{} schedules, {broken} of them broke a rule, {:.0} s. {coverage:?}", asked.count, begun.elapsed().as_secs_f64());
    broken == 0
}

/// Times a simulated year of the largest family, on one core.
fn year(keeps: bool) {
    for (name, busy) in [("20 busy machines", 20.0), ("5 busy machines", 5.0), ("1 busy machine", 1.0)] {
        let family = Family { coming: Coming::Steady { busy }, hours: 365 * 24, ..FAMILIES[0] };
        let begun = Instant::now();
        let meter = run::ours(&family, &table::our_policy(&family, Keep::Learned, keeps), FINAL_SEEDS.start, None);
        println!("A year of {name}: {} jobs, {} boots, {} starts again, {:.1} s", meter.completed, meter.boots, meter.starts, begun.elapsed().as_secs_f64());
    }
}
