//! Makes on the stand-in what the template declares, and only that; may run again at any time and then changes only what differs.
//! Each type and each property is either made here or in a list with the reason why a laptop goes without; any other is an error, so a
//! new resource of the template can't be forgotten.

use std::collections::BTreeMap;

use anyhow::{Context, Result, anyhow, bail};
use aws_sdk_dynamodb::types as db;
use aws_sdk_s3::types as s3;
use aws_sdk_sqs::types::QueueAttributeName;
use serde_json::Value;

use crate::aws::Clients;
use crate::resolve::{Resolver, text};

/// What a laptop goes without, and why.
const NOT_MADE: &[(&str, &str)] = &[
    ("AWS::S3::BucketPolicy", "they demand TLS and a distribution, and a stand-in on this machine has neither"),
    ("AWS::IAM::Role", "the functions run in this process; stand-ins lend a role without making it"),
    ("AWS::IAM::RolePolicy", "as the roles"),
    ("AWS::EC2::SecurityGroup", "nothing is rented at EC2 from a laptop"),
    ("AWS::Logs::LogGroup", "logs go to the terminal"),
    ("AWS::Serverless::HttpApi", "the gateway is ours (gateway.rs)"),
    ("AWS::Serverless::Function", "the functions run in this process (functions.rs)"),
    ("AWS::CloudFront::OriginAccessControl", "the pages are served from the build (pages.rs)"),
    ("AWS::CloudFront::Function", "as above"),
    ("AWS::CloudFront::ResponseHeadersPolicy", "its headers are set by headers.rs"),
    ("AWS::CloudFront::Distribution", "as above"),
    ("AWS::SNS::Topic", "alarms wake nobody here, and of bounces simulator.rs tells the function itself"),
    ("AWS::SNS::Subscription", "as the topic"),
    ("AWS::SNS::TopicPolicy", "as the topic"),
    ("AWS::SES::ConfigurationSetEventDestination", "as the topic"),
    ("AWS::CloudWatch::Alarm", "nobody is woken by a laptop"),
    ("AWS::CloudWatch::Dashboard", "as the alarms"),
];

/// The properties of a table that we make, and those that a laptop goes without: scripts/reset deletes everything, and stand-ins keep
/// no backups and encrypt nothing.
const TABLE: &[&str] = &[
    "TableName",
    "BillingMode",
    "AttributeDefinitions",
    "KeySchema",
    "GlobalSecondaryIndexes",
    "TimeToLiveSpecification",
    "DeletionProtectionEnabled",
    "PointInTimeRecoverySpecification",
    "SSESpecification",
];

/// Of a bucket, likewise: who may reach one on this machine is who may reach the stand-in.
const BUCKET: &[&str] =
    &["BucketName", "CorsConfiguration", "LifecycleConfiguration", "PublicAccessBlockConfiguration", "BucketEncryption", "OwnershipControls"];

/// What kiln-local makes, in the order in which it does.
struct Plan<'a> {
    queues: Vec<&'a str>,
    /// Logical id and type.
    others: Vec<(&'a str, &'a str)>,
}

fn plan<'a>(resolver: &Resolver<'a>) -> Result<Plan<'a>> {
    let mut plan = Plan { queues: Vec::new(), others: Vec::new() };
    for (id, resource) in resolver.template.resources() {
        if !resolver.exists(resource)? {
            continue;
        }
        match resource["Type"].as_str().unwrap_or_default() {
            "AWS::SQS::Queue" => plan.queues.push(id),
            kind @ ("AWS::DynamoDB::Table" | "AWS::S3::Bucket" | "AWS::SES::EmailIdentity" | "AWS::SES::ConfigurationSet") => plan.others.push((id, kind)),
            kind if NOT_MADE.iter().any(|(known, _)| *known == kind) => {}
            kind => bail!("{id} is a {kind}, which kiln-local neither makes nor knowingly leaves out (infra/local/src/provision.rs)"),
        }
    }
    Ok(plan)
}

/// Whether every resource of the template, and every property of those that are made, is known here; makes nothing.
pub fn check(resolver: &Resolver) -> Result<()> {
    let plan = plan(resolver)?;
    for id in &plan.queues {
        queue_attributes(&resolver.properties(id)?).with_context(|| (*id).to_owned())?;
    }
    for (id, kind) in &plan.others {
        let properties = resolver.properties(id)?;
        let known = match *kind {
            "AWS::DynamoDB::Table" => only(&properties, TABLE),
            "AWS::S3::Bucket" => only(&properties, BUCKET),
            // What else it says is of a real SES.
            "AWS::SES::ConfigurationSet" => only(&properties, &["Name", "SuppressionOptions"]),
            _ => only(&properties, &["EmailIdentity"]),
        };
        known.with_context(|| (*id).to_owned())?;
    }
    Ok(())
}

/// Makes everything; returns the queues' URLs by logical id.
pub async fn provision(clients: &Clients, resolver: &Resolver<'_>) -> Result<BTreeMap<String, String>> {
    check(resolver)?;
    let plan = plan(resolver)?;
    let urls = queues(clients, resolver, &plan.queues).await?;
    for (id, kind) in plan.others {
        let properties = resolver.properties(id)?;
        let name = resolver.name(id)?;
        let done = match kind {
            "AWS::DynamoDB::Table" => table(&clients.dynamodb, &name, &properties).await,
            "AWS::S3::Bucket" => bucket(&clients.s3, &name, &properties).await,
            "AWS::SES::ConfigurationSet" => configuration_set(&clients.ses, &name).await,
            _ => identity(&clients.ses, &name).await,
        };
        done.with_context(|| format!("making {id}"))?;
    }
    // The sender's identity is registered by hand where mail is real, so the template need not declare it.
    if let Some(sender) = resolver.parameter("MailFrom") {
        identity(&clients.ses, sender).await.context("registering the sender of mail")?;
    }
    Ok(urls)
}

/// Refuses a property that is neither handled nor knowingly left out.
fn only(properties: &Value, known: &[&str]) -> Result<()> {
    match properties.as_object().and_then(|map| map.keys().find(|key| !known.contains(&key.as_str()))) {
        Some(key) => bail!("property {key} is one that kiln-local neither makes nor knowingly leaves out"),
        None => Ok(()),
    }
}

fn string(value: &Value, field: &str) -> Result<String> {
    text(&value[field]).ok_or_else(|| anyhow!("{field} is missing or no plain text"))
}

fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value[field].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn strings(value: &Value, field: &str) -> Option<Vec<String>> {
    let items: Vec<_> = list(value, field).iter().filter_map(text).collect();
    (!items.is_empty()).then_some(items)
}

// ---------------------------------------------------------------- the table

async fn table(client: &aws_sdk_dynamodb::Client, name: &str, properties: &Value) -> Result<()> {
    let keys = key_schema(properties)?;
    let indexes = list(properties, "GlobalSecondaryIndexes").iter().map(index).collect::<Result<Vec<_>>>()?;
    match client.describe_table().table_name(name).send().await {
        Ok(found) => {
            let found = found.table.context("no table in the answer")?;
            let mut have: Vec<_> = found.global_secondary_indexes().iter().filter_map(|index| index.index_name()).collect();
            let mut want: Vec<_> = indexes.iter().map(|index| index.index_name()).collect();
            have.sort_unstable();
            want.sort_unstable();
            if have != want || found.key_schema() != keys {
                bail!("the table that is there has other keys or indexes than the template; scripts/reset clears the data");
            }
        }
        Err(error) if error.as_service_error().is_some_and(|error| error.is_resource_not_found_exception()) => {
            let attributes = list(properties, "AttributeDefinitions")
                .iter()
                .map(|definition| {
                    let kind = string(definition, "AttributeType")?.as_str().into();
                    Ok(db::AttributeDefinition::builder().attribute_name(string(definition, "AttributeName")?).attribute_type(kind).build()?)
                })
                .collect::<Result<Vec<_>>>()?;
            client
                .create_table()
                .table_name(name)
                .billing_mode(string(properties, "BillingMode")?.as_str().into())
                .set_attribute_definitions(Some(attributes))
                .set_key_schema(Some(keys))
                .set_global_secondary_indexes((!indexes.is_empty()).then_some(indexes))
                .send()
                .await?;
        }
        Err(error) => return Err(error.into()),
    }
    let ttl = &properties["TimeToLiveSpecification"];
    if ttl["Enabled"] == true {
        let attribute = string(ttl, "AttributeName")?;
        let now = client.describe_time_to_live().table_name(name).send().await?;
        if now.time_to_live_description().and_then(|ttl| ttl.attribute_name()) != Some(&attribute) {
            let wanted = db::TimeToLiveSpecification::builder().attribute_name(attribute).enabled(true).build()?;
            client.update_time_to_live().table_name(name).time_to_live_specification(wanted).send().await?;
        }
    }
    Ok(())
}

fn key_schema(value: &Value) -> Result<Vec<db::KeySchemaElement>> {
    list(value, "KeySchema")
        .iter()
        .map(|key| {
            let kind = string(key, "KeyType")?.as_str().into();
            Ok(db::KeySchemaElement::builder().attribute_name(string(key, "AttributeName")?).key_type(kind).build()?)
        })
        .collect()
}

fn index(value: &Value) -> Result<db::GlobalSecondaryIndex> {
    only(value, &["IndexName", "KeySchema", "Projection"])?;
    let projection = db::Projection::builder()
        .projection_type(string(&value["Projection"], "ProjectionType")?.as_str().into())
        .set_non_key_attributes(strings(&value["Projection"], "NonKeyAttributes"))
        .build();
    Ok(db::GlobalSecondaryIndex::builder().index_name(string(value, "IndexName")?).set_key_schema(Some(key_schema(value)?)).projection(projection).build()?)
}

// ---------------------------------------------------------------- the queues

/// First all queues, then their attributes: a redrive policy names another queue.
async fn queues(clients: &Clients, resolver: &Resolver<'_>, ids: &[&str]) -> Result<BTreeMap<String, String>> {
    let mut urls = BTreeMap::new();
    for id in ids {
        let name = resolver.name(id)?;
        let url = match clients.sqs.get_queue_url().queue_name(&name).send().await {
            Ok(found) => found.queue_url,
            Err(error) if error.as_service_error().is_some_and(|error| error.is_queue_does_not_exist()) => {
                clients.sqs.create_queue().queue_name(&name).send().await.with_context(|| format!("making {id}"))?.queue_url
            }
            Err(error) => return Err(error).with_context(|| format!("looking for {id}")),
        };
        urls.insert((*id).to_owned(), url.with_context(|| format!("{id} has no URL"))?);
    }
    for id in ids {
        let attributes = queue_attributes(&resolver.properties(id)?).with_context(|| format!("making {id}"))?;
        if !attributes.is_empty() {
            let done = clients.sqs.set_queue_attributes().queue_url(&urls[*id]).set_attributes(Some(attributes)).send().await;
            done.with_context(|| format!("setting up {id}"))?;
        }
    }
    Ok(urls)
}

fn queue_attributes(properties: &Value) -> Result<std::collections::HashMap<QueueAttributeName, String>> {
    let mut attributes = std::collections::HashMap::new();
    for (key, value) in properties.as_object().into_iter().flatten() {
        let value = match (key.as_str(), value) {
            ("QueueName", _) => continue,
            ("VisibilityTimeout" | "ReceiveMessageWaitTimeSeconds" | "MessageRetentionPeriod" | "DelaySeconds" | "SqsManagedSseEnabled", plain) => {
                text(plain).ok_or_else(|| anyhow!("{key} is no plain value"))?
            }
            ("RedrivePolicy", policy) => policy.to_string(),
            _ => bail!("property {key} is one that kiln-local neither makes nor knowingly leaves out"),
        };
        attributes.insert(key.as_str().into(), value);
    }
    Ok(attributes)
}

// ---------------------------------------------------------------- the buckets

async fn bucket(client: &aws_sdk_s3::Client, name: &str, properties: &Value) -> Result<()> {
    if let Err(error) = client.create_bucket().bucket(name).send().await {
        let ours = error.as_service_error().is_some_and(|error| error.is_bucket_already_owned_by_you());
        if !ours {
            return Err(error.into());
        }
    }
    let cors = list(&properties["CorsConfiguration"], "CorsRules").iter().map(cors_rule).collect::<Result<Vec<_>>>()?;
    if !cors.is_empty() {
        let cors = s3::CorsConfiguration::builder().set_cors_rules(Some(cors)).build()?;
        client.put_bucket_cors().bucket(name).cors_configuration(cors).send().await?;
    }
    let rules = list(&properties["LifecycleConfiguration"], "Rules").iter().map(lifecycle_rule).collect::<Result<Vec<_>>>()?;
    if !rules.is_empty() {
        let lifecycle = s3::BucketLifecycleConfiguration::builder().set_rules(Some(rules)).build()?;
        client.put_bucket_lifecycle_configuration().bucket(name).lifecycle_configuration(lifecycle).send().await?;
    }
    Ok(())
}

fn cors_rule(rule: &Value) -> Result<s3::CorsRule> {
    only(rule, &["Id", "AllowedOrigins", "AllowedMethods", "AllowedHeaders", "ExposedHeaders", "MaxAge"])?;
    Ok(s3::CorsRule::builder()
        .set_allowed_origins(strings(rule, "AllowedOrigins"))
        .set_allowed_methods(strings(rule, "AllowedMethods"))
        .set_allowed_headers(strings(rule, "AllowedHeaders"))
        .set_expose_headers(strings(rule, "ExposedHeaders"))
        .set_max_age_seconds(number(rule, "MaxAge")?)
        .build()?)
}

fn lifecycle_rule(rule: &Value) -> Result<s3::LifecycleRule> {
    only(rule, &["Id", "Status", "Prefix", "ExpirationInDays", "AbortIncompleteMultipartUpload"])?;
    let expiration = number(rule, "ExpirationInDays")?.map(|days| s3::LifecycleExpiration::builder().days(days).build());
    let abort = number(&rule["AbortIncompleteMultipartUpload"], "DaysAfterInitiation")?
        .map(|days| s3::AbortIncompleteMultipartUpload::builder().days_after_initiation(days).build());
    Ok(s3::LifecycleRule::builder()
        .set_id(text(&rule["Id"]))
        .status(string(rule, "Status")?.as_str().into())
        .filter(s3::LifecycleRuleFilter::builder().prefix(text(&rule["Prefix"]).unwrap_or_default()).build())
        .set_expiration(expiration)
        .set_abort_incomplete_multipart_upload(abort)
        .build()?)
}

/// A whole number that may be written as text, as a parameter's value is.
fn number(value: &Value, field: &str) -> Result<Option<i32>> {
    match text(&value[field]) {
        None => Ok(None),
        Some(digits) => Ok(Some(digits.parse().with_context(|| format!("{field} is {digits:?}"))?)),
    }
}

// ---------------------------------------------------------------- mail

async fn identity(client: &aws_sdk_sesv2::Client, name: &str) -> Result<()> {
    match client.create_email_identity().email_identity(name).send().await {
        Ok(_) => Ok(()),
        Err(error) if error.as_service_error().is_some_and(|error| error.is_already_exists_exception()) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

async fn configuration_set(client: &aws_sdk_sesv2::Client, name: &str) -> Result<()> {
    match client.create_configuration_set().configuration_set_name(name).send().await {
        Ok(_) => Ok(()),
        Err(error) if error.as_service_error().is_some_and(|error| error.is_already_exists_exception()) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
