//! Mail addresses: a small rule that keeps typing errors and header tricks out. Whether an address exists, only its
//! mail can tell.

use crate::FieldError;

/// Longest address, in bytes (RFC 5321, the path's 256 without its brackets).
const MAX_BYTES: usize = 254;

/// The address without outer space and letter case, or why it is none.
pub fn parse(text: &str) -> Result<String, FieldError> {
    let wrong = |why: &str| Err(FieldError::new("email", why));
    let address = text.trim().to_lowercase();
    if address.len() > MAX_BYTES {
        return wrong("at most 254 bytes");
    }
    let Some((local, domain)) = address.split_once('@') else {
        return wrong("a mail address has an @");
    };
    if local.is_empty() || domain.contains('@') {
        return wrong("a mail address has a name, one @ and a domain");
    }
    // Spaces, quotes and brackets would mean something in a header; SES takes ASCII alone, domains in Punycode.
    if !local.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.".contains(&b))
        || local.starts_with('.')
        || local.ends_with('.')
        || local.contains("..")
    {
        return wrong("the part before the @ has a character that is not taken");
    }
    let labels: Vec<_> = domain.split('.').collect();
    let sound = |label: &&str| {
        (1..=63).contains(&label.len()) && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') && !label.starts_with('-') && !label.ends_with('-')
    };
    if labels.len() < 2 || !labels.iter().all(sound) {
        return wrong("the part after the @ is a domain such as example.org");
    }
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_without_case_and_outer_space() {
        assert_eq!(parse(" Ada+Kiln@Example.ORG ").unwrap(), "ada+kiln@example.org");
        assert_eq!(parse("a@b.c").unwrap(), "a@b.c");
    }

    #[test]
    fn what_is_no_address_is_refused_and_names_the_field() {
        let long = format!("{}@example.org", "a".repeat(250));
        for bad in [
            "",
            "ada",
            "@example.org",
            "ada@",
            "ada@example",
            "ada@@example.org",
            "ada@ex ample.org",
            "ada@.org",
            "ada@example.org.",
            "a\r\nBcc: b@c.d",
            "a b@c.d",
            "<a@b.c>",
            "ada@exa_mple.org",
            "a..b@c.d",
            "é@b.c",
            &long,
        ] {
            assert_eq!(parse(bad).unwrap_err().field, "email", "{bad:?}");
        }
    }
}
