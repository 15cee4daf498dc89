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
    let mut executor = Executor::new(policy.clone(), None);
    drive(&mut world, seconds(TICK_S), samples, |world| {
        if !world.chance(world.lies.tick_missed) {
            executor.tick(world);
        }
    });
    world.meter
}

/// Lets `steer` look at the world every so often until its end.
pub fn drive(world: &mut World, every_ms: Millis, mut samples: Option<&mut Vec<Sample>>, mut steer: impl FnMut(&mut World)) {
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
                steer(world);
                look += every_ms;
                world.steer_at(look);
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
            State::Pulling | State::Warming | State::Resuming => sample.coming += 1,
            State::Stopped | State::Gone => {}
        }
    }
    sample
}
