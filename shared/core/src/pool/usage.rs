//! What a machine was used for: its life as a row of phases, each with the seconds and the cost of the one that it ends. Made from times that
//! stand in the machine's item anyway, so that no call more is made where a worker registers, beats or claims.
//!
//! Promises: the phases of a machine that is gone cover its whole time once, so their costs add up to what it cost, to the last millionth, and
//! their seconds to its seconds, however often and whenever they were told in between. A machine that is kept stopped has a life for each stretch:
//! while it runs, while it is stopped, and when it runs again; while it is stopped it spends no seconds of a GPU.

use super::budget::{Rate, cost_until};
use crate::time::{Millis, seconds};
use serde::{Deserialize, Serialize};

/// A machine between two jobs is not idle before it has waited so long: else each job would be two phases.
pub const IDLE_AFTER: Millis = seconds(60);

/// What a machine is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Asked for; nothing has been heard of it.
    Rented,
    /// Its worker has registered.
    Booting,
    /// It may take jobs, and has had none yet.
    Ready,
    /// It works, or waits for less than a minute between two jobs.
    Busy,
    /// It has had no job since its last one.
    Idle,
    /// It finishes what it does and goes.
    Drained,
    /// It is kept stopped, for what its disk costs.
    Stopped,
    /// It is gone.
    Terminated,
}

/// The times of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    pub rate: Rate,
    pub requested_at: Millis,
    pub registered_at: Option<Millis>,
    pub ready_at: Option<Millis>,
    /// When it took the first job since it was last told idle.
    pub busy_since: Option<Millis>,
    /// Since when it has no job, where it has none.
    pub idle_since: Option<Millis>,
    pub drained_at: Option<Millis>,
}

/// The last phase that was told of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToldPhase {
    pub phase: Phase,
    pub at: Millis,
    /// How many were told by then.
    pub n: u32,
}

/// A phase begins and another one is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    pub begins: ToldPhase,
    pub ended: Option<Phase>,
    /// Of the phase that is over.
    pub gpu_seconds: u64,
    pub cost_microusd: i64,
}

/// What is to be told until `now` of a machine that is there.
pub fn until(life: &Life, told: Option<ToldPhase>, now: Millis) -> Vec<Change> {
    let mut told = told;
    let mut life = *life;
    let mut changes = Vec::new();
    while let Some((phase, at)) = following(&life, told, now) {
        // Once it is idle it is busy anew by a later job alone.
        if phase == Phase::Idle {
            life.busy_since = None;
        }
        changes.push(change(&life, &mut told, phase, at));
    }
    changes
}

/// What is left to be told of a machine that is stopped now, and kept: the life that it had ends.
pub fn stopped(life: &Life, told: Option<ToldPhase>, at: Millis) -> Vec<Change> {
    turned(life, told, Phase::Stopped, at)
}

/// What is told of one that was kept stopped, and is asked for again: that life ends.
pub fn resumed(life: &Life, told: Option<ToldPhase>, at: Millis) -> Vec<Change> {
    turned(life, told, Phase::Rented, at)
}

fn turned(life: &Life, told: Option<ToldPhase>, into: Phase, at: Millis) -> Vec<Change> {
    let at = end(life, told, at);
    let mut changes = until(life, told, at);
    let mut told = changes.last().map(|change| change.begins).or(told);
    changes.push(change(life, &mut told, into, at));
    changes
}

/// What is left to be told of a machine that has ended, its end included; nothing where that was told. It never ended before what was told of it.
pub fn ended(life: &Life, told: Option<ToldPhase>, at: Millis) -> Vec<Change> {
    let end = end(life, told, at);
    let mut changes = until(life, told, end);
    let mut told = changes.last().map(|change| change.begins).or(told);
    if told.is_none_or(|told| told.phase != Phase::Terminated) {
        changes.push(change(life, &mut told, Phase::Terminated, end));
    }
    changes
}

/// When a machine has ended, that is believed to have at `at`.
pub fn end(life: &Life, told: Option<ToldPhase>, at: Millis) -> Millis {
    at.max(life.requested_at).max(told.map_or(at, |told| told.at))
}

/// The phase after the one that was told, and when it began, if it has by `now`.
fn following(life: &Life, told: Option<ToldPhase>, now: Millis) -> Option<(Phase, Millis)> {
    let Some(told) = told else { return Some((Phase::Rented, life.requested_at)) };
    let registered_at = life.registered_at.or(life.ready_at);
    let by = life.drained_at.map_or(now, |at| at.min(now));
    let next = match told.phase {
        Phase::Rented => registered_at.map(|at| (Phase::Booting, at)),
        Phase::Booting => life.ready_at.map(|at| (Phase::Ready, at)),
        Phase::Ready | Phase::Idle => life.busy_since.map(|at| (Phase::Busy, at)),
        Phase::Busy => life.idle_since.filter(|at| *at >= told.at && by - *at >= IDLE_AFTER).map(|at| (Phase::Idle, at)),
        Phase::Drained | Phase::Stopped | Phase::Terminated => return None,
    };
    let next = next.filter(|(_, at)| *at <= by).or(life.drained_at.filter(|at| *at <= now).map(|at| (Phase::Drained, at)));
    // Two clocks may differ by more than a short phase lasts.
    next.map(|(phase, at)| (phase, at.max(told.at)))
}

fn change(life: &Life, told: &mut Option<ToldPhase>, phase: Phase, at: Millis) -> Change {
    let from = told.map_or(life.requested_at, |told| told.at);
    let whole = |at: Millis| u64::try_from((at - life.requested_at) / 1000).unwrap_or(0);
    let begins = ToldPhase { phase, at, n: told.map_or(0, |told| told.n) + 1 };
    let change = Change {
        begins,
        ended: told.map(|told| told.phase),
        gpu_seconds: if told.is_some_and(|told| told.phase == Phase::Stopped) { 0 } else { whole(at) - whole(from) },
        cost_microusd: cost_until(life.rate, life.requested_at, at) - cost_until(life.rate, life.requested_at, from),
    };
    *told = Some(begins);
    change
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Millis = 1_795_935_570_123;
    const RATE: Rate = Rate { microusd_per_hour: 333_333, microusd_once: 1_000 };

    fn asked_for() -> Life {
        Life { rate: RATE, requested_at: AT, registered_at: None, ready_at: None, busy_since: None, idle_since: Some(AT), drained_at: None }
    }

    fn phases(changes: &[Change]) -> Vec<(Phase, Millis)> {
        changes.iter().map(|change| (change.begins.phase, change.begins.at - AT)).collect()
    }

    #[test]
    fn a_life_is_told_phase_by_phase_and_a_short_wait_between_two_jobs_is_none() {
        let mut life = asked_for();
        let first = until(&life, None, AT);
        assert_eq!(phases(&first), [(Phase::Rented, 0)]);
        assert_eq!((first[0].ended, first[0].gpu_seconds, first[0].cost_microusd), (None, 0, 0));
        (life.registered_at, life.ready_at, life.busy_since, life.idle_since) = (Some(AT + 60_000), Some(AT + 90_000), Some(AT + 100_000), None);
        let told = first.last().map(|change| change.begins);
        let more = until(&life, told, AT + 200_000);
        assert_eq!(phases(&more), [(Phase::Booting, 60_000), (Phase::Ready, 90_000), (Phase::Busy, 100_000)]);
        assert_eq!((more[0].ended, more[0].gpu_seconds, more[0].cost_microusd), (Some(Phase::Rented), 60, 1_000 + 5_556));
        let told = more.last().map(|change| change.begins);
        life.idle_since = Some(AT + 210_000);
        assert_eq!(until(&life, told, AT + 269_999), []);
        let idle = until(&life, told, AT + 270_000);
        assert_eq!(phases(&idle), [(Phase::Idle, 210_000)]);
        // It was drained before it had been idle for a minute: then that is all.
        life.drained_at = Some(AT + 230_000);
        assert_eq!(phases(&until(&life, told, AT + 400_000)), [(Phase::Drained, 230_000)]);
    }

    #[test]
    fn a_machine_that_is_stopped_and_started_again_has_a_life_for_each_stretch_and_their_costs_add_up() {
        let disk = Rate { microusd_per_hour: 7_777, microusd_once: 0 };
        let runs = Life { registered_at: Some(AT + 60_000), ready_at: Some(AT + 90_000), drained_at: Some(AT + 300_000), ..asked_for() };
        let told = until(&runs, None, AT).last().map(|change| change.begins);
        let first = stopped(&runs, told, AT + 330_500);
        assert_eq!(phases(&first), [(Phase::Booting, 60_000), (Phase::Ready, 90_000), (Phase::Drained, 300_000), (Phase::Stopped, 330_500)]);
        assert_eq!(first.iter().map(|change| change.cost_microusd).sum::<i64>(), cost_until(RATE, AT, AT + 330_500));
        let told = first.last().map(|change| change.begins);
        let rests = Life { rate: disk, requested_at: AT + 330_500, ..asked_for() };
        assert_eq!(until(&rests, told, AT + 9_000_000), [], "while it is stopped nothing is told");
        let again = resumed(&rests, told, AT + 4_000_000);
        assert_eq!(phases(&again), [(Phase::Rented, 4_000_000)]);
        assert_eq!((again[0].ended, again[0].gpu_seconds), (Some(Phase::Stopped), 0));
        assert_eq!(again[0].cost_microusd, cost_until(disk, rests.requested_at, AT + 4_000_000));
        // Its numbers go on, so that no row of one life is taken for another's.
        assert_eq!(again[0].begins.n, first[first.len() - 1].begins.n + 1);
        let gone = ended(&rests, told, AT + 5_000_000);
        assert_eq!(phases(&gone), [(Phase::Terminated, 5_000_000)]);
        assert_eq!((gone[0].gpu_seconds, gone[0].cost_microusd), (0, cost_until(disk, rests.requested_at, AT + 5_000_000)));
    }

    #[test]
    fn whenever_it_is_told_the_costs_of_a_life_add_up_to_the_last_millionth() {
        let mut random = 11_u64;
        let mut draw = |from: i64, to: i64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            from + ((random >> 33) as i64).rem_euclid(to - from)
        };
        for run in 0..3_000 {
            let mut life = Life { rate: Rate { microusd_per_hour: draw(0, 9_999_999), microusd_once: draw(0, 99_999) }, ..asked_for() };
            let (mut told, mut changes, mut now) = (None::<ToldPhase>, Vec::new(), AT);
            for _ in 0..draw(0, 40) {
                now += draw(0, 100_000);
                // A clock that is off by a little.
                let then = now + draw(-50, 50);
                match draw(0, 8) {
                    0 => life.registered_at = life.registered_at.or(Some(then)),
                    1 => life.ready_at = life.ready_at.or(Some(then)),
                    2 if life.drained_at.is_none() => (life.busy_since, life.idle_since) = (life.busy_since.or(Some(then)), None),
                    3 => life.idle_since = life.idle_since.or(Some(then)),
                    4 if draw(0, 4) == 0 => life.drained_at = life.drained_at.or(Some(then)),
                    _ => {
                        let news = until(&life, told, now);
                        if news.iter().any(|change| change.begins.phase == Phase::Idle) {
                            life.busy_since = None;
                        }
                        told = news.last().map(|change| change.begins).or(told);
                        changes.extend(news);
                    }
                }
            }
            // It is believed to have ended at any time, also before what was told.
            let believed = draw(AT - 1_000, now + 1_000);
            let gone_at = end(&life, told, believed);
            changes.extend(ended(&life, told, believed));
            assert_eq!(changes.iter().map(|change| change.cost_microusd).sum::<i64>(), cost_until(life.rate, AT, gone_at), "run {run}: {changes:?}");
            assert_eq!(changes.iter().map(|change| change.gpu_seconds).sum::<u64>(), (gone_at - AT) as u64 / 1000, "run {run}");
            assert!(changes.iter().all(|change| change.cost_microusd >= 0), "run {run}: {changes:?}");
            assert!(changes.windows(2).all(|two| two[0].begins.at <= two[1].begins.at && two[0].begins.n + 1 == two[1].begins.n), "run {run}");
            let order = phases(&changes);
            assert_eq!((order[0].0, order[order.len() - 1].0), (Phase::Rented, Phase::Terminated), "run {run}");
            assert_eq!(ended(&life, changes.last().map(|change| change.begins), now), [], "run {run}: its end was told twice");
        }
    }
}
