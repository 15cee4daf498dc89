//! How it went with the machines that are gone, by GPU of a provider and by host: whether they booted, and how long they stayed until they were lost.
//! The provider's own figure is what is believed at first; what was seen here weighs more the more of it there is, and old things fade.
//!
//! A boot and each hour of work is a trial. The estimate is the mean of a beta distribution: the provider's figure counts as so many trials that
//! went as it says, what was seen of the GPU is added to it, and what comes of that counts as a few trials of each host.

use crate::time::{Millis, seconds};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Trials that the provider's figure is worth, beside those of its GPU.
const FIGURE: f64 = 20.0;
/// Trials that what is known of a GPU is worth, beside those of one host that has it: hosts differ, and few machines are rented of each.
const GPU: f64 = 5.0;
/// What happened so long ago counts half.
const HALF_LIFE: Millis = seconds(14 * 86_400);
/// GPUs and hosts that are remembered.
const MOST: usize = 200;
/// Less than this of a trial is forgotten.
const LEAST: f64 = 0.05;

/// The life of a machine that is over, as far as it says whether its like can be relied on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Over {
    /// Whether it was ready once; `None` where it was ended by our wish before, or had booted before.
    pub booted: Option<bool>,
    /// For how long it was there from then on.
    pub stayed_ms: Millis,
    /// It ended though nobody asked it to, or was given back since it did not do what it was to.
    pub lost: bool,
}

/// What was seen of a GPU or a host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Trials {
    good: f64,
    bad: f64,
}

impl Trials {
    fn all(self) -> f64 {
        self.good + self.bad
    }

    /// Of trials of which so many were believed to go well as `before` says.
    fn estimate(self, before: f64, worth: f64) -> f64 {
        (before * worth + self.good) / (worth + self.all())
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Reliability {
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    gpus: BTreeMap<String, Trials>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    hosts: BTreeMap<String, Trials>,
    #[serde(default)]
    at: Millis,
}

impl Reliability {
    /// A machine of this GPU and host is gone.
    pub fn over(&mut self, provider: &str, gpu: Option<&str>, host: &str, over: Over, now: Millis) {
        self.look(now);
        let hours = over.stayed_ms.max(0) as f64 / 3_600_000.0;
        let bad = f64::from(u8::from(over.booted == Some(false)) + u8::from(over.lost));
        let seen = Trials { good: hours + f64::from(u8::from(over.booted == Some(true))), bad };
        if seen.all() < LEAST {
            return;
        }
        if let Some(gpu) = gpu {
            add(&mut self.gpus, of_gpu(provider, gpu), seen);
        }
        add(&mut self.hosts, host.to_owned(), seen);
    }

    /// Lets time pass.
    pub fn look(&mut self, now: Millis) {
        let left = 0.5_f64.powf((now - self.at).max(0) as f64 / HALF_LIFE as f64);
        self.at = now.max(self.at);
        for trials in [&mut self.gpus, &mut self.hosts] {
            trials.values_mut().for_each(|seen| *seen = Trials { good: seen.good * left, bad: seen.bad * left });
            trials.retain(|_, seen| seen.all() >= LEAST);
        }
    }

    /// How far a machine can be relied on, 0 to 1, whose provider says `figure` of it.
    pub fn of(&self, provider: &str, gpu: &str, host: &str, figure: f64) -> f64 {
        let seen = |trials: &BTreeMap<String, Trials>, name: &str| trials.get(name).copied().unwrap_or_default();
        let of_gpu = seen(&self.gpus, &of_gpu(provider, gpu)).estimate(figure.clamp(0.0, 1.0), FIGURE);
        seen(&self.hosts, host).estimate(of_gpu, GPU)
    }
}

/// GPUs of one name fail elsewhere for other reasons.
fn of_gpu(provider: &str, gpu: &str) -> String {
    format!("{provider}/{gpu}")
}

/// What is known least of is forgotten first.
fn add(all: &mut BTreeMap<String, Trials>, name: String, seen: Trials) {
    let known = all.entry(name).or_default();
    (known.good, known.bad) = (known.good + seen.good, known.bad + seen.bad);
    while all.len() > MOST {
        let least = all.iter().min_by(|(_, a), (_, b)| a.all().total_cmp(&b.all())).map(|(name, _)| name.clone());
        least.map(|name| all.remove(&name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOOTED: Over = Over { booted: Some(true), stayed_ms: 0, lost: false };
    const FAILED: Over = Over { booted: Some(false), stayed_ms: 0, lost: false };

    #[test]
    fn the_provider_s_figure_is_believed_until_enough_was_seen() {
        let mut seen = Reliability::default();
        let of = |seen: &Reliability, host: &str| seen.of("p", "A", host, 0.9);
        assert_eq!(of(&seen, "h"), 0.9);
        // One that fails says little of its GPU, and something of its host.
        seen.over("p", Some("A"), "h", FAILED, 0);
        let (host, others) = (of(&seen, "h"), of(&seen, "i"));
        assert!(others < 0.9 && others > 0.85 && host < 0.8 && host > 0.6, "{host} {others}");
        assert_eq!((seen.of("p", "B", "i", 0.9), seen.of("q", "A", "i", 0.9)), (0.9, 0.9), "another GPU's, or another provider's");
        // Twenty trials of which half went well weigh as much as what is said.
        let mut half = Reliability::default();
        for n in 0..20 {
            half.over("p", Some("A"), &format!("host {n}"), if n % 2 == 0 { BOOTED } else { FAILED }, 0);
        }
        assert!((of(&half, "i") - 0.7).abs() < 1e-9, "{}", of(&half, "i"));
        // A host where many went well is better than its GPU is elsewhere.
        (0..20).for_each(|_| half.over("p", None, "good", BOOTED, 0));
        assert!(of(&half, "good") > 0.9);
    }

    #[test]
    fn hours_that_it_stayed_speak_for_it_and_its_loss_against_it() {
        let after = |hours: i64, lost: bool| {
            let mut seen = Reliability::default();
            seen.over("p", Some("A"), "h", Over { booted: Some(true), stayed_ms: hours * 3_600_000, lost }, 0);
            seen.of("p", "A", "h", 0.9)
        };
        assert!(after(1, true) < after(10, true) && after(10, true) < after(10, false) && after(1, false) > 0.9);
        // What ended by our wish before it was ready says nothing.
        let mut seen = Reliability::default();
        seen.over("p", Some("A"), "h", Over { booted: None, stayed_ms: 0, lost: false }, 0);
        assert_eq!(seen, Reliability::default());
    }

    #[test]
    fn old_things_fade_and_only_so_many_are_remembered() {
        let mut seen = Reliability::default();
        (0..5).for_each(|_| seen.over("p", Some("A"), "bad", FAILED, 0));
        let at_first = seen.of("p", "A", "bad", 0.9);
        seen.look(HALF_LIFE);
        assert!(at_first < seen.of("p", "A", "bad", 0.9) && seen.of("p", "A", "bad", 0.9) < 0.9);
        seen.look(20 * HALF_LIFE);
        assert_eq!(seen.of("p", "A", "bad", 0.9), 0.9);
        (0..2).for_each(|_| seen.over("p", Some("A"), "known", FAILED, 20 * HALF_LIFE));
        (0..1_000).for_each(|n| seen.over("p", Some(&format!("GPU {n}")), &format!("host {n}"), FAILED, 20 * HALF_LIFE));
        assert_eq!((seen.gpus.len(), seen.hosts.len()), (MOST, MOST));
        assert!(seen.hosts.contains_key("known"), "what is known most of was forgotten");
    }
}
