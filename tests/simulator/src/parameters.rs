//! What the simulated world is like: kinds of jobs, boots, hosts, prices, the provider's lies, and the families of arrivals with their goals.
//!
//! Everything that a result depends on beside a seed stands here, and was set before the planner was first run in this world.
//! What was changed since, and why, stands in the README.

use kiln_core::time::{Millis, seconds};

/// A positive quantity whose logarithm is normal: most are near the median, a few are far above.
#[derive(Debug, Clone, Copy)]
pub struct Lognormal {
    pub median_ms: f64,
    pub sigma: f64,
}

impl Lognormal {
    /// From the mean, for what is known by its mean.
    pub const fn at(median_ms: f64, sigma: f64) -> Self {
        Self { median_ms, sigma }
    }

    pub fn mean_ms(self) -> f64 {
        self.median_ms * (self.sigma * self.sigma / 2.0).exp()
    }

    pub fn draw(self, rng: &mut fastrand::Rng) -> Millis {
        // Box and Muller, 1958. The first uniform is never 0.
        let (a, b) = (1.0 - rng.f64(), rng.f64());
        let normal = (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos();
        ((self.median_ms * (self.sigma * normal).exp()).round() as Millis).max(1)
    }
}

/// A kind of job: what share of all jobs it is, and what one takes on a machine that is ready.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    pub name: &'static str,
    pub share: f64,
    pub service: Lognormal,
}

/// An upscaling, an edit, a model in three dimensions: 30 s in the mean, and far from equal.
pub const KINDS: [Kind; 3] = [
    Kind { name: "upscale", share: 0.6, service: Lognormal::at(10_600.0, 0.5) },
    Kind { name: "edit", share: 0.3, service: Lognormal::at(31_000.0, 0.5) },
    Kind { name: "mesh", share: 0.1, service: Lognormal::at(113_500.0, 0.4) },
];

/// No job takes longer: a worker's own limit.
pub const LONGEST_JOB_S: u64 = 1_800;

/// What one job takes in the mean, in milliseconds.
pub fn mean_service_ms() -> f64 {
    KINDS.iter().map(|kind| kind.share * kind.service.mean_ms()).sum()
}

/// From rental to the start of the billing: a container's image is pulled.
pub const PULL: Lognormal = Lognormal::at(40_000.0, 0.4);
/// Then weights are loaded and kernels warmed, which is billed.
pub const WARM: Lognormal = Lognormal::at(15_000.0, 0.25);
/// From stopped (the disk kept) to the start of the warming.
pub const RESUME: Lognormal = Lognormal::at(15_000.0, 0.7);
/// From the order to ready, when nearly all starts are over that are ever: measured over 200,000 draws (a test draws them again).
pub const RESUME_P99_S: u64 = 90;
/// One that is not there by then is given back.
pub const RESUME_S: u64 = 120;

/// A stopped machine's GPU may be let to somebody else meanwhile; then it never starts again.
pub const RESUME_NEVER: f64 = 0.1;
/// Of these, so many are told with the answer, as Vast.ai does ("required resources are currently unavailable"); how many is assumed.
pub const RESUME_TOLD: f64 = 0.75;
/// How often SQS's approximate counts are those of half a minute ago.
pub const SQS_COUNTS_LATE: f64 = 0.5;

/// The pool's schedule, until when a machine must have booted, and after what silence it is lost.
pub const TICK_S: u64 = 60;
/// It looks again so long after, while anything runs or waits.
pub const LOOK_S: u64 = 30;
/// A job that finds no machine ready and idle wakes it: from the submit to its reading.
pub const WAKE_MS: Millis = 2_000;
/// A machine that has found no job for so long wakes it too, unless one has within so long.
pub const IDLE_SAID_MS: Millis = 3_000;
pub const IDLE_WAKES_MS: Millis = 10_000;
pub const BOOT_S: u64 = 600;
pub const LOST_AFTER_S: u64 = 90;
/// An attempt's lease, and how often its worker renews it.
pub const LEASE_S: u64 = 60;
pub const HEARTBEAT_S: u64 = 15;

/// Hosts on offer. Each is what it is for a whole run: sound, slow to boot, or dead.
pub const HOSTS: usize = 160;
pub const DEAD_HOSTS: f64 = 0.02;
pub const SLOW_HOSTS: f64 = 0.03;
pub const SLOW_FACTOR: f64 = 4.0;
/// The cheapest host's price an hour, and what each further one costs more, in millionths of a dollar.
pub const CHEAPEST: i64 = 300_000;
pub const DEARER: i64 = 500;
/// The disk's part of a price, billed while the image is pulled too.
pub const DISK: i64 = 3_000;
/// What a stopped machine is billed: 32 GB at $0.15 for each and a month, as hosts at Vast.ai ask.
pub const STOPPED: i64 = 6_700;
/// Every so many-th host bills a minute at least, as EC2 does.
pub const MINIMUM_EVERY: usize = 8;
pub const MINIMUM_S: u64 = 60;
/// Every so many-th host is interruptible: half the price in the worlds where spot machines are offered, and taken away after so many hours in the mean.
pub const SPOT_EVERY: usize = 3;
pub const SPOT_HOURS: f64 = 6.0;

/// How often the world does what it should not: probabilities for a call, or mean hours for a machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct Lies {
    /// A machine is gone of a sudden, after so many hours of work in the mean; 0: never.
    pub vanish_hours: f64,
    /// Its worker dies, and the machine stays and costs.
    pub hang_hours: f64,
    /// Its worker is cut off for some minutes, and goes on working.
    pub cut_off_hours: f64,
    /// A create is refused and made nothing.
    pub create_refused: f64,
    /// A create's answer is lost; half of these have made a machine.
    pub create_unanswered: f64,
    /// A new machine is listed only after up to half a minute.
    pub listed_late: f64,
    pub list_error: f64,
    /// A list leaves one machine out and says that it is complete.
    pub list_omits: f64,
    /// A destroy fails and does nothing.
    pub destroy_error: f64,
    /// A destroy is answered with an error, and done.
    pub destroy_unanswered: f64,
    /// A destroyed machine stays for up to two ticks, and costs.
    pub destroy_slow: f64,
    /// The jobs could not be read.
    pub jobs_unread: f64,
    /// The pool's function dies within a tick, at a step drawn at random.
    pub crash: f64,
    /// A tick does not happen.
    pub tick_missed: f64,
    /// A machine that has booted says that it is ready, and never takes a job.
    pub deaf: f64,
    /// Nobody hears any machine for some minutes, and half of these times the pool doesn't look either; so many hours apart in the mean.
    pub outage_hours: f64,
    /// Spot machines are on offer.
    pub spot: bool,
    /// A stop, or a start, fails and does nothing; or it is answered with an error, and done.
    pub power_error: f64,
    pub power_unanswered: f64,
    /// The list says of a machine that was stopped or started in the last half minute what it was before.
    pub list_lags: f64,
    /// A stopped machine never starts again.
    pub resume_never: f64,
}

/// A provider that fails fails so often in a row at most: no rule holds against one that never answers.
pub const MOST_IN_A_ROW: u32 = 2;

/// The mishaps of an ordinary month, on in every world of the table.
pub const ORDINARY: Lies = Lies {
    vanish_hours: 300.0,
    hang_hours: 600.0,
    cut_off_hours: 0.0,
    create_refused: 0.02,
    create_unanswered: 0.005,
    listed_late: 0.05,
    list_error: 0.005,
    list_omits: 0.001,
    destroy_error: 0.01,
    destroy_unanswered: 0.005,
    destroy_slow: 0.01,
    jobs_unread: 0.002,
    crash: 0.002,
    tick_missed: 0.002,
    deaf: 0.0,
    outage_hours: 0.0,
    spot: false,
    power_error: 0.01,
    power_unanswered: 0.005,
    list_lags: 0.05,
    resume_never: RESUME_NEVER,
};

impl Lies {
    /// The same without the provider's and the pool's own failures: what only happens to machines.
    pub fn eased(self) -> Self {
        Self { vanish_hours: self.vanish_hours, hang_hours: self.hang_hours, spot: self.spot, resume_never: self.resume_never, ..Lies::default() }
    }
}

/// How jobs come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Coming {
    /// Independently, `busy` machines' worth of them.
    Steady { busy: f64 },
    /// The same, between `low` and `high` over a day, as a sine.
    Day { low: f64, high: f64 },
    /// Nothing, and then crowds: `crowds` a day at unforeseen times, each of `jobs` within `within_s`.
    Crowds { crowds: u32, jobs: (u32, u32), within_s: u64 },
    /// A recorded day, each arrival moved by up to half a minute.
    Recorded { trace: &'static str },
}

/// A family of worlds, with the goal that the pool is to reach in it.
#[derive(Debug, Clone, Copy)]
pub struct Family {
    pub name: &'static str,
    pub coming: Coming,
    pub hours: u64,
    /// 99 % of the jobs start within so long.
    pub start_within_s: u64,
    /// What the operator writes in the policy for it.
    pub policy_start_within_s: u64,
    /// No machine can be ready for a crowd earlier than one boot after its first job.
    pub unforeseen: bool,
    /// Cost over the lower bound is to be no more than this.
    pub goal: Option<f64>,
    /// The mean number of busy machines that rivals' sizes are swept around.
    pub size: f64,
}

/// Nothing is counted before: the pool begins with nothing and has learned nothing.
pub const SETTLE: Millis = seconds(3_600);

/// What nearly all boots take, dead hosts aside: measured over 200,000 draws of the parameters above (a test draws them again).
pub const BOOT_P95_S: u64 = 107;
/// And what one in twenty takes less than.
pub const BOOT_P05_S: u64 = 37;

const COLD_S: u64 = BOOT_P95_S + 60;

pub const FAMILIES: [Family; 7] = [
    steady("steady 20", 20.0, 1.25),
    steady("steady 5", 5.0, 1.5),
    steady("steady 1", 1.0, 3.2),
    Family { name: "day 1 to 8", coming: Coming::Day { low: 1.0, high: 8.0 }, goal: None, size: 4.5, ..steady("", 4.5, 0.0) },
    Family {
        name: "flash crowds",
        coming: Coming::Crowds { crowds: 4, jobs: (60, 200), within_s: 120 },
        start_within_s: COLD_S,
        unforeseen: true,
        goal: Some(3.0),
        size: 20.0,
        ..steady("", 0.0, 0.0)
    },
    Family {
        name: "rare, patient",
        coming: Coming::Steady { busy: 0.2 },
        hours: 48,
        start_within_s: 3_600,
        policy_start_within_s: 3_600,
        goal: Some(1.3),
        size: 0.2,
        ..steady("", 0.2, 0.0)
    },
    Family {
        name: "recorded day",
        coming: Coming::Recorded { trace: include_str!("../traces/studio-day.txt") },
        start_within_s: COLD_S,
        policy_start_within_s: COLD_S,
        goal: None,
        size: 2.0,
        ..steady("", 2.0, 0.0)
    },
];

const fn steady(name: &'static str, busy: f64, goal: f64) -> Family {
    Family { name, coming: Coming::Steady { busy }, hours: 24, start_within_s: 60, policy_start_within_s: 60, unforeseen: false, goal: Some(goal), size: busy }
}

/// Seeds for trying things out, and for the table: never the same ones.
pub const TRAINING_SEEDS: std::ops::Range<u64> = 1..21;
pub const FINAL_SEEDS: std::ops::Range<u64> = 1_001..1_021;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_take_half_a_minute_in_the_mean() {
        assert!((mean_service_ms() - 30_000.0).abs() < 500.0, "{}", mean_service_ms());
        assert!((KINDS.iter().map(|kind| kind.share).sum::<f64>() - 1.0).abs() < 1e-9);
    }

    #[test]
    fn boots_take_what_the_deadlines_assume() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut boots: Vec<Millis> = (0..200_000)
            .map(|_| {
                let slow = if rng.f64() < SLOW_HOSTS / (1.0 - DEAD_HOSTS) { SLOW_FACTOR } else { 1.0 };
                ((PULL.draw(&mut rng) + WARM.draw(&mut rng)) as f64 * slow) as Millis
            })
            .collect();
        boots.sort_unstable();
        let at = |share: f64| boots[(share * boots.len() as f64) as usize] as f64 / 1000.0;
        assert!((at(0.95) - BOOT_P95_S as f64).abs() < 2.0, "{}", at(0.95));
        assert!((at(0.05) - BOOT_P05_S as f64).abs() < 2.0, "{}", at(0.05));
    }

    #[test]
    fn a_stopped_machine_is_there_again_in_half_a_minute_and_nearly_always_before_it_is_given_up() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut starts: Vec<Millis> = (0..200_000).map(|_| RESUME.draw(&mut rng) + WARM.draw(&mut rng)).collect();
        starts.sort_unstable();
        let at = |share: f64| starts[(share * starts.len() as f64) as usize] as f64 / 1000.0;
        assert!((at(0.5) - 31.0).abs() < 2.0 && (at(0.99) - RESUME_P99_S as f64).abs() < 4.0 && at(0.997) < RESUME_S as f64, "{} {}", at(0.5), at(0.99));
    }
}
