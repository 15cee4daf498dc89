//! What a machine is billed in each of its states, reckoned by hand: every cost that is told rests on it.

use super::*;

const HOUR: i64 = 3_600_000;

/// A world in which no job comes, and its machine on a sound host of this kind.
fn with_one(lies: Lies, of_kind: impl Fn(&Host) -> bool) -> (World, MachineId, i64) {
    let mut world = World::new(Coming::Recorded { trace: "" }, 24, 0, 60, lies, 1);
    let host = world.hosts.iter().position(|host| !host.dead && of_kind(host)).unwrap();
    let rate = world.hosts[host].microusd_per_hour;
    let id = world.add(Label::Ours { intent: 1 }, host as u32);
    (world, id, rate)
}

fn by_the_hour(host: &Host) -> bool {
    host.minimum_ms == 0
}

/// Lets time pass until it is so, and tells since when.
fn until(world: &mut World, id: MachineId, state: State) -> Millis {
    while world.machines[id as usize].state != state {
        let next = world.now + seconds(1);
        world.pass_to(next);
    }
    world.machines[id as usize].since
}

impl World {
    fn pass_to(&mut self, at: Millis) {
        self.steer_at(at);
        assert_eq!(self.run_on(), Next::Steer);
    }
}

/// Spans in milliseconds at rates by the hour, rounded up once.
fn billed(spans: &[(Millis, i64)]) -> i64 {
    let sum: i64 = spans.iter().map(|(ms, rate)| ms * rate).sum();
    (sum + HOUR - 1) / HOUR
}

#[test]
fn a_pull_and_what_is_stopped_cost_a_disk_and_the_rest_the_machine() {
    let (mut world, id, rate) = with_one(Lies::default(), by_the_hour);
    let began = world.now;
    let warms = until(&mut world, id, State::Warming);
    let ready = until(&mut world, id, State::Idle);
    assert!(began < warms && warms < ready);
    world.pass_to(ready + seconds(100));
    assert_eq!(world.meter.cost(), billed(&[(warms - began, DISK), (ready - warms, rate)]), "it is billed when its state ends");
    world.suspend(id);
    let stopped = world.now;
    world.pass_to(stopped + seconds(1_000));
    world.resume(id);
    let again = until(&mut world, id, State::Warming);
    assert!(again > stopped + seconds(1_000));
    until(&mut world, id, State::Idle);
    world.pass_to(again + seconds(3_600));
    let end = world.now;
    world.kill(id);
    let spans = [(warms - began, DISK), (stopped - warms, rate), (again - stopped, STOPPED), (end - again, rate)];
    assert_eq!(world.meter.cost(), billed(&spans));
    assert_eq!(world.meter.mean_busy(), 0.0);
    // By the hours too, in which budgets are kept: each is rounded up.
    let hours: i64 = world.meter.hours().map(|(_, cost)| cost).sum();
    assert!((world.meter.cost()..=world.meter.cost() + 2).contains(&hours), "{hours}");
}

#[test]
fn one_that_waits_for_its_gpu_costs_its_disk() {
    let (mut world, id, rate) = with_one(Lies { resume_never: 1.0, ..Lies::default() }, by_the_hour);
    let began = world.now;
    let warms = until(&mut world, id, State::Warming);
    until(&mut world, id, State::Idle);
    let stopped = world.now;
    world.suspend(id);
    world.resume(id);
    world.pass_to(stopped + seconds(3_600));
    world.kill(id);
    assert_eq!(world.meter.cost(), billed(&[(warms - began, DISK), (stopped - warms, rate), (seconds(3_600), STOPPED)]));
}

#[test]
fn a_minute_at_least_is_billed_where_the_host_says_so_and_nothing_for_a_pull_that_is_given_up() {
    for (runs_ms, billed_ms) in [(seconds(1), seconds(60)), (seconds(61), seconds(61))] {
        let (mut world, id, rate) = with_one(Lies::default(), |host| host.minimum_ms > 0);
        let began = world.now;
        let warms = until(&mut world, id, State::Warming);
        world.pass_to((warms + runs_ms).max(world.now + 1));
        let ran = world.now - warms;
        world.kill(id);
        assert!(world.meter.cost() == billed(&[(warms - began, DISK), (ran.max(billed_ms), rate)]), "{runs_ms}");
    }
    let (mut world, id, _) = with_one(Lies::default(), |host| host.minimum_ms > 0);
    world.pass_to(EPOCH + 1_000);
    world.kill(id);
    assert_eq!(world.meter.cost(), billed(&[(1_000, DISK)]));
}

#[test]
fn what_is_not_ours_costs_us_nothing() {
    let mut world = World::new(Coming::Recorded { trace: "" }, 24, 0, 60, Lies::default(), 1);
    let id = world.add(Label::Foreign, 0);
    world.pass_to(EPOCH + seconds(3_600));
    world.kill(id);
    assert_eq!(world.meter.cost(), 0);
}
