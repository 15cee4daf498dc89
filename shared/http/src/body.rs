//! A JSON body: bounded, typed, and refused by the name of the field that is wrong.

use crate::operator::Trail;
use crate::problem::Problem;
use axum::extract::{FromRequest, Request};
use axum::http::{StatusCode, header};
use kiln_core::FieldError;
use kiln_core::objects::Objects;
use serde::de::DeserializeOwned;

/// Largest JSON body.
pub const MAX_BODY_BYTES: usize = 256 * 1024;

/// The typed body, and its bytes for the comparison of repeated requests.
pub struct Body<T> {
    pub value: T,
    pub bytes: bytes::Bytes,
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let json = request
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| value.split(';').next().is_some_and(|mime| mime.trim().eq_ignore_ascii_case("application/json")));
        if !json {
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_json", "The body must be sent as application/json."));
        }
        let trail = request.extensions().get::<Trail>().cloned();
        let bytes = axum::body::to_bytes(request.into_body(), MAX_BODY_BYTES)
            .await
            .map_err(|_| Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", format!("The body is larger than {MAX_BODY_BYTES} bytes.")))?;
        // Before it is read: what an operator is refused is told too.
        if let Some(trail) = trail {
            trail.note_body(&bytes);
        }
        Ok(Self { value: parse(&bytes)?, bytes })
    }
}

/// JSON as a typed value, whatever its content type said; a wrong field is named.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(Objects(&mut reader)).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        if (inner.is_syntax() || inner.is_eof()) && !is_json(bytes) {
            return Problem::new(StatusCode::BAD_REQUEST, "bad_json", format!("The body is not JSON: {inner}"));
        }
        Problem::bad_field(field_of(&path, &inner.to_string()))
    })?;
    reader.end().map_err(|error| Problem::new(StatusCode::BAD_REQUEST, "bad_json", format!("The body is not JSON: {error}")))?;
    Ok(value)
}

/// Whether it is JSON by its grammar: serde_json calls it an error of syntax too where a number stands for a name, or one is out of range.
fn is_json(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok())
}

/// Serde names an unknown or missing field in its message only; everything else by its path.
fn field_of(path: &str, message: &str) -> FieldError {
    let parent = if path == "." { "" } else { path };
    let plain = message.split(" at line ").next().unwrap_or(message);
    let named = ["unknown field", "missing field"].iter().any(|start| plain.starts_with(start)).then(|| plain.split('`').nth(1)).flatten();
    let field = match named {
        Some(name) if parent.is_empty() || parent == name => name.to_owned(),
        Some(name) if parent.ends_with(&format!(".{name}")) => parent.to_owned(),
        Some(name) => format!("{parent}.{name}"),
        None if parent.is_empty() => "body".to_owned(),
        None => parent.to_owned(),
    };
    FieldError::new(field, plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_field_is_named_by_its_path() {
        assert_eq!(field_of(".", "missing field `kind` at line 1 column 2").field, "kind");
        assert_eq!(field_of("colour", "unknown field `colour`, expected one of …").field, "colour");
        assert_eq!(field_of("inputs[0]", "no id of that kind, which begins with upl_").field, "inputs[0]");
        assert_eq!(field_of(".", "invalid type: string").field, "body");
    }

    #[test]
    fn a_list_for_an_object_is_refused_by_the_name_of_its_field() {
        #[derive(Debug, serde::Deserialize)]
        struct Whole {
            #[allow(dead_code)]
            part: Option<Part>,
        }
        #[derive(Debug, serde::Deserialize)]
        struct Part {
            #[allow(dead_code)]
            a: Option<u8>,
        }
        let field = |text: &str| parse::<Whole>(text.as_bytes()).unwrap_err().field;
        assert_eq!(field(r#"{"part":[1]}"#).as_deref(), Some("part"));
        assert_eq!(field("[null]").as_deref(), Some("body"));
        assert!(parse::<Whole>(br#"{"part":{"a":1}}"#).is_ok());
    }

    #[test]
    fn json_of_another_type_is_told_by_its_field_and_what_is_no_json_as_such() {
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "snake_case")]
        enum Colour {
            Red,
        }
        #[derive(serde::Deserialize)]
        struct Wanted {
            #[allow(dead_code)]
            colours: Vec<Colour>,
            #[allow(dead_code)]
            count: i64,
        }
        for (text, code, field) in [
            (r#"{"colours":[7],"count":1}"#, "bad_field", "colours[0]"),
            (r#"{"colours":["red",null],"count":1}"#, "bad_field", "colours[1]"),
            (r#"{"colours":["red"],"count":1e999}"#, "bad_field", "count"),
            (r#"{"colours":[red],"count":1}"#, "bad_json", ""),
            (r#"{"colours":["red"],"count":NaN}"#, "bad_json", ""),
            (r#"{"colours":[7],"count":1"#, "bad_json", ""),
            (r#"{"colours":["red"],"count":1} 1"#, "bad_json", ""),
        ] {
            let problem = parse::<Wanted>(text.as_bytes()).err().expect("a refusal");
            assert_eq!((problem.code.as_str(), problem.field.as_deref().unwrap_or_default()), (code, field), "{text}");
        }
        // What is no text is no JSON, wherever that shows.
        assert_eq!(parse::<Wanted>(b"{\"colours\":[7],\"note\":\"\xff\"}").err().expect("a refusal").code, "bad_json");
    }
}
