//! What silence and deafness mean, one test each.

use super::*;
use crate::ids::InstanceId;
use crate::pool::budget::{Deadlines, Rate};
use crate::pool::plan::{Decision, Demand, Plan, plan};
use crate::pool::{Policy, Reason, Took};

const NOW: Millis = 1_795_935_600_000;
const LOST_S: u64 = 90;
const LOST: Millis = seconds(LOST_S);
const BOOT: Millis = seconds(90);

fn machine(n: u128, stage: Stage, silent_s: u64) -> Seen {
    Seen {
        id: InstanceId::new(1, n),
        stage,
        since: NOW - seconds(1_000) - n as i64,
        heard_at: NOW - seconds(silent_s),
        begun: NOW - seconds(5_000),
        boot_by: Millis::MAX,
        rate: Rate::default(),
        covered_to: Millis::MAX,
        leased_to: None,
        able: true,
        interruptible: false,
        taken_away: false,
        keeps: false,
        rests: false,
        resumes: false,
        runs_for: Rate::default(),
    }
}

fn at(instances: Vec<Seen>, history: History, oldest_s: u64, now: Millis) -> Plan {
    let demand = Demand { queued: u64::from(oldest_s > 0), oldest_ms: seconds(oldest_s), service_ms: seconds(30), ..Demand::default() };
    let seen = Observation {
        demand: Some(vec![demand]),
        listed: true,
        instances,
        useful: None,
        committed: None,
        boot: Took::all(BOOT),
        resume: None,
        history,
        lost_after_s: LOST_S,
        deadlines: Deadlines { boot_s: 600, job_s: 1_800, tick_s: 60 },
        look_s: 30,
    };
    plan(&seen, &Policy { max: 4, desired_size: 4, ..Policy::default() }, now)
}

/// Whom a plan destroys, and why.
fn destroyed(plan: &Plan) -> Vec<(u128, &'static str)> {
    let of = |decision: &Decision| match decision {
        Decision::Destroy { id, reason } => Some(((0..9).find(|n| InstanceId::new(1, *n) == *id).unwrap(), reason.code())),
        _ => None,
    };
    plan.decisions.iter().filter_map(of).collect()
}

/// A pool that looked half a minute ago looks at these.
fn looked(machines: &[Seen]) -> History {
    let mut history = History::default();
    history.look(Some(NOW - seconds(30)), machines, Some(false), LOST_S, NOW);
    history
}

#[test]
fn one_silent_machine_among_others_that_speak_is_lost_at_once() {
    let machines = vec![machine(1, Stage::Busy, 91), machine(2, Stage::Ready, 10)];
    assert_eq!(destroyed(&at(machines.clone(), looked(&machines), 0, NOW)), [(1, "silent")]);
    // One alone can't be told from an outage either, and is replaced.
    let alone = vec![machine(1, Stage::Busy, 91)];
    assert_eq!(destroyed(&at(alone.clone(), looked(&alone), 0, NOW)), [(1, "silent")]);
}

#[test]
fn silence_of_all_at_once_is_in_doubt_for_as_long_again_and_no_longer() {
    // The first crosses the line; the others were last heard within one heartbeat of it.
    let machines = vec![machine(1, Stage::Busy, 91), machine(2, Stage::Ready, 80), machine(3, Stage::Draining, 77)];
    let history = looked(&machines);
    let doubts = at(machines.clone(), history.clone(), 0, NOW);
    assert_eq!((destroyed(&doubts), doubts.notes), (vec![], vec![Reason::InDoubt { machines: 1, wait_s: 90 }]));
    // Nobody has spoken since: it was no outage of ours, or one that is too long.
    assert_eq!(destroyed(&at(machines.clone(), history.clone(), 0, NOW + LOST)), []);
    assert_eq!(destroyed(&at(machines.clone(), history.clone(), 0, NOW + LOST + 1)).len(), 3);
    // Looking again does not lengthen it.
    let mut later = history;
    later.look(Some(NOW + LOST - seconds(30)), &machines, Some(false), LOST_S, NOW + LOST);
    assert_eq!(destroyed(&at(machines, later, 0, NOW + LOST + 1)).len(), 3);
}

#[test]
fn an_outage_that_begins_beside_a_missed_look_has_its_own_time() {
    // A look was missed a minute ago, and just then all fell silent.
    let quiet = |s: u64| vec![machine(1, Stage::Busy, s), machine(2, Stage::Busy, s + 5)];
    let mut history = History::default();
    history.look(Some(NOW - seconds(120)), &quiet(0), Some(false), LOST_S, NOW - seconds(60));
    assert_eq!(history.doubt.map(|doubt| doubt.at), Some(NOW - seconds(60)));
    let machines = quiet(60);
    history.look(Some(NOW - seconds(30)), &machines, Some(false), LOST_S, NOW);
    assert_eq!(history.doubt.map(|doubt| doubt.at), Some(NOW));
    // Each once: it ends.
    for later in [30, 60, 90] {
        history.look(Some(NOW + seconds(later - 30)), &machines, Some(false), LOST_S, NOW + seconds(later));
        assert_eq!(destroyed(&at(machines.clone(), history.clone(), 0, NOW + seconds(later))), []);
    }
    assert_eq!(destroyed(&at(machines, history, 0, NOW + LOST + 1)).len(), 2);
}

#[test]
fn silence_of_many_is_in_doubt_though_some_speak_again_already_and_that_of_few_is_not() {
    // An outage is over: two have spoken since, the next heartbeats of the others are on their way.
    let machines = vec![machine(1, Stage::Busy, 103), machine(2, Stage::Busy, 95), machine(3, Stage::Busy, 0), machine(4, Stage::Ready, 2)];
    assert_eq!(destroyed(&at(machines.clone(), looked(&machines), 0, NOW)), []);
    assert_eq!(destroyed(&at(machines.clone(), looked(&machines), 0, NOW + LOST + 1)).len(), 4, "for a bounded time");
    let few: Vec<_> = machines.into_iter().chain([machine(5, Stage::Busy, 1)]).collect();
    assert_eq!(destroyed(&at(few.clone(), looked(&few), 0, NOW)).len(), 2);
}

#[test]
fn machines_that_come_to_rest_are_no_voices_against_those_that_are_silent() {
    let silent = [machine(1, Stage::Busy, 103), machine(2, Stage::Busy, 95)];
    let with = |rests: bool| silent.iter().cloned().chain((3..=5).map(|n| Seen { rests, ..machine(n, Stage::Draining, 0) })).collect::<Vec<_>>();
    let resting = with(true);
    assert_eq!(destroyed(&at(resting.clone(), looked(&resting), 0, NOW)), []);
    let speaking = with(false);
    assert_eq!(destroyed(&at(speaking.clone(), looked(&speaking), 0, NOW)).len(), 2);
}

#[test]
fn after_a_time_in_which_nobody_looked_machines_may_speak_first() {
    let machines = vec![machine(1, Stage::Busy, 605), machine(2, Stage::Ready, 591)];
    let mut history = History::default();
    history.look(Some(NOW - seconds(600)), &machines, None, LOST_S, NOW);
    assert_eq!(destroyed(&at(machines.clone(), history.clone(), 0, NOW)), []);
    assert_eq!(destroyed(&at(machines.clone(), history.clone(), 0, NOW + LOST + 1)).len(), 2);
    // What was silent when we last looked has no excuse, and one alone has one too.
    let long = vec![machine(1, Stage::Busy, 691), machine(2, Stage::Ready, 690)];
    assert_eq!(destroyed(&at(long, history.clone(), 0, NOW)), [(1, "silent")]);
    assert_eq!(destroyed(&at(machines[..1].to_vec(), history, 0, NOW)), []);
}

#[test]
fn who_was_sent_away_has_no_excuse_and_a_second_outage_is_a_new_doubt() {
    let lost = vec![machine(1, Stage::Lost, 91), machine(2, Stage::Busy, 91), machine(3, Stage::Busy, 91)];
    assert_eq!(destroyed(&at(lost.clone(), looked(&lost), 0, NOW)), [(1, "silent")]);
    let mut history = History { doubt: Some(Doubt { from: NOW - seconds(500), at: NOW - seconds(300), quiet: true }), ..History::default() };
    history.look(Some(NOW - seconds(30)), &lost, None, LOST_S, NOW);
    assert_eq!(history.doubt, Some(Doubt { from: NOW - seconds(91), at: NOW, quiet: true }));
    // They speak again, and it is over when their time is.
    let well = [2, 3].map(|n| Seen { heard_at: NOW + seconds(85), ..machine(n, Stage::Busy, 0) });
    history.look(Some(NOW), &well, None, LOST_S, NOW + seconds(30));
    assert!(history.doubt.is_some());
    history.look(Some(NOW + seconds(60)), &well, None, LOST_S, NOW + LOST + 1);
    assert_eq!(history.doubt, None);
}

fn unserved_for(s: u64) -> History {
    History { unserved_since: Some(NOW - seconds(s)), ..History::default() }
}

#[test]
fn a_machine_that_takes_no_work_while_others_do_goes_one_in_a_boots_time() {
    let machines = |busy: Stage| vec![machine(1, Stage::Ready, 1), machine(2, Stage::Ready, 1), machine(3, busy, 1)];
    assert_eq!(destroyed(&at(machines(Stage::Busy), unserved_for(601), 601, NOW)), [(2, "idle_beside_work")]);
    let again = |ago: u64| History { deaf_at: Some(NOW - seconds(ago)), ..unserved_for(601) };
    assert_eq!(destroyed(&at(machines(Stage::Busy), again(89), 601, NOW)), []);
    assert_eq!(destroyed(&at(machines(Stage::Busy), again(90), 601, NOW)).len(), 1);
}

#[test]
fn it_stays_where_there_was_no_work_for_it_for_as_long() {
    let machines = vec![machine(1, Stage::Ready, 1), machine(3, Stage::Busy, 1)];
    // Work waits for less than that; an older job waits, but others could not run at once; nothing is known.
    for (history, oldest_s) in [(unserved_for(600), 700), (unserved_for(700), 600), (History::default(), 700)] {
        assert_eq!(destroyed(&at(machines.clone(), history, oldest_s, NOW)), []);
    }
    for stays in [
        Seen { leased_to: Some(NOW + 1), ..machines[0].clone() },
        Seen { able: false, ..machines[0].clone() },
        Seen { since: NOW - seconds(600), ..machines[0].clone() },
        Seen { stage: Stage::Loading, ..machines[0].clone() },
    ] {
        assert_eq!(destroyed(&at(vec![stays.clone(), machines[1].clone()], unserved_for(700), 700, NOW)), [], "{stays:?}");
    }
}

#[test]
fn where_none_takes_work_our_queue_is_suspected_and_one_machine_an_hour_finds_out() {
    let one = vec![machine(1, Stage::Ready, 1)];
    let two = vec![machine(1, Stage::Ready, 1), machine(2, Stage::Ready, 1)];
    assert_eq!(destroyed(&at(one.clone(), unserved_for(601), 601, NOW)), [(1, "idle_beside_work")]);
    assert_eq!(destroyed(&at(two.clone(), unserved_for(3_600), 3_600, NOW)), []);
    assert_eq!(destroyed(&at(two, unserved_for(3_601), 3_601, NOW)), [(2, "idle_beside_work")]);
    // The next one looks the same.
    for (ago, gone) in [(3_599, 0), (3_600, 1)] {
        let history = History { deaf_at: Some(NOW - seconds(ago)), ..unserved_for(9_000) };
        assert_eq!(destroyed(&at(one.clone(), history, 9_000, NOW)).len(), gone);
    }
}

#[test]
fn work_that_waits_is_remembered_from_look_to_look_and_not_over_a_long_gap() {
    let mut history = History::default();
    let mut look = |before: u64, unserved: Option<bool>, at: u64| {
        history.look(Some(NOW + seconds(before)), &[], unserved, LOST_S, NOW + seconds(at));
        history.unserved_since.map(|since| since - NOW)
    };
    assert_eq!(look(0, Some(true), 30), Some(seconds(30)));
    assert_eq!(look(30, None, 60), Some(seconds(30)));
    assert_eq!(look(60, Some(true), 180), Some(seconds(30)));
    assert_eq!(look(180, Some(true), 480), Some(seconds(480)));
    assert_eq!(look(480, Some(false), 510), None);
}

#[test]
fn the_pool_turns_round_once_in_a_boots_time() {
    let mut history = History::default();
    history.rented(NOW);
    history.rented(NOW + seconds(60));
    assert_eq!(history.turned_at, Some(NOW));
    assert_eq!((history.too_soon(false, BOOT, NOW + seconds(89)), history.too_soon(false, BOOT, NOW + seconds(90))), (Some(1_000), None));
    assert_eq!(history.too_soon(true, BOOT, NOW + seconds(61)), None);
    history.stopped(NOW + seconds(100));
    history.stopped(NOW + seconds(130));
    assert_eq!((history.turned_at, history.too_soon(false, BOOT, NOW + seconds(131))), (Some(NOW + seconds(100)), None));
    assert_eq!((history.too_soon(true, BOOT, NOW + seconds(131)), history.too_soon(true, BOOT, NOW + seconds(190))), (Some(seconds(59)), None));
    // What an older version left says nothing of turns.
    let old = History { last_rent_at: Some(NOW), ..History::default() };
    assert_eq!((old.too_soon(false, BOOT, NOW + 1).is_some(), old.too_soon(false, BOOT, NOW + BOOT)), (true, None));
}
