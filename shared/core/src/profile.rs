//! What a person or an organisation may be called, and what a person prefers. Names stand in mails and on pages of others, so they are
//! short, printable and hold no address of a page.

use crate::FieldError;
use serde::{Deserialize, Serialize};

/// Longest name, in characters.
pub const MAX_NAME: usize = 80;

/// The name without outer space, or what is wrong with it.
pub fn name(text: &str) -> Result<String, FieldError> {
    let wrong = |why: String| Err(FieldError::new("name", why));
    let name = text.trim();
    if name.is_empty() || name.chars().count() > MAX_NAME {
        return wrong(format!("from 1 to {MAX_NAME} characters"));
    }
    if name.chars().any(|c| c.is_control() || is_invisible(c)) {
        return wrong("holds a character that can't be seen".into());
    }
    if name.contains("://") || name.to_lowercase().contains("www.") {
        return wrong("a name holds no address of a page".into());
    }
    Ok(name.to_owned())
}

/// Characters that change how their neighbours are shown, or are not shown at all.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200B}' | '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}' | '\u{FFF9}'..='\u{FFFB}')
}

/// How the pages look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Theme {
    /// As the browser says.
    #[default]
    System,
    Light,
    Dark,
}

impl Theme {
    pub fn as_str(self) -> &'static str {
        match self {
            Theme::System => "system",
            Theme::Light => "light",
            Theme::Dark => "dark",
        }
    }
}

/// What a person prefers; a closed set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Preferences {
    /// Whether mail may come that no action of theirs causes.
    #[serde(default)]
    pub marketing_mail: bool,
    /// A language, such as `en` or `en-GB`; null is the browser's.
    #[serde(default)]
    pub locale: Option<String>,
    #[serde(default)]
    pub theme: Theme,
}

/// A language as pages name it: two or three letters, and a country or none.
pub fn locale(text: &str) -> Result<String, FieldError> {
    let (language, country) = text.split_once('-').map_or((text, None), |(language, country)| (language, Some(country)));
    let sound = (2..=3).contains(&language.len())
        && language.bytes().all(|b| b.is_ascii_lowercase())
        && country.is_none_or(|country| country.len() == 2 && country.bytes().all(|b| b.is_ascii_uppercase()));
    if sound { Ok(text.to_owned()) } else { Err(FieldError::new("locale", "a language such as en or en-GB")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_short_and_can_be_seen() {
        assert_eq!(name("  Ada Lovelace ").unwrap(), "Ada Lovelace");
        assert_eq!(name("Zoë 窯").unwrap(), "Zoë 窯");
        assert!(name(&"é".repeat(80)).is_ok());
        for bad in ["", "  ", "a\nb", "a\u{0}", "a\u{202E}b", "see https://x.example", "WWW.x.example", &"é".repeat(81)] {
            assert_eq!(name(bad).unwrap_err().field, "name", "{bad:?}");
        }
    }

    #[test]
    fn a_locale_is_a_language_and_perhaps_a_country() {
        for good in ["en", "de", "en-GB", "fil"] {
            assert_eq!(locale(good).unwrap(), good);
        }
        for bad in ["", "e", "EN", "en-gb", "en_GB", "en-GBR", "en-", "engl"] {
            assert_eq!(locale(bad).unwrap_err().field, "locale", "{bad:?}");
        }
    }
}
