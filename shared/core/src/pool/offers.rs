//! Which of the machines on offer to rent: the one that does the most useful work for a dollar, as far as was measured, and is likely to boot
//! and to stay.
//!
//! Work is in jobs an hour of a GPU, measured on machines of its name; where none was measured, what the provider says of its speed, scaled by
//! what was measured of others. A host that failed is avoided for a while.

use super::budget::Rate;
use super::policy::Policy;
use super::reliability::Reliability;
use crate::time::Millis;
use std::collections::BTreeMap;

/// A machine that can be rented, in the provider's terms brought to ours.
#[derive(Debug, Clone, PartialEq)]
pub struct Offer {
    /// Whose it is, by the name of the provider.
    pub provider: String,
    pub id: String,
    pub host: String,
    /// Which of its host's machines it is, where that is told: what is rented there may have to share it.
    pub machine: Option<String>,
    pub gpu: String,
    pub rate: Rate,
    /// The provider's own estimate that it stays up, 0 to 1; what was seen here weighs beside it ([`Reliability`]).
    pub reliability: f64,
    /// The provider's benchmark of it; only ratios count.
    pub speed: f64,
    /// It may be taken away for somebody who pays more.
    pub interruptible: bool,
    /// What is bid for its GPU by the hour, where the provider wants a bid for such a one; in the rate already.
    pub bid_microusd_per_hour: Option<i64>,
    /// What its disk alone costs by the hour, in the rate already; `None` where that isn't told.
    pub disk_microusd_per_hour: Option<i64>,
}

/// A disk is cheap to keep where it costs no more than one in so many of the whole.
const KEPT_FOR: i64 = 10;

impl Offer {
    /// What the machine costs by the hour while it is kept stopped; `None` where keeping it is no bargain, or somebody else may have its GPU for
    /// good.
    pub fn kept_for(&self) -> Option<i64> {
        let disk = self.disk_microusd_per_hour.filter(|disk| *disk > 0)?;
        (!self.interruptible && disk.saturating_mul(KEPT_FOR) <= self.rate.microusd_per_hour).then_some(disk)
    }
}

/// What was learned of machines.
#[derive(Debug, Clone, Default)]
pub struct Learned {
    /// Jobs an hour that one machine of this GPU did, where enough were seen.
    pub jobs_per_hour: BTreeMap<String, f64>,
    /// How it went with machines that are gone.
    pub reliability: Reliability,
    /// Hosts that failed, and until when they are avoided.
    pub avoid: BTreeMap<String, Millis>,
    /// Interruptible machines that were taken away lately, as a share of those rented ([`Spot`](super::Spot)).
    pub taken_away: f64,
    /// For now only those are rented that stay.
    pub spot_paused: bool,
}

/// The offers that may be rented, the best first.
pub fn ranked<'a>(offers: &'a [Offer], policy: &Policy, learned: &Learned, now: Millis) -> Vec<&'a Offer> {
    let allowed = |offer: &&Offer| {
        (policy.gpus.is_empty() || policy.gpus.contains(&offer.gpu))
            && policy.max_microusd_per_hour.is_none_or(|most| offer.rate.hour() <= most)
            && learned.avoid.get(&offer.host).is_none_or(|until| *until <= now)
            && (!offer.interruptible || policy.interruptible && !learned.spot_paused)
            && offer.rate.microusd_per_hour > 0
    };
    let mut rated: Vec<_> = offers.iter().filter(allowed).map(|offer| (worth(offer, offers, learned), offer)).collect();
    // Of equals the one with the smaller id, so that the same offers give the same order.
    rated.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.id.cmp(&b.1.id)));
    rated.into_iter().map(|(_, offer)| offer).collect()
}

/// Useful jobs for a dollar: those of an hour by the hour's price and what is paid once, less what is lost with machines that fail or are taken away.
fn worth(offer: &Offer, offers: &[Offer], learned: &Learned) -> f64 {
    let jobs = learned.jobs_per_hour.get(&offer.gpu).copied().unwrap_or_else(|| offer.speed * per_speed(offers, learned));
    let reliable = learned.reliability.of(&offer.provider, &offer.gpu, &offer.host, offer.reliability);
    let stays = reliable * if offer.interruptible { 1.0 - learned.taken_away } else { 1.0 };
    jobs * stays / offer.rate.hour() as f64
}

/// Jobs an hour for a unit of the provider's speed, from GPUs of which both are known; 1 where none is.
fn per_speed(offers: &[Offer], learned: &Learned) -> f64 {
    let known = offers.iter().filter(|offer| offer.speed > 0.0).filter_map(|offer| Some(learned.jobs_per_hour.get(&offer.gpu)? / offer.speed));
    let (sum, count) = known.fold((0.0, 0), |(sum, count), ratio| (sum + ratio, count + 1));
    if count > 0 { sum / f64::from(count) } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(id: &str, gpu: &str, microusd_per_hour: i64, speed: f64) -> Offer {
        let rate = Rate { microusd_per_hour, microusd_once: 0 };
        Offer {
            provider: "p".into(),
            id: id.into(),
            host: format!("host-{id}"),
            machine: None,
            gpu: gpu.into(),
            rate,
            reliability: 0.99,
            speed,
            interruptible: false,
            bid_microusd_per_hour: None,
            disk_microusd_per_hour: None,
        }
    }

    #[test]
    fn what_is_kept_stopped_costs_a_tenth_at_most_and_can_t_be_bid_away() {
        let of = |disk: Option<i64>| Offer { disk_microusd_per_hour: disk, ..offer("a", "A", 400_000, 1.0) };
        assert_eq!([None, Some(0), Some(40_000), Some(40_001)].map(|disk| of(disk).kept_for()), [None, None, Some(40_000), None]);
        assert_eq!(Offer { interruptible: true, ..of(Some(9)) }.kept_for(), None);
    }

    fn order(offers: &[Offer], policy: &Policy, learned: &Learned) -> Vec<String> {
        ranked(offers, policy, learned, 1_000).into_iter().map(|offer| offer.id.clone()).collect()
    }

    #[test]
    fn work_for_a_dollar_decides_and_not_the_price() {
        let offers = [offer("cheap", "RTX 3060", 80_000, 10.0), offer("fast", "RTX 4090", 400_000, 80.0)];
        assert_eq!(order(&offers, &Policy::default(), &Learned::default()), ["fast", "cheap"]);
        // Measured, the fast one is slower than it is said to be.
        let learned = Learned { jobs_per_hour: [("RTX 4090".into(), 100.0), ("RTX 3060".into(), 60.0)].into(), ..Learned::default() };
        assert_eq!(order(&offers, &Policy::default(), &learned), ["cheap", "fast"]);
        // Measured alone, it says what the other one's speed is worth.
        let learned = Learned { jobs_per_hour: [("RTX 4090".into(), 800.0)].into(), ..Learned::default() };
        assert_eq!(order(&offers, &Policy::default(), &learned), ["fast", "cheap"]);
    }

    #[test]
    fn of_equals_that_one_is_first_which_can_be_relied_on_by_its_provider_s_word_and_by_what_was_seen() {
        use super::super::reliability::Over;
        let offers = [offer("a", "A", 100, 1.0), Offer { reliability: 0.97, ..offer("b", "B", 100, 1.0) }];
        assert_eq!(order(&offers, &Policy::default(), &Learned::default()), ["a", "b"]);
        let mut learned = Learned::default();
        let lost = Over { booted: Some(true), stayed_ms: 600_000, lost: true };
        // Of machines with that GPU many were lost, wherever they were.
        (0..10).for_each(|n| learned.reliability.over("p", Some("A"), &format!("elsewhere {n}"), lost, 1_000));
        assert_eq!(order(&offers, &Policy::default(), &learned), ["b", "a"]);
        // Of two of one kind the one whose host did not boot.
        let offers = [offer("a", "A", 100, 1.0), offer("b", "A", 100, 1.0)];
        assert_eq!(order(&offers, &Policy::default(), &learned), ["a", "b"]);
        learned.reliability.over("p", Some("A"), "host-a", Over { booted: Some(false), stayed_ms: 0, lost: false }, 1_000);
        assert_eq!(order(&offers, &Policy::default(), &learned), ["b", "a"]);
        // It is a word of its price, too: half the price is worth it.
        let offers = [offer("a", "A", 50, 1.0), offer("b", "A", 100, 1.0)];
        assert_eq!(order(&offers, &Policy::default(), &learned), ["a", "b"]);
    }

    #[test]
    fn what_may_not_be_rented_is_not_offered() {
        let offers = [offer("a", "A", 100, 1.0), offer("b", "B", 200, 1.0), Offer { interruptible: true, ..offer("c", "C", 50, 1.0) }];
        let of = |policy: Policy, learned: Learned| order(&offers, &policy, &learned);
        assert_eq!(of(Policy::default(), Learned::default()), ["c", "a", "b"]);
        assert_eq!(of(Policy { gpus: vec!["B".into()], ..Policy::default() }, Learned::default()), ["b"]);
        assert_eq!(of(Policy { max_microusd_per_hour: Some(100), ..Policy::default() }, Learned::default()), ["c", "a"]);
        assert_eq!(of(Policy::default(), Learned { avoid: [("host-a".into(), 1_001), ("host-b".into(), 1_000)].into(), ..Learned::default() }), ["c", "b"]);
        assert_eq!(of(Policy::default(), Learned { spot_paused: true, ..Learned::default() }), ["a", "b"]);
        assert_eq!(of(Policy { interruptible: false, ..Policy::default() }, Learned::default()), ["a", "b"]);
        // Half the price is worth less where half of them are taken away.
        assert_eq!(of(Policy::default(), Learned { taken_away: 0.6, ..Learned::default() }), ["a", "c", "b"]);
    }

    #[test]
    fn what_is_paid_once_counts_as_if_it_were_paid_in_an_hour() {
        let dear = Offer { rate: Rate { microusd_per_hour: 50_000, microusd_once: 120_000_000 }, ..offer("dear download", "A", 0, 80.0) };
        let some = Offer { rate: Rate { microusd_per_hour: 50_000, microusd_once: 60_000 }, ..offer("some", "A", 0, 80.0) };
        let offers = [dear, offer("free download", "A", 100_000, 80.0), some];
        assert_eq!(order(&offers, &Policy::default(), &Learned::default()), ["free download", "some", "dear download"]);
        let policy = Policy { max_microusd_per_hour: Some(109_999), ..Policy::default() };
        assert_eq!(order(&offers, &policy, &Learned::default()), ["free download"]);
    }

    #[test]
    fn a_price_of_nothing_is_no_price() {
        assert!(order(&[offer("free", "A", 0, 1.0)], &Policy::default(), &Learned::default()).is_empty());
    }
}
