//! Filters and orders of searches and lists: `{field: {op: value}}` and what they say about a row.

use std::cmp::Ordering;

use serde_json::{Map, Value};

const OPS: [&str; 8] = ["eq", "neq", "gt", "gte", "lt", "lte", "in", "notin"];
/// The most values that one `in` may have, and the most fields that may be filtered.
const MAX_VALUES: usize = 1_000;

/// One condition on one field.
#[derive(Debug, Clone)]
pub struct Condition {
    pub field: String,
    op: &'static str,
    operand: Value,
}

/// Reads `{op: value, …}` of a field. The text says what is wrong with it.
pub fn read(field: &str, value: &Value, into: &mut Vec<Condition>) -> Result<(), String> {
    let Some(ops) = value.as_object() else { return Err(format!("The filter {field} must be an object such as {{\"eq\": 1}}")) };
    for (name, operand) in ops {
        let Some(op) = OPS.into_iter().find(|op| op == name) else {
            return Err(format!("The filter {field} has an operator that isn't known: {name}. There are {}", OPS.join(", ")));
        };
        let many = matches!(op, "in" | "notin");
        let fits = match operand {
            Value::Array(values) => many && values.len() <= MAX_VALUES && values.iter().all(|v| !v.is_array() && !v.is_object()),
            Value::Object(_) => false,
            _ => !many,
        };
        if !fits {
            return Err(format!("The filter {field} has an operand that doesn't fit {op}"));
        }
        if into.len() >= MAX_VALUES {
            return Err("There are too many filters".into());
        }
        into.push(Condition { field: field.into(), op, operand: operand.clone() });
    }
    Ok(())
}

/// Reads an object of filters.
pub fn read_all(filters: &Map<String, Value>) -> Result<Vec<Condition>, String> {
    let mut conditions = Vec::new();
    for (field, value) in filters {
        read(field, value, &mut conditions)?;
    }
    Ok(conditions)
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(n) => n.as_f64(),
        Value::String(text) => text.trim().parse().ok().filter(|n: &f64| n.is_finite()),
        _ => None,
    }
}

fn truth(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(b) => Some(*b),
        Value::String(text) if text.eq_ignore_ascii_case("true") => Some(true),
        Value::String(text) if text.eq_ignore_ascii_case("false") => Some(false),
        Value::Number(n) => n.as_f64().map(|n| n != 0.0),
        _ => None,
    }
}

/// How a row's value stands to an operand, which may be a JSON string where the value is a number or a truth. None: they can't be compared.
pub fn compare(value: &Value, operand: &Value) -> Option<Ordering> {
    match value {
        Value::Null => operand.is_null().then_some(Ordering::Equal),
        Value::Bool(b) => Some(b.cmp(&truth(operand)?)),
        Value::Number(n) => n.as_f64()?.partial_cmp(&number(operand)?),
        Value::String(text) => {
            let other = operand.as_str()?;
            Some(match (version(text), version(other)) {
                (Some(a), Some(b)) => a.cmp(&b),
                _ => text.as_str().cmp(other),
            })
        }
        _ => None,
    }
}

/// `570.86.15` as numbers.
fn version(text: &str) -> Option<Vec<u64>> {
    if !text.contains('.') {
        return None;
    }
    text.split('.').map(|part| part.parse().ok()).collect()
}

/// `US` is meant by `Texas, US` too.
fn place(condition: &Condition, value: &Value, operand: &Value) -> bool {
    condition.field == "geolocation" && matches!((value.as_str(), operand.as_str()), (Some(v), Some(o)) if v.rsplit(", ").next() == Some(o))
}

impl Condition {
    pub fn holds(&self, value: &Value) -> bool {
        let equal = |operand: &Value| compare(value, operand) == Some(Ordering::Equal) || place(self, value, operand);
        let order = || if value.is_null() { None } else { compare(value, &self.operand) };
        match self.op {
            "eq" => equal(&self.operand),
            "neq" => !equal(&self.operand),
            "gt" => order() == Some(Ordering::Greater),
            "gte" => matches!(order(), Some(Ordering::Greater | Ordering::Equal)),
            "lt" => order() == Some(Ordering::Less),
            "lte" => matches!(order(), Some(Ordering::Less | Ordering::Equal)),
            op => self.operand.as_array().is_some_and(|all| all.iter().any(equal)) == (op == "in"),
        }
    }
}

/// A field and whether it goes down.
pub type Order = Vec<(String, bool)>;

/// One step of an order from its two words.
pub fn step(field: Option<&Value>, direction: Option<&Value>) -> Result<(String, bool), String> {
    let field = field.and_then(Value::as_str).ok_or("An order names a field and asc or desc")?;
    match direction.and_then(Value::as_str) {
        None | Some("asc") => Ok((field.into(), false)),
        Some("desc") => Ok((field.into(), true)),
        Some(other) => Err(format!("An order is asc or desc, not {other}")),
    }
}

/// Two values of the same field; null comes last when it goes up.
pub fn order(a: &Value, b: &Value, down: bool) -> Ordering {
    let up = match (a.is_null(), b.is_null()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        _ => compare(a, b).unwrap_or(Ordering::Equal),
    };
    if down { up.reverse() } else { up }
}

/// The columns that were asked for, of each row; all for `*` and where nothing was asked for.
pub fn columns(rows: Vec<Value>, wanted: Option<&Value>) -> Result<Vec<Value>, String> {
    let Some(wanted) = wanted.filter(|w| !w.is_null()) else { return Ok(rows) };
    let names: Option<Vec<&str>> = wanted.as_array().and_then(|all| all.iter().map(Value::as_str).collect());
    let Some(names) = names else { return Err("select_cols must be a list of names".into()) };
    if names.is_empty() || names.contains(&"*") {
        return Ok(rows);
    }
    let keep = |row: Value| match row {
        Value::Object(fields) => Value::Object(fields.into_iter().filter(|(name, _)| names.contains(&name.as_str())).collect()),
        other => other,
    };
    Ok(rows.into_iter().map(keep).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn holds(field: &str, filter: Value, value: Value) -> bool {
        let mut conditions = Vec::new();
        read(field, &filter, &mut conditions).unwrap();
        conditions.iter().all(|c| c.holds(&value))
    }

    #[test]
    fn operands_are_numbers_or_numbers_in_strings() {
        for one in [json!(1), json!(1.0), json!("1"), json!("1.0")] {
            assert!(holds("num_gpus", json!({ "eq": one }), json!(1)));
            assert!(!holds("num_gpus", json!({ "neq": one }), json!(1)));
            assert!(holds("num_gpus", json!({ "gte": one, "lt": "3" }), json!(2)));
            assert!(holds("num_gpus", json!({ "notin": [one, "4"] }), json!(2)));
        }
        assert!(holds("verified", json!({ "eq": "true" }), json!(true)));
        assert!(!holds("num_gpus", json!({ "gt": "many" }), json!(2)));
        assert!(!holds("num_gpus", json!({ "gt": 1 }), Value::Null));
    }

    #[test]
    fn versions_and_places_are_compared_as_such() {
        assert!(holds("driver_version", json!({ "gte": "99.1.1" }), json!("570.86.15")));
        assert!(holds("geolocation", json!({ "in": ["US", "DE"] }), json!("Texas, US")));
        assert!(!holds("geolocation", json!({ "notin": ["US"] }), json!("Texas, US")));
        assert!(holds("label", json!({ "in": [null, "a"] }), Value::Null));
    }

    #[test]
    fn what_is_no_filter_is_refused() {
        for bad in [json!(1), json!({ "like": 1 }), json!({ "in": 1 }), json!({ "eq": [1] }), json!({ "eq": {} }), json!({ "in": [[1]] })] {
            assert!(read("a", &bad, &mut Vec::new()).is_err(), "{bad}");
        }
    }
}
