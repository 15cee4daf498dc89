//! The price list: what each kind of job, tier, pack and plan costs, as data. One file (`prices.toml`) is the default; a
//! deployment may give another. It is validated as a whole when a function starts: a list that could not be charged by is refused.
//!
//! Units: credits in millicredits, money in the currency's smallest unit, multiples in permille.

use crate::price::MAX_OUTPUT_PIXELS;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The list that ships with Kiln.
pub const DEFAULT: &str = include_str!("prices.toml");

/// Above this no single price makes sense (a million credits). It keeps every sum far from overflow: the dearest job is the most of it
/// for each second of a day, a hundredfold in a rush, of a hundredfold own price: under 10^18 millicredits.
const MOST: i64 = 1_000_000_000;
/// What all further blocks of the largest picture may cost together, for the same reason.
const MOST_BLOCKS: i128 = 1_000_000_000_000;
/// Sides of a picture are in these steps: what diffusion models compute on is smaller by 8, in patches of two.
const SIDE_STEP: u32 = 16;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prices {
    pub version: u32,
    pub kinds: BTreeMap<String, KindPrice>,
    pub tiers: BTreeMap<String, Tier>,
    pub rush: Rush,
    pub guest: Guest,
    pub packs: Vec<Pack>,
    pub plans: Vec<Plan>,
}

/// What one kind of job costs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KindPrice {
    /// How a quote's line names it.
    pub what: String,
    /// How long the work takes on a warm worker, at least, in seconds.
    pub expected_s: u64,
    /// And how much longer for the inputs' pixels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_pixels_per_s: Option<u64>,
    #[serde(flatten)]
    pub rule: Rule,
}

/// How a kind is priced.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "rule", rename_all = "snake_case")]
pub enum Rule {
    Flat {
        millicredits: i64,
    },
    /// A base, and so much for each further started block of the inputs' pixels.
    Pixels {
        millicredits: i64,
        included_pixels: u64,
        block_pixels: u64,
        block_millicredits: i64,
    },
    /// The price of the tier that `params.tier` names, times `params.count`.
    Tier {},
    /// By `params.views` and `params.quality`.
    Views {
        view_millicredits: i64,
        least_views: u64,
        most_views: u64,
        quality: BTreeMap<String, i64>,
    },
    /// So much for each started second on the GPU, `most_s` at most.
    Metered {
        second_millicredits: i64,
        most_s: u64,
    },
}

/// A class of pictures: its price, its size, and what it makes every engine do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tier {
    pub title: String,
    pub millicredits: i64,
    pub width: u32,
    pub height: u32,
    pub engines: BTreeMap<String, EngineTier>,
}

/// What an engine does for a tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngineTier {
    pub steps: u32,
    /// Classifier-free guidance in thousandths: 7000 is 7.0.
    pub guidance_permille: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rush {
    /// 2000 is twice the price.
    pub multiple_permille: i64,
}

/// Jobs that are paid by card, without an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Guest {
    pub currency: String,
    pub tiers: BTreeMap<String, GuestTier>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuestTier {
    pub title: String,
    /// In the smallest unit of [`Guest::currency`].
    pub amount: i64,
    /// The dearest job that the tier pays for.
    pub most_millicredits: i64,
}

/// Credits that are bought once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pack {
    pub id: String,
    pub title: String,
    pub millicredits: i64,
    /// By ISO 4217 code in lower case.
    pub prices: BTreeMap<String, i64>,
}

/// Credits that are bought each period.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    pub id: String,
    pub title: String,
    /// Granted by each payment.
    pub millicredits: i64,
    pub interval: Interval,
    pub prices: BTreeMap<String, i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Interval {
    Month,
    Year,
}

impl Interval {
    pub fn as_str(self) -> &'static str {
        match self {
            Interval::Month => "month",
            Interval::Year => "year",
        }
    }
}

impl Prices {
    /// Reads and validates a list; the error names the entry that is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let unread = |error: &dyn std::fmt::Display| format!("the price list can't be read: {error}");
        let prices: Self = toml::from_str(text).map_err(|error| unread(&error))?;
        // A kind's fields depend on its rule, so serde can't refuse one that is misspelt; what was read says what is known.
        let given: toml::Table = toml::from_str(text).map_err(|error| unread(&error))?;
        let known = toml::Table::try_from(&prices).map_err(|error| unread(&error))?;
        if let Some(field) = beyond("", &given, &known) {
            return Err(format!("the price list is wrong: {field} is no field of a price list"));
        }
        prices.validate().map_err(|error| format!("the price list is wrong: {error}"))?;
        Ok(prices)
    }

    /// The list that ships with Kiln.
    pub fn shipped() -> Self {
        Self::parse(DEFAULT).expect("a test holds that the shipped list is valid")
    }

    pub fn pack(&self, id: &str) -> Option<&Pack> {
        self.packs.iter().find(|pack| pack.id == id)
    }

    pub fn plan(&self, id: &str) -> Option<&Plan> {
        self.plans.iter().find(|plan| plan.id == id)
    }

    /// The cheapest tier for guests that pays for a job of this quote, by amount.
    pub fn guest_tier(&self, quote: i64) -> Option<(&str, &GuestTier)> {
        let fitting = self.guest.tiers.iter().filter(|(_, tier)| tier.most_millicredits >= quote);
        fitting.min_by_key(|(_, tier)| tier.amount).map(|(name, tier)| (name.as_str(), tier))
    }

    fn validate(&self) -> Result<(), String> {
        if self.version != 1 {
            return Err(format!("version is {}; this code knows version 1", self.version));
        }
        for (name, kind) in &self.kinds {
            kind.validate().map_err(|error| format!("kinds.{name}.{error}"))?;
        }
        for kind in crate::kinds::offered(true) {
            if !self.kinds.contains_key(kind.name) {
                return Err(format!("kinds.{} is missing, and that kind of job exists", kind.name));
            }
        }
        for (name, tier) in &self.tiers {
            let at = format!("tiers.{name}");
            price(&format!("{at}.millicredits"), tier.millicredits, 0)?;
            let sound = |side: u32| (64..=8192).contains(&side) && side.is_multiple_of(SIDE_STEP);
            if !sound(tier.width) || !sound(tier.height) {
                return Err(format!("{at}: width and height are from 64 to 8192, in steps of {SIDE_STEP}"));
            }
            if tier.engines.is_empty() {
                return Err(format!("{at}.engines has none"));
            }
            // Every engine must know what each tier asks of it.
            for engine in self.tiers.values().flat_map(|tier| tier.engines.keys()) {
                let Some(work) = tier.engines.get(engine) else { return Err(format!("{at}.engines lacks {engine}, which another tier has")) };
                if !(1..=1000).contains(&work.steps) || work.guidance_permille > 50_000 {
                    return Err(format!("{at}.engines.{engine}: steps are from 1 to 1000, guidance_permille to 50000"));
                }
            }
        }
        if self.kinds.values().any(|kind| kind.rule == Rule::Tier {}) && self.tiers.is_empty() {
            return Err("tiers: a kind is priced by tier and there is none".into());
        }
        if !(1000..=100_000).contains(&self.rush.multiple_permille) {
            return Err("rush.multiple_permille is from 1000 to 100000".into());
        }
        self.validate_sales()
    }

    fn validate_sales(&self) -> Result<(), String> {
        currency("guest.currency", &self.guest.currency)?;
        for (name, tier) in &self.guest.tiers {
            price(&format!("guest.tiers.{name}.amount"), tier.amount, 1)?;
            price(&format!("guest.tiers.{name}.most_millicredits"), tier.most_millicredits, 1)?;
        }
        if self.guest.tiers.is_empty() {
            return Err("guest.tiers has none".into());
        }
        let packs = self.packs.iter().map(|pack| ("packs", &pack.id, pack.millicredits, &pack.prices));
        let plans = self.plans.iter().map(|plan| ("plans", &plan.id, plan.millicredits, &plan.prices));
        let mut seen = std::collections::BTreeSet::new();
        for (list, id, millicredits, prices) in packs.chain(plans) {
            let at = format!("{list}.{id}");
            let sound = (1..=40).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
            if !sound {
                return Err(format!("{at}: an id is 1 to 40 of a-z, 0-9 and _"));
            }
            if !seen.insert((list, id)) {
                return Err(format!("{at} stands twice"));
            }
            price(&format!("{at}.millicredits"), millicredits, 1)?;
            if prices.is_empty() {
                return Err(format!("{at}.prices has none"));
            }
            for (code, amount) in prices {
                currency(&format!("{at}.prices"), code)?;
                price(&format!("{at}.prices.{code}"), *amount, 1)?;
            }
        }
        Ok(())
    }
}

impl KindPrice {
    fn validate(&self) -> Result<(), String> {
        if self.what.is_empty() || self.expected_pixels_per_s == Some(0) {
            return Err("what is empty, or expected_pixels_per_s is 0".into());
        }
        match &self.rule {
            Rule::Flat { millicredits } => price("millicredits", *millicredits, 0),
            Rule::Pixels { millicredits, block_pixels, block_millicredits, .. } => {
                price("millicredits", *millicredits, 0)?;
                price("block_millicredits", *block_millicredits, 0)?;
                if *block_pixels == 0 {
                    return Err("block_pixels is 0".into());
                }
                if i128::from(MAX_OUTPUT_PIXELS.div_ceil(*block_pixels)) * i128::from(*block_millicredits) > MOST_BLOCKS {
                    return Err("block_millicredits is too much for so small block_pixels".into());
                }
                Ok(())
            }
            Rule::Tier {} => Ok(()),
            Rule::Views { view_millicredits, least_views, most_views, quality } => {
                price("view_millicredits", *view_millicredits, 0)?;
                if *least_views == 0 || least_views > most_views || *most_views > 1000 || quality.is_empty() {
                    return Err("least_views is from 1 to most_views, most_views to 1000, and there is a quality".into());
                }
                quality.iter().try_for_each(|(name, millicredits)| price(&format!("quality.{name}"), *millicredits, 0))
            }
            Rule::Metered { second_millicredits, most_s } => {
                price("second_millicredits", *second_millicredits, 0)?;
                if !(1..=86_400).contains(most_s) { Err("most_s is from 1 to 86400".into()) } else { Ok(()) }
            }
        }
    }
}

/// The first field of `given` that `known` lacks, by its path.
fn beyond(at: &str, given: &toml::Table, known: &toml::Table) -> Option<String> {
    given.iter().find_map(|(name, value)| match (value, known.get(name)) {
        (_, None) => Some(format!("{at}{name}")),
        (toml::Value::Table(given), Some(toml::Value::Table(known))) => beyond(&format!("{at}{name}."), given, known),
        _ => None,
    })
}

fn price(what: &str, amount: i64, least: i64) -> Result<(), String> {
    if (least..=MOST).contains(&amount) { Ok(()) } else { Err(format!("{what} is {amount}; it is from {least} to {MOST}")) }
}

fn currency(what: &str, code: &str) -> Result<(), String> {
    let sound = code.len() == 3 && code.bytes().all(|b| b.is_ascii_lowercase());
    if sound { Ok(()) } else { Err(format!("{what}: {code:?} is no currency; three small letters, such as inr")) }
}

/// An account's own prices, in permille of the list's: what an operator has agreed with it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct OwnPrices {
    /// For every kind that is not named below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub all_permille: Option<i64>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub kinds_permille: BTreeMap<String, i64>,
}

impl OwnPrices {
    pub fn permille(&self, kind: &str) -> i64 {
        self.kinds_permille.get(kind).copied().or(self.all_permille).unwrap_or(1000)
    }

    /// What is wrong with them, by field.
    pub fn validate(&self) -> Result<(), crate::FieldError> {
        let sound = |permille: i64| (0..=100_000).contains(&permille);
        if self.all_permille.is_some_and(|permille| !sound(permille)) {
            return Err(crate::FieldError::new("prices.all_permille", "from 0 to 100000"));
        }
        if self.kinds_permille.len() > 64 {
            return Err(crate::FieldError::new("prices.kinds_permille", "64 kinds at most"));
        }
        for (kind, permille) in &self.kinds_permille {
            if crate::kinds::find(kind, true).is_none() {
                return Err(crate::FieldError::new("prices.kinds_permille", format!("no kind of job is named {kind:.64?}")));
            }
            if !sound(*permille) {
                return Err(crate::FieldError::new(format!("prices.kinds_permille.{kind}"), "from 0 to 100000"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_list_is_valid_and_has_the_promised_defaults() {
        let prices = Prices::parse(DEFAULT).unwrap();
        let tier = |name: &str| prices.tiers[name].millicredits;
        assert_eq!((tier("standard"), tier("premium_3x2"), tier("premium_16x9")), (1000, 2000, 4000));
        let side = |name: &str| (prices.tiers[name].width, prices.tiers[name].height);
        assert_eq!([side("standard"), side("premium_3x2"), side("premium_16x9")], [(1024, 1024), (1536, 1024), (2048, 1152)]);
        // Each tier fixes steps and guidance for every engine.
        let does = |tier: &str, engine: &str| prices.tiers[tier].engines[engine];
        let work = |steps, guidance_permille| EngineTier { steps, guidance_permille };
        assert_eq!(["standard", "premium_3x2", "premium_16x9"].map(|tier| does(tier, "sdxl")), [work(30, 7000), work(40, 7000), work(50, 7500)]);
        assert_eq!(["standard", "premium_3x2", "premium_16x9"].map(|tier| does(tier, "flux_schnell")), [work(4, 0), work(4, 0), work(6, 0)]);
        assert_eq!((prices.guest.tiers["standard"].amount, prices.guest.tiers["high"].amount), (200, 300));
        // One credit is ₹5: 500 paise for 1000 millicredits.
        for pack in &prices.packs {
            assert_eq!(pack.prices["inr"] * 1000, pack.millicredits * 500, "{}", pack.id);
        }
    }

    #[test]
    fn a_list_that_could_not_be_charged_by_is_refused_by_the_entry_s_name() {
        let cases = [
            ("version = 1", "version = 2", "version is 2"),
            ("multiple_permille = 2000", "multiple_permille = 500", "rush.multiple_permille"),
            ("[kinds.noop]", "[kinds.noo]", "kinds.noop is missing"),
            ("id = \"studio\"", "id = \"starter\"", "packs.starter stands twice"),
            ("id = \"maker\"", "id = \"Maker!\"", "plans.Maker!"),
            ("inr = 10_000", "INR = 10_000", "packs.starter.prices"),
            ("inr = 10_000", "inr = -5", "packs.starter.prices.inr is -5"),
            ("amount = 200", "amount = 0", "guest.tiers.standard.amount"),
            ("\nrule = \"flat\"", "\nrule = \"free\"", "free"),
            ("interval = \"year\"", "interval = \"week\"", "interval"),
            ("sdxl = { steps = 40, guidance_permille = 7000 }", "", "tiers.premium_3x2.engines lacks sdxl"),
            ("block_pixels = 4_000_000", "block_pixels = 0", "kinds.upscale.block_pixels"),
            ("least_views = 1", "least_views = 0", "kinds.model3d.least_views"),
            ("[rush]", "[hurry]", "hurry"),
            ("width = 1024", "width = 1000", "tiers.standard: width and height"),
            ("included_pixels = 4_000_000", "included_pixels = 4_000_000\nincluded_pixel = 1", "kinds.upscale.included_pixel is no field"),
            (
                "block_pixels = 4_000_000\nblock_millicredits = 1000",
                "block_pixels = 1\nblock_millicredits = 1_000_000",
                "kinds.upscale.block_millicredits is too much",
            ),
            ("view_millicredits = 1000", "view_millicredits = 1_000_000_001", "kinds.model3d.view_millicredits"),
        ];
        for (from, to, named) in cases {
            assert!(DEFAULT.contains(from), "{from}");
            let error = Prices::parse(&DEFAULT.replacen(from, to, 1)).unwrap_err();
            assert!(error.contains(named), "{from} → {to}: {error}");
        }
    }

    #[test]
    fn a_tier_without_engines_is_refused_also_where_none_has_any() {
        let mut prices = Prices::shipped();
        prices.tiers.values_mut().for_each(|tier| tier.engines.clear());
        assert_eq!(prices.validate().unwrap_err(), "tiers.premium_16x9.engines has none");
    }

    #[test]
    fn the_dearest_list_overflows_nothing() {
        use crate::job::Priority;
        let mut prices = Prices::shipped();
        prices.rush.multiple_permille = 100_000;
        prices.kinds.get_mut("noop_metered").unwrap().rule = Rule::Metered { second_millicredits: MOST, most_s: 86_400 };
        prices.validate().unwrap();
        let own = OwnPrices { all_permille: Some(100_000), ..OwnPrices::default() };
        let priced = crate::price::quote(&prices, &own, "noop_metered", &serde_json::json!({}), &[], Priority::Rush).unwrap();
        assert_eq!(i128::from(priced.quote.quote_millicredits), i128::from(MOST) * 86_400 * 10_000);
    }

    #[test]
    fn the_cheapest_guest_tier_that_pays_for_the_job_is_taken() {
        let prices = Prices::shipped();
        assert_eq!(prices.guest_tier(1000).unwrap().0, "standard");
        assert_eq!(prices.guest_tier(4001).unwrap().0, "high");
        assert!(prices.guest_tier(1_000_000).is_none());
    }
}
