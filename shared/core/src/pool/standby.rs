//! Machines that stand by: stopped at their provider, which keeps their disk, with the models and the image on it, for little. One of them is there
//! much sooner than a new one boots, so fewer run beside what works.
//!
//! Promises: what stands by is no supply and is asked for no word; it is covered like the others; there are no more than the jobs that are expected
//! may need by chance; what is stopped and not kept any more is given back.

use super::plan::{Decision, Observation, Plan, Seen, whole};
use super::reason::Reason;
use super::size::Pool;
use crate::fleet::Stage;
use crate::time::{Millis, seconds};
use std::cmp::Reverse;

/// Those that stand by; what was taken away is no more, and what isn't kept any more is given back.
pub(super) fn kept<'a>(seen: &'a Observation, now: Millis, plan: &mut Plan) -> Vec<&'a Seen> {
    let mut kept = vec![];
    for machine in seen.instances.iter().filter(|machine| machine.stage == Stage::Stopped) {
        let id = machine.id.clone();
        if machine.taken_away {
            plan.decisions.push(Decision::Destroy { id, reason: Reason::TakenAway });
        } else if (seen.resume.is_none() || !machine.keeps) && !machine.is_leased(now) {
            plan.decisions.push(Decision::Stop { id, reason: Reason::Idle { idle_s: whole(now - machine.since) } });
        } else {
            kept.push(machine);
        }
    }
    kept
}

/// Whether its last word is no older than that of a machine that speaks. One that is quiet may be at work; and where all are, since nobody hears them,
/// those that are stopped would be missing when it is asked whose silence it is.
pub(super) fn is_heard(seen: &Observation, machine: &Seen, now: Millis) -> bool {
    now - machine.heard_at <= seconds(seen.lost_after_s) / 3
}

/// What it costs while it runs, in steps of an eighth: within one, what else is known of a machine matters more.
fn price(machine: &Seen) -> i64 {
    ((machine.runs_for.microusd_per_hour.max(1) as f64).ln() * 8.0) as i64
}

/// Those to start again, so many at most: the cheapest, and of equals the last that was stopped, whose GPU is least likely to be somebody else's by now.
pub(super) fn next<'a>(stopped: &[&'a Seen], most: usize) -> Vec<&'a Seen> {
    let mut next = stopped.to_vec();
    next.sort_by_key(|machine| (price(machine), Reverse(machine.since)));
    next.truncate(most);
    next
}

/// How many will soon stand by, and be there again before a new one has booted: instead of that they are waited for.
pub(super) fn awaited(seen: &Observation) -> u32 {
    let sooner = seen.resume.is_some_and(|resume| resume.slowest + seconds(seen.look_s) < seen.boot.slowest);
    if sooner { seen.instances.iter().filter(|machine| machine.rests).count() as u32 } else { 0 }
}

/// Gives back so many of those that stand by, the dearest first, if the pool does not grow now and has not just grown.
pub(super) fn surplus(pool: &Pool, most: u32, plan: &mut Plan) {
    let Pool { seen, now, .. } = *pool;
    let for_long = |machine: &&&Seen| now - machine.since > seen.boot.slowest && !machine.is_leased(now);
    let mut stopped: Vec<_> = pool.stopped.iter().filter(for_long).collect();
    if most == 0 || stopped.is_empty() || plan.wanted > pool.staying.len() as u32 {
        return;
    }
    if let Some(wait) = pool.too_soon(false) {
        let note = Reason::TooSoon { wait_s: whole(wait) };
        if !plan.notes.contains(&note) {
            plan.notes.push(note);
        }
        return;
    }
    stopped.sort_by_key(|machine| (Reverse(price(machine)), machine.since));
    let wanted = plan.wanted;
    let stops = stopped.into_iter().take(most as usize).map(|machine| {
        let reason = Reason::NotNeeded { idle_s: whole(now - machine.since), wanted };
        Decision::Stop { id: machine.id.clone(), reason }
    });
    plan.decisions.extend(stops);
}

#[cfg(test)]
#[path = "standby_tests.rs"]
mod tests;
