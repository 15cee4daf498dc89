//! How numbers and tables look in a terminal.

use serde_json::Value;

/// `1.5 credits`, `1 credit`.
pub fn credits(millicredits: i64) -> String {
    let sign = if millicredits < 0 { "-" } else { "" };
    let (whole, part) = (millicredits.unsigned_abs() / 1000, millicredits.unsigned_abs() % 1000);
    let part = if part == 0 { String::new() } else { format!(".{part:03}").trim_end_matches('0').to_owned() };
    let unit = if whole == 1 && part.is_empty() { "credit" } else { "credits" };
    format!("{sign}{whole}{part} {unit}")
}

pub fn bytes(count: u64) -> String {
    match count {
        0..1_000 => format!("{count} B"),
        1_000..1_000_000 => format!("{:.1} kB", count as f64 / 1e3),
        _ => format!("{:.1} MB", count as f64 / 1e6),
    }
}

/// What a server sent, made safe for a terminal: no control characters.
pub fn plain(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| if value.is_null() { String::new() } else { value.to_string() }, str::to_owned);
    text.chars().filter(|c| !c.is_control()).collect()
}

/// `2026-11-21T10:40:00.123Z` as `2026-11-21 10:40:00 UTC`.
pub fn time(value: &Value) -> String {
    let text = plain(value);
    match text.strip_suffix('Z').and_then(|text| text.split_once('T')) {
        Some((day, time)) => format!("{day} {} UTC", time.split('.').next().unwrap_or(time)),
        None => text,
    }
}

/// Columns padded to their widest cell.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect::<Vec<_>>();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credits_read_as_a_person_writes_them() {
        let told: Vec<_> = [10_000, 1_000, 1_500, 1, -250, 0].map(credits).into();
        assert_eq!(told, ["10 credits", "1 credit", "1.5 credits", "0.001 credits", "-0.25 credits", "0 credits"]);
    }

    #[test]
    fn a_time_is_told_to_the_second() {
        assert_eq!(time(&"2026-11-21T10:40:00.123Z".into()), "2026-11-21 10:40:00 UTC");
        assert_eq!(time(&Value::Null), "");
    }

    #[test]
    fn what_a_server_sends_can_t_move_the_cursor() {
        assert_eq!(plain(&"a\u{1b}[2Jb\r\n".into()), "a[2Jb");
    }
}
