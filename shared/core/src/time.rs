//! Instants as milliseconds since 1970 (UTC), and their RFC 3339 form. The clock itself is read elsewhere.

/// Milliseconds since 1970-01-01T00:00:00Z.
pub type Millis = i64;

/// `2026-11-21T10:40:00.123Z`; out of jiff's range (year 9999) gives the epoch, which no caller can store.
pub fn rfc3339(at: Millis) -> String {
    let stamp = jiff::Timestamp::from_millisecond(at).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    format!("{stamp:.3}")
}

/// Reads an RFC 3339 time with an offset.
pub fn parse_rfc3339(text: &str) -> Option<Millis> {
    text.parse::<jiff::Timestamp>().ok().map(|stamp| stamp.as_millisecond())
}

/// Seconds to milliseconds.
pub const fn seconds(s: u64) -> Millis {
    (s * 1000) as Millis
}

/// When the next month (UTC) begins.
pub fn next_month(at: Millis) -> Millis {
    let stamp = jiff::Timestamp::from_millisecond(at).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let month = stamp.to_zoned(jiff::tz::TimeZone::UTC).first_of_month();
    let next = month.and_then(|first| first.start_of_day()).and_then(|first| first.checked_add(jiff::Span::new().months(1)));
    next.map_or(at, |first| first.timestamp().as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_survives_its_text_form() {
        for at in [0, 1, 1_763_721_600_123] {
            assert_eq!(parse_rfc3339(&rfc3339(at)), Some(at));
        }
        assert_eq!(rfc3339(1_000), "1970-01-01T00:00:01.000Z");
        assert_eq!(parse_rfc3339("yesterday"), None);
    }

    #[test]
    fn the_next_month_begins_at_its_first_midnight() {
        for (at, next) in [
            ("2026-11-21T20:15:55Z", "2026-12-01T00:00:00.000Z"),
            ("2026-12-31T23:59:59Z", "2027-01-01T00:00:00.000Z"),
            ("2028-02-01T00:00:00Z", "2028-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(rfc3339(next_month(parse_rfc3339(at).unwrap())), next);
        }
    }
}
