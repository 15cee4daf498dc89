//! What is rented at EC2: the settings `KILN_EC2_*`, and what instances cost (`prices.toml`).
//!
//! Promises: what is set wrong is told by its name; a type whose price is not known is not rented, since no budget could cover it; nothing in here
//! can end a line or a word of the script that an instance runs.

use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use std::collections::BTreeMap;

const PRICES: &str = include_str!("prices.toml");
/// Types, and subnets, that may be named.
const MOST: usize = 10;
/// Dollars an hour.
const MOST_PRICE: f64 = 1_000.0;

/// What is rented.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    /// Each lies in a zone; a machine gets a public address there.
    pub subnets: Vec<String>,
    pub security_group: String,
    /// An AMI with NVIDIA's driver, Docker and its NVIDIA runtime.
    pub ami: String,
    pub types: Vec<Kind>,
    /// Spot first, with on-demand behind it; else on-demand alone.
    pub spot: bool,
    /// The worker's container.
    pub image: String,
    /// For the worker's container and its models, in GB beside what the AMI fills.
    pub disk_gb: u32,
    /// Kiln's public address, without the API's path.
    pub api_url: String,
    /// After so long a machine gives itself back, whatever it does.
    pub max_life_s: u64,
    /// By so long after its order its container must have been pulled.
    pub boot_s: u64,
}

/// An instance type with one GPU, and what it costs on demand.
#[derive(Debug, Clone, PartialEq)]
pub struct Kind {
    pub name: String,
    pub gpu: String,
    pub speed: f64,
    pub microusd_per_hour: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Prices {
    disk_dollars_per_gb_month: f64,
    address_dollars_per_hour: f64,
    types: BTreeMap<String, Card>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Card {
    gpu: String,
    speed: f64,
    #[serde(default)]
    dollars_per_hour: BTreeMap<String, f64>,
}

fn prices() -> anyhow::Result<Prices> {
    toml::from_str(PRICES).context("ec2/prices.toml")
}

/// Millionths, rounded up: a price is never taken for less than it is.
pub(super) fn microusd(dollars: f64) -> i64 {
    (dollars * 1e6 - 1e-6).ceil() as i64
}

/// What a disk of so many GB and a public address cost in an hour, in millionths of a dollar.
pub(super) fn beside(disk_gb: u32) -> anyhow::Result<i64> {
    let prices = prices()?;
    Ok(microusd(f64::from(disk_gb) * prices.disk_dollars_per_gb_month / 720.0 + prices.address_dollars_per_hour))
}

impl Wanted {
    /// By the environment, in this region; an error names what is wrong.
    pub fn from_env<'a>(env: impl Fn(&str) -> Option<&'a str>, region: &str, api_url: &str, boot_s: u64) -> anyhow::Result<Self> {
        let set = |name: &str| env(name).with_context(|| format!("{name} is not set"));
        let number = |name: &str, usual: u32| env(name).map_or(Ok(usual), |text| text.parse::<u32>().with_context(|| format!("{name} is no whole number")));
        let subnets = list(set("KILN_EC2_SUBNETS")?);
        ensure!((1..=MOST).contains(&subnets.len()), "KILN_EC2_SUBNETS names 1 to {MOST} subnets");
        let types = list(set("KILN_EC2_TYPES")?);
        ensure!((1..=MOST).contains(&types.len()), "KILN_EC2_TYPES names 1 to {MOST} types");
        let prices = prices()?;
        let wanted = Self {
            security_group: set("KILN_EC2_SECURITY_GROUP")?.to_owned(),
            ami: set("KILN_EC2_IMAGE")?.to_owned(),
            types: types.iter().map(|text| kind(text, region, &prices).with_context(|| format!("KILN_EC2_TYPES: {text}"))).collect::<Result<_, _>>()?,
            spot: match env("KILN_EC2_SPOT").unwrap_or("on") {
                "on" => true,
                "off" => false,
                _ => bail!("KILN_EC2_SPOT is on or off"),
            },
            image: set("KILN_WORKER_IMAGE")?.to_owned(),
            disk_gb: number("KILN_WORKER_DISK_GB", 32)?,
            api_url: api_url.to_owned(),
            max_life_s: u64::from(number("KILN_MAX_LIFE_S", 86_400)?),
            boot_s,
            subnets,
        };
        wanted.check()?;
        Ok(wanted)
    }

    /// Whether an order can say it.
    fn check(&self) -> anyhow::Result<()> {
        ensure!(self.subnets.iter().all(|id| is_id(id, "subnet-")), "KILN_EC2_SUBNETS: a subnet's id is subnet- and hexadecimal digits");
        ensure!(is_id(&self.security_group, "sg-"), "KILN_EC2_SECURITY_GROUP is sg- and hexadecimal digits");
        ensure!(is_id(&self.ami, "ami-"), "KILN_EC2_IMAGE is ami- and hexadecimal digits");
        ensure!((1..=4_096).contains(&self.disk_gb), "KILN_WORKER_DISK_GB is from 1 to 4096");
        ensure!((60..=7 * 86_400).contains(&self.max_life_s), "KILN_MAX_LIFE_S is from 60 to 604800");
        Ok(())
    }

    /// Where a worker finds the API.
    pub(super) fn api(&self) -> String {
        format!("{}/api/v1", self.api_url.trim_end_matches('/'))
    }
}

fn list(text: &str) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
        if !all.iter().any(|known| known == item) {
            all.push(item.to_owned());
        }
    }
    all
}

/// `subnet-0123…`, and the like.
pub(super) fn is_id(text: &str, begins: &str) -> bool {
    text.strip_prefix(begins).is_some_and(|id| (8..=32).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// `TYPE`, or `TYPE=DOLLARS`.
fn kind(text: &str, region: &str, prices: &Prices) -> anyhow::Result<Kind> {
    let (name, given) = text.split_once('=').map_or((text, None), |(name, price)| (name.trim(), Some(price.trim())));
    let Some(card) = prices.types.get(name) else {
        bail!("this version knows no such type with one NVIDIA GPU; it knows {}", prices.types.keys().cloned().collect::<Vec<_>>().join(", "))
    };
    let dollars = match given {
        Some(price) => price.parse::<f64>().ok().context("the price is no number")?,
        None => *card.dollars_per_hour.get(region).with_context(|| format!("no price is known in {region}: write {name}=DOLLARS, for an hour on demand"))?,
    };
    ensure!(dollars > 0.0 && dollars <= MOST_PRICE, "a price is above 0 and at most {MOST_PRICE} dollars an hour");
    Ok(Kind { name: name.to_owned(), gpu: card.gpu.clone(), speed: card.speed, microusd_per_hour: microusd(dollars) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(change: &[(&str, &'static str)]) -> anyhow::Result<Wanted> {
        let mut env: BTreeMap<String, &str> = [
            ("KILN_EC2_SUBNETS", "subnet-00000001, subnet-00000002,subnet-00000001"),
            ("KILN_EC2_SECURITY_GROUP", "sg-00000001"),
            ("KILN_EC2_IMAGE", "ami-0123456789abcdef0"),
            ("KILN_EC2_TYPES", "g6.xlarge,g4dn.xlarge=0.526"),
            ("KILN_WORKER_IMAGE", "kiln/worker:1"),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        env.extend(change.iter().map(|(name, value)| ((*name).to_owned(), *value)));
        Wanted::from_env(|name| env.get(name).copied().filter(|value| !value.is_empty()), "eu-central-1", "https://kiln.example.org", 600)
    }

    #[test]
    fn each_price_of_the_table_can_be_read_and_is_one() {
        let prices = prices().unwrap();
        assert!(prices.types.len() > 5);
        for (name, card) in &prices.types {
            assert!(card.speed > 0.0, "{name}");
            assert_eq!(kiln_core::pool::gpus::refused(std::slice::from_ref(&card.gpu), &[]), None, "{name}: no policy could name it");
            assert!(card.dollars_per_hour.values().all(|price| *price > 0.1 && *price < 10.0), "{name}");
        }
        assert_eq!((microusd(0.8048), microusd(1.0), microusd(0.000_000_4)), (804_800, 1_000_000, 1));
        // 60 GB at ten cents a month, and half a cent for the address.
        assert_eq!(beside(60).unwrap(), 8_334 + 5_000);
    }

    #[test]
    fn types_cost_what_the_table_says_in_their_region_or_what_the_operator_says() {
        let wanted = read(&[]).unwrap();
        assert_eq!(wanted.subnets, ["subnet-00000001", "subnet-00000002"]);
        assert_eq!(wanted.types.iter().map(|kind| (kind.gpu.as_str(), kind.microusd_per_hour)).collect::<Vec<_>>(), [("L4", 1_006_400), ("Tesla T4", 526_000)]);
        assert!(wanted.spot && wanted.disk_gb == 32 && wanted.max_life_s == 86_400);
        assert_eq!(read(&[("KILN_EC2_TYPES", "g6.xlarge=2")]).unwrap().types[0].microusd_per_hour, 2_000_000);
    }

    #[test]
    fn what_is_set_wrong_is_told_by_its_name() {
        for (name, value, says) in [
            ("KILN_EC2_SUBNETS", "", "KILN_EC2_SUBNETS is not set"),
            ("KILN_EC2_SUBNETS", " , ", "KILN_EC2_SUBNETS names 1 to 10"),
            ("KILN_EC2_SUBNETS", "subnet-00000001;reboot", "KILN_EC2_SUBNETS: a subnet"),
            ("KILN_EC2_SECURITY_GROUP", "", "KILN_EC2_SECURITY_GROUP is not set"),
            ("KILN_EC2_SECURITY_GROUP", "default", "KILN_EC2_SECURITY_GROUP is sg-"),
            ("KILN_EC2_IMAGE", "ubuntu", "KILN_EC2_IMAGE is ami-"),
            ("KILN_EC2_TYPES", "", "KILN_EC2_TYPES is not set"),
            ("KILN_EC2_TYPES", "t3.nano", "no such type"),
            ("KILN_EC2_TYPES", "g4dn.xlarge", "no price is known in eu-central-1: write g4dn.xlarge=DOLLARS"),
            ("KILN_EC2_TYPES", "g4dn.xlarge=cheap", "no number"),
            ("KILN_EC2_TYPES", "g4dn.xlarge=0", "above 0"),
            ("KILN_EC2_TYPES", "g4dn.xlarge=NaN", "above 0"),
            ("KILN_EC2_SPOT", "maybe", "KILN_EC2_SPOT is on or off"),
            ("KILN_WORKER_IMAGE", "", "KILN_WORKER_IMAGE is not set"),
            ("KILN_WORKER_DISK_GB", "0", "KILN_WORKER_DISK_GB is from"),
            ("KILN_MAX_LIFE_S", "a day", "KILN_MAX_LIFE_S is no whole number"),
        ] {
            let error = format!("{:#}", read(&[(name, value)]).unwrap_err());
            assert!(error.contains(says), "{name}={value}: {error}");
        }
    }
}
