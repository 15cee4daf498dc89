//! The functions of the template: environment, routes, schedules and queues of each, resolved for this machine.
//! A function gets exactly the variables that the template gives it, so one that is missing there is missing here too.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::resolve::{Resolver, text};
use crate::template::{Result, wrong};

pub type Env = BTreeMap<String, String>;

/// One Lambda of the template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// Its logical id.
    pub id: String,
    /// Its physical name, by which it is invoked.
    pub name: String,
    /// The crate whose `bootstrap` it deploys, from the build's properties.
    pub binary: String,
    pub env: Env,
    /// After this long an invocation is ended.
    pub timeout: Duration,
    pub routes: Vec<Route>,
    /// The names of its schedule events. Their rates are the cloud's; a laptop ticks at its own.
    pub schedules: Vec<String>,
    pub queues: Vec<QueueSource>,
    /// The ARNs of the topics that it is subscribed to.
    pub topics: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    pub method: String,
    /// As the template writes it: `/api/v1/jobs/{id}`.
    pub path: String,
}

/// A queue that Lambda would poll for a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueSource {
    pub event: String,
    /// The queue's logical id.
    pub queue: String,
    pub arn: String,
    pub url: String,
    pub batch: i32,
    /// The function reports which messages of a batch failed; without it, it is all or none.
    pub partial: bool,
}

/// All functions, by logical id.
pub fn functions(resolver: &Resolver) -> Result<Vec<Function>> {
    let globals = &resolver.template.section("Globals")["Function"];
    let mut functions = Vec::new();
    for (id, resource) in resolver.template.resources_of("AWS::Serverless::Function") {
        if resolver.exists(resource)? {
            functions.push(function(resolver, globals, id, resource).map_err(|error| wrong!("{id}: {error}"))?);
        }
    }
    Ok(functions)
}

fn function(resolver: &Resolver, globals: &Value, id: &str, resource: &Value) -> Result<Function> {
    let binary = resource["Metadata"]["BuildProperties"]["Binary"].as_str().ok_or_else(|| wrong!("Metadata names no Binary"))?;
    let properties = &resource["Properties"];
    let timeout = match properties.get("Timeout").or(globals.get("Timeout")) {
        Some(seconds) => resolver.text(seconds)?.parse().map_err(|_| wrong!("Timeout is no number of seconds"))?,
        None => 3, // Lambda's own default
    };
    let mut function = Function {
        id: id.into(),
        name: resolver.name(id)?,
        binary: binary.into(),
        env: Env::new(),
        timeout: Duration::from_secs(timeout),
        routes: Vec::new(),
        schedules: Vec::new(),
        queues: Vec::new(),
        topics: Vec::new(),
    };
    for source in [globals, properties] {
        for (name, value) in source["Environment"]["Variables"].as_object().into_iter().flatten() {
            let value = resolver.text(value).map_err(|error| wrong!("variable {name}: {error}"))?;
            function.env.insert(name.clone(), value);
        }
    }
    for (event, source) in properties["Events"].as_object().into_iter().flatten() {
        add_event(resolver, &mut function, event, source).map_err(|error| wrong!("event {event}: {error}"))?;
    }
    Ok(function)
}

fn add_event(resolver: &Resolver, function: &mut Function, event: &str, source: &Value) -> Result<()> {
    let properties = &source["Properties"];
    let field = |name: &str| resolver.text(&properties[name]).map_err(|_| wrong!("{name} is missing or no plain text"));
    match source["Type"].as_str() {
        Some("HttpApi") => {
            let (method, path) = (field("Method")?.to_uppercase(), field("Path")?);
            if !["GET", "POST", "PUT", "PATCH", "DELETE"].contains(&method.as_str()) {
                return Err(wrong!("{method} is a method that kiln-local can't route"));
            }
            if path.contains("+}") || !path.starts_with('/') {
                return Err(wrong!("{path} is a path that kiln-local can't route"));
            }
            function.routes.push(Route { method, path });
        }
        Some("Schedule") => {
            if resolver.resolve(&properties["Enabled"])? != Value::Bool(false) {
                function.schedules.push(event.into());
            }
        }
        Some("SNS") => function.topics.push(field("Topic")?),
        Some("SQS") => {
            let arn = field("Queue")?;
            let queue = resolver
                .template
                .resources_of("AWS::SQS::Queue")
                .map(|(id, _)| id)
                .find(|id| arn.ends_with(&format!(":{}", resolver.name(id).unwrap_or_default())))
                .ok_or_else(|| wrong!("{arn} is no queue of the template"))?;
            function.queues.push(QueueSource {
                event: event.into(),
                queue: queue.into(),
                url: resolver.resolve(&serde_json::json!({ "Ref": queue }))?.as_str().unwrap_or_default().into(),
                arn,
                batch: match properties.get("BatchSize") {
                    Some(size) => resolver.text(size)?.parse().map_err(|_| wrong!("BatchSize is no number"))?,
                    None => 10,
                },
                partial: properties["FunctionResponseTypes"]
                    .as_array()
                    .is_some_and(|types| types.iter().any(|kind| text(kind).as_deref() == Some("ReportBatchItemFailures"))),
            });
        }
        other => return Err(wrong!("kiln-local has no event source {}", other.unwrap_or("without a Type"))),
    }
    Ok(())
}

/// A secret that the template wants in the parameter store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secret {
    /// As the template names it, such as `admin-key`.
    pub name: String,
    /// The parameter's name: `/kiln/STACK/admin-key`.
    pub parameter: String,
    /// The variable that whoever deploys gives it by, where it is no secret of ours to make.
    pub given: Option<String>,
}

pub fn secrets(resolver: &Resolver) -> Result<Vec<Secret>> {
    let listed = resolver.template.section("Metadata")["Kiln"]["SecureStrings"].as_array();
    let mut secrets = Vec::new();
    for item in listed.into_iter().flatten() {
        let name = item["Name"].as_str().ok_or_else(|| wrong!("Metadata.Kiln.SecureStrings has an entry without a Name"))?;
        secrets.push(Secret {
            name: name.into(),
            parameter: format!("/kiln/{}/{name}", resolver.place.stack),
            given: item["Given"].as_str().map(str::to_owned),
        });
    }
    Ok(secrets)
}
