//! The kinds of job: each one's capability, inputs, limits, parameters (a Rust type and its JSON Schema).
//! A kind is data of its engine; the server validates and prices by it, the worker runs it.

pub mod noop;
pub mod upscale;

use crate::FieldError;
use crate::objects::Objects;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

/// What the system knows of a kind of job.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    pub name: &'static str,
    pub title: &'static str,
    /// Which workers can run it; there is one queue per capability and priority.
    pub capability: &'static str,
    pub min_inputs: usize,
    pub max_inputs: usize,
    /// One attempt may run this long, in seconds.
    pub max_run_s: u64,
    /// Whether it changes a picture that the customer brought; such jobs have a daily limit of their own.
    pub edit: bool,
    /// Exists only where `KILN_TEST_ENGINES=1`.
    pub test_only: bool,
    /// Whether it makes an artifact of this name: a closed set, so that a host that lies can put no more files than the kind makes.
    pub makes: fn(&str) -> bool,
    schema: fn() -> Value,
    check: fn(&Value) -> Result<Value, FieldError>,
}

const KINDS: [Kind; 3] = [
    Kind {
        name: "upscale",
        title: "Enlarge a photo",
        capability: "image",
        min_inputs: 1,
        max_inputs: 1,
        max_run_s: 900,
        edit: true,
        test_only: false,
        makes: |name| name == "result.png",
        schema: schema_of::<upscale::UpscaleParams>,
        check: |params| check(params, upscale::UpscaleParams::validate),
    },
    Kind {
        name: "noop",
        title: "Do nothing (test systems only)",
        capability: "image",
        min_inputs: 0,
        max_inputs: 1,
        max_run_s: 900,
        edit: false,
        test_only: true,
        makes: noop::makes,
        schema: schema_of::<noop::NoopParams>,
        check: |params| check(params, noop::NoopParams::validate),
    },
    Kind {
        name: "noop_metered",
        title: "Do nothing, paid by the second (test systems only)",
        capability: "image",
        min_inputs: 0,
        max_inputs: 1,
        max_run_s: 900,
        edit: false,
        test_only: true,
        makes: noop::makes,
        schema: schema_of::<noop::NoopParams>,
        check: |params| check(params, noop::NoopParams::validate),
    },
];

/// Every capability; template.yaml declares its two queues.
pub const CAPABILITIES: [&str; 1] = ["image"];

/// Largest `params` of a job, as JSON text.
pub const MAX_PARAMS_BYTES: usize = 32 * 1024;

/// The kinds that this deployment offers.
pub fn offered(test_engines: bool) -> impl Iterator<Item = &'static Kind> {
    KINDS.iter().filter(move |kind| test_engines || !kind.test_only)
}

/// The kind of that name, if this deployment offers it.
pub fn find(name: &str, test_engines: bool) -> Option<&'static Kind> {
    offered(test_engines).find(|kind| kind.name == name)
}

impl Kind {
    /// The parameters' JSON Schema.
    pub fn schema(&self) -> Value {
        (self.schema)()
    }

    /// The parameters with their defaults filled in, or what is wrong with them; fields are named from `params`.
    pub fn validate(&self, params: &Value) -> Result<Value, FieldError> {
        if !params.is_object() {
            return Err(FieldError::new("params", "must be a JSON object"));
        }
        if params.to_string().len() > MAX_PARAMS_BYTES {
            return Err(FieldError::new("params", format!("larger than {MAX_PARAMS_BYTES} bytes")));
        }
        (self.check)(params).map_err(|error| error.under("params"))
    }
}

fn schema_of<T: schemars::JsonSchema>() -> Value {
    schemars::schema_for!(T).to_value()
}

/// Reads `T`, checks it, and gives it back whole. The field of a type error is the path serde stopped at.
fn check<T: DeserializeOwned + Serialize>(params: &Value, validate: fn(&T) -> Result<(), FieldError>) -> Result<Value, FieldError> {
    let typed: T = serde_path_to_error::deserialize(Objects(params)).map_err(|error| {
        let path = error.path().to_string();
        let message = error.inner().to_string();
        // An unknown or missing field is told by serde in words, at the level of its parent.
        let named = message.split('`').nth(1).filter(|_| message.starts_with("unknown field") || message.starts_with("missing field"));
        match (path.as_str(), named) {
            (".", Some(field)) => FieldError::new(field, message.clone()),
            (".", None) => FieldError::new("", message),
            (_, Some(field)) if !path.ends_with(field) => FieldError::new(format!("{path}.{field}"), message.clone()),
            _ => FieldError::new(path, message),
        }
    })?;
    validate(&typed)?;
    serde_json::to_value(typed).map_err(|error| FieldError::new("", error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_kind_makes_a_closed_set_of_artifacts() {
        let upscale = find("upscale", false).unwrap();
        assert!((upscale.makes)("result.png") && !(upscale.makes)("result-2.png") && !(upscale.makes)("../result.png"));
        let noop = find("noop", true).unwrap();
        let made = (0..200).filter(|n| (noop.makes)(&format!("result-{n}.png"))).count();
        assert_eq!(made, 63);
        assert!((noop.makes)("result.png") && !(noop.makes)("result-02.png") && !(noop.makes)("result-+2.png"));
    }

    #[test]
    fn noop_exists_only_where_test_engines_are_on() {
        assert!(find("noop", false).is_none());
        assert!(find("noop", true).is_some());
        assert!(find("mine_bitcoin", true).is_none());
    }

    #[test]
    fn defaults_are_filled_in() {
        let whole = find("upscale", false).unwrap().validate(&json!({"scale": 2})).unwrap();
        assert_eq!(whole["auto_exposure"], json!(false));
    }

    #[test]
    fn a_bad_parameter_is_refused_by_its_name() {
        let kind = find("upscale", false).unwrap();
        let field = |params: Value| kind.validate(&params).unwrap_err().field;
        assert_eq!(field(json!({"scale": 5})), "params.scale");
        assert_eq!(field(json!({"scale": -2})), "params.scale");
        assert_eq!(field(json!({"scale": "2"})), "params.scale");
        assert_eq!(field(json!({"scale": 2.5})), "params.scale");
        assert_eq!(field(json!({"scale": 2, "sharpen": 7})), "params.sharpen");
        assert_eq!(field(json!({"scale": 2, "sharpen": "NaN"})), "params.sharpen");
        assert_eq!(field(json!({"scale": 2, "colour": 1})), "params.colour");
        assert_eq!(field(json!({})), "params.scale");
        assert_eq!(field(json!([])), "params");
        assert_eq!(field(json!({"scale": 2, "x": "y".repeat(MAX_PARAMS_BYTES)})), "params");
    }
}
