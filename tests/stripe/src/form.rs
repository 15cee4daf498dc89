//! Form encoding with nested brackets (`a[b][0]=c`), as Stripe's clients write it, read into a tree.
//! It promises: bounded depth and count, and a refusal that names the field where two values don't fit together.

use std::collections::BTreeMap;

use crate::error::Refusal;

/// The most parameters one request may carry.
pub const MAX_PARAMS: usize = 2_000;
/// The deepest nesting of brackets.
pub const MAX_DEPTH: usize = 8;

/// A value or a group of values. A list is a group whose names are numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    Text(String),
    Group(BTreeMap<String, Node>),
}

/// Reads a query string or a form body into `into`.
pub fn read(encoded: &[u8], into: &mut BTreeMap<String, Node>) -> Result<(), Refusal> {
    for (count, (name, value)) in form_urlencoded::parse(encoded).enumerate() {
        if count >= MAX_PARAMS {
            return Err(Refusal::invalid(format!("A request carries at most {MAX_PARAMS} parameters.")));
        }
        let path = segments(&name)?;
        insert(into, &name, &path, value.into_owned())?;
    }
    Ok(())
}

/// `a[b][]` as `a`, `b`, ``.
fn segments(name: &str) -> Result<Vec<String>, Refusal> {
    let malformed = || Refusal::field(name, format!("Invalid parameter name: {name}"));
    let (first, mut rest) = match name.find('[') {
        Some(at) => name.split_at(at),
        None => (name, ""),
    };
    if first.is_empty() {
        return Err(malformed());
    }
    let mut path = vec![first.to_owned()];
    while !rest.is_empty() {
        let inner = rest.strip_prefix('[').ok_or_else(malformed)?;
        let end = inner.find(']').ok_or_else(malformed)?;
        path.push(inner[..end].to_owned());
        rest = &inner[end + 1..];
        if path.len() > MAX_DEPTH {
            return Err(Refusal::field(name, format!("Parameters nest at most {MAX_DEPTH} deep.")));
        }
    }
    Ok(path)
}

fn insert(group: &mut BTreeMap<String, Node>, name: &str, path: &[String], value: String) -> Result<(), Refusal> {
    let clash = || Refusal::field(name, format!("Invalid request: {name} is given both as a value and as a group, or twice."));
    let (first, rest) = path.split_first().ok_or_else(clash)?;
    // `a[]` appends.
    let key = if first.is_empty() { group.len().to_string() } else { first.clone() };
    if rest.is_empty() {
        return match group.insert(key, Node::Text(value)) {
            None => Ok(()),
            Some(_) => Err(clash()),
        };
    }
    match group.entry(key).or_insert_with(|| Node::Group(BTreeMap::new())) {
        Node::Group(inner) => insert(inner, name, rest, value),
        Node::Text(_) => Err(clash()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<BTreeMap<String, Node>, Refusal> {
        let mut into = BTreeMap::new();
        read(text.as_bytes(), &mut into).map(|()| into)
    }

    #[test]
    fn brackets_nest_and_empty_brackets_append() {
        let tree = parsed("a[b][0][c]=1&expand[]=x&expand[]=y&plain=a+b%21").unwrap();
        let Node::Group(expand) = &tree["expand"] else { panic!("a group") };
        assert_eq!(expand["0"], Node::Text("x".into()));
        assert_eq!(expand["1"], Node::Text("y".into()));
        assert_eq!(tree["plain"], Node::Text("a b!".into()));
        let Node::Group(a) = &tree["a"] else { panic!("a group") };
        assert!(matches!(&a["b"], Node::Group(b) if matches!(&b["0"], Node::Group(c) if c["c"] == Node::Text("1".into()))));
    }

    #[test]
    fn broken_brackets_clashes_and_depth_are_refused() {
        for bad in ["a[b=1", "[a]=1", "a]b[=1", "a[b]c=1", "a=1&a[b]=2", "a[b]=1&a=2", "a=1&a=2", "a[b][c][d][e][f][g][h][i]=1"] {
            assert!(parsed(bad).is_err(), "{bad}");
        }
        let many: String = (0..=MAX_PARAMS).map(|n| format!("p{n}=1&")).collect();
        assert!(parsed(&many).is_err());
    }
}
