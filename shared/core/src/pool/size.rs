//! From what there is and what is needed to what comes and what goes: the last part of the [plan](super::plan).

use super::plan::{Decision, Need, Observation, Plan, Seen, whole};
use super::policy::{Keep, Policy};
use super::reason::Reason;
use super::standby;
use crate::fleet::Stage;
use crate::time::{Millis, seconds};
use std::cmp::Reverse;

/// What there is, and what is needed.
pub(super) struct Pool<'a> {
    pub seen: &'a Observation,
    pub policy: &'a Policy,
    pub need: &'a Need,
    /// What takes jobs, or is on its way to.
    pub staying: &'a [&'a Seen],
    /// What stands by.
    pub stopped: &'a [&'a Seen],
    pub now: Millis,
}

impl Pool<'_> {
    fn supply(&self) -> u32 {
        self.staying.len() as u32
    }

    /// How long it is still too soon to turn round, if it is.
    pub(super) fn too_soon(&self, grows: bool) -> Option<Millis> {
        self.seen.history.too_soon(grows, self.need.turns_after, self.now)
    }
}

/// What comes: those that stand by first.
pub(super) fn grow(pool: &Pool, plan: &mut Plan) {
    let Pool { seen, policy, need, .. } = *pool;
    let (supply, wanted) = (pool.supply(), plan.wanted);
    if wanted <= supply {
        return;
    }
    if !seen.listed {
        plan.notes.push(Reason::Unreadable { what: "the provider's machines".into() });
        return;
    }
    let reason = if need.hedge && need.waiting > supply {
        Reason::Hedge { queued: need.queued, supply, wanted }
    } else if need.waiting > supply && need.waiting >= need.expected {
        Reason::Waiting { queued: need.queued, supply, wanted }
    } else if policy.floor() > supply && policy.floor() >= need.expected {
        Reason::Floor { supply, wanted }
    } else {
        // What is only expected waits until the last change is a boot's time ago; what waits doesn't.
        if let Some(wait) = pool.too_soon(true) {
            plan.notes.push(Reason::TooSoon { wait_s: whole(wait) });
            return;
        }
        Reason::Expected { per_hour: need.per_hour, supply, wanted }
    };
    let resumed = standby::next(pool.stopped, (wanted - supply) as usize);
    let rented = (wanted - supply - resumed.len() as u32).saturating_sub(standby::awaited(seen));
    plan.decisions.extend(resumed.into_iter().map(|machine| Decision::Resume { id: machine.id.clone(), reason: reason.clone() }));
    // What will not go, or is not known to be gone, is no supply and may cost all the same: of such and others there are twice the most at most.
    let room = (2 * policy.max).saturating_sub(seen.instances.len() as u32);
    if room < rented {
        plan.notes.push(Reason::AboveMax { max: policy.max });
    }
    plan.decisions.extend((0..rented.min(room)).map(|_| Decision::Rent { reason: reason.clone() }));
}

/// What goes for want of work, or stands by.
pub(super) fn shrink(pool: &Pool, plan: &mut Plan) {
    let Pool { seen, policy, need, staying, stopped, now } = *pool;
    let supply = pool.supply();
    let mut over = supply.saturating_sub(policy.max);
    // Jobs that wait may be those of accounts that run as many as they may: machines beyond what could have work at once wait for nobody.
    let held = if need.queued > 0 { seen.useful.unwrap_or(u32::MAX) } else { 0 };
    let mut spare = supply.saturating_sub(plan.wanted.max(held));
    // Those that run and those that stand by; of more than are kept what has no work is given back, of no more than that it is stopped.
    let resting = seen.instances.iter().filter(|machine| machine.rests).count();
    let mut total = supply + (stopped.len() + resting) as u32;
    let mut idle: Vec<_> = staying.iter().filter(|machine| machine.stage == Stage::Ready && !machine.is_leased(now)).collect();
    // The dearest first, and of equals the longest idle.
    idle.sort_by_key(|machine| (Reverse(machine.rate.microusd_per_hour), machine.since));
    let soon = pool.too_soon(false);
    for machine in idle {
        let idle_ms = now - machine.since;
        let stands_by = over == 0 && machine.keeps && total <= need.kept;
        if stands_by && !standby::is_heard(seen, machine, now) {
            continue;
        }
        let reason = if over > 0 {
            over -= 1;
            Reason::AboveMax { max: policy.max }
        } else if spare == 0 {
            continue;
        } else if idle_ms >= seconds(policy.idle_shutdown_s) {
            Reason::Idle { idle_s: whole(idle_ms) }
        } else if policy.keep == Keep::Learned && (stands_by || idle_ms >= learned_idle(need, seen, supply)) {
            if let Some(wait) = soon {
                plan.notes.push(Reason::TooSoon { wait_s: whole(wait) });
                break;
            }
            Reason::NotNeeded { idle_s: whole(idle_ms), wanted: plan.wanted }
        } else {
            continue;
        };
        spare = spare.saturating_sub(1);
        let id = machine.id.clone();
        if stands_by {
            plan.decisions.push(Decision::Suspend { id, reason });
        } else {
            total -= 1;
            plan.decisions.push(Decision::Stop { id, reason });
        }
    }
    standby::surplus(pool, total.saturating_sub(need.kept), plan);
    // None of them is idle: the youngest finish what they do and go.
    let mut busy: Vec<_> = staying.iter().filter(|machine| machine.stage == Stage::Busy && !machine.is_leased(now)).collect();
    busy.sort_by_key(|machine| Reverse(machine.begun));
    for machine in busy.into_iter().take(over as usize) {
        plan.decisions.push(Decision::Drain { id: machine.id.clone(), reason: Reason::AboveMax { max: policy.max } });
    }
}

/// For how long a machine that isn't needed is kept: it would have to boot again. Where jobs may wait longer than that, not at all.
fn learned_idle(need: &Need, seen: &Observation, supply: u32) -> Millis {
    if need.patient { 0 } else { seen.boot.slowest / 10 / Millis::from(supply.max(1)) }
}
