//! Small words of all messages: fields made safe, and credits, money and times as people read them.

use kiln_core::time::Millis;

/// Longest line of plain text, in characters.
const WIDTH: usize = 76;

/// Text as HTML, for an element or a quoted attribute.
pub fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe += "&amp;",
            '<' => safe += "&lt;",
            '>' => safe += "&gt;",
            '"' => safe += "&quot;",
            '\'' => safe += "&#39;",
            c => safe.push(c),
        }
    }
    safe
}

/// A field as one line of at most `max` characters: a line break would end a subject and begin a header, and the characters that
/// turn the direction of writing or have no width make a text look like another.
pub fn line(text: &str, max: usize) -> String {
    let plain: String = text.chars().map(|c| if c.is_whitespace() || c.is_control() { ' ' } else { c }).filter(|c| !deceives(*c)).collect();
    let words = plain.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    match words.char_indices().nth(max) {
        None => words,
        Some(_) => words.chars().take(max.saturating_sub(1)).chain(['…']).collect(),
    }
}

/// Zero-width and direction characters. The joiners within emoji and Indic words are kept, and the word joiner, which [`name`] sets.
fn deceives(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2061}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

/// What a user named themselves, an organisation or a plan: one short line. Mail programs make links of what looks like an address,
/// and an invitation goes to strangers; so dots, colons and at signs within a word are followed by a word joiner, which has no width.
pub fn name(text: &str) -> String {
    let short = line(text, 80);
    let mut safe = String::with_capacity(short.len());
    let mut rest = short.chars().peekable();
    while let Some(c) = rest.next() {
        safe.push(c);
        if matches!(c, '.' | ':' | '@' | '/') && rest.peek().is_some_and(|next| *next != ' ') {
            safe.push('\u{2060}');
        }
    }
    safe
}

/// `12.25 credits`, from millicredits.
pub fn credits(millicredits: i64) -> String {
    let number = decimal(millicredits, 3);
    let short = if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { &number };
    format!("{short} {}", if short == "1" { "credit" } else { "credits" })
}

/// `2,500.00 INR`, from the smallest unit of a currency as Stripe counts it. The code and not a sign: a dollar is many dollars.
pub fn money(minor: i64, currency: &str) -> String {
    let code = line(currency, 3).to_uppercase();
    let places = match code.as_str() {
        "BIF" | "CLP" | "DJF" | "GNF" | "JPY" | "KMF" | "KRW" | "MGA" | "PYG" | "RWF" | "UGX" | "VND" | "VUV" | "XAF" | "XOF" | "XPF" => 0,
        "BHD" | "JOD" | "KWD" | "OMR" | "TND" => 3,
        _ => 2,
    };
    format!("{} {code}", decimal(minor, places))
}

/// A number of units with `places` decimals, thousands apart.
fn decimal(units: i64, places: usize) -> String {
    let digits = format!("{:0>width$}", units.unsigned_abs(), width = places + 1);
    let (whole, rest) = digits.split_at(digits.len() - places);
    let mut grouped = String::new();
    for (i, digit) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    let sign = if units < 0 { "-" } else { "" };
    if places == 0 { format!("{sign}{grouped}") } else { format!("{sign}{grouped}.{rest}") }
}

/// `21 November 2026, 10:40 UTC`.
pub fn moment(at: Millis) -> String {
    stamp(at, "%-d %B %Y, %H:%M UTC")
}

/// `21 November 2026`.
pub fn day(at: Millis) -> String {
    stamp(at, "%-d %B %Y")
}

fn stamp(at: Millis, form: &str) -> String {
    jiff::Timestamp::from_millisecond(at).unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_zoned(jiff::tz::TimeZone::UTC).strftime(form).to_string()
}

/// Lines of at most 76 characters; a longer word stays whole.
pub fn wrap(text: &str) -> String {
    let mut wrapped = String::new();
    let mut used = 0;
    for word in text.split(' ') {
        let length = word.chars().count();
        if used > 0 && used + 1 + length > WIDTH {
            wrapped.push('\n');
            used = 0;
        } else if used > 0 {
            wrapped.push(' ');
            used += 1;
        }
        wrapped += word;
        used += length;
    }
    wrapped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_one_line_that_reads_as_it_is_written() {
        assert_eq!(line(" Ada\r\nBcc: eve@example.org\u{202e}\t x\u{0} ", 80), "Ada Bcc: eve@example.org x");
        assert_eq!(line("a\u{2028}b\u{85}c\u{200b}d", 80), "a b cd");
        assert_eq!(line("abcdef", 4), "abc…");
        assert_eq!(line("abcd", 4), "abcd");
        assert_eq!(line("👩‍👧", 9), "👩‍👧");
    }

    #[test]
    fn a_name_is_no_link() {
        let name = name("https://evil.example/x and eve@evil.example. Win!");
        for link in ["://", "evil.example", "eve@evil"] {
            assert!(!name.contains(link), "{name:?}");
        }
        assert_eq!(name.replace('\u{2060}', ""), "https://evil.example/x and eve@evil.example. Win!");
        assert_eq!(super::name("Dr. Ada"), "Dr. Ada");
    }

    #[test]
    fn numbers_read_as_people_write_them() {
        for (millicredits, text) in [
            (1_000, "1 credit"),
            (12_250, "12.25 credits"),
            (0, "0 credits"),
            (-1_500, "-1.5 credits"),
            (1_234_567_000, "1,234,567 credits"),
            (100_000, "100 credits"),
        ] {
            assert_eq!(credits(millicredits), text);
        }
        for (minor, currency, text) in
            [(250_000, "inr", "2,500.00 INR"), (5, "usd", "0.05 USD"), (1_200, "jpy", "1,200 JPY"), (1_234, "kwd", "1.234 KWD"), (-200, "eur", "-2.00 EUR")]
        {
            assert_eq!(money(minor, currency), text);
        }
        assert_eq!(moment(1_795_255_200_000), "21 November 2026, 10:00 UTC");
    }

    #[test]
    fn text_is_wrapped_between_words() {
        let wrapped = wrap(&"word ".repeat(40));
        assert!(wrapped.lines().all(|line| line.chars().count() <= 76) && wrapped.lines().count() == 3, "{wrapped}");
        assert_eq!(wrap(&"x".repeat(100)), "x".repeat(100));
    }
}
