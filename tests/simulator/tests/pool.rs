//! A quick part of what `scripts/simulate` shows in full: that a seed replays its run, and that the production plan holds its goals on a seed.

use kiln_core::pool::Keep;
use kiln_simulator::bound::LATE;
use kiln_simulator::parameters::*;
use kiln_simulator::plot::{Drawn, svg};
use kiln_simulator::table::{Stopped, Who};

/// A seed that is neither a training seed nor one of the table.
const SEED: u64 = 500;

fn family(name: &str) -> Family {
    FAMILIES.into_iter().find(|family| family.name == name).expect("a family of that name")
}

#[test]
fn a_seed_gives_the_same_run_whoever_steers_and_another_seed_another() {
    for family in FAMILIES.into_iter().filter(|family| family.size < 3.0) {
        let rival = kiln_simulator::rivals::all(&family).remove(2);
        for who in [Who::Ours(Keep::Learned, Stopped::Kept), Who::Rival(rival.name, rival.settings[0])] {
            let run = |seed| {
                let meter = who.run(&family, seed, None);
                (meter.cost(), meter.jobs, meter.late, meter.boots, meter.waits().to_vec())
            };
            assert!(run(SEED) == run(SEED) && run(SEED) != run(SEED + 1), "{} {}", family.name, who.name());
        }
    }
}

#[test]
fn the_pool_is_in_time_within_its_cost_and_kills_no_job() {
    for name in ["steady 1", "steady 5", "flash crowds", "rare, patient"] {
        let family = family(name);
        let meter = Who::Ours(Keep::Learned, Stopped::Kept).run(&family, SEED, None);
        assert!(meter.late_share() <= 2.0 * LATE, "{name}: {}", meter.late_share());
        assert_eq!((meter.killed_by_scale_in, meter.killed_for_cover), (0, 0), "{name}");
        assert!(meter.longest_requeue_ms <= 2 * 1000 * LEASE_S as i64, "{name}");
        // The jobs alone, on the cheapest host: the lower bound is a little more than that, but with crowds.
        let work = meter.mean_busy() * family.hours.saturating_sub(1) as f64 * CHEAPEST as f64;
        let goal = family.goal.expect("a goal");
        assert!(meter.cost() as f64 <= 1.1 * goal * work, "{name}: {} for work of {work}", meter.cost());
    }
}

#[test]
fn nothing_is_kept_where_jobs_may_wait_and_no_more_than_expected_where_they_may_not() {
    let cost = |keep, name| Who::Ours(keep, Stopped::Kept).run(&family(name), SEED, None).cost();
    for name in ["steady 1", "flash crowds", "rare, patient"] {
        assert!(cost(Keep::Learned, name) < cost(Keep::Idle, name), "{name}");
    }
}

#[test]
fn machines_kept_stopped_cost_less_where_work_is_steady_and_nothing_where_jobs_may_wait() {
    let run = |stopped, name| Who::Ours(Keep::Learned, stopped).run(&family(name), SEED, None);
    for (name, most) in [("steady 1", 0.95), ("steady 5", 0.99)] {
        let (kept, given_back) = (run(Stopped::Kept, name), run(Stopped::GivenBack, name));
        assert!((kept.cost() as f64) < most * given_back.cost() as f64, "{name}: {} {}", kept.cost(), given_back.cost());
        assert!(kept.starts > kept.boots && given_back.stops == 0, "{name}: {} {} {}", kept.starts, kept.boots, given_back.stops);
        assert_eq!((kept.started_twice, kept.jobs_to_stopped), (0, 0), "{name}");
    }
    let (kept, given_back) = (run(Stopped::Kept, "rare, patient"), run(Stopped::GivenBack, "rare, patient"));
    assert_eq!((kept.cost(), kept.stops), (given_back.cost(), 0));
}

#[test]
fn the_picture_shows_every_policy() {
    let family = family("flash crowds");
    let drawn: Vec<_> = [Keep::Learned, Keep::Idle]
        .map(|keep| {
            let mut samples = vec![];
            Who::Ours(keep, Stopped::Kept).run(&family, SEED, Some(&mut samples));
            assert_eq!(samples.len() as u64, family.hours * 60);
            Drawn { name: Who::Ours(keep, Stopped::Kept).name(), samples }
        })
        .into();
    let picture = svg("crowds", &drawn);
    assert_eq!(picture.matches("<path").count(), 2 * 5);
    assert!(picture.contains(">Kiln, learned<") && picture.ends_with("</svg>\n"));
}
