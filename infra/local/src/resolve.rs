//! CloudFormation's arithmetic for one place: parameters, conditions and intrinsics of a template become plain values.
//! It promises that whatever it can't resolve is an error that names the intrinsic, so a laptop never runs on a guess.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::template::{Result, Template, wrong};

/// Where the template is made real: what AWS calls the pseudo parameters, and the endpoint that queue URLs start with.
#[derive(Debug, Clone)]
pub struct Place {
    pub stack: String,
    pub region: String,
    pub account: String,
    /// Without a final slash.
    pub endpoint: String,
}

/// A template in its place. Cheap to make; resolves what it is asked for and nothing else.
#[derive(Debug, Clone)]
pub struct Resolver<'a> {
    pub template: &'a Template,
    pub place: Place,
    parameters: BTreeMap<String, String>,
    queue_urls: BTreeMap<String, String>,
}

impl<'a> Resolver<'a> {
    /// `given` overrides the template's defaults. The stage of a laptop is none of those that can be deployed, so AllowedValues is
    /// not asked; a parameter that has neither value nor default, or that the template lacks, is an error.
    pub fn new(template: &'a Template, place: Place, given: &BTreeMap<String, String>) -> Result<Self> {
        let mut parameters = BTreeMap::new();
        let declared = template.section("Parameters").as_object();
        if let Some(name) = given.keys().find(|name| !declared.is_some_and(|declared| declared.contains_key(*name))) {
            return Err(wrong!("the template has no parameter {name}"));
        }
        for (name, parameter) in declared.into_iter().flatten() {
            let value = match (given.get(name), parameter.get("Default")) {
                (Some(value), _) => value.clone(),
                (None, Some(default)) => text(default).ok_or_else(|| wrong!("the default of parameter {name} is no plain value"))?,
                (None, None) => return Err(wrong!("parameter {name} has no default, and kiln-local has no value for it")),
            };
            parameters.insert(name.clone(), value);
        }
        Ok(Self { template, place, parameters, queue_urls: BTreeMap::new() })
    }

    /// Queue URLs as the queue service gave them; until then they are what a stand-in would give.
    pub fn set_queue_urls(&mut self, urls: BTreeMap<String, String>) {
        self.queue_urls = urls;
    }

    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str)
    }

    /// Whether a resource is made at all: its Condition holds or it has none.
    pub fn exists(&self, resource: &Value) -> Result<bool> {
        match &resource["Condition"] {
            Value::Null => Ok(true),
            Value::String(name) => self.condition(name),
            other => Err(wrong!("a Condition is a name, not {other}")),
        }
    }

    /// The resolved properties of a resource; an empty object where it has none.
    pub fn properties(&self, id: &str) -> Result<Value> {
        let resource = self.template.resource(id).ok_or_else(|| wrong!("the template has no resource {id}"))?;
        let properties = resource.get("Properties").cloned().unwrap_or_else(|| json!({}));
        self.resolve(&properties).map_err(|error| wrong!("{id}: {error}"))
    }

    /// `AWS::NoValue` takes its key or element away; at the top it is null.
    pub fn resolve(&self, value: &Value) -> Result<Value> {
        Ok(self.reduce(value)?.unwrap_or(Value::Null))
    }

    /// A value that must end as one piece of text, as an environment variable must.
    pub fn text(&self, value: &Value) -> Result<String> {
        let resolved = self.resolve(value)?;
        text(&resolved).ok_or_else(|| wrong!("{resolved} is not plain text"))
    }

    fn reduce(&self, value: &Value) -> Result<Option<Value>> {
        match value {
            Value::Object(map) => match intrinsic(map) {
                Some((name, argument)) => self.call(name, argument),
                None => {
                    let mut resolved = Map::new();
                    for (key, inner) in map {
                        if let Some(inner) = self.reduce(inner).map_err(|error| wrong!("{key}: {error}"))? {
                            resolved.insert(key.clone(), inner);
                        }
                    }
                    Ok(Some(resolved.into()))
                }
            },
            Value::Array(items) => {
                let mut resolved = Vec::with_capacity(items.len());
                for item in items {
                    resolved.extend(self.reduce(item)?);
                }
                Ok(Some(resolved.into()))
            }
            plain => Ok(Some(plain.clone())),
        }
    }

    fn call(&self, name: &str, argument: &Value) -> Result<Option<Value>> {
        Ok(Some(match name {
            "Ref" => match argument.as_str() {
                Some("AWS::NoValue") => return Ok(None),
                Some(id) => self.reference(id)?.into(),
                None => return Err(wrong!("Ref takes a name, not {argument}")),
            },
            "Fn::GetAtt" => match argument.as_array().map(Vec::as_slice) {
                Some([Value::String(id), Value::String(attribute)]) => self.attribute(id, attribute)?.into(),
                _ => return Err(wrong!("GetAtt takes a resource and an attribute, not {argument}")),
            },
            "Fn::Sub" => self.substitute(argument)?.into(),
            "Fn::If" => match argument.as_array().map(Vec::as_slice) {
                Some([Value::String(condition), yes, no]) => return self.reduce(if self.condition(condition)? { yes } else { no }),
                _ => return Err(wrong!("If takes a condition and two values, not {argument}")),
            },
            "Fn::Join" => match argument.as_array().map(Vec::as_slice) {
                Some([Value::String(glue), list]) => self.texts(list)?.join(glue).into(),
                _ => return Err(wrong!("Join takes a separator and a list, not {argument}")),
            },
            "Fn::Split" => match argument.as_array().map(Vec::as_slice) {
                Some([Value::String(separator), whole]) => self.text(whole)?.split(separator.as_str()).map(Value::from).collect::<Vec<_>>().into(),
                _ => return Err(wrong!("Split takes a separator and a text, not {argument}")),
            },
            "Fn::Select" => match argument.as_array().map(Vec::as_slice) {
                Some([index, list]) => {
                    let index: usize = self.text(index)?.parse().map_err(|_| wrong!("Select takes a whole number first, not {index}"))?;
                    self.texts(list)?.get(index).cloned().ok_or_else(|| wrong!("Select {index} is beyond the end of {list}"))?.into()
                }
                _ => return Err(wrong!("Select takes a number and a list, not {argument}")),
            },
            "Fn::FindInMap" => match argument.as_array().map(Vec::as_slice) {
                Some([map, key, second]) => {
                    let (map, key, second) = (self.text(map)?, self.text(key)?, self.text(second)?);
                    let found = &self.template.section("Mappings")[&map][&key][&second];
                    if found.is_null() {
                        return Err(wrong!("the template has no mapping {map}.{key}.{second}"));
                    }
                    found.clone()
                }
                _ => return Err(wrong!("FindInMap takes a map and two keys, not {argument}")),
            },
            "Fn::Equals" | "Fn::Not" | "Fn::And" | "Fn::Or" | "Condition" => self.truth(&json!({ name: argument }))?.into(),
            other => return Err(wrong!("{other} is an intrinsic that kiln-local can't resolve")),
        }))
    }

    fn texts(&self, list: &Value) -> Result<Vec<String>> {
        let resolved = self.resolve(list)?;
        let items = resolved.as_array().ok_or_else(|| wrong!("{resolved} is not a list"))?;
        items.iter().map(|item| text(item).ok_or_else(|| wrong!("{item} is not plain text"))).collect()
    }

    fn condition(&self, name: &str) -> Result<bool> {
        let conditions = self.template.section("Conditions");
        let condition = conditions.get(name).ok_or_else(|| wrong!("the template has no condition {name}"))?;
        self.truth(condition).map_err(|error| wrong!("condition {name}: {error}"))
    }

    fn truth(&self, value: &Value) -> Result<bool> {
        let Some((name, argument)) = value.as_object().and_then(intrinsic) else { return Err(wrong!("{value} is no condition")) };
        let items = argument.as_array().map(Vec::as_slice).unwrap_or_default();
        match (name, items) {
            ("Condition", _) => self.condition(argument.as_str().unwrap_or_default()),
            ("Fn::Equals", [left, right]) => Ok(self.text(left)? == self.text(right)?),
            ("Fn::Not", [inner]) => Ok(!self.truth(inner)?),
            ("Fn::And", items) if !items.is_empty() => items.iter().try_fold(true, |all, item| Ok(self.truth(item)? && all)),
            ("Fn::Or", items) if !items.is_empty() => items.iter().try_fold(false, |any, item| Ok(self.truth(item)? || any)),
            _ => Err(wrong!("{value} is no condition")),
        }
    }

    /// `${Name}`, `${Name.Attribute}` and `${!literal}`, with an optional map of further names.
    fn substitute(&self, argument: &Value) -> Result<String> {
        let (pattern, names) = match argument {
            Value::String(pattern) => (pattern.as_str(), None),
            Value::Array(parts) => match parts.as_slice() {
                [Value::String(pattern), Value::Object(names)] => (pattern.as_str(), Some(names)),
                _ => return Err(wrong!("Sub takes a text and a map, not {argument}")),
            },
            _ => return Err(wrong!("Sub takes a text, not {argument}")),
        };
        let mut made = String::new();
        let mut rest = pattern;
        while let Some(start) = rest.find("${") {
            made.push_str(&rest[..start]);
            let inner = &rest[start + 2..];
            let end = inner.find('}').ok_or_else(|| wrong!("Sub: {pattern:?} has an open ${{"))?;
            let name = &inner[..end];
            match (name.strip_prefix('!'), names.and_then(|names| names.get(name)), name.split_once('.')) {
                (Some(literal), ..) => made.push_str(&format!("${{{literal}}}")),
                (None, Some(value), _) => made.push_str(&self.text(value)?),
                (None, None, Some((id, attribute))) => made.push_str(&self.attribute(id, attribute)?),
                (None, None, None) => made.push_str(&self.reference(name)?),
            }
            rest = &inner[end + 1..];
        }
        made.push_str(rest);
        Ok(made)
    }

    fn reference(&self, id: &str) -> Result<String> {
        if let Some(value) = self.parameters.get(id) {
            return Ok(value.clone());
        }
        if let Some(pseudo) = id.strip_prefix("AWS::") {
            return match pseudo {
                "StackName" => Ok(self.place.stack.clone()),
                "Region" => Ok(self.place.region.clone()),
                "AccountId" => Ok(self.place.account.clone()),
                "Partition" => Ok("aws".into()),
                "URLSuffix" => Ok("amazonaws.com".into()),
                _ => Err(wrong!("AWS::{pseudo} is a name that kiln-local can't resolve")),
            };
        }
        match self.kind(id)? {
            "AWS::SQS::Queue" => self.queue_url(id),
            "AWS::SNS::Topic" => self.attribute(id, "TopicArn"),
            _ => self.name(id),
        }
    }

    fn attribute(&self, id: &str, attribute: &str) -> Result<String> {
        let Place { region, account, .. } = &self.place;
        let kind = self.kind(id)?;
        let name = self.name(id)?;
        Ok(match (kind, attribute) {
            ("AWS::DynamoDB::Table", "Arn") => format!("arn:aws:dynamodb:{region}:{account}:table/{name}"),
            ("AWS::SQS::Queue", "Arn") => format!("arn:aws:sqs:{region}:{account}:{name}"),
            ("AWS::SQS::Queue", "QueueName") => name,
            ("AWS::SQS::Queue", "QueueUrl") => self.queue_url(id)?,
            ("AWS::S3::Bucket", "Arn") => format!("arn:aws:s3:::{name}"),
            ("AWS::S3::Bucket", "DomainName") => format!("{name}.s3.amazonaws.com"),
            ("AWS::S3::Bucket", "RegionalDomainName") => format!("{name}.s3.{region}.amazonaws.com"),
            ("AWS::IAM::Role", "Arn") => format!("arn:aws:iam::{account}:role/{name}"),
            ("AWS::Logs::LogGroup", "Arn") => format!("arn:aws:logs:{region}:{account}:log-group:{name}:*"),
            ("AWS::SNS::Topic", "TopicArn") => format!("arn:aws:sns:{region}:{account}:{name}"),
            ("AWS::SNS::Topic", "TopicName") => name,
            ("AWS::Serverless::Function", "Arn") => format!("arn:aws:lambda:{region}:{account}:function:{name}"),
            _ => return Err(wrong!("GetAtt {id}.{attribute} ({kind}) is one that kiln-local can't resolve")),
        })
    }

    fn queue_url(&self, id: &str) -> Result<String> {
        let predicted = || Ok(format!("{}/{}/{}", self.place.endpoint, self.place.account, self.name(id)?));
        self.queue_urls.get(id).cloned().map_or_else(predicted, Ok)
    }

    fn kind(&self, id: &str) -> Result<&'a str> {
        let resource = self.template.resource(id).ok_or_else(|| wrong!("{id} is neither a parameter nor a resource of the template"))?;
        resource["Type"].as_str().ok_or_else(|| wrong!("resource {id} has no Type"))
    }

    /// The physical name: the one that the template gives, or the stack's name and the logical id, as CloudFormation does without its
    /// random tail, which a laptop's own folder makes needless. A bucket's is in lower case, as S3 demands.
    pub fn name(&self, id: &str) -> Result<String> {
        let kind = self.kind(id)?;
        let property = match kind {
            "AWS::DynamoDB::Table" => "TableName",
            "AWS::SQS::Queue" => "QueueName",
            "AWS::S3::Bucket" => "BucketName",
            "AWS::IAM::Role" => "RoleName",
            "AWS::Logs::LogGroup" => "LogGroupName",
            "AWS::SNS::Topic" => "TopicName",
            "AWS::SES::EmailIdentity" => "EmailIdentity",
            "AWS::Serverless::Function" => "FunctionName",
            _ => "Name",
        };
        match self.template.resource(id).and_then(|resource| resource["Properties"].get(property)) {
            Some(given) => self.text(given),
            None if kind == "AWS::S3::Bucket" => Ok(format!("{}-{}", self.place.stack, id).to_lowercase()),
            None => Ok(format!("{}-{id}", self.place.stack)),
        }
    }
}

/// An object with one key that is an intrinsic's name is a call. A key that merely looks like one is a call too, so a new intrinsic is
/// refused and never passed on as data.
fn intrinsic(map: &Map<String, Value>) -> Option<(&str, &Value)> {
    let (name, argument) = map.iter().next()?;
    // A resource or a policy statement may hold a key Condition beside others; alone and with a name it is the intrinsic.
    let called = name == "Ref" || name.starts_with("Fn::") || (name == "Condition" && argument.is_string());
    (map.len() == 1 && called).then_some((name.as_str(), argument))
}

/// CloudFormation's idea of text: numbers and booleans are written out.
pub fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEMPLATE: &str = "
Parameters:
  Stage: {Type: String, Default: staging}
  Days: {Type: Number, Default: 14}
Conditions:
  Live: !Equals [!Ref Stage, production]
  Dull: !And [!Not [!Condition Live], !Not [!Equals [!Ref Days, '3']]]
Resources:
  Queue: {Type: AWS::SQS::Queue}
  Bucket: {Type: AWS::S3::Bucket}
  Table: {Type: AWS::DynamoDB::Table, Properties: {TableName: !Sub '${AWS::StackName}_t'}}
  Probe:
    Type: Probe
    Properties:
      Days: !Ref Days
      Size: !If [Live, 9, !Ref AWS::NoValue]
      Url: !Ref Queue
      Arns: [!GetAtt Queue.Arn, !Sub '${Bucket.Arn}/${!literal}/*', !GetAtt Table.Arn]
      Domain: !Select [1, !Split ['@', a@b]]
      Sub: !Sub ['${X}-${Stage}', {X: !If [Dull, dull, live]}]
  Odd: {Type: Odd, Properties: {A: !GetAtt Probe.Colour}}
  Fresh: {Type: Odd, Properties: {A: {Fn::Base64: x}}}
";

    fn place() -> Place {
        Place { stack: "kiln-local".into(), region: "us-east-1".into(), account: "000000000000".into(), endpoint: "http://h:1".into() }
    }

    #[test]
    fn intrinsics_resolve_as_cloudformation_does() {
        let template = Template::parse(TEMPLATE).unwrap();
        let resolver = Resolver::new(&template, place(), &BTreeMap::new()).unwrap();
        assert_eq!(
            resolver.properties("Probe").unwrap(),
            json!({
                "Days": "14",
                "Url": "http://h:1/000000000000/kiln-local-Queue",
                "Arns": ["arn:aws:sqs:us-east-1:000000000000:kiln-local-Queue", "arn:aws:s3:::kiln-local-bucket/${literal}/*", "arn:aws:dynamodb:us-east-1:000000000000:table/kiln-local_t"],
                "Domain": "b",
                "Sub": "dull-staging",
            })
        );
        let live = Resolver::new(&template, place(), &BTreeMap::from([("Stage".into(), "production".into())])).unwrap();
        assert_eq!(live.properties("Probe").unwrap()["Size"], 9);
    }

    #[test]
    fn what_can_t_be_resolved_is_an_error_that_names_it() {
        let template = Template::parse(TEMPLATE).unwrap();
        let resolver = Resolver::new(&template, place(), &BTreeMap::new()).unwrap();
        let message = |id| resolver.properties(id).unwrap_err().to_string();
        assert_eq!(message("Odd"), "Odd: A: GetAtt Probe.Colour (Probe) is one that kiln-local can't resolve");
        assert_eq!(message("Fresh"), "Fresh: A: Fn::Base64 is an intrinsic that kiln-local can't resolve");
        assert_eq!(resolver.resolve(&json!({"Ref": "Nobody"})).unwrap_err().to_string(), "Nobody is neither a parameter nor a resource of the template");
        let unknown = Resolver::new(&template, place(), &BTreeMap::from([("Nope".into(), "1".into())])).unwrap_err();
        assert_eq!(unknown.to_string(), "the template has no parameter Nope");
    }
}
