//! template.yaml as data: YAML in, JSON out, with CloudFormation's short tags (`!Ref x`) written the long way (`{"Ref": x}`).
//! It promises that a tag it does not know is an error and never text. What the intrinsics mean is resolve.rs's.

use std::path::Path;

use saphyr::{LoadableYamlNode, Scalar, Yaml};
use serde_json::{Map, Value, json};

/// What is wrong with a template, in words for whoever edits it.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct TemplateError(pub String);

pub type Result<T> = std::result::Result<T, TemplateError>;

/// Makes a [`TemplateError`] as `format!` makes a string.
macro_rules! wrong {
    ($($arg:tt)*) => { $crate::template::TemplateError(format!($($arg)*)) };
}
pub(crate) use wrong;

/// A template as it is written: nothing resolved.
#[derive(Debug, Clone)]
pub struct Template {
    root: Value,
}

impl Template {
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|error| wrong!("{}: {error}", path.display()))?;
        Self::parse(&text).map_err(|error| wrong!("{}: {error}", path.display()))
    }

    pub fn parse(text: &str) -> Result<Self> {
        let documents = Yaml::load_from_str(text).map_err(|error| wrong!("not YAML: {error}"))?;
        let [document] = documents.as_slice() else { return Err(wrong!("a template is one YAML document")) };
        let root = to_json(document, "")?;
        if !root["Resources"].is_object() {
            return Err(wrong!("no Resources"));
        }
        Ok(Self { root })
    }

    /// A top-level section; null where there is none.
    pub fn section(&self, name: &str) -> &Value {
        &self.root[name]
    }

    pub fn resource(&self, id: &str) -> Option<&Value> {
        self.section("Resources").get(id)
    }

    /// The resources of one type, by their logical ids.
    pub fn resources_of<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = (&'a str, &'a Value)> {
        self.resources().filter(move |(_, resource)| resource["Type"] == kind)
    }

    pub fn resources(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.section("Resources").as_object().into_iter().flatten().map(|(id, resource)| (id.as_str(), resource))
    }
}

/// `at` is where in the template we are, for messages.
fn to_json(node: &Yaml, at: &str) -> Result<Value> {
    Ok(match node {
        Yaml::Value(scalar) => match scalar {
            Scalar::Null => Value::Null,
            Scalar::Boolean(flag) => json!(flag),
            Scalar::Integer(number) => json!(number),
            Scalar::FloatingPoint(number) => json!(number.into_inner()),
            Scalar::String(text) => json!(text),
        },
        Yaml::Sequence(items) => items.iter().enumerate().map(|(index, item)| to_json(item, &format!("{at}[{index}]"))).collect::<Result<Vec<_>>>()?.into(),
        Yaml::Mapping(entries) => {
            let mut map = Map::new();
            for (key, value) in entries {
                let key = match to_json(key, at)? {
                    Value::String(text) => text,
                    Value::Number(number) => number.to_string(),
                    other => return Err(wrong!("at {at}: {other} can't be a key")),
                };
                let value = to_json(value, &format!("{at}/{key}"))?;
                map.insert(key, value);
            }
            map.into()
        }
        Yaml::Tagged(tag, inner) if tag.handle == "!" => long_form(&tag.suffix, to_json(inner, at)?, at)?,
        Yaml::Tagged(tag, _) => return Err(wrong!("at {at}: the tag {}{} is not CloudFormation's", tag.handle, tag.suffix)),
        Yaml::Representation(..) | Yaml::Alias(_) | Yaml::BadValue => return Err(wrong!("at {at}: a value that can't be read")),
    })
}

fn long_form(tag: &str, inner: Value, at: &str) -> Result<Value> {
    Ok(match tag {
        "Ref" | "Condition" => json!({ tag: inner }),
        "GetAtt" => match &inner {
            Value::String(text) => match text.split_once('.') {
                Some((id, attribute)) => json!({ "Fn::GetAtt": [id, attribute] }),
                None => return Err(wrong!("at {at}: !GetAtt {text} lacks an attribute")),
            },
            _ => json!({ "Fn::GetAtt": inner }),
        },
        "Sub" | "If" | "Equals" | "Not" | "And" | "Or" | "Join" | "Select" | "Split" | "FindInMap" => json!({ format!("Fn::{tag}"): inner }),
        _ => return Err(wrong!("at {at}: !{tag} is an intrinsic that kiln-local can't resolve")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_tags_read_as_their_long_form() {
        let template = Template::parse(
            "Resources:\n  A: {Type: T, P: !Ref B, Q: !GetAtt B.C.Arn, R: !If [X, !Sub '${B}-x', 3]}\n  B: {Type: U, On: 'on', Off: off, Yes: true}\n",
        )
        .unwrap();
        assert_eq!(
            template.resource("A").unwrap(),
            &json!({"Type": "T", "P": {"Ref": "B"}, "Q": {"Fn::GetAtt": ["B", "C.Arn"]}, "R": {"Fn::If": ["X", {"Fn::Sub": "${B}-x"}, 3]}})
        );
        // YAML 1.2: only true and false are booleans.
        assert_eq!(template.resource("B").unwrap(), &json!({"Type": "U", "On": "on", "Off": "off", "Yes": true}));
    }

    #[test]
    fn an_unknown_intrinsic_is_named_with_its_place() {
        let error = Template::parse("Resources:\n  A: {Type: T, P: !ImportValue x}\n").unwrap_err();
        assert_eq!(error.to_string(), "at /Resources/A/P: !ImportValue is an intrinsic that kiln-local can't resolve");
        assert!(Template::parse("Resources: [").unwrap_err().to_string().starts_with("not YAML"));
        assert_eq!(Template::parse("Parameters: {}").unwrap_err().to_string(), "no Resources");
    }
}
