//! The transitions one by one; `tests/` holds the model that attacks them together.
use super::*;
use crate::ids::{AccountId, JobId};

const NOW: Millis = 1_763_721_600_000;

pub(crate) fn draft() -> Job {
    Job { quote_millicredits: 1000, ..Job::draft(JobId::new(NOW, 1), AccountId::new(NOW, 2), "noop", "image", 900, 0) }
}

fn queued() -> Job {
    submit(draft(), &Counters::default(), &Settings::default(), NOW).after
}

struct Host {
    id: InstanceId,
    host: &'static str,
    trusted: bool,
    capabilities: Vec<String>,
}

fn host(n: u128, name: &'static str) -> Host {
    Host { id: InstanceId::new(NOW, n), host: name, trusted: false, capabilities: vec!["image".into()] }
}

impl Host {
    fn worker(&self) -> Worker<'_> {
        Worker { instance_id: &self.id, host: self.host, trusted: self.trusted, capabilities: &self.capabilities, draining: false, busy: false }
    }
}

fn claimed(job: &Job, host: &Host, claim_id: &str, now: Millis) -> Job {
    match claim(job, &Counters::default(), &host.worker(), claim_id, &Settings::default(), now) {
        Ok(Claim::New(change)) => change.after,
        other => panic!("{other:?}"),
    }
}

fn oops() -> JobError {
    JobError { code: "oops".into(), message: "It broke.".into(), retryable: true }
}

fn step(result: Result<Step, State>) -> Change {
    match result {
        Ok(Step::New(change)) => *change,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_submitted_job_is_queued_held_and_owed() {
    let change = submit(draft(), &Counters::default(), &Settings::default(), NOW);
    assert_eq!(change.after.state, State::Queued);
    assert_eq!(change.money, Some(Move::hold(1000)));
    assert_eq!(change.account.needs_available, Some(1000));
    assert_eq!(change.account.queued_below, Some(100));
    assert_eq!(change.after.next_check_at, Some(NOW + 60_000));
    assert!(change.after.owed_shard.is_some());
    assert_eq!(change.hint_after(NOW), Some(0));
}

#[test]
fn a_repeated_claim_gets_the_same_attempt_and_a_late_copy_opens_none() {
    let host = host(1, "a");
    let running = claimed(&queued(), &host, "c1", NOW);
    assert_eq!((running.state, running.attempt), (State::Running, 1));
    let settings = Settings::default();
    assert_eq!(claim(&running, &Counters::default(), &host.worker(), "c1", &settings, NOW + 1), Ok(Claim::Again));
    assert_eq!(claim(&running, &Counters::default(), &host.worker(), "c2", &settings, NOW + 1), Err(Refusal::LeaseLive));
    let back = step(fail(&running, &host.worker(), 1, Failure::Drained, oops(), &settings, NOW + 2)).after;
    assert_eq!(claim(&back, &Counters::default(), &host.worker(), "c1", &settings, NOW + 3), Err(Refusal::ClaimUsed));
}

#[test]
fn a_takeover_leaves_the_running_count_alone_and_shuts_the_late_worker_out() {
    let (first, second) = (host(1, "a"), host(2, "b"));
    let running = claimed(&queued(), &first, "c1", NOW);
    let full = Counters { running: 4, ..Counters::default() };
    let Ok(Claim::New(change)) = claim(&running, &full, &second.worker(), "c2", &Settings::default(), NOW + 60_000) else { panic!() };
    assert_eq!(change.account, AccountDelta::default());
    assert_eq!((change.after.attempt, change.after.failures), (2, 1));
    assert_eq!(complete(&change.after, &first.id, 1, 1, NOW + 60_001), Err(State::Running));
    assert!(!may_upload(&change.after, &first.id, 1));
    assert_eq!(heartbeat(&change.after, &first.id, 1, 0.5, None, &Settings::default(), NOW + 60_001), Err(Lost::Superseded));
}

#[test]
fn each_refusal_about_the_worker_leaves_the_message() {
    let mut worker_host = host(1, "a");
    let job = queued();
    let settings = Settings::default();
    let counters = Counters::default();
    let busy = Worker { busy: true, ..worker_host.worker() };
    assert_eq!(claim(&job, &counters, &busy, "c", &settings, NOW), Err(Refusal::WorkerBusy));
    let draining = Worker { draining: true, ..worker_host.worker() };
    assert_eq!(claim(&job, &counters, &draining, "c", &settings, NOW), Err(Refusal::WorkerDraining));
    worker_host.capabilities = vec!["mesh".into()];
    assert_eq!(claim(&job, &counters, &worker_host.worker(), "c", &settings, NOW), Err(Refusal::Incapable));
    for refusal in Refusal::ALL {
        assert_eq!(Refusal::from_code(refusal.code()), Some(refusal));
    }
    assert!(!Refusal::WorkerBusy.about_the_job() && Refusal::LeaseLive.about_the_job());
}

#[test]
fn a_full_account_and_a_job_not_due_are_refused() {
    let host = host(1, "a");
    let full = Counters { running: 4, ..Counters::default() };
    assert_eq!(claim(&queued(), &full, &host.worker(), "c", &Settings::default(), NOW), Err(Refusal::AccountFull));
    let mut job = queued();
    job.not_before = NOW + 5;
    assert_eq!(claim(&job, &Counters::default(), &host.worker(), "c", &Settings::default(), NOW), Err(Refusal::NotDue));
}

#[test]
fn a_success_captures_once_and_a_finished_job_never_changes() {
    let host = host(1, "a");
    let running = claimed(&queued(), &host, "c1", NOW);
    let change = step(complete(&running, &host.id, 1, 1, NOW + 90_000));
    assert_eq!(change.money, Some(Move::capture(1000, 1000)));
    assert_eq!(change.account.running, -1);
    let done = change.after;
    assert!(done.owed_shard.is_none() && !done.hold_open);
    assert_eq!(complete(&done, &host.id, 1, 1, NOW), Ok(Step::Again));
    assert_eq!(cancel(&done, NOW), Err(State::Succeeded));
    assert_eq!(fail(&done, &host.worker(), 1, Failure::Retryable, oops(), &Settings::default(), NOW), Err(State::Succeeded));
    assert_eq!(claim(&done, &Counters::default(), &host.worker(), "c9", &Settings::default(), NOW), Err(Refusal::JobFinished));
    assert_eq!(sweep(&done, Standing::Full, &Settings::default(), NOW), Sweep::Nothing);
    assert_eq!(rearm(&done, &Settings::default(), NOW), None);
}

#[test]
fn failures_back_off_and_the_last_one_releases_the_hold() {
    let host = host(1, "a");
    let settings = Settings::default();
    let mut job = queued();
    for (n, rest) in [(1, 2000), (2, 4000)] {
        let running = claimed(&job, &host, &format!("c{n}"), job.not_before);
        let now = NOW + 100_000 * n;
        let change = step(fail(&running, &host.worker(), n as u32, Failure::Retryable, oops(), &settings, now));
        assert_eq!(change.after.not_before, now + rest);
        assert_eq!(fail(&change.after, &host.worker(), n as u32, Failure::Retryable, oops(), &settings, now), Ok(Step::Again));
        job = change.after;
    }
    let running = claimed(&job, &host, "c3", job.not_before);
    let change = step(fail(&running, &host.worker(), 3, Failure::Retryable, oops(), &settings, NOW + 1_000_000));
    assert_eq!(change.after.state, State::Failed);
    assert_eq!(change.money, Some(Move::release(1000)));
}

#[test]
fn a_drained_attempt_uses_a_number_but_no_retry_and_is_bounded() {
    let host = host(1, "a");
    let settings = Settings { max_attempts: 4, ..Settings::default() };
    let mut job = queued();
    for n in 1.. {
        let running = claimed(&job, &host, &format!("c{n}"), NOW);
        job = step(fail(&running, &host.worker(), n, Failure::Drained, oops(), &settings, NOW)).after;
        assert_eq!(job.failures, 0);
        if job.state == State::Failed {
            assert_eq!(n, 4);
            return;
        }
    }
}

#[test]
fn a_rented_host_s_permanent_failure_needs_a_second_host_or_five_minutes() {
    let (a, b) = (host(1, "a"), host(2, "b"));
    let settings = Settings::default();
    let running = claimed(&queued(), &a, "c1", NOW);
    let back = step(fail(&running, &a.worker(), 1, Failure::Permanent, oops(), &settings, NOW)).after;
    assert_eq!(back.state, State::Queued);
    assert_eq!(claim(&back, &Counters::default(), &a.worker(), "c2", &settings, NOW + 1), Err(Refusal::Excluded));
    let second = claimed(&back, &b, "c3", NOW + 1);
    assert_eq!(step(fail(&second, &b.worker(), 2, Failure::Permanent, oops(), &settings, NOW + 2)).after.state, State::Failed);
    let open = Standing::Open { first: true };
    assert!(matches!(sweep(&back, open, &settings, NOW + 299_999), Sweep::Later { hint: true, .. }));
    let Sweep::Act(change) = sweep(&back, open, &settings, NOW + 300_000) else { panic!() };
    assert_eq!(change.after.state, State::Failed);
    let trusted = Host { trusted: true, ..host(1, "a") };
    assert_eq!(step(fail(&running, &trusted.worker(), 1, Failure::Permanent, oops(), &settings, NOW)).after.state, State::Failed);
}

#[test]
fn one_host_s_word_is_not_believed_because_a_second_host_died() {
    let (a, b) = (host(1, "a"), host(2, "b"));
    let settings = Settings::default();
    let open = Standing::Open { first: true };
    let back = step(fail(&claimed(&queued(), &a, "c1", NOW), &a.worker(), 1, Failure::Permanent, oops(), &settings, NOW)).after;
    let second = claimed(&back, &b, "c2", NOW + 290_000);
    let Sweep::Act(change) = sweep(&second, open, &settings, NOW + 350_000) else { panic!() };
    let lost = change.after;
    assert_eq!((lost.state, lost.not_before), (State::Queued, NOW + 352_000));
    assert!(matches!(sweep(&lost, open, &settings, NOW + 651_999), Sweep::Later { .. }));
    assert!(matches!(sweep(&lost, open, &settings, NOW + 652_000), Sweep::Act(_)));
}

#[test]
fn cancel_is_terminal_and_the_worker_learns_it_by_its_heartbeat() {
    let host = host(1, "a");
    let running = claimed(&queued(), &host, "c1", NOW);
    let change = step(cancel(&running, NOW));
    assert_eq!((change.account.running, change.money), (-1, Some(Move::release(1000))));
    assert_eq!(heartbeat(&change.after, &host.id, 1, 0.5, None, &Settings::default(), NOW), Err(Lost::Cancelled));
    assert_eq!(complete(&change.after, &host.id, 1, 1, NOW), Err(State::Cancelled));
    assert_eq!(cancel(&change.after, NOW), Ok(Step::Again));
    assert_eq!(step(cancel(&queued(), NOW)).account.queued, -1);
}

#[test]
fn a_heartbeat_renews_the_lease_until_the_longest_run() {
    let host = host(1, "a");
    let running = claimed(&queued(), &host, "c1", NOW);
    let beat = heartbeat(&running, &host.id, 1, 0.5, Some("network"), &Settings::default(), NOW + 15_000).unwrap().after;
    assert_eq!((beat.lease_until, beat.progress, beat.seq), (Some(NOW + 75_000), 0.5, running.seq + 1));
    assert_eq!(heartbeat(&beat, &host.id, 1, f32::NAN, None, &Settings::default(), NOW + 16_000).unwrap().after.progress, 0.5);
    assert_eq!(heartbeat(&beat, &host.id, 1, 0.6, None, &Settings::default(), NOW + 900_001), Err(Lost::RanTooLong));
}

#[test]
fn maintenance_requeues_a_dead_lease_and_ends_what_waited_too_long() {
    let host = host(1, "a");
    let settings = Settings::default();
    let running = claimed(&queued(), &host, "c1", NOW);
    let open = Standing::Open { first: true };
    assert_eq!(sweep(&running, open, &settings, NOW + 59_999), Sweep::Nothing);
    let beat = heartbeat(&running, &host.id, 1, 0.5, None, &settings, NOW + 15_000).unwrap().after;
    assert!(matches!(sweep(&beat, open, &settings, NOW + 60_000), Sweep::Later { hint: false, .. }));
    let Sweep::Act(change) = sweep(&running, open, &settings, NOW + 60_000) else { panic!() };
    assert_eq!((change.after.state, change.account.running, change.account.queued), (State::Queued, -1, 1));
    let Sweep::Act(change) = sweep(&queued(), open, &settings, NOW + 21_600_000) else { panic!() };
    assert_eq!(change.after.error.unwrap().code, "waited_too_long");
    let Sweep::Act(change) = sweep(&queued(), Standing::Gone, &settings, NOW + 60_000) else { panic!() };
    assert_eq!(change.after.error.unwrap().code, "account_gone");
    assert!(matches!(sweep(&queued(), Standing::Full, &settings, NOW + 60_000), Sweep::Later { hint: false, .. }));
}

#[test]
fn a_stale_row_of_the_owed_index_brings_no_second_hint() {
    let settings = Settings::default();
    let Sweep::Later { change, hint: true } = sweep(&queued(), Standing::Open { first: true }, &settings, NOW + 60_000) else { panic!() };
    assert_eq!(sweep(&change.after, Standing::Open { first: true }, &settings, NOW + 60_100), Sweep::Nothing);
    assert_eq!(sweep(&change.after, Standing::Gone, &settings, NOW + 60_100), Sweep::Nothing);
}

#[test]
fn dead_letters_put_a_job_off_but_never_past_its_deadline() {
    let settings = Settings::default();
    let wait = seconds(settings.max_wait_s);
    let late = rearm(&queued(), &settings, NOW + wait - 1000).unwrap().after;
    assert_eq!(late.next_check_at, Some(NOW + wait));
    let resting = Job { not_before: NOW + 400_000, ..queued() };
    assert_eq!(rearm(&resting, &settings, NOW).unwrap().after.next_check_at, Some(NOW + 520_000));
    let running = claimed(&queued(), &host(1, "a"), "c1", NOW);
    let mut suspected = step(fail(&running, &host(1, "a").worker(), 1, Failure::Permanent, oops(), &settings, NOW)).after;
    for second in 1..20 {
        suspected = rearm(&suspected, &settings, NOW + 1000 * second).unwrap().after;
    }
    assert_eq!(suspected.next_check_at, Some(NOW + seconds(settings.second_host_s)));
}

#[test]
fn a_deadline_shorter_than_the_hints_is_kept_from_the_first_look_on() {
    let settings = Settings { max_wait_s: 5, second_host_s: 2, ..Settings::default() };
    let job = submit(draft(), &Counters::default(), &settings, NOW).after;
    assert_eq!(job.next_check_at, Some(NOW + 5_000));
    let (a, b) = (host(1, "a"), host(2, "b"));
    let back = step(fail(&claimed(&job, &a, "c1", NOW), &a.worker(), 1, Failure::Permanent, oops(), &settings, NOW)).after;
    assert_eq!(back.next_check_at, Some(NOW + 2_000));
    let again = step(fail(&claimed(&back, &b, "c2", NOW), &b.worker(), 2, Failure::Drained, oops(), &settings, NOW + 1_000)).after;
    assert_eq!(again.next_check_at, Some(NOW + 3_000));
}

#[test]
fn hints_for_one_job_back_off() {
    let settings = Settings::default();
    let mut job = queued();
    let mut now = NOW;
    let mut waits = vec![];
    for _ in 0..6 {
        now = job.next_check_at.unwrap();
        let Sweep::Later { change, hint: true } = sweep(&job, Standing::Open { first: true }, &settings, now) else { panic!() };
        job = change.after;
        waits.push((job.next_check_at.unwrap() - now) / 1000);
    }
    assert_eq!(waits, [120, 240, 480, 900, 900, 900]);
    assert!(now > NOW);
}

#[test]
fn a_host_is_at_fault_where_one_other_did_what_failed_there_and_never_for_a_job_that_fails_at_two() {
    let (a, b, c) = (host(1, "a"), host(2, "b"), host(3, "c"));
    let own = Host { trusted: true, ..host(4, "own") };
    let settings = Settings::default();
    let done = |job: &Job, at: &Host| {
        let running = claimed(job, at, "done", job.not_before.max(NOW));
        step(complete(&running, &at.id, running.attempt, 1, NOW + 500_000)).fault
    };
    let fails = |job: &Job, at: &Host, failure: Failure| {
        let running = claimed(job, at, &format!("at {}{}", at.host, job.attempt), job.not_before.max(NOW));
        step(fail(&running, &at.worker(), running.attempt, failure, oops(), &settings, NOW)).after
    };
    assert_eq!(done(&queued(), &a), None);
    for failure in [Failure::Retryable, Failure::Permanent] {
        let failed = fails(&queued(), &a, failure);
        assert_eq!((done(&failed, &b), done(&failed, &own)), (Some("a".into()), Some("a".into())), "{failure:?}");
    }
    // Its own second try succeeds; it was asked to go.
    assert_eq!((done(&fails(&queued(), &a, Failure::Retryable), &a), done(&fails(&queued(), &a, Failure::Drained), &b)), (None, None));
    // At two hosts it may be the job; twice at one it is one fault.
    assert_eq!(done(&fails(&fails(&queued(), &a, Failure::Retryable), &b, Failure::Retryable), &c), None);
    assert_eq!(done(&fails(&fails(&queued(), &a, Failure::Retryable), &a, Failure::Retryable), &c), Some("a".into()));
    // The operator's own is not judged.
    assert_eq!(done(&fails(&queued(), &own, Failure::Retryable), &a), None);
    // A lost lease, found by maintenance or by whoever takes over, and a process that began anew.
    let running = claimed(&queued(), &a, "c1", NOW);
    let Sweep::Act(swept) = sweep(&running, Standing::Full, &settings, NOW + 60_000) else { panic!() };
    let again = abandoned(&running, &a.id, 1, &settings, NOW).unwrap();
    assert_eq!((done(&swept.after, &b), done(&again.after, &b)), (Some("a".into()), Some("a".into())));
    let taken = claimed(&running, &b, "c2", NOW + 60_000);
    assert_eq!(step(complete(&taken, &b.id, 2, 1, NOW + 61_000)).fault, Some("a".into()));
}

#[test]
fn an_attempt_whose_machine_was_taken_away_uses_a_number_and_no_retry_and_blames_no_host() {
    let (a, settings) = (host(1, "a"), Settings::default());
    let (mut job, mut now) = (queued(), NOW);
    assert_eq!(preempted(&job, &settings, now), None);
    for attempt in 1..=settings.max_attempts as u32 {
        let running = claimed(&job, &a, &format!("c{attempt}"), now);
        assert_eq!(preempted(&running, &settings, now + 59_999), None, "its machine may still deliver");
        now += 60_000;
        let change = preempted(&running, &settings, now).unwrap();
        assert_eq!(change.slot, SlotChange::Free { instance_id: a.id.clone() });
        job = change.after;
        assert_eq!((job.attempt, job.failures, job.failed_on.len()), (attempt, 0, 0));
        // It may be claimed at once, and goes round a bounded number of times.
        let ended = u64::from(attempt) == settings.max_attempts;
        assert_eq!(job.state, if ended { State::Failed } else { State::Queued });
        assert!(ended || job.not_before == now);
    }
    assert_eq!(job.error.unwrap().code, "preempted");
    assert_eq!(preempted(&queued(), &settings, now), None);
    // Where its machine is known to be gone nobody waits for the lease.
    let running = claimed(&queued(), &a, "c", NOW);
    let after = given_back(&running, &a.id, 1, &settings, NOW + 1).unwrap().after;
    assert_eq!((after.state, after.attempt, after.failures, after.failed_on.len()), (State::Queued, 1, 0, 0));
    assert_eq!([given_back(&running, &a.id, 2, &settings, NOW), given_back(&running, &host(2, "b").id, 1, &settings, NOW)], [None, None]);
}

/// The attack: a customer whose jobs fail wherever they like, beside customers whose jobs succeed at every sound host, with a host that is broken.
#[test]
fn one_customer_s_jobs_leave_no_sound_host_and_a_broken_one_is_left_beside_them() {
    use crate::pool::quarantine::{Host as Judged, to_leave};
    use std::collections::{BTreeMap, BTreeSet};
    let hosts = [host(1, "a"), host(2, "b"), host(3, "c"), host(4, "d"), host(5, "e"), host(6, "f")];
    let settings = Settings::default();
    let (mut attacked, mut found) = (0, 0);
    for seed in 1..=200_u64 {
        println!("seed {seed}");
        let mut state = seed;
        let mut draw = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        let broken = (seed % 2 == 0).then_some(5);
        let mut faults: BTreeMap<usize, (u64, BTreeSet<usize>)> = BTreeMap::new();
        let mut succeeded = [0_u64; 6];
        for n in 0..120 {
            // Half of all jobs are the attacker's, who is customer 0: poison, or picky about where it works.
            let customer = if draw(2) == 0 { 0 } else { 1 + draw(3) };
            let picky: Vec<bool> = if draw(2) == 0 { vec![true; 6] } else { (0..6).map(|_| draw(2) == 0).collect() };
            let mut job = queued();
            for attempt in 0.. {
                let at = draw(6);
                // Some claims are refused: it is another's turn.
                let now = job.not_before.max(NOW);
                let Ok(Claim::New(change)) = claim(&job, &Counters::default(), &hosts[at].worker(), &format!("{n}/{attempt}"), &settings, now) else {
                    continue;
                };
                let running = change.after;
                if Some(at) == broken || customer == 0 && picky[at] {
                    let failure = if draw(2) == 0 { Failure::Retryable } else { Failure::Permanent };
                    job = step(fail(&running, &hosts[at].worker(), running.attempt, failure, oops(), &settings, now)).after;
                    attacked += usize::from(customer == 0);
                    if job.state == State::Failed {
                        break;
                    }
                } else {
                    let change = step(complete(&running, &hosts[at].id, running.attempt, 1, now));
                    succeeded[at] += 1;
                    if let Some(host) = change.fault {
                        let of = faults.entry(hosts.iter().position(|known| known.host == host).unwrap()).or_default();
                        of.0 += 1;
                        of.1.insert(customer);
                    }
                    break;
                }
            }
        }
        let judged: Vec<_> = (0..6)
            .map(|at| {
                let (jobs, accounts) = faults.get(&at).map_or((0, 0), |(jobs, accounts)| (*jobs, accounts.len()));
                Judged { host: hosts[at].host, faults: jobs, accounts, succeeded: succeeded[at] }
            })
            .collect();
        let left: Vec<&str> = to_leave(&judged, 0).iter().map(|host| host.host).collect();
        assert_eq!(left, if broken.is_some() { vec!["f"] } else { vec![] }, "seed {seed}: {judged:?}");
        found += left.len();
    }
    assert!(attacked > 1_000 && found == 100, "{attacked} failures of the attacker, {found} broken hosts found");
}
