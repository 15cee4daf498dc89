//! What can be rented at EC2 now: each type in each zone, as a spot machine and on demand, with what it may cost.
//!
//! Promises: a spot machine's rate is the most that it can be billed, since its order names that as its highest price; disk and address are in the
//! rate, and the minute that every machine is billed for at least is in what it costs once.

use super::wanted::{Kind, Wanted, is_id};
use anyhow::Context;
use kiln_core::pool::budget::Rate;
use kiln_core::pool::offers::Offer;
use std::collections::BTreeMap;

/// Above its price now, how far a spot machine's price may rise before it is taken away, in parts of a hundred.
const ROOM_PERCENT: i64 = 20;
/// A spot machine that costs more than this share of one that stays is not worth its risk, in parts of a hundred.
const WORTH_PERCENT: i64 = 90;
/// The provider has no estimate of its own. Its service level for one instance is 99.5 %.
const RELIABILITY: f64 = 0.995;

/// What an offer's id says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Choice {
    pub kind: String,
    pub subnet: String,
    /// The highest price for an hour, in millionths of a dollar; none: on demand.
    pub spot: Option<i64>,
}

impl Choice {
    fn id(&self) -> String {
        match self.spot {
            Some(most) => format!("{}/{}/spot/{most}", self.kind, self.subnet),
            None => format!("{}/{}/on-demand", self.kind, self.subnet),
        }
    }

    pub fn of(offer: &Offer) -> anyhow::Result<Self> {
        let read = || {
            let mut parts = offer.id.split('/');
            let (kind, subnet, market) = (parts.next()?, parts.next()?, parts.next()?);
            let spot = match (market, parts.next()) {
                ("spot", Some(most)) => Some(most.parse().ok().filter(|most| *most > 0)?),
                ("on-demand", None) => None,
                _ => return None,
            };
            (parts.next().is_none() && is_id(subnet, "subnet-")).then(|| Self { kind: kind.to_owned(), subnet: subnet.to_owned(), spot })
        };
        read().with_context(|| format!("{:?} is no offer of EC2", offer.id))
    }
}

/// All offers. `zones`: each subnet's; `spot`: the price of a type in a zone, in millionths of a dollar an hour; `beside`: disk and address.
pub(super) fn all(wanted: &Wanted, zones: &BTreeMap<String, String>, spot: &BTreeMap<(String, String), i64>, beside: i64) -> Vec<Offer> {
    let mut offers = Vec::new();
    for kind in &wanted.types {
        for (subnet, zone) in zones {
            let at = Place { kind, subnet, zone, beside };
            let price = spot.get(&(kind.name.clone(), zone.clone())).filter(|_| wanted.spot);
            if let Some(most) = price.and_then(|price| most_of(*price, kind)) {
                offers.push(at.offer(Some(most)));
            }
            offers.push(at.offer(None));
        }
    }
    offers
}

/// The highest price that is offered for a spot machine; none where one that stays is hardly dearer.
fn most_of(price: i64, kind: &Kind) -> Option<i64> {
    let on_demand = kind.microusd_per_hour;
    (price > 0 && price * 100 <= on_demand * WORTH_PERCENT).then(|| (price * (100 + ROOM_PERCENT) / 100).min(on_demand))
}

struct Place<'a> {
    kind: &'a Kind,
    subnet: &'a str,
    zone: &'a str,
    beside: i64,
}

impl Place<'_> {
    fn offer(&self, spot: Option<i64>) -> Offer {
        let choice = Choice { kind: self.kind.name.clone(), subnet: self.subnet.to_owned(), spot };
        let hour = spot.unwrap_or(self.kind.microusd_per_hour) + self.beside;
        Offer {
            provider: super::NAME.into(),
            id: choice.id(),
            // Its host is never told; what is full, or did not boot, is the kind in its zone. Each machine is a host of its own beside (`has_many`).
            host: format!("ec2-{}-{}-{}", self.zone, self.kind.name, if spot.is_some() { "spot" } else { "on-demand" }),
            gpu: self.kind.gpu.clone(),
            rate: Rate { microusd_per_hour: hour, microusd_once: hour / 60 + 1 },
            reliability: RELIABILITY,
            speed: self.kind.speed,
            interruptible: spot.is_some(),
            // Its bid is in the id: the order says it as the most that is paid.
            bid_microusd_per_hour: None,
            disk_microusd_per_hour: None,
            machine: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_core::pool::Policy;
    use kiln_core::pool::offers::{Learned, ranked};

    fn kind(name: &str, dollars: f64, speed: f64) -> Kind {
        Kind { name: name.into(), gpu: "L4".into(), speed, microusd_per_hour: super::super::wanted::microusd(dollars) }
    }

    fn wanted(spot: bool) -> Wanted {
        Wanted {
            subnets: vec![],
            security_group: "sg-00000001".into(),
            ami: "ami-00000001".into(),
            types: vec![kind("g6.xlarge", 0.8, 30.0), kind("g5.xlarge", 1.0, 31.0)],
            spot,
            image: "kiln/worker:1".into(),
            disk_gb: 32,
            api_url: "https://kiln.example.org".into(),
            max_life_s: 86_400,
            boot_s: 600,
        }
    }

    fn zones() -> BTreeMap<String, String> {
        [("subnet-0000000a", "us-east-1a"), ("subnet-0000000b", "us-east-1b")].map(|(subnet, zone)| (subnet.to_owned(), zone.to_owned())).into()
    }

    fn price(kind: &str, zone: &str, microusd: i64) -> ((String, String), i64) {
        ((kind.to_owned(), zone.to_owned()), microusd)
    }

    #[test]
    fn spot_comes_first_with_on_demand_behind_it_and_its_rate_is_the_most_that_it_may_cost() {
        let spot = [price("g6.xlarge", "us-east-1a", 400_000), price("g6.xlarge", "us-east-1b", 300_000), price("g5.xlarge", "us-east-1a", 950_000)].into();
        let offers = all(&wanted(true), &zones(), &spot, 13_000);
        let ids = |learned: &Learned| -> Vec<String> { ranked(&offers, &Policy::default(), learned, 0).iter().map(|offer| offer.id.clone()).collect() };
        assert_eq!(
            ids(&Learned::default()),
            [
                "g6.xlarge/subnet-0000000b/spot/360000",
                "g6.xlarge/subnet-0000000a/spot/480000",
                "g6.xlarge/subnet-0000000a/on-demand",
                "g6.xlarge/subnet-0000000b/on-demand",
                "g5.xlarge/subnet-0000000a/on-demand",
                "g5.xlarge/subnet-0000000b/on-demand",
            ]
        );
        // What is taken away too often is not rented as spot.
        assert!(ids(&Learned { taken_away: 0.3, spot_paused: true, ..Learned::default() }).iter().all(|id| id.ends_with("/on-demand")));
        let cheapest = offers.iter().find(|offer| offer.id.ends_with("/360000")).unwrap();
        assert_eq!((cheapest.rate, cheapest.interruptible), (Rate { microusd_per_hour: 373_000, microusd_once: 6_217 }, true));
        assert_eq!(cheapest.host, "ec2-us-east-1b-g6.xlarge-spot");
        assert_eq!(all(&wanted(false), &zones(), &spot, 13_000).iter().filter(|offer| offer.interruptible).count(), 0);
    }

    #[test]
    fn an_offer_says_what_is_to_be_rented_and_what_is_no_offer_is_told() {
        for offer in all(&wanted(true), &zones(), &[price("g6.xlarge", "us-east-1a", 700_000)].into(), 1) {
            let choice = Choice::of(&offer).unwrap();
            assert_eq!(choice.id(), offer.id);
            assert_eq!(choice.spot.is_some(), offer.interruptible);
            // Never above what one that stays costs.
            assert!(choice.spot.is_none_or(|most| most == 800_000), "{choice:?}");
        }
        let offer = all(&wanted(true), &zones(), &BTreeMap::new(), 1).remove(0);
        for id in ["", "1234", "a/b/spot", "a/subnet-0000000a/spot/0", "a/subnet-0000000a/spot/x", "a/b/on-demand", "a/subnet-0000000a/on-demand/1"] {
            assert!(Choice::of(&Offer { id: id.into(), ..offer.clone() }).is_err(), "{id}");
        }
    }
}
