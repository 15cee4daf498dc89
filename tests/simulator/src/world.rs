//! The truth: machines, jobs, the queue, and what is billed. It knows nothing of any policy; who steers it sees it through `provider.rs` and
//! [`World::queued`]. One heap of events, integer milliseconds, all randomness from the seed: the same seed and the same calls give the same run.

use crate::arrivals::{Arrival, Arrivals};
use crate::meter::Meter;
use crate::parameters::*;
use fastrand::Rng;
use kiln_core::time::{Millis, seconds};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// When every run begins: 2026-06-01T00:00:00Z, so that hours, days and months are the budgets' own.
pub const EPOCH: Millis = 1_780_272_000_000;

/// A machine, by the provider's number.
pub type MachineId = u32;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The image is pulled: not billed but for the disk.
    Pulling,
    /// Weights are loaded: billed.
    Warming,
    /// Its worker waits for jobs.
    Idle,
    Busy,
    /// Its disk is kept and billed.
    Stopped,
    /// It is to start again, and somebody else has its GPU: its disk is billed alone.
    Scheduled,
    /// It starts again from its disk, which is billed alone until the container runs.
    Resuming,
    Gone,
}

/// Whose a machine is, as its label says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Label {
    /// `kiln/DEPLOYMENT/POOL/INTENT`
    Ours { intent: u64 },
    /// Somebody else's machine in the same account.
    Foreign,
}

#[derive(Debug, Clone)]
pub struct Machine {
    pub label: Label,
    pub host: u32,
    pub state: State,
    pub since: Millis,
    pub begun: Millis,
    /// When its worker first spoke, and when it did since the machine was last started.
    pub ready_at: Option<Millis>,
    pub up_at: Option<Millis>,
    /// It takes no more jobs.
    pub draining: bool,
    /// Its worker has died, or is cut off until the second time and goes on.
    pub silent_from: Option<Millis>,
    pub cut_off_to: Option<Millis>,
    /// It takes no job, whatever it says.
    pub deaf: bool,
    /// From when it is listed, and when it ends although it was destroyed before.
    pub listed_from: Millis,
    pub ends_at: Option<Millis>,
    /// Destroys that failed.
    pub refusals: u32,
    work: Option<Work>,
    /// Events of an earlier state carry a smaller number and are void.
    epoch: u32,
    billed_to: Millis,
    ran_ms: Millis,
}

impl Machine {
    pub fn works(&self) -> bool {
        self.work.is_some()
    }
}

type JobId = u32;

/// The attempt that a machine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Work {
    job: JobId,
    number: u64,
    attempt: u32,
}

#[derive(Debug, Clone, Copy)]
struct Job {
    /// Slots are used again; an event or a machine that means an earlier job carries its number.
    number: u64,
    arrived: Millis,
    service_ms: Millis,
    attempt: u32,
    started: bool,
    running: bool,
    /// When the worker that had it died.
    died_at: Option<Millis>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrive,
    Stage {
        machine: MachineId,
        epoch: u32,
    },
    Done {
        machine: MachineId,
        epoch: u32,
    },
    /// It has found no job for so long that its worker says so.
    Rests {
        machine: MachineId,
        epoch: u32,
    },
    Mishap {
        machine: MachineId,
        kind: Mishap,
    },
    Heal {
        machine: MachineId,
    },
    /// Maintenance finds that the lease of an attempt is over.
    Requeue(Work),
    Steer,
    Wake,
    Sample,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Mishap {
    Vanish,
    Hang,
    CutOff,
    End,
}

/// A host on offer.
#[derive(Debug, Clone)]
pub struct Host {
    pub microusd_per_hour: i64,
    pub minimum_ms: Millis,
    pub interruptible: bool,
    /// It never boots, or boots so many times slower.
    pub dead: bool,
    pub slow: f64,
    pub taken: bool,
}

/// What happened next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Who steers is to look.
    Steer,
    /// The same, since a job found no idle machine.
    Wake,
    /// A moment for the picture.
    Sample,
    End,
}

pub struct World {
    pub now: Millis,
    pub rng: Rng,
    pub lies: Lies,
    pub hosts: Vec<Host>,
    pub machines: Vec<Machine>,
    /// Those that are not gone.
    pub live: Vec<MachineId>,
    pub meter: Meter,
    /// Lists that failed in a row.
    pub list_errors: u32,
    /// Jobs take so many times longer than their kinds say.
    pub job_factor: i64,
    /// From when until when nobody hears any machine.
    pub unheard: Option<(Millis, Millis)>,
    /// Jobs that find no idle machine, and machines that find no job, wake who steers; when the last of each did.
    pub wakes: bool,
    woken_at: Millis,
    idle_woken_at: Millis,
    end: Millis,
    events: BinaryHeap<Reverse<(Millis, u64, Event)>>,
    order: u64,
    arrivals: Arrivals,
    upcoming: Option<Arrival>,
    jobs: Vec<Job>,
    free_jobs: Vec<JobId>,
    numbers: u64,
    /// Jobs that wait, the oldest first.
    queue: VecDeque<JobId>,
    idle: Vec<MachineId>,
    running: u64,
    came: VecDeque<Millis>,
    last_came: Millis,
    /// Of the latest jobs, what each took.
    served: VecDeque<Millis>,
    served_sum: Millis,
}

impl World {
    /// A world over `hours`; what begins before `settle` is not counted. Who steers looks first at the first multiple of `every_ms`.
    pub fn new(coming: Coming, hours: u64, settle: Millis, start_within_s: u64, lies: Lies, seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed ^ 0x776f_726c_6400_0000);
        let hosts = (0..HOSTS).map(|n| host(n, lies.spot, &mut rng)).collect();
        let end = EPOCH + seconds(hours * 3_600);
        let mut world = Self {
            now: EPOCH,
            rng,
            lies,
            hosts,
            machines: vec![],
            live: vec![],
            meter: Meter::new(EPOCH + settle, end, seconds(start_within_s)),
            list_errors: 0,
            job_factor: 1,
            unheard: None,
            wakes: false,
            woken_at: EPOCH - 1,
            idle_woken_at: EPOCH,
            end,
            events: BinaryHeap::new(),
            order: 0,
            arrivals: Arrivals::new(coming, hours, seed),
            upcoming: None,
            jobs: vec![],
            free_jobs: vec![],
            numbers: 0,
            queue: VecDeque::new(),
            idle: vec![],
            running: 0,
            came: VecDeque::new(),
            last_came: EPOCH,
            served: VecDeque::new(),
            served_sum: 0,
        };
        world.await_arrival();
        world
    }

    pub fn steer_at(&mut self, at: Millis) {
        self.push(at, Event::Steer);
    }

    pub fn sample_at(&mut self, at: Millis) {
        self.push(at, Event::Sample);
    }

    /// Lets time pass until somebody outside is to act.
    pub fn run_on(&mut self) -> Next {
        loop {
            match self.events.peek() {
                Some(Reverse((at, ..))) if *at < self.end => {}
                _ => {
                    self.finish();
                    return Next::End;
                }
            }
            let Some(Reverse((at, _, event))) = self.events.pop() else { return Next::End };
            self.now = at;
            match event {
                Event::Steer => return Next::Steer,
                Event::Wake => return Next::Wake,
                Event::Sample => return Next::Sample,
                own => self.happen(own),
            }
        }
    }

    /// Lets so long pass while somebody outside is at work, and no longer than until the next moment when somebody is to look.
    pub fn pass(&mut self, ms: Millis) {
        let to = (self.now + ms).min(self.end - 1);
        while let Some(Reverse((at, _, event))) = self.events.peek().copied()
            && at <= to
        {
            if matches!(event, Event::Steer | Event::Sample) {
                return;
            }
            self.events.pop();
            if event == Event::Wake {
                // Who steers looks again when it is done.
                self.woken_at = to + 1;
                self.push(to + 1, Event::Wake);
                continue;
            }
            self.now = at;
            self.happen(event);
        }
        self.now = to.max(self.now);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Steer | Event::Wake | Event::Sample => {}
            Event::Arrive => self.arrive(),
            Event::Stage { machine, epoch } => self.next_stage(machine, epoch),
            Event::Done { machine, epoch } => self.done(machine, epoch),
            Event::Rests { machine, epoch } => self.rests(machine, epoch),
            Event::Mishap { machine, kind } => self.mishap(machine, kind),
            Event::Heal { machine } => self.heal(machine),
            Event::Requeue(work) => self.requeue(work),
        }
    }

    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    pub fn running(&self) -> u64 {
        self.running
    }

    /// For how long the oldest job has waited.
    pub fn oldest_ms(&self) -> Millis {
        self.queue.front().map_or(0, |job| self.now - self.jobs[*job as usize].arrived)
    }

    /// How many jobs have waited for longer.
    pub fn waiting_longer(&self, than: Millis) -> usize {
        self.queue.iter().filter(|job| self.now - self.jobs[**job as usize].arrived > than).count()
    }

    /// What one job takes, as measured of the latest two hundred; what is expected before there are ten.
    pub fn measured_service_ms(&self) -> Millis {
        if self.served.len() < 10 { mean_service_ms() as Millis } else { self.served_sum / self.served.len() as Millis }
    }

    /// Jobs that came within so long.
    pub fn came_within(&mut self, ms: Millis) -> u64 {
        while self.came.front().is_some_and(|at| self.now - at > seconds(3_600)) {
            self.came.pop_front();
        }
        let from = self.now - ms;
        (self.came.len() - self.came.partition_point(|at| *at < from)) as u64
    }

    /// For how long no job has come.
    pub fn quiet_for(&self) -> Millis {
        self.now - self.last_came
    }

    fn push(&mut self, at: Millis, event: Event) {
        self.order += 1;
        self.events.push(Reverse((at, self.order, event)));
    }

    fn await_arrival(&mut self) {
        self.upcoming = self.arrivals.next();
        if let Some(arrival) = self.upcoming {
            self.push(EPOCH + arrival.at, Event::Arrive);
        }
    }

    fn arrive(&mut self) {
        let Some(arrival) = self.upcoming else { return };
        self.await_arrival();
        self.numbers += 1;
        let job = Job {
            number: self.numbers,
            arrived: self.now,
            service_ms: (arrival.service_ms * self.job_factor).min(seconds(LONGEST_JOB_S)),
            attempt: 0,
            started: false,
            running: false,
            died_at: None,
        };
        let id = match self.free_jobs.pop() {
            Some(id) => {
                self.jobs[id as usize] = job;
                id
            }
            None => {
                self.jobs.push(job);
                (self.jobs.len() - 1) as JobId
            }
        };
        self.came.push_back(self.now);
        self.last_came = self.now;
        self.meter.came(self.now);
        self.queue.push_back(id);
        self.hand_out();
        if !self.queue.is_empty() {
            self.wake();
        }
    }

    /// Wakes who steers, unless that is on its way: it sees this too.
    fn wake(&mut self) {
        if self.wakes && self.woken_at < self.now {
            self.woken_at = self.now + WAKE_MS;
            self.push(self.woken_at, Event::Wake);
        }
    }

    /// Jobs to idle workers: any of those that poll may get the next message.
    fn hand_out(&mut self) {
        while !self.queue.is_empty() && !self.idle.is_empty() {
            let machine = self.idle.swap_remove(self.rng.usize(0..self.idle.len()));
            let Some(id) = self.queue.pop_front() else { return };
            let now = self.now;
            let job = &mut self.jobs[id as usize];
            job.attempt += 1;
            job.running = true;
            if let Some(died_at) = job.died_at.take() {
                self.meter.restarted(now - died_at);
            }
            if !job.started {
                job.started = true;
                self.meter.started(job.arrived, now);
            }
            let (service_ms, work) = (job.service_ms, Work { job: id, number: job.number, attempt: job.attempt });
            self.running += 1;
            self.meter.jobs_to_stopped += u64::from(self.machines[machine as usize].state != State::Idle);
            self.enter(machine, State::Busy);
            let epoch = {
                let machine = &mut self.machines[machine as usize];
                machine.work = Some(work);
                machine.epoch
            };
            self.push(now + service_ms, Event::Done { machine, epoch });
        }
    }

    pub(crate) fn add(&mut self, label: Label, host: u32) -> MachineId {
        let id = self.machines.len() as MachineId;
        let now = self.now;
        let listed_from = if self.rng.f64() < self.lies.listed_late { now + self.rng.i64(0..seconds(30)) } else { now };
        self.machines.push(Machine {
            label,
            host,
            state: State::Pulling,
            since: now,
            begun: now,
            ready_at: None,
            up_at: None,
            draining: false,
            silent_from: None,
            cut_off_to: None,
            deaf: false,
            listed_from,
            ends_at: None,
            refusals: 0,
            work: None,
            epoch: 0,
            billed_to: now,
            ran_ms: 0,
        });
        self.live.push(id);
        if label == Label::Foreign {
            return id;
        }
        let host = &mut self.hosts[host as usize];
        host.taken = true;
        let (dead, slow) = (host.dead, host.slow);
        let pull = (PULL.draw(&mut self.rng) as f64 * slow) as Millis;
        if !dead {
            self.push(now + pull, Event::Stage { machine: id, epoch: 0 });
        }
        id
    }

    fn next_stage(&mut self, id: MachineId, epoch: u32) {
        let machine = &self.machines[id as usize];
        if machine.epoch != epoch || machine.state == State::Gone {
            return;
        }
        match machine.state {
            State::Pulling | State::Resuming => {
                let warm = (WARM.draw(&mut self.rng) as f64 * self.hosts[machine.host as usize].slow) as Millis;
                self.enter(id, State::Warming);
                let epoch = self.machines[id as usize].epoch;
                self.push(self.now + warm, Event::Stage { machine: id, epoch });
            }
            State::Warming => self.ready(id),
            _ => {}
        }
    }

    fn ready(&mut self, id: MachineId) {
        self.enter(id, State::Idle);
        let now = self.now;
        let machine = &mut self.machines[id as usize];
        let first = machine.ready_at.is_none();
        machine.up_at = Some(now);
        if first {
            machine.ready_at = Some(now);
            let spot = self.hosts[machine.host as usize].interruptible;
            let lies = self.lies;
            let vanish = if spot { SPOT_HOURS } else { lies.vanish_hours };
            for (hours, kind) in [(vanish, Mishap::Vanish), (lies.hang_hours, Mishap::Hang), (lies.cut_off_hours, Mishap::CutOff)] {
                if hours > 0.0 {
                    let after = -(1.0 - self.rng.f64()).ln() * hours * 3_600_000.0;
                    self.push(now + after as Millis, Event::Mishap { machine: id, kind });
                }
            }
        }
        if first && self.chance(self.lies.deaf) {
            self.machines[id as usize].deaf = true;
        }
        if self.machines[id as usize].deaf {
            return;
        }
        if !self.machines[id as usize].draining {
            self.idle.push(id);
            self.hand_out();
        }
    }

    fn done(&mut self, id: MachineId, epoch: u32) {
        let now = self.now;
        let machine = &mut self.machines[id as usize];
        if machine.epoch != epoch || machine.state != State::Busy {
            return;
        }
        // Cut off, it can't report before it is back.
        if let Some(back) = machine.cut_off_to.filter(|back| *back > now) {
            self.push(back, Event::Done { machine: id, epoch });
            return;
        }
        let Some(work) = machine.work.take() else { return };
        let draining = machine.draining;
        if let Some(job) = self.of(work) {
            self.running -= 1;
            self.served.push_back(job.service_ms);
            self.served_sum += job.service_ms;
            if self.served.len() > 200 {
                self.served_sum -= self.served.pop_front().unwrap_or(0);
            }
            self.meter.completed += 1;
            let ended = &mut self.jobs[work.job as usize];
            (ended.running, ended.number) = (false, 0);
            self.free_jobs.push(work.job);
        } else {
            // A later attempt has the job, or has ended it: the late worker's complete is refused by its number.
            self.meter.late_completes_refused += 1;
        }
        self.enter(id, State::Idle);
        if !draining {
            self.idle.push(id);
            self.hand_out();
        }
        let machine = &self.machines[id as usize];
        if self.wakes && machine.state == State::Idle {
            self.push(now + IDLE_SAID_MS, Event::Rests { machine: id, epoch: machine.epoch });
        }
    }

    /// Its worker says that it has no work, which wakes who steers, if none has for some seconds.
    fn rests(&mut self, id: MachineId, epoch: u32) {
        let machine = &self.machines[id as usize];
        if machine.epoch == epoch && machine.silent_from.is_none() && self.now - self.idle_woken_at >= IDLE_WAKES_MS {
            self.idle_woken_at = self.now;
            self.wake();
        }
    }

    fn mishap(&mut self, id: MachineId, kind: Mishap) {
        let now = self.now;
        if self.machines[id as usize].state == State::Gone {
            return;
        }
        match kind {
            Mishap::Vanish | Mishap::End => {
                self.machines[id as usize].silent_from.get_or_insert(now);
                self.lose_work(id);
                self.remove(id);
            }
            Mishap::Hang => {
                let machine = &mut self.machines[id as usize];
                if !matches!(machine.state, State::Idle | State::Busy) {
                    return;
                }
                machine.silent_from = Some(now);
                machine.epoch += 1;
                self.idle.retain(|idle| *idle != id);
                self.lose_work(id);
            }
            Mishap::CutOff => {
                let machine = &mut self.machines[id as usize];
                if machine.state != State::Busy || machine.silent_from.is_some() {
                    return;
                }
                let back = now + self.rng.i64(seconds(20)..seconds(240));
                machine.silent_from = Some(now);
                machine.cut_off_to = Some(back);
                let work = machine.work;
                self.push(back, Event::Heal { machine: id });
                // Where it is back within its lease nothing happens; else the job is done again.
                if let Some(work) = work
                    && back - now > seconds(LEASE_S)
                {
                    self.expire(work);
                }
            }
        }
    }

    fn heal(&mut self, id: MachineId) {
        let machine = &mut self.machines[id as usize];
        if machine.state != State::Gone && machine.cut_off_to.is_some() {
            (machine.silent_from, machine.cut_off_to) = (None, None);
        }
    }

    /// What a dead worker had is found when its lease is over, by maintenance, each minute.
    fn lose_work(&mut self, id: MachineId) {
        if let Some(work) = self.machines[id as usize].work.take() {
            self.expire(work);
        }
    }

    /// The job, if this is still its newest attempt.
    fn of(&self, work: Work) -> Option<Job> {
        Some(self.jobs[work.job as usize]).filter(|job| job.number == work.number && job.attempt == work.attempt && job.running)
    }

    fn expire(&mut self, work: Work) {
        if self.of(work).is_none() {
            return;
        }
        let now = self.now;
        self.jobs[work.job as usize].died_at.get_or_insert(now);
        let over = now + seconds(LEASE_S) - self.rng.i64(0..seconds(HEARTBEAT_S));
        let minute = seconds(60);
        let found = (over + minute - 1).div_euclid(minute) * minute;
        self.push(found, Event::Requeue(work));
    }

    fn requeue(&mut self, work: Work) {
        if self.of(work).is_none() {
            return;
        }
        let (id, now) = (work.job, self.now);
        let job = &mut self.jobs[id as usize];
        job.running = false;
        self.running -= 1;
        if let Some(died_at) = job.died_at {
            self.meter.requeued(now - died_at);
        }
        // The oldest first.
        self.queue.push_front(id);
        self.hand_out();
    }

    /// Ends a machine for good; its host is on offer again.
    pub(crate) fn remove(&mut self, id: MachineId) {
        self.enter(id, State::Gone);
        let machine = &mut self.machines[id as usize];
        let host = machine.host as usize;
        if machine.label != Label::Foreign {
            // What is missing to the minimum, as if it ran on.
            let missing = self.hosts[host].minimum_ms - machine.ran_ms;
            if machine.ran_ms > 0 && missing > 0 {
                self.meter.bill(self.now, self.now + missing, self.hosts[host].microusd_per_hour);
            }
            self.hosts[host].taken = false;
        }
        self.live.retain(|live| *live != id);
    }

    /// Destroys what it does with it, now.
    pub(crate) fn kill(&mut self, id: MachineId) {
        self.machines[id as usize].silent_from.get_or_insert(self.now);
        self.lose_work(id);
        self.remove(id);
    }

    pub(crate) fn kill_at(&mut self, id: MachineId, at: Millis) {
        self.machines[id as usize].ends_at = Some(at);
        self.push(at, Event::Mishap { machine: id, kind: Mishap::End });
    }

    /// It takes no more jobs.
    pub fn drain(&mut self, id: MachineId) {
        self.machines[id as usize].draining = true;
        self.idle.retain(|idle| *idle != id);
    }

    /// Stops a machine and keeps its disk; what it does is lost.
    pub fn suspend(&mut self, id: MachineId) {
        if !matches!(self.machines[id as usize].state, State::Idle | State::Busy) {
            return;
        }
        self.idle.retain(|idle| *idle != id);
        self.lose_work(id);
        self.enter(id, State::Stopped);
        let machine = &mut self.machines[id as usize];
        // Whatever its worker suffered from ends with it.
        (machine.up_at, machine.silent_from, machine.cut_off_to) = (None, None, None);
        self.meter.stops += 1;
    }

    /// Starts a stopped machine again, if its GPU is free; its worker begins anew.
    pub fn resume(&mut self, id: MachineId) {
        if self.machines[id as usize].state != State::Stopped {
            return;
        }
        let after = RESUME.draw(&mut self.rng);
        let never = self.chance(self.lies.resume_never);
        self.meter.starts += 1;
        self.meter.starts_failed += u64::from(never);
        self.machines[id as usize].draining = false;
        self.enter(id, if never { State::Scheduled } else { State::Resuming });
        if !never {
            let epoch = self.machines[id as usize].epoch;
            self.push(self.now + after, Event::Stage { machine: id, epoch });
        }
    }

    fn enter(&mut self, id: MachineId, state: State) {
        self.bill(id);
        let now = self.now;
        let machine = &mut self.machines[id as usize];
        if state == State::Gone {
            self.idle.retain(|idle| *idle != id);
        }
        machine.state = state;
        machine.since = now;
        machine.epoch += 1;
    }

    /// Bills what it has done since the last time, by its state.
    fn bill(&mut self, id: MachineId) {
        let now = self.now;
        let machine = &mut self.machines[id as usize];
        let from = std::mem::replace(&mut machine.billed_to, now);
        if machine.label == Label::Foreign || machine.state == State::Gone || from == now {
            return;
        }
        let rate = match machine.state {
            State::Pulling => DISK,
            State::Stopped | State::Scheduled | State::Resuming => STOPPED,
            _ => {
                machine.ran_ms += now - from;
                self.hosts[machine.host as usize].microusd_per_hour
            }
        };
        if matches!(machine.state, State::Busy) {
            self.meter.busy(from, now);
        }
        self.meter.bill(from, now, rate);
    }

    fn finish(&mut self) {
        self.now = self.end;
        for id in self.live.clone() {
            self.bill(id);
        }
        let waiting: Vec<Millis> = self.queue.iter().map(|id| self.jobs[*id as usize]).filter(|job| !job.started).map(|job| job.arrived).collect();
        self.meter.finish(self.now, &waiting);
    }
}

fn host(n: usize, spot: bool, rng: &mut Rng) -> Host {
    let luck = rng.f64();
    let interruptible = spot && n % SPOT_EVERY == 1;
    let full = CHEAPEST + DEARER * n as i64;
    Host {
        microusd_per_hour: if interruptible { full / 2 } else { full },
        minimum_ms: if n % MINIMUM_EVERY == MINIMUM_EVERY - 1 { seconds(MINIMUM_S) } else { 0 },
        interruptible,
        dead: luck < DEAD_HOSTS,
        slow: if (DEAD_HOSTS..DEAD_HOSTS + SLOW_HOSTS).contains(&luck) { SLOW_FACTOR } else { 1.0 },
        taken: false,
    }
}

#[cfg(test)]
#[path = "billing_tests.rs"]
mod billing_tests;
