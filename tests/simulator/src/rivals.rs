//! What others do, in the same world: their rules for how many machines there should be, as their documentation gives them. They steer with
//! everything eased: they see the truth at once, their creates and destroys never fail or lie, a host that failed is never tried again, and they
//! scale in only what is idle, though KEDA's replica sets choose without a look. What the world itself does to machines it does to theirs too.

use crate::parameters::*;
use crate::run;
use crate::world::{Label, MachineId, State, World};
use kiln_core::pool::forecast::machines_for;
use kiln_core::time::{Millis, seconds};
use std::collections::{BTreeSet, VecDeque};

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rule {
    /// RunPod, "queue delay": one worker more for each job that has waited longer, those on their way counted.
    QueueDelay { delay_s: u64 },
    /// RunPod, "request count": jobs that wait or run, divided.
    RequestCount { per: u32 },
    /// KEDA on SQS: visible and in flight, divided; the highest wish of the window holds; growth as the autoscaler's own limits allow.
    Keda { per: u32, window_s: u64 },
    /// Vast: load over a target utilisation is ready, and a multiple of it stands by stopped.
    Vast { target: f64, cold: f64 },
    /// So many at most, started when jobs wait.
    Fixed { size: u32 },
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Setting {
    pub rule: Rule,
    /// Machines that are there whatever comes.
    pub least: u32,
    /// A machine goes after so long without work.
    pub idle_s: u64,
}

/// A rival by its name: its defaults first, then the settings that are swept.
pub struct Rival {
    pub name: &'static str,
    pub settings: Vec<Setting>,
}

/// All rivals, swept around what a family needs.
pub fn all(family: &Family) -> Vec<Rival> {
    let service_s = mean_service_ms() / 1000.0;
    let needed = machines_for(family.size / service_s, service_s, family.policy_start_within_s as f64, 100);
    // Nothing, and five sizes about the one that Erlang's formula names.
    let least: BTreeSet<u32> = [0, needed.saturating_sub(2), needed.saturating_sub(1), needed, needed + 1, needed + 2].into();
    let swept = |default: Setting, all: Vec<Setting>| std::iter::once(default).chain(all).collect();
    let every = |rules: &[Rule], idles: &[u64]| -> Vec<Setting> {
        let of = |rule: Rule| least.iter().flat_map(move |least| idles.iter().map(move |idle_s| Setting { rule, least: *least, idle_s: *idle_s }));
        rules.iter().flat_map(|rule| of(*rule)).collect()
    };
    let delays = [1, 4, 15].map(|delay_s| Rule::QueueDelay { delay_s });
    let counts = [1, 2, 4].map(|per| Rule::RequestCount { per });
    let kedas = [(1, 300), (2, 300), (5, 300), (1, 60), (2, 60), (5, 60)].map(|(per, window_s)| Rule::Keda { per, window_s });
    let vasts: Vec<_> = [0.9, 0.75, 0.6, 0.45].into_iter().flat_map(|target| [1.0, 2.0, 3.0].map(|cold| Rule::Vast { target, cold })).collect();
    let sizes = [needed.saturating_sub(1).max(1), needed.max(1), needed + 1, needed + 2, 2 * needed.max(1), 30, 60];
    let fixed = sizes.into_iter().flat_map(|size| [60, 300, 900, 3_600].map(|idle_s| Setting { rule: Rule::Fixed { size }, least: 0, idle_s })).collect();
    vec![
        Rival {
            name: "RunPod queue delay",
            settings: swept(Setting { rule: Rule::QueueDelay { delay_s: 4 }, least: 0, idle_s: 5 }, every(&delays, &[5, 300])),
        },
        Rival {
            name: "RunPod request count",
            settings: swept(Setting { rule: Rule::RequestCount { per: 4 }, least: 0, idle_s: 5 }, every(&counts, &[5, 300])),
        },
        Rival { name: "KEDA SQS", settings: swept(Setting { rule: Rule::Keda { per: 5, window_s: 300 }, least: 0, idle_s: 0 }, every(&kedas, &[0])) },
        Rival { name: "Vast", settings: swept(Setting { rule: Rule::Vast { target: 0.9, cold: 3.0 }, least: 0, idle_s: 0 }, every(&vasts, &[0])) },
        Rival { name: "fixed, 15 min idle", settings: swept(Setting { rule: Rule::Fixed { size: 10 }, least: 0, idle_s: 900 }, fixed) },
    ]
}

impl Rule {
    /// How often it looks.
    fn every_ms(self) -> Millis {
        match self {
            Rule::Keda { .. } => seconds(30),
            Rule::Vast { .. } => seconds(10),
            _ => seconds(5),
        }
    }
}

/// One rival's run.
pub fn rival(family: &Family, setting: Setting, seed: u64, samples: Option<&mut Vec<run::Sample>>) -> crate::meter::Meter {
    let mut world = World::new(family.coming, family.hours, SETTLE, family.start_within_s, ORDINARY.eased(), seed);
    let mut steers = Steers { setting, avoid: BTreeSet::new(), wishes: VecDeque::new(), counts: (0, 0), active_at: Millis::MIN / 2 };
    run::drive(&mut world, setting.rule.every_ms(), samples, |world, _| {
        steers.look(world);
        setting.rule.every_ms()
    });
    world.meter
}

struct Steers {
    setting: Setting,
    avoid: BTreeSet<u32>,
    /// KEDA's wishes within its window.
    wishes: VecDeque<(Millis, u32)>,
    /// What SQS counted at this look and the one before.
    counts: (u32, u32),
    active_at: Millis,
}

/// Who is there.
#[derive(Default)]
struct Fleet {
    coming: u32,
    idle: Vec<(Millis, MachineId)>,
    busy: u32,
    stopped: Vec<MachineId>,
}

impl Fleet {
    fn supply(&self) -> u32 {
        self.coming + self.busy + self.idle.len() as u32
    }
}

impl Steers {
    fn look(&mut self, world: &mut World) {
        let fleet = self.fleet(world);
        let wanted = self.wanted(world, &fleet).clamp(self.setting.least, 100);
        let supply = fleet.supply();
        let mut stopped = fleet.stopped.clone();
        for _ in supply..wanted {
            match stopped.pop() {
                Some(id) => world.resume(id),
                None => self.rent(world),
            }
        }
        let now = world.now;
        let mut spare = supply.saturating_sub(wanted);
        let stand_by = self.stand_by(wanted);
        let mut cold = stopped.len() as u32;
        let mut idle = fleet.idle;
        idle.sort_unstable();
        for (since, id) in idle {
            if spare == 0 || now - since < seconds(self.setting.idle_s) {
                break;
            }
            spare -= 1;
            if cold < stand_by {
                cold += 1;
                world.suspend(id);
            } else {
                world.kill(id);
            }
        }
        // Those that are to stand by must have booted once.
        if matches!(self.setting.rule, Rule::Vast { .. }) {
            let all = supply.max(wanted) + cold;
            for _ in all..(wanted + stand_by).min(100) {
                self.rent(world);
            }
            for id in stopped.iter().take(cold.saturating_sub(stand_by) as usize) {
                world.kill(*id);
            }
        }
    }

    fn fleet(&mut self, world: &mut World) -> Fleet {
        let now = world.now;
        let mut fleet = Fleet::default();
        for id in world.live.clone() {
            let machine = &world.machines[id as usize];
            let since = machine.since;
            let silent = machine.silent_from.is_some_and(|from| now - from > seconds(LOST_AFTER_S));
            let stuck = matches!(machine.state, State::Pulling | State::Warming | State::Scheduled | State::Resuming) && now - since > seconds(BOOT_S);
            if silent || stuck {
                self.avoid.insert(machine.host);
                world.kill(id);
                continue;
            }
            match machine.state {
                State::Idle => fleet.idle.push((since, id)),
                State::Busy => fleet.busy += 1,
                State::Stopped => fleet.stopped.push(id),
                State::Pulling | State::Warming | State::Scheduled | State::Resuming => fleet.coming += 1,
                State::Gone => {}
            }
        }
        fleet
    }

    fn wanted(&mut self, world: &mut World, fleet: &Fleet) -> u32 {
        let now = world.now;
        let jobs = world.queued() as u32 + world.running() as u32;
        let working = fleet.busy.max(self.setting.least);
        match self.setting.rule {
            Rule::QueueDelay { delay_s } => {
                let late = world.waiting_longer(seconds(delay_s)) as u32;
                if late > 0 { fleet.supply() + late.saturating_sub(fleet.coming) } else { working + fleet.coming }
            }
            Rule::RequestCount { per } => jobs.div_ceil(per).max(fleet.busy),
            Rule::Keda { per, window_s } => {
                // Counts are approximate: often those of half a minute ago.
                self.counts = (jobs, self.counts.0);
                let counted = if world.rng.f64() < SQS_COUNTS_LATE { self.counts.1 } else { self.counts.0 };
                if counted > 0 {
                    self.active_at = now;
                }
                let supply = fleet.supply();
                let wish = counted.div_ceil(per).min((supply * 4).max(supply + 8));
                self.wishes.push_back((now, wish));
                while self.wishes.front().is_some_and(|(at, _)| now - at > seconds(window_s)) {
                    self.wishes.pop_front();
                }
                let held = self.wishes.iter().map(|(_, wish)| *wish).max().unwrap_or(0);
                // The last one goes only after the cooldown.
                held.max(u32::from(now - self.active_at < seconds(window_s)))
            }
            Rule::Vast { target, .. } => {
                let load = world.came_within(seconds(300)) as f64 / 300.0 * world.measured_service_ms() as f64 / 1000.0;
                // And what waits is cleared within a minute.
                let waits = world.queued() as f64 * world.measured_service_ms() as f64 / 60_000.0;
                ((load + waits) / target).ceil() as u32
            }
            Rule::Fixed { size } => size.min(fleet.busy + fleet.coming + world.queued() as u32),
        }
    }

    /// How many are to stand by, stopped.
    fn stand_by(&self, wanted: u32) -> u32 {
        match self.setting.rule {
            // Five at least, by its defaults.
            Rule::Vast { cold, .. } => ((f64::from(wanted) * (cold - 1.0)).ceil() as u32).max(if cold > 1.0 { 5 } else { 0 }),
            _ => 0,
        }
    }

    fn rent(&self, world: &mut World) {
        let free = world.hosts.iter().enumerate().find(|(n, host)| !host.taken && !self.avoid.contains(&(*n as u32)));
        if let Some(host) = free.map(|(n, _)| n as u32) {
            // Labelled as ours is: the world bills it so.
            world.meter.boots += 1;
            world.add(Label::Ours { intent: u64::from(host) }, host);
        }
    }
}
