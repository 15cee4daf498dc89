//! What a job costs, line by line, how long it should take, and what a metered one is charged in the end. The numbers are those of the
//! price list ([`crate::prices`]); the arithmetic is here. Prices are integer millicredits.

use crate::FieldError;
use crate::job::{JobInput, Priority};
use crate::prices::{OwnPrices, Prices, Rule};
use crate::time::Millis;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The largest picture that an upscale may make.
pub const MAX_OUTPUT_PIXELS: u64 = 100_000_000;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Line {
    pub what: String,
    pub millicredits: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Quote {
    pub quote_millicredits: i64,
    pub lines: Vec<Line>,
    /// How long the work itself should take on a warm worker, in seconds.
    pub expected_s: u64,
}

/// A quote, and what a metered job costs for each started second on the GPU (in millicredits); the quote is its cap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Priced {
    pub quote: Quote,
    pub meter: Option<i64>,
}

/// Prices a job whose parameters are valid and whose inputs are verified.
pub fn quote(prices: &Prices, own: &OwnPrices, kind: &str, params: &Value, inputs: &[JobInput], priority: Priority) -> Result<Priced, FieldError> {
    let price = prices.kinds.get(kind).ok_or_else(|| FieldError::new("kind", "it has no price; it can't be asked for"))?;
    let pixels: u64 = inputs.iter().map(|input| u64::from(input.width) * u64::from(input.height)).sum();
    if kind == "upscale" {
        within_the_largest_picture(pixels, params["scale"].as_u64().unwrap_or(2))?;
    }
    let mut lines = Vec::new();
    let mut line = |what: String, millicredits: i64| lines.push(Line { what, millicredits });
    let mut meter = None;
    match &price.rule {
        Rule::Flat { millicredits } => line(price.what.clone(), *millicredits),
        Rule::Pixels { millicredits, included_pixels, block_pixels, block_millicredits } => {
            let scale = params["scale"].as_u64().map_or_else(String::new, |scale| format!(" ×{scale}"));
            line(format!("{}{scale}", price.what), *millicredits);
            let further = pixels.saturating_sub(*included_pixels).div_ceil(*block_pixels) as i64;
            if further > 0 {
                let above = megapixels(*included_pixels);
                line(format!("Photo above {above} megapixels ({:.1})", pixels as f64 / 1e6), further * block_millicredits);
            }
        }
        Rule::Tier {} => {
            let name = params["tier"].as_str().unwrap_or("standard");
            let tier = prices.tiers.get(name).ok_or_else(|| FieldError::new("params.tier", format!("one of {}", names(prices.tiers.keys()))))?;
            let count = params["count"].as_u64().unwrap_or(1).clamp(1, 1000) as i64;
            let times = if count > 1 { format!(" × {count}") } else { String::new() };
            line(format!("{} ({}){times}", price.what, tier.title), tier.millicredits * count);
        }
        Rule::Views { view_millicredits, least_views, most_views, quality } => {
            let name = params["quality"].as_str().unwrap_or("standard");
            let base = quality.get(name).ok_or_else(|| FieldError::new("params.quality", format!("one of {}", names(quality.keys()))))?;
            let views = params["views"].as_u64().unwrap_or(*least_views);
            if !(*least_views..=*most_views).contains(&views) {
                return Err(FieldError::new("params.views", format!("from {least_views} to {most_views}")));
            }
            line(format!("{} ({name})", price.what), *base);
            line(format!("{views} view{}", if views == 1 { "" } else { "s" }), views as i64 * view_millicredits);
        }
        Rule::Metered { second_millicredits, most_s } => {
            line(format!("{}, {most_s} seconds at most", price.what), second_millicredits * *most_s as i64);
            meter = Some(*second_millicredits);
        }
    }
    let list: i64 = lines.iter().map(|line| line.millicredits).sum();
    let permille = own.permille(kind);
    if permille != 1000 {
        lines.push(Line { what: format!("Your price ({} % of the list)", percent(permille)), millicredits: share(list, permille) - list });
    }
    let base: i64 = lines.iter().map(|line| line.millicredits).sum();
    let mut factor = permille;
    if priority == Priority::Rush {
        let multiple = prices.rush.multiple_permille;
        let what = if multiple == 2000 { "Rush (twice the price)".to_owned() } else { format!("Rush ({} % of the price)", percent(multiple)) };
        lines.push(Line { what, millicredits: share(base, multiple) - base });
        factor = share(factor, multiple);
    }
    let expected_s = price.expected_s + price.expected_pixels_per_s.map_or(0, |rate| pixels / rate) + params["ms"].as_u64().unwrap_or(0) / 1000;
    let quote = Quote { quote_millicredits: lines.iter().map(|line| line.millicredits).sum(), lines, expected_s };
    Ok(Priced { quote, meter: meter.map(|second| share(second, factor)) })
}

/// What a job is charged in the end: its quote, or for a metered one each started second of its last attempt, never above the quote.
pub fn charge(quote: i64, meter: Option<i64>, ran: Millis) -> i64 {
    match meter {
        None => quote,
        Some(second) => second.saturating_mul((ran.max(1) as u64).div_ceil(1000) as i64).clamp(0, quote),
    }
}

fn within_the_largest_picture(pixels: u64, scale: u64) -> Result<(), FieldError> {
    let made = pixels * scale * scale;
    if made <= MAX_OUTPUT_PIXELS {
        return Ok(());
    }
    let message = format!("the result would have {} megapixels; at most {} can be made", made / 1_000_000, MAX_OUTPUT_PIXELS / 1_000_000);
    Err(FieldError::new("params.scale", message))
}

/// A share of an amount, rounded up: a price is never a fraction of a millicredit too low.
fn share(amount: i64, permille: i64) -> i64 {
    let product = i128::from(amount) * i128::from(permille);
    ((product + 999).div_euclid(1000)) as i64
}

fn percent(permille: i64) -> String {
    if permille % 10 == 0 { (permille / 10).to_string() } else { format!("{:.1}", permille as f64 / 10.0) }
}

fn megapixels(pixels: u64) -> String {
    if pixels.is_multiple_of(1_000_000) { (pixels / 1_000_000).to_string() } else { format!("{:.1}", pixels as f64 / 1e6) }
}

fn names<'a>(names: impl Iterator<Item = &'a String>) -> String {
    names.map(String::as_str).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::UploadId;
    use serde_json::json;

    fn photo(width: u32, height: u32) -> JobInput {
        JobInput { upload_id: UploadId::new(1, 1), key: String::new(), content_type: "image/jpeg".into(), bytes: 1, sha256: String::new(), width, height }
    }

    fn price(kind: &str, params: Value, inputs: &[JobInput], priority: Priority) -> Result<Priced, FieldError> {
        quote(&Prices::shipped(), &OwnPrices::default(), kind, &params, inputs, priority)
    }

    fn total(kind: &str, params: Value, priority: Priority) -> i64 {
        let quote = price(kind, params, &[], priority).unwrap().quote;
        assert_eq!(quote.lines.iter().map(|line| line.millicredits).sum::<i64>(), quote.quote_millicredits);
        quote.quote_millicredits
    }

    #[test]
    fn the_lines_sum_to_the_quote() {
        for (side, priority, total) in
            [(1000, Priority::Standard, 1000), (1000, Priority::Rush, 2000), (2500, Priority::Standard, 2000), (4096, Priority::Rush, 10_000)]
        {
            let quote = price("upscale", json!({"scale": 2}), &[photo(side, side)], priority).unwrap().quote;
            assert_eq!(quote.quote_millicredits, total, "{side} {priority:?}");
            assert_eq!(quote.lines.iter().map(|line| line.millicredits).sum::<i64>(), total);
        }
    }

    #[test]
    fn a_result_beyond_the_largest_picture_is_refused_by_its_scale() {
        let error = price("upscale", json!({"scale": 4}), &[photo(4096, 4096)], Priority::Standard).unwrap_err();
        assert_eq!(error.field, "params.scale");
    }

    #[test]
    fn tiers_views_and_quality_have_the_list_s_prices() {
        assert_eq!(total("picture", json!({}), Priority::Standard), 1000);
        assert_eq!(total("picture", json!({"tier": "premium_16x9", "count": 3}), Priority::Rush), 24_000);
        assert_eq!(total("model3d", json!({"views": 4, "quality": "high"}), Priority::Standard), 16_000);
        let field = |kind, params| price(kind, params, &[], Priority::Standard).unwrap_err().field;
        assert_eq!(field("picture", json!({"tier": "gold"})), "params.tier");
        assert_eq!(field("model3d", json!({"quality": "best"})), "params.quality");
        assert_eq!(field("model3d", json!({"views": 17})), "params.views");
        assert_eq!(field("mine_bitcoin", json!({})), "kind");
    }

    #[test]
    fn an_account_s_own_price_and_rush_are_lines_of_their_own_and_round_up() {
        let own = OwnPrices { all_permille: Some(500), kinds_permille: [("noop".to_owned(), 333)].into() };
        let quote = |kind, priority| quote(&Prices::shipped(), &own, kind, &json!({}), &[], priority).unwrap();
        assert_eq!(quote("noop", Priority::Standard).quote.quote_millicredits, 333);
        assert_eq!(quote("noop", Priority::Rush).quote.lines.len(), 3);
        assert_eq!(quote("noop", Priority::Rush).quote.quote_millicredits, 666);
        assert_eq!(quote("picture", Priority::Standard).quote.quote_millicredits, 500);
        assert_eq!(share(1, 1), 1);
        assert_eq!(share(1000, 0), 0);
    }

    #[test]
    fn rush_is_whatever_multiple_the_list_says_of_all_lines_before_it() {
        let rush = |multiple_permille: i64, own: i64, kind: &str| {
            let list = Prices { rush: crate::prices::Rush { multiple_permille }, ..Prices::shipped() };
            let own = OwnPrices { all_permille: Some(own), ..OwnPrices::default() };
            let priced = quote(&list, &own, kind, &json!({}), &[], Priority::Rush).unwrap();
            assert_eq!(priced.quote.lines.iter().map(|line| line.millicredits).sum::<i64>(), priced.quote.quote_millicredits);
            let last = priced.quote.lines.last().unwrap();
            (priced.quote.quote_millicredits, last.millicredits, last.what.clone(), priced.meter)
        };
        assert_eq!(rush(3000, 1000, "noop"), (3000, 2000, "Rush (300 % of the price)".into(), None));
        assert_eq!(rush(1255, 1000, "noop"), (1255, 255, "Rush (125.5 % of the price)".into(), None));
        assert_eq!(rush(1000, 1000, "noop"), (1000, 0, "Rush (100 % of the price)".into(), None));
        // Half as much again of 333 is a fraction, which is rounded up.
        assert_eq!(rush(1500, 333, "noop"), (500, 167, "Rush (150 % of the price)".into(), None));
        // A metered second is dearer by as much as the quote that caps it.
        assert_eq!(rush(3000, 1000, "noop_metered"), (9000, 6000, "Rush (300 % of the price)".into(), Some(300)));
    }

    #[test]
    fn a_metered_job_pays_each_started_second_and_never_more_than_its_quote() {
        let priced = price("noop_metered", json!({}), &[], Priority::Rush).unwrap();
        assert_eq!((priced.quote.quote_millicredits, priced.meter), (6000, Some(200)));
        assert_eq!(charge(6000, priced.meter, 1), 200);
        assert_eq!(charge(6000, priced.meter, 2001), 600);
        assert_eq!(charge(6000, priced.meter, 86_400_000), 6000);
        assert_eq!(charge(6000, priced.meter, -5), 200);
        assert_eq!(charge(1000, None, 5), 1000);
    }
}
