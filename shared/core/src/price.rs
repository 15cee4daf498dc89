//! What a job costs, line by line, and how long it should take. Prices are integer millicredits.

use crate::FieldError;
use crate::job::{JobInput, Priority};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One credit a picture; more for a large one, twice for rush.
const PICTURE: i64 = 1000;
/// Each further started 4 megapixels of the photo.
const FURTHER_4_MP: i64 = 1000;
const INCLUDED_PIXELS: u64 = 4_000_000;

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

/// Prices a job whose parameters are valid and whose inputs are verified.
pub fn quote(kind: &str, params: &Value, inputs: &[JobInput], priority: Priority) -> Result<Quote, FieldError> {
    let mut lines = Vec::new();
    let expected_s = match kind {
        "upscale" => {
            let scale = params["scale"].as_u64().unwrap_or(2);
            let pixels: u64 = inputs.iter().map(|input| u64::from(input.width) * u64::from(input.height)).sum();
            if pixels * scale * scale > MAX_OUTPUT_PIXELS {
                let message =
                    format!("the result would have {} megapixels; at most {} can be made", pixels * scale * scale / 1_000_000, MAX_OUTPUT_PIXELS / 1_000_000);
                return Err(FieldError::new("params.scale", message));
            }
            lines.push(Line { what: format!("Enlarge a photo ×{scale}"), millicredits: PICTURE });
            let further = pixels.saturating_sub(INCLUDED_PIXELS).div_ceil(INCLUDED_PIXELS) as i64;
            if further > 0 {
                lines.push(Line { what: format!("Photo above 4 megapixels ({:.1})", pixels as f64 / 1e6), millicredits: further * FURTHER_4_MP });
            }
            // On two CPU cores: 3 s for 1 megapixel ×2 (docs/ENGINES.md), 9 s for the whole job at 2.2 megapixels ×4.
            1 + pixels / 300_000
        }
        _ => {
            lines.push(Line { what: kind.to_owned(), millicredits: PICTURE });
            1 + params["ms"].as_u64().unwrap_or(0) / 1000
        }
    };
    let base: i64 = lines.iter().map(|line| line.millicredits).sum();
    if priority == Priority::Rush {
        lines.push(Line { what: "Rush (twice the price)".into(), millicredits: base });
    }
    Ok(Quote { quote_millicredits: lines.iter().map(|line| line.millicredits).sum(), lines, expected_s })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::UploadId;
    use serde_json::json;

    fn photo(width: u32, height: u32) -> JobInput {
        JobInput { upload_id: UploadId::new(1, 1), key: String::new(), content_type: "image/jpeg".into(), bytes: 1, sha256: String::new(), width, height }
    }

    #[test]
    fn the_lines_sum_to_the_quote() {
        for (side, priority, total) in
            [(1000, Priority::Standard, 1000), (1000, Priority::Rush, 2000), (2500, Priority::Standard, 2000), (4096, Priority::Rush, 10_000)]
        {
            let quote = quote("upscale", &json!({"scale": 2}), &[photo(side, side)], priority).unwrap();
            assert_eq!(quote.quote_millicredits, total, "{side} {priority:?}");
            assert_eq!(quote.lines.iter().map(|line| line.millicredits).sum::<i64>(), total);
        }
    }

    #[test]
    fn a_result_beyond_the_largest_picture_is_refused_by_its_scale() {
        let error = quote("upscale", &json!({"scale": 4}), &[photo(4096, 4096)], Priority::Standard).unwrap_err();
        assert_eq!(error.field, "params.scale");
    }
}
