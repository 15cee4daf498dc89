//! All that the stand-in knows, and how it goes on with time: instances boot, stop and cost; machines are given to whoever wants them; credit runs out.

use std::collections::{BTreeMap, HashMap, VecDeque};

use serde_json::json;

use crate::{
    clock::Clock,
    config::{Config, Times},
    faults::Fault,
    instance::{Host, Instance, Order, Status, Upsets},
    journal::Journal,
    offers::Offer,
    pace::Pace,
    processes::Process,
};

/// What must be done to processes once the state has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    Start(u64),
    /// SIGTERM, and SIGKILL after the grace.
    Stop(u64),
    Kill(u64),
    /// What a killed container has left on its disk goes.
    Wipe(u64),
    Freeze(u64),
    Thaw(u64),
}

pub struct State {
    pub clock: Clock,
    pub since_ms: i64,
    pub offers: BTreeMap<u64, Offer>,
    pub instances: BTreeMap<u64, Instance>,
    pub faults: Vec<Fault>,
    pub journal: Journal,
    pub pace: Pace,
    pub effects: VecDeque<Effect>,
    pub processes: HashMap<u64, Process>,
    /// Credit that was ever there; what is left is that less all costs.
    pub credit: f64,
    pub random: fastrand::Rng,
    /// Costs of instances that are forgotten.
    forgotten_usd: f64,
    times: Times,
    settled_at: i64,
    next_id: u64,
    max_instances: usize,
}

impl State {
    pub fn new(config: &Config) -> Self {
        let clock = Clock::new(config.frozen_at_ms);
        let now = clock.now();
        Self {
            clock,
            since_ms: now,
            offers: config.offers.iter().map(|offer| (offer.id, offer.clone())).collect(),
            instances: BTreeMap::new(),
            faults: Vec::new(),
            journal: Journal::new(config.max_requests),
            pace: Pace::default(),
            effects: VecDeque::new(),
            processes: HashMap::new(),
            credit: config.credit,
            random: fastrand::Rng::with_seed(config.seed),
            forgotten_usd: 0.0,
            times: config.times,
            settled_at: now,
            next_id: 7_000_001,
            max_instances: config.max_instances,
        }
    }

    pub fn now(&self) -> i64 {
        self.settled_at
    }

    pub fn credit_left(&self) -> f64 {
        self.credit - self.forgotten_usd - self.instances.values().map(|i| i.bill.total().total()).sum::<f64>()
    }

    /// An instance that exists.
    pub fn alive(&mut self, id: u64) -> Option<&mut Instance> {
        self.instances.get_mut(&id).filter(|i| i.alive())
    }

    /// Lets everything happen that was due until now, in its order.
    pub fn settle(&mut self) {
        // The machine's clock may be put back; what is settled stays so.
        let now = self.clock.now().max(self.settled_at);
        loop {
            let due = self.instances.values().filter(|i| i.host != Host::Offline).filter_map(|i| i.due.map(|(at, _)| at)).min();
            let to = [due, self.broke_at()].into_iter().flatten().fold(now, i64::min).max(self.settled_at);
            let from = self.settled_at;
            for instance in self.instances.values_mut() {
                let rates = instance.rates();
                instance.bill.accrue(from, to, rates);
            }
            self.settled_at = to;
            let moved = self.move_on(to);
            let stopped = self.stop_the_broke();
            if to == now && !moved && !stopped {
                return;
            }
        }
    }

    /// When something is due by itself next, on the stand-in's clock.
    pub fn next_due(&self) -> Option<i64> {
        let due = self.instances.values().filter(|i| i.host != Host::Offline).filter_map(|i| i.due.map(|(at, _)| at)).min();
        [due, self.broke_at()].into_iter().flatten().min()
    }

    /// When the credit is used up, if it is being used and something runs that would then be stopped.
    fn broke_at(&self) -> Option<i64> {
        let burn: f64 = self.instances.values().map(|i| i.rates().per_ms()).sum();
        if burn <= 0.0 || !self.instances.values().any(|i| i.alive() && i.wanted) {
            return None;
        }
        Some(self.settled_at.saturating_add((self.credit_left().max(0.0) / burn).ceil().min(1e15) as i64))
    }

    fn stop_the_broke(&mut self) -> bool {
        if !self.instances.values().any(|i| i.alive() && i.wanted) || self.credit_left() > 1e-9 {
            return false;
        }
        let ids: Vec<u64> = self.instances.values().filter(|i| i.alive() && i.wanted).map(|i| i.id).collect();
        for id in ids {
            self.want(id, false);
            self.unseat(id, "Stopped: the credit is used up.");
        }
        true
    }

    /// Takes the steps that are due.
    fn move_on(&mut self, now: i64) -> bool {
        let due: Vec<(u64, Status)> = self
            .instances
            .values()
            .filter(|i| i.host != Host::Offline)
            .filter_map(|i| i.due.filter(|(at, _)| *at <= now).map(|(_, status)| (i.id, status)))
            .collect();
        for (id, status) in &due {
            self.enter(*id, *status);
        }
        !due.is_empty()
    }

    fn enter(&mut self, id: u64, status: Status) {
        let (now, times) = (self.settled_at, self.times);
        let Some(instance) = self.alive(id) else { return };
        instance.due = None;
        match status {
            Status::Stopped => return self.unseat(id, "Stopped."),
            Status::Created => {
                instance.booted = true;
                instance.due = Some((now + times.create, Status::Loading));
                instance.status_msg = "Container created.".into();
            }
            Status::Loading => {
                if !instance.upsets.never_boots {
                    instance.due = Some((now + times.load, Status::Running));
                }
                instance.status_msg = format!("Pulling {}.", instance.order.image);
            }
            Status::Running => {
                instance.running_since = Some(now);
                instance.starts += 1;
                instance.status_msg = format!("success, running {}", instance.order.image);
                instance.status = status;
                self.effects.push_back(Effect::Start(id));
                return;
            }
            Status::Provisioning | Status::Exited => {}
        }
        instance.status = status;
    }

    /// Makes an instance of an offer, and gives it its machine if it can have it.
    pub fn create(&mut self, offer: &Offer, order: Order, wanted: bool, upsets: Upsets) -> Option<&Instance> {
        if self.instances.values().filter(|i| i.alive()).count() >= self.max_instances {
            return None;
        }
        self.forget_old();
        let id = self.next_id;
        self.next_id += 1 + self.random.u64(0..5);
        let key = format!("{:032x}{:032x}", self.random.u128(..), self.random.u128(..));
        self.instances.insert(
            id,
            Instance {
                id,
                offer: offer.clone(),
                order,
                key,
                status: Status::Stopped,
                wanted,
                seated: false,
                booted: false,
                host: Host::Up,
                due: None,
                status_msg: String::new(),
                asked_at: self.settled_at,
                running_since: None,
                destroyed_at: None,
                upsets,
                bill: crate::bill::Bill::default(),
                starts: 0,
            },
        );
        self.seat(offer.id);
        self.instances.get(&id)
    }

    /// Forgets the oldest of those that are gone, where there are too many.
    fn forget_old(&mut self) {
        let gone: Vec<u64> = self.instances.values().filter(|i| !i.alive()).map(|i| i.id).collect();
        for id in gone.iter().take((gone.len() + 1).saturating_sub(self.max_instances)) {
            if let Some(old) = self.instances.remove(id) {
                self.forgotten_usd += old.bill.total().total();
            }
        }
    }

    /// Sets what an instance is meant to do. Stopping takes its time; starting waits for the machine.
    pub fn want(&mut self, id: u64, running: bool) {
        let (now, times) = (self.settled_at, self.times);
        let Some(instance) = self.alive(id) else { return };
        let (was, ask) = (instance.wanted, instance.offer.id);
        instance.wanted = running;
        if !running && instance.seated {
            if was {
                instance.due = Some((now + times.stop, Status::Stopped));
                // A machine that is cut off learns of it when it is back.
                if instance.host != Host::Offline {
                    self.effects.push_back(Effect::Stop(id));
                }
            }
        } else if running && instance.seated && (!was || instance.status == Status::Exited) {
            // It was stopping, or its container has ended: that is started anew on the machine that it still has.
            instance.status = Status::Loading;
            instance.running_since = None;
            instance.due = (!instance.upsets.never_boots).then_some((now + times.restart, Status::Running));
        }
        self.seat(ask);
    }

    /// Takes the machine from an instance, which stops at once.
    pub fn unseat(&mut self, id: u64, why: &str) {
        let Some(instance) = self.alive(id) else { return };
        instance.seated = false;
        instance.status = Status::Stopped;
        instance.due = None;
        instance.running_since = None;
        instance.status_msg = why.into();
        let ask = instance.offer.id;
        self.effects.push_back(Effect::Kill(id));
        self.seat(ask);
    }

    pub fn destroy(&mut self, id: u64) {
        let now = self.settled_at;
        let Some(instance) = self.alive(id) else { return };
        instance.destroyed_at = Some(now);
        instance.due = None;
        instance.seated = false;
        instance.wanted = false;
        instance.status = Status::Stopped;
        instance.running_since = None;
        let ask = instance.offer.id;
        self.effects.extend([Effect::Kill(id), Effect::Wipe(id)]);
        self.seat(ask);
    }

    /// Who has an offer's machine.
    pub fn holder(&self, ask: u64) -> Option<&Instance> {
        self.instances.values().find(|i| i.seated && i.offer.id == ask)
    }

    /// What a bid for an offer must reach now: more than who has it bids.
    pub fn min_bid(&self, offer: &Offer) -> f64 {
        match self.holder(offer.id).and_then(|holder| holder.order.bid) {
            Some(bid) => offer.min_bid.max(bid + 0.001),
            None => offer.min_bid,
        }
    }

    /// Gives an offer's machine to whom it belongs: on demand before any bid, then the highest bid; whoever has it on demand keeps it.
    pub fn seat(&mut self, ask: u64) {
        let Some(offer) = self.offers.get(&ask) else { return };
        let least = offer.min_bid;
        // What an instance may claim: on demand is above all bids.
        let claim = |i: &Instance| i.order.bid.unwrap_or(f64::INFINITY);
        let best = self
            .instances
            .values()
            .filter(|i| i.alive() && i.wanted && !i.seated && !i.upsets.unseatable && i.offer.id == ask && claim(i) >= least)
            .fold(None, |best: Option<&Instance>, i| if best.is_none_or(|b| claim(i) > claim(b)) { Some(i) } else { best })
            .map(|i| (i.id, claim(i)));
        let holder = self.holder(ask).map(|h| (h.id, claim(h)));
        match (holder, best) {
            (Some((id, bid)), _) if bid < least => self.unseat(id, "Outbid: the machine's least bid is higher now."),
            (Some((id, bid)), Some((_, better))) if better > bid => self.unseat(id, "Outbid."),
            (None, Some((id, _))) => self.boot(id),
            _ => {}
        }
    }

    fn boot(&mut self, id: u64) {
        let (now, times) = (self.settled_at, self.times);
        let Some(instance) = self.alive(id) else { return };
        instance.seated = true;
        instance.status_msg = String::new();
        if instance.booted {
            instance.status = Status::Loading;
            instance.due = (!instance.upsets.never_boots).then_some((now + times.restart, Status::Running));
        } else {
            instance.status = Status::Provisioning;
            instance.due = Some((now + times.provision, Status::Created));
        }
    }

    /// Its container has ended by itself.
    pub fn exited(&mut self, id: u64, why: String) {
        let Some(instance) = self.alive(id) else { return };
        if instance.seated && instance.status == Status::Running && instance.wanted {
            instance.status = Status::Exited;
            instance.running_since = None;
            instance.status_msg = why;
        }
    }

    pub fn truth(&self) -> serde_json::Value {
        let machines: Vec<serde_json::Value> = self
            .instances
            .values()
            .map(|i| {
                let mut truth = i.truth();
                truth["pid"] = json!(self.processes.get(&i.id).map(|p| p.pid));
                truth
            })
            .collect();
        json!({ "now_ms": self.now(), "credit_left": self.credit_left(), "machines": machines })
    }
}
