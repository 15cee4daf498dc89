//! The plan's rules, one test each.

use super::*;

const NOW: Millis = 1_795_935_600_000;
const DEADLINES: Deadlines = Deadlines { boot_s: 600, job_s: 1800, tick_s: 60 };

fn id(n: u128) -> InstanceId {
    InstanceId::new(1, n)
}

/// A machine of the operator's own.
fn machine(n: u128, stage: Stage, idle_s: u64) -> Seen {
    Seen {
        id: id(n),
        stage,
        since: NOW - seconds(idle_s),
        heard_at: NOW,
        begun: NOW - seconds(idle_s) - n as i64,
        boot_by: NOW + seconds(600),
        rate: Rate::default(),
        covered_to: 0,
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

/// One that is rented, for a dollar an hour, and covered for so long.
fn rented(n: u128, stage: Stage, left_s: u64) -> Seen {
    Seen { rate: Rate { microusd_per_hour: 1_000_000, microusd_once: 0 }, covered_to: NOW + seconds(left_s), ..machine(n, stage, 0) }
}

fn observe(queued: u64, instances: Vec<Seen>) -> Observation {
    let running = instances.iter().filter(|machine| machine.stage == Stage::Busy).count() as u64;
    Observation {
        listed: true,
        demand: Some(vec![Demand { queued, running, service_ms: seconds(30), ..Demand::default() }]),
        instances,
        useful: None,
        committed: Some(BTreeMap::new()),
        boot: Took::all(seconds(90)),
        resume: None,
        history: History::default(),
        lost_after_s: 90,
        deadlines: DEADLINES,
        look_s: 30,
    }
}

fn policy(max: u32) -> Policy {
    Policy { max, ..Policy::default() }
}

fn rents(plan: &Plan) -> usize {
    plan.decisions.iter().filter(|decision| matches!(decision, Decision::Rent { .. })).count()
}

#[test]
fn from_zero_a_job_brings_a_machine_and_one_on_its_way_is_enough() {
    let from_zero = plan(&observe(1, vec![]), &policy(5), NOW);
    assert_eq!(from_zero.decisions, [Decision::Rent { reason: Reason::Waiting { queued: 1, supply: 0, wanted: 1 } }]);
    assert_eq!(plan(&observe(1, vec![machine(1, Stage::Requested, 0)]), &policy(5), NOW).decisions, []);
    assert_eq!(plan(&observe(0, vec![]), &policy(5), NOW).decisions, []);
}

#[test]
fn a_crowd_brings_as_many_as_start_it_within_its_time_after_a_boot() {
    // A machine starts three jobs of 30 s within a minute: at once, after 30 s and after 60 s.
    assert_eq!(rents(&plan(&observe(30, vec![]), &policy(100), NOW)), 10);
    assert_eq!(rents(&plan(&observe(30, vec![]), &policy(4), NOW)), 4);
    // One is there, and starts three while the others boot; what is left is 27, for nine.
    let one = observe(30, vec![machine(1, Stage::Ready, 0)]);
    assert_eq!(plan(&one, &policy(100), NOW).wanted, 9);
    // Of two that work one is soon free; one alone may have a long job.
    let busy = |count: u128| observe(1, (0..count).map(|n| machine(n, Stage::Busy, 0)).collect());
    assert_eq!((rents(&plan(&busy(1), &policy(100), NOW)), rents(&plan(&busy(2), &policy(100), NOW))), (1, 0));
}

#[test]
fn never_above_the_maximum_never_below_what_the_operator_wants() {
    let wants = Policy { desired_size: 2, ..policy(3) };
    assert_eq!(plan(&observe(0, vec![]), &wants, NOW).decisions, vec![Decision::Rent { reason: Reason::Floor { supply: 0, wanted: 2 } }; 2]);
    assert_eq!(rents(&plan(&observe(500, vec![]), &wants, NOW)), 3);
    let idle = vec![machine(1, Stage::Ready, 9_999), machine(2, Stage::Ready, 9_999)];
    assert_eq!(plan(&observe(0, idle), &wants, NOW).decisions, []);
}

#[test]
fn an_idle_machine_goes_after_its_time_and_a_busy_one_stays() {
    let idle = observe(0, vec![machine(1, Stage::Ready, 900)]);
    assert_eq!(plan(&idle, &policy(1), NOW).decisions, [Decision::Stop { id: id(1), reason: Reason::Idle { idle_s: 900 } }]);
    for stays in [machine(1, Stage::Ready, 899), machine(1, Stage::Busy, 9_999), Seen { leased_to: Some(NOW + 1), ..machine(1, Stage::Ready, 9_999) }] {
        assert_eq!(plan(&observe(0, vec![stays.clone()]), &policy(1), NOW).decisions, [], "{stays:?}");
    }
    let over = Seen { leased_to: Some(NOW), ..machine(1, Stage::Ready, 9_999) };
    assert_eq!(plan(&observe(0, vec![over]), &policy(1), NOW).decisions.len(), 1);
}

#[test]
fn of_too_many_the_idle_go_first_and_the_busy_are_drained() {
    let machines = vec![machine(1, Stage::Busy, 5), machine(2, Stage::Ready, 1), machine(3, Stage::Busy, 1)];
    let decided = plan(&observe(0, machines), &policy(1), NOW).decisions;
    let above = Reason::AboveMax { max: 1 };
    assert_eq!(decided, [Decision::Stop { id: id(2), reason: above.clone() }, Decision::Drain { id: id(3), reason: above }]);
}

#[test]
fn what_could_not_be_read_leads_to_no_rental_and_deadlines_act_all_the_same() {
    let mut silent = machine(1, Stage::Busy, 0);
    silent.heard_at = NOW - seconds(91);
    let late = Seen { boot_by: NOW - seconds(100), ..machine(2, Stage::Loading, 700) };
    let unread = Observation { demand: None, ..observe(0, vec![silent, late, rented(3, Stage::Busy, 180), rented(4, Stage::Ready, 181)]) };
    let plan = plan(&unread, &Policy { desired_size: 5, ..policy(5) }, NOW);
    let [Decision::Destroy { reason: a, .. }, Decision::Destroy { reason: b, .. }, Decision::Destroy { reason: c, .. }, Decision::Cover { .. }] =
        &plan.decisions[..]
    else {
        panic!("{plan:?}");
    };
    assert_eq!((a, b, c), (&Reason::Silent { silent_s: 91 }, &Reason::BootTooLong { waited_s: 700 }, &Reason::CoverEnds { left_s: 180 }));
    assert_eq!(plan.notes, [Reason::Unreadable { what: "the jobs".into() }]);
}

#[test]
fn jobs_that_take_longer_than_was_measured_bring_one_machine_more() {
    let waits = |oldest_s: u64, machines: Vec<Seen>| {
        let demand = Demand { queued: 1, running: 1, oldest_ms: seconds(oldest_s), service_ms: seconds(1), ..Demand::default() };
        rents(&plan(&Observation { demand: Some(vec![demand]), ..observe(0, machines) }, &policy(5), NOW))
    };
    assert_eq!(waits(60, vec![machine(1, Stage::Busy, 0)]), 0);
    assert_eq!(waits(61, vec![machine(1, Stage::Busy, 0)]), 1);
    // One at a time, however often it looks.
    assert_eq!(waits(61, vec![machine(1, Stage::Busy, 0), machine(2, Stage::Loading, 0)]), 0);
}

#[test]
fn no_more_machines_are_rented_than_accounts_may_use_at_once() {
    let one_account = Observation { useful: Some(4), ..observe(100, vec![]) };
    assert_eq!(rents(&plan(&one_account, &policy(50), NOW)), 4);
}

#[test]
fn idle_machines_are_held_for_jobs_that_could_run_and_not_for_those_of_an_account_at_its_cap() {
    let stops = |useful: Option<u32>, queued: u64, idle_s: u64| {
        let machines = (1..=20).map(|n| if n <= 4 { machine(n, Stage::Busy, 0) } else { machine(n, Stage::Ready, idle_s) });
        let decided = plan(&Observation { useful, ..observe(queued, machines.collect()) }, &policy(20), NOW).decisions;
        assert!(decided.iter().all(|decision| matches!(decision, Decision::Stop { reason: Reason::Idle { .. }, .. })), "{decided:?}");
        decided.len()
    };
    // After a peak one account has a standing queue and runs the four that it may: the sixteen others have no work.
    assert_eq!((stops(Some(4), 50, 900), stops(Some(4), 50, 899)), (16, 0));
    // Two more could have work at once; or all; or nobody knows.
    assert_eq!((stops(Some(6), 50, 900), stops(Some(20), 50, 900), stops(Some(99), 50, 900), stops(None, 50, 900)), (14, 0, 0, 0));
    assert_eq!((stops(Some(20), 0, 900), stops(None, 0, 900)), (16, 16));
}

#[test]
fn a_silent_machine_is_replaced() {
    let silent = Seen { heard_at: 0, ..machine(1, Stage::Busy, 0) };
    let decided = plan(&observe(1, vec![silent]), &policy(5), NOW).decisions;
    assert!(matches!(decided[..], [Decision::Destroy { .. }, Decision::Rent { .. }]), "{decided:?}");
}

#[test]
fn safe_mode_ends_everything_and_rents_nothing() {
    let safe = Policy { safe_mode: true, desired_size: 3, ..policy(5) };
    let machines = vec![machine(1, Stage::Busy, 0), machine(2, Stage::Requested, 0), machine(3, Stage::Draining, 0), machine(4, Stage::Stopped, 0)];
    let decided = plan(&observe(50, machines), &safe, NOW).decisions;
    assert_eq!(decided.len(), 4);
    assert!(decided.iter().all(|decision| matches!(decision, Decision::Destroy { reason: Reason::SafeMode, .. })), "{decided:?}");
}

#[test]
fn what_no_budget_covers_is_drained_while_its_cover_lasts_for_the_longest_job() {
    // A dollar an hour, 1800 + 180 s to be covered and five ticks more: 38 minutes.
    let machines = vec![rented(1, Stage::Busy, 1_980), rented(2, Stage::Busy, 1_980), rented(3, Stage::Busy, 9_999)];
    let share = budget::shares(machines[0].rate, machines[0].begun, machines[0].covered_to, NOW + DEADLINES.work_ms() + seconds(300));
    let day: i64 = share.iter().find(|(window, _)| window.name() == "day").map(|(_, share)| *share).unwrap();
    let tight = Policy { budget_day_microusd: Some(2 * day - 1), budget_month_microusd: Some(1_000_000_000), ..policy(5) };
    let decided = plan(&observe(0, machines.clone()), &tight, NOW).decisions;
    let to = NOW + DEADLINES.work_ms() + seconds(300);
    assert_eq!(decided, [Decision::Cover { id: id(1), to }, Decision::Drain { id: id(2), reason: Reason::Budget { window: "day".into() } }]);
    // Where what is committed could not be read, the write itself decides.
    let unread = Observation { committed: None, ..observe(0, machines) };
    assert_eq!(plan(&unread, &tight, NOW).decisions, [Decision::Cover { id: id(1), to }, Decision::Cover { id: id(2), to }]);
}

#[test]
fn a_drained_machine_is_no_supply_and_is_left_alone_until_its_cover_ends() {
    let decided = plan(&observe(1, vec![rented(1, Stage::Draining, 181)]), &policy(5), NOW).decisions;
    assert!(matches!(decided[..], [Decision::Rent { .. }]), "{decided:?}");
    let decided = plan(&observe(0, vec![rented(1, Stage::Draining, 180)]), &policy(5), NOW).decisions;
    assert_eq!(decided, [Decision::Destroy { id: id(1), reason: Reason::CoverEnds { left_s: 180 } }]);
}

#[test]
fn the_learned_policy_keeps_what_is_expected_and_does_not_flap() {
    let learned = Policy { keep: Keep::Learned, ..policy(10) };
    let mut seen = observe(0, (1..=5).map(|n| machine(n, Stage::Ready, 60)).collect());
    // Two jobs a minute of half a minute: a load of one, for which two machines are kept.
    seen.demand = Some(vec![Demand { came_2_min: 4, came_10_min: 20, came_hour: 120, service_ms: seconds(30), ..Demand::default() }]);
    let decided = plan(&seen, &learned, NOW);
    assert_eq!((decided.wanted, decided.decisions.len()), (2, 3));
    assert!(matches!(&decided.decisions[0], Decision::Stop { reason: Reason::NotNeeded { idle_s: 60, wanted: 2 }, .. }), "{decided:?}");
    // Within a boot's time of a turn to growing nothing goes, and within one of a turn to shrinking nothing comes for jobs that are only expected.
    let turned = |history: History| Observation { history, ..seen.clone() };
    let grown = turned(History { last_rent_at: Some(NOW - seconds(50)), turned_at: Some(NOW - seconds(89)), ..History::default() });
    assert_eq!((plan(&grown, &learned, NOW).decisions, plan(&grown, &learned, NOW).notes), (vec![], vec![Reason::TooSoon { wait_s: 1 }]));
    let grown = turned(History { last_rent_at: Some(NOW - seconds(50)), turned_at: Some(NOW - seconds(90)), ..History::default() });
    assert_eq!(plan(&grown, &learned, NOW).decisions.len(), 3);
    let stopped = |ago: u64| History { last_stop_at: Some(NOW - seconds(ago)), turned_at: Some(NOW - seconds(ago)), ..History::default() };
    let shrunk = |ago: u64| Observation { instances: vec![], ..turned(stopped(ago)) };
    assert_eq!((rents(&plan(&shrunk(89), &learned, NOW)), rents(&plan(&shrunk(90), &learned, NOW))), (0, 2));
}

#[test]
fn where_jobs_may_wait_longer_than_a_boot_they_are_gathered_and_nothing_is_kept_for_them() {
    let patient = Policy { keep: Keep::Learned, start_within_s: 3_600, ..policy(10) };
    let waits = |oldest_s: u64, queued: u64| {
        let demand =
            Demand { queued, oldest_ms: seconds(oldest_s), service_ms: seconds(30), came_hour: 12, came_10_min: 2, came_2_min: 1, ..Demand::default() };
        rents(&plan(&Observation { demand: Some(vec![demand]), ..observe(0, vec![]) }, &patient, NOW))
    };
    assert_eq!((waits(60, 2), waits(3_449, 2), waits(3_450, 2)), (0, 0, 1));
    // More than one machine could start in that time.
    assert_eq!(waits(60, 121), 1);
    let idle = observe(0, vec![machine(1, Stage::Ready, 60)]);
    assert_eq!(plan(&idle, &patient, NOW).decisions.len(), 1);
}

#[test]
fn the_last_minutes_tell_only_where_they_are_out_of_chance() {
    // 120 an hour are 20 in ten minutes, give or take 4.5.
    let per_10_min = |recent: f64| expected_rate(recent / 5.0, recent, 120.0) * 600.0;
    assert_eq!((per_10_min(14.0), per_10_min(20.0), per_10_min(24.0)), (20.0, 20.0, 20.0));
    assert_eq!((per_10_min(40.0), per_10_min(3.0)), (40.0, 3.0));
    // A crowd that is over is not expected again.
    assert_eq!(expected_rate(0.0, 0.0, 130.0), 0.0);
    // Two minutes say so where a crowd was one: 26 are expected of 130 in ten minutes, and no fewer than 11 by chance.
    assert_eq!((expected_rate(10.0, 130.0, 130.0) * 600.0, expected_rate(11.0, 130.0, 130.0) * 600.0), (50.0, 130.0));
}

#[test]
fn what_comes_meanwhile_counts_against_the_machines_that_work_a_queue_off() {
    let machines: Vec<_> = (1..=7).map(|n| machine(n, Stage::Busy, 0)).collect();
    let with = |came_hour: u64| {
        let demand = Demand {
            rush: false,
            queued: 8,
            running: 7,
            oldest_ms: seconds(20),
            service_ms: seconds(30),
            came_hour,
            came_10_min: came_hour / 6,
            came_2_min: came_hour / 30,
        };
        rents(&plan(&Observation { demand: Some(vec![demand]), ..observe(0, machines.clone()) }, &policy(20), NOW))
    };
    // Eight jobs are 34 s of seven machines, and nobody comes; or many do within a boot, and may be more than usual.
    assert_eq!((with(0), with(600)), (0, 1));
}

#[test]
fn long_jobs_in_every_machine_are_no_reason_to_let_one_wait_for_ever() {
    let machines: Vec<_> = (1..=5).map(|n| machine(n, Stage::Busy, 0)).collect();
    let waits = |oldest_s: u64| {
        let demand = Demand { queued: 1, running: 5, oldest_ms: seconds(oldest_s), service_ms: seconds(30), ..Demand::default() };
        rents(&plan(&Observation { demand: Some(vec![demand]), ..observe(0, machines.clone()) }, &policy(20), NOW))
    };
    assert_eq!((waits(60), waits(61)), (0, 1));
}

#[test]
fn of_machines_that_are_not_needed_the_dearest_goes_first() {
    let priced = |n: u128, microusd_per_hour: i64, idle_s: u64| Seen {
        rate: Rate { microusd_per_hour, microusd_once: 0 },
        covered_to: NOW + seconds(9_999),
        ..machine(n, Stage::Ready, idle_s)
    };
    let seen = observe(0, vec![priced(1, 300_000, 1_000), priced(2, 310_000, 950), priced(3, 310_000, 960)]);
    let keeps_one = Policy { desired_size: 1, ..policy(5) };
    let stopped: Vec<_> = plan(&seen, &keeps_one, NOW)
        .decisions
        .into_iter()
        .map(|decision| match decision {
            Decision::Stop { id, .. } => id,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(stopped, [id(3), id(2)]);
}

#[test]
fn cover_is_renewed_while_three_more_ticks_may_fail() {
    let covers = |left_s: u64| plan(&observe(0, vec![rented(1, Stage::Busy, left_s)]), &policy(5), NOW).decisions.len();
    assert_eq!((covers(1_980 + 180), covers(1_980 + 179)), (0, 1));
}

#[test]
fn where_a_boot_after_the_next_look_is_in_time_no_more_is_kept_than_works() {
    let kept = |start_within_s: u64| {
        let demand = Demand { service_ms: seconds(30), came_2_min: 6, came_10_min: 28, came_hour: 168, ..Demand::default() };
        let learned = Policy { keep: Keep::Learned, start_within_s, ..policy(20) };
        plan(&Observation { demand: Some(vec![demand]), ..observe(0, vec![]) }, &learned, NOW).wanted
    };
    // A load of 1.4 machines, a boot of 90 s and a look each 30 s. Where jobs may wait for less than a boot's part, Erlang's formula says how many.
    assert_eq!((kept(20), kept(60), kept(119), kept(120), kept(270)), (5, 2, 2, 1, 1));
}

#[test]
fn where_no_provider_says_what_exists_nothing_is_rented_and_what_is_idle_goes() {
    let unlisted = |queued: u64, machines: Vec<Seen>| plan(&Observation { listed: false, ..observe(queued, machines) }, &policy(5), NOW);
    let waits = unlisted(9, vec![]);
    assert_eq!((waits.decisions.len(), waits.notes), (0, vec![Reason::Unreadable { what: "the provider's machines".into() }]));
    assert!(matches!(unlisted(0, vec![machine(1, Stage::Ready, 901)]).decisions[..], [Decision::Stop { .. }]));
}

#[test]
fn a_claimed_machine_is_not_drained_though_there_are_too_many() {
    let claimed = Seen { leased_to: Some(NOW + 1), ..machine(1, Stage::Busy, 0) };
    let both = plan(&observe(9, vec![claimed.clone(), machine(2, Stage::Busy, 0)]), &policy(1), NOW);
    assert!(matches!(&both.decisions[..], [Decision::Drain { id: drained, .. }] if *drained == id(2)), "{both:?}");
    // Nor does an idle one stand before another that may go.
    let idle = Seen { leased_to: Some(NOW + 1), ..machine(1, Stage::Ready, 2_000) };
    let both = plan(&observe(0, vec![idle, machine(2, Stage::Ready, 10)]), &policy(1), NOW);
    assert!(matches!(&both.decisions[..], [Decision::Stop { id: stopped, .. }] if *stopped == id(2)), "{both:?}");
}

#[test]
fn what_was_taken_away_is_given_back_and_replaced() {
    let taken = Seen { interruptible: true, taken_away: true, ..rented(1, Stage::Lost, 9_999) };
    let decided = plan(&observe(1, vec![taken]), &policy(5), NOW).decisions;
    assert!(matches!(&decided[..], [Decision::Destroy { reason: Reason::TakenAway, .. }, Decision::Rent { .. }]), "{decided:?}");
}

#[test]
fn beside_interruptible_machines_on_their_way_one_that_stays_is_rented_for_jobs_past_their_time_after_a_loss() {
    let spot = Seen { interruptible: true, ..rented(1, Stage::Loading, 9_999) };
    let hedges = |oldest_s: u64, taken_s_ago: Option<u64>, machines: Vec<Seen>| {
        let mut seen = observe(1, machines);
        seen.demand = Some(vec![Demand { queued: 1, oldest_ms: seconds(oldest_s), service_ms: seconds(30), ..Demand::default() }]);
        seen.history.spot.taken_at = taken_s_ago.map(|ago| NOW - seconds(ago));
        let decided = plan(&seen, &policy(5), NOW).decisions;
        decided.iter().filter(|decision| matches!(decision, Decision::Rent { reason: Reason::Hedge { .. } })).count()
    };
    assert_eq!((hedges(61, Some(150), vec![spot.clone()]), hedges(60, Some(150), vec![spot.clone()])), (1, 0));
    // From nothing a boot takes what it takes; long after a loss it is no reason any more; and one that stays is on its way.
    assert_eq!((hedges(61, None, vec![spot.clone()]), hedges(61, Some(151), vec![spot.clone()])), (0, 0));
    assert_eq!(hedges(61, Some(150), vec![spot, rented(2, Stage::Requested, 9_999)]), 0);
}

#[test]
fn who_has_paid_to_be_first_waits_for_no_patience_of_the_operator_s() {
    let patient = Policy { start_within_s: 3_600, max: 10, keep: Keep::Learned, ..Policy::default() };
    let rents = |demand: Vec<Demand>, machines: Vec<Seen>, policy: &Policy| {
        let seen = Observation { demand: Some(demand), ..observe(0, machines) };
        plan(&seen, policy, NOW).decisions.iter().filter(|decision| matches!(decision, Decision::Rent { .. })).count()
    };
    let jobs = |rush: bool, queued: u64| Demand { rush, queued, oldest_ms: seconds(5), service_ms: seconds(30), ..Demand::default() };
    assert_eq!(rents(vec![jobs(false, 4)], vec![], &patient), 0, "they may wait for others to come");
    assert_eq!(rents(vec![jobs(false, 4), jobs(true, 1)], vec![], &patient), 1);
    // Three start on one machine in a minute, the first at once.
    assert_eq!(rents(vec![jobs(false, 40), jobs(true, 7)], vec![], &patient), 3);
    // Beside one that works they come too late.
    assert_eq!(
        rents(vec![jobs(true, 9)], vec![machine(1, Stage::Busy, 0)], &patient),
        rents(vec![jobs(false, 9)], vec![machine(1, Stage::Busy, 0)], &Policy { start_within_s: 60, ..patient.clone() })
    );
    // Where all are to be served as soon they change nothing.
    let usual = Policy { start_within_s: 60, ..patient };
    for queued in 1..30 {
        for busy in 0..4 {
            let there = || (1..=busy).map(|n| machine(n, Stage::Busy, 0)).collect::<Vec<_>>();
            assert_eq!(rents(vec![jobs(true, queued)], there(), &usual), rents(vec![jobs(false, queued)], there(), &usual), "{queued} {busy}");
        }
    }
}
