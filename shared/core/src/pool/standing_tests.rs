//! What those who wait are told.

use super::*;
use crate::ids::InstanceId;
use crate::pool::Demand;
use crate::pool::budget::{Deadlines, Rate};
use crate::pool::{History, Took};

const NOW: Millis = 1_795_935_600_000;

fn machine(n: u64, stage: Stage, begun_s: u64) -> Seen {
    let rate = Rate::default();
    let begun = NOW - seconds(begun_s);
    Seen { stage, begun, rate, ..Seen::asked_for(InstanceId::new(1, u128::from(n)), NOW) }
}

fn waits(instances: Vec<Seen>, why: Option<WaitReason>) -> Waits {
    let seen = Observation {
        demand: Some(vec![Demand { queued: 2, running: 1, service_ms: seconds(40), ..Demand::default() }]),
        listed: true,
        instances,
        useful: None,
        committed: None,
        boot: Took::all(seconds(100)),
        resume: Some(Took::all(seconds(40))),
        history: History::default(),
        lost_after_s: 90,
        deadlines: Deadlines { boot_s: 600, job_s: 1_800, tick_s: 60 },
        look_s: 30,
    };
    Waits::of(&seen, why, NOW, |machine| (machine.stage == Stage::Loading).then(|| "models".to_owned()))
}

#[test]
fn a_job_waits_for_the_machine_that_is_free_first() {
    let starts = |waits: &Waits, place| waits.starts_in(place, NOW).map(|ms| ms / 1000);
    let back = waits(vec![Seen { resumes: true, ..machine(1, Stage::Requested, 10) }, machine(2, Stage::Stopped, 70)], None);
    assert_eq!((back.machine, starts(&back, 1)), (Some(Stage::Requested), Some(30)), "a start is shorter than a boot, and what stands by serves nobody");
    let booting = waits(vec![machine(1, Stage::Requested, 10), machine(2, Stage::Loading, 70)], None);
    assert_eq!((booting.machine, booting.boot_stage.as_deref()), (Some(Stage::Loading), Some("models")));
    // Two machines take one job each twenty seconds.
    assert_eq!([1, 2, 4].map(|place| starts(&booting, place)), [Some(30), Some(50), Some(90)]);
    let busy = waits(vec![machine(1, Stage::Busy, 500), machine(2, Stage::Requested, 0)], None);
    assert_eq!((busy.machine, starts(&busy, 1)), (Some(Stage::Busy), Some(20)));
    assert_eq!(starts(&waits(vec![machine(1, Stage::Ready, 500)], None), 1), Some(0));
    // A boot that takes longer than usual is not over at once.
    assert_eq!(starts(&waits(vec![machine(1, Stage::Loading, 500)], None), 1), Some(25));
    // What was expected and is past is now.
    assert_eq!(booting.starts_in(1, NOW + seconds(3_600)), Some(0));
}

#[test]
fn where_no_machine_is_on_its_way_it_is_said_why() {
    for gone in [vec![], vec![machine(1, Stage::Draining, 9), machine(2, Stage::Lost, 9)]] {
        let none = waits(gone, Some(WaitReason::NoMachine));
        assert_eq!((none.machine, none.starts_in(1, NOW), none.why), (None, None, Some(WaitReason::NoMachine)));
    }
    assert_eq!(waits(vec![machine(1, Stage::Loading, 0)], Some(WaitReason::NoMachine)).why, None);
}

#[test]
fn one_that_stands_by_serves_nobody() {
    let by = waits(vec![machine(1, Stage::Stopped, 9)], Some(WaitReason::NoMachine));
    assert_eq!((by.machine, by.starts_in(1, NOW), by.why), (None, None, Some(WaitReason::NoMachine)));
    // Nor is it one of those that share what waits.
    let beside = waits(vec![machine(1, Stage::Busy, 500), machine(2, Stage::Stopped, 9)], None);
    assert_eq!((beside.machine, beside.each_ms), (Some(Stage::Busy), seconds(40)));
}

#[test]
fn who_goes_beyond_the_room_wakes_and_so_does_whoever_finds_that_nothing_has_looked_for_long() {
    let standing = Standing { room: Some(2), waits: Waits::default(), at: NOW, idle_wakes: false, again: false };
    assert_eq!([1, 2, 3].map(|came| standing.lags(came, NOW + 1)), [false, false, true]);
    let full = Standing { room: None, ..standing };
    assert!(!full.lags(9_999, NOW + STALE));
    assert!(full.lags(1, NOW + STALE + 1));
}
