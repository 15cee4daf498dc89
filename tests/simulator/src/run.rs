//! One run: a world, who steers it, and what came of it.

use crate::executor::Executor;
use crate::meter::Meter;
use crate::parameters::*;
use crate::world::{EPOCH, Next, State, World};
use kiln_core::pool::Policy;
use kiln_core::time::{Millis, seconds};

/// A moment of a run, for the picture.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sample {
    pub at: Millis,
    pub ready: u32,
    pub busy: u32,
    pub coming: u32,
    pub queued: u32,
    /// For how long the oldest has waited.
    pub wait_s: f32,
}

/// The pool's own plan in one family's world.
pub fn ours(family: &Family, policy: &Policy, seed: u64, samples: Option<&mut Vec<Sample>>) -> Meter {
    let mut world = World::new(family.coming, family.hours, SETTLE, family.start_within_s, ORDINARY, seed);
    world.wakes = true;
    let mut executor = Executor::new(policy.clone(), None);
    let mut looks = Looks::default();
    drive(&mut world, seconds(TICK_S), samples, |world, woken| {
        if !world.chance(world.lies.tick_missed) {
            executor.tick(world);
        }
        looks.next(woken, executor.has_work(world))
    });
    world.meter
}

/// When Kiln looks: each minute, and while anything runs or waits half a minute later too.
#[derive(Default)]
pub struct Looks {
    second: bool,
}

impl Looks {
    /// How long after this look the next one comes.
    pub fn next(&mut self, woken: bool, has_work: bool) -> Millis {
        if woken {
            return 0;
        }
        self.second = !self.second && has_work;
        seconds(if self.second || !has_work { LOOK_S } else { TICK_S - LOOK_S })
    }
}

/// Lets `steer` look at the world until its end: first after about `every_ms`, then as long after each look as it says, and when it is woken.
pub fn drive(world: &mut World, every_ms: Millis, mut samples: Option<&mut Vec<Sample>>, mut steer: impl FnMut(&mut World, bool) -> Millis) {
    let minute = seconds(60);
    // Somewhere within a minute, as a schedule's own phase.
    let mut look = EPOCH + every_ms + world.rng.i64(0..every_ms.max(2)) / 2;
    world.steer_at(look);
    if samples.is_some() {
        world.sample_at(EPOCH);
    }
    loop {
        match world.run_on() {
            Next::Steer => {
                look += steer(world, false);
                world.steer_at(look);
            }
            Next::Wake => {
                steer(world, true);
            }
            Next::Sample => {
                if let Some(samples) = &mut samples {
                    samples.push(sample(world));
                    world.sample_at(world.now + minute);
                }
            }
            Next::End => return,
        }
    }
}

fn sample(world: &World) -> Sample {
    let mut sample = Sample { at: world.now - EPOCH, queued: world.queued() as u32, wait_s: world.oldest_ms() as f32 / 1000.0, ..Sample::default() };
    for id in &world.live {
        match world.machines[*id as usize].state {
            State::Idle => sample.ready += 1,
            State::Busy => sample.busy += 1,
            State::Pulling | State::Warming | State::Scheduled | State::Resuming => sample.coming += 1,
            State::Stopped | State::Gone => {}
        }
    }
    sample
}
