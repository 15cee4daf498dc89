//! Amounts as people read them, and Stripe's least charges.

/// Currencies without a smaller unit.
const WHOLE: [&str; 16] = ["bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "ugx", "vnd", "vuv", "xaf", "xof", "xpf"];

/// `$12.34`, `¥1200`, `12.34 SEK`.
pub fn spoken(amount: i64, currency: &str) -> String {
    let sign = if amount < 0 { "-" } else { "" };
    let whole = amount.unsigned_abs();
    let number = if WHOLE.contains(&currency) { whole.to_string() } else { format!("{}.{:02}", whole / 100, whole % 100) };
    match currency {
        "usd" => format!("{sign}${number}"),
        "eur" => format!("{sign}€{number}"),
        "gbp" => format!("{sign}£{number}"),
        "inr" => format!("{sign}₹{number}"),
        "jpy" => format!("{sign}¥{number}"),
        other => format!("{sign}{number} {}", other.to_uppercase()),
    }
}

/// The least that can be charged, in the currency's smallest unit.
pub fn least(currency: &str) -> i64 {
    match currency {
        "gbp" => 30,
        "sek" | "nok" => 300,
        "dkk" => 250,
        "aed" | "pln" | "ron" => 200,
        "hkd" => 400,
        "czk" => 1_500,
        "mxn" => 1_000,
        "huf" => 17_500,
        "thb" => 1_000,
        _ => 50,
    }
}

#[cfg(test)]
mod tests {
    use super::spoken;

    #[test]
    fn amounts_read_as_people_write_them() {
        assert_eq!(spoken(1234, "usd"), "$12.34");
        assert_eq!(spoken(-5, "eur"), "-€0.05");
        assert_eq!(spoken(1200, "jpy"), "¥1200");
        assert_eq!(spoken(50_000, "inr"), "₹500.00");
        assert_eq!(spoken(7, "sek"), "0.07 SEK");
    }
}
