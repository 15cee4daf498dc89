//! The model against the stand-in of the system tests: thousands of random requests to both, all answers and the final items compared.
//!
//! Where the two differ and the model is right, by DynamoDB's documentation, the difference stands in [`known`].

use crate::generator::Generator;
use anyhow::{Context, Result, bail, ensure};
use kiln_dynamo::{Memory, Planted};
use serde_json::{Value, json};
use std::time::Duration;

const REQUESTS: u32 = 3_000;

/// The stand-in, its process and the HTTP client.
struct StandIn {
    client: reqwest::Client,
    url: String,
    _folder: tempfile::TempDir,
    _process: tokio::process::Child,
}

impl StandIn {
    async fn start() -> Result<Self> {
        // Whoever built with reqwest must name the one TLS provider; a second naming is no error.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::Builder::new().prefix("kiln-test-").tempdir()?;
        let (process, url) = kiln_tests::system::start_standin(folder.path()).await?;
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(20)).build()?;
        Ok(Self { client, url, _folder: folder, _process: process })
    }

    /// The answer to a request about the table `kiln`, which is called `table` there.
    async fn answer(&self, operation: &str, body: &Value, table: &str) -> Result<(u16, Value)> {
        let request = self
            .client
            .post(&self.url)
            .header("x-amz-target", format!("DynamoDB_20120810.{operation}"))
            .header("content-type", "application/x-amz-json-1.0")
            .header("authorization", "AWS4-HMAC-SHA256 Credential=local/20260101/eu-central-1/dynamodb/aws4_request, SignedHeaders=host, Signature=00")
            .body(body.to_string().replace("\"kiln\"", &format!("\"{table}\"")));
        let answer = request.send().await?;
        let status = answer.status().as_u16();
        let text = answer.text().await?.replace(&format!("\"{table}\""), "\"kiln\"");
        Ok((status, serde_json::from_str(&text).with_context(|| text)?))
    }

    /// A table of the template's schema.
    async fn create(&self, table: &str) -> Result<()> {
        let template = kiln_local::template::Template::read(&kiln_tests::system::root().join("template.yaml"))?;
        let properties = &template.resource("Table").context("the table")?["Properties"];
        let mut request = json!({ "TableName": "kiln", "BillingMode": "PAY_PER_REQUEST" });
        for name in ["AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes"] {
            request[name] = properties[name].clone();
        }
        let (status, body) = self.answer("CreateTable", &request, table).await?;
        ensure!(status == 200, "CreateTable: {body}");
        Ok(())
    }
}

/// What two answers must have in common: sets in order, numbers in one form, errors by their kind, nothing that is only counted.
fn essence(status: u16, body: &Value) -> Value {
    if status == 200 {
        return plain(body);
    }
    let kind = body["__type"].as_str().unwrap_or_default().rsplit('#').next().unwrap_or_default();
    let reasons: Vec<Value> =
        body["CancellationReasons"].as_array().into_iter().flatten().map(|reason| json!([reason["Code"], plain(&reason["Item"])])).collect();
    json!({ "kind": kind, "reasons": reasons, "item": plain(&body["Item"]) })
}

fn plain(body: &Value) -> Value {
    match body {
        Value::Object(map) => {
            if let (1, Some(("SS" | "NS" | "BS", Value::Array(set)))) = (map.len(), map.iter().next().map(|(kind, set)| (kind.as_str(), set))) {
                let mut set = set.clone();
                set.sort_by_key(Value::to_string);
                return json!({ "set": set });
            }
            if let (1, Some(Value::String(number))) = (map.len(), map.get("N")) {
                // The stand-in keeps the zeros of a sum.
                let short = if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { number };
                return json!({ "N": short });
            }
            let kept = map.iter().filter(|(name, value)| {
                // Nothing returned is no attributes with DynamoDB, an empty map with the stand-in.
                let idle = matches!(name.as_str(), "Attributes" | "UnprocessedKeys" | "UnprocessedItems" | "ConsumedCapacity" | "ItemCollectionMetrics");
                !(idle && value.as_object().is_none_or(serde_json::Map::is_empty))
            });
            Value::Object(kept.map(|(name, value)| (name.clone(), plain(value))).collect())
        }
        Value::Array(list) => Value::Array(list.iter().map(plain).collect()),
        other => other.clone(),
    }
}

/// In the order of the keys, where DynamoDB promises none.
fn sorted(operation: &str, mut essence: Value) -> Value {
    let list = match operation {
        "Scan" => essence.get_mut("Items"),
        "BatchGetItem" => essence.get_mut("Responses").and_then(|responses| responses.get_mut("kiln")),
        _ => None,
    };
    if let Some(Value::Array(items)) = list {
        items.sort_by_key(Value::to_string);
    }
    essence
}

/// Why an answer of the stand-in differs from the model's although the model is right; `None` where it is not known to. The model follows
/// DynamoDB's documentation; `said` are its words.
fn known(request: &str, said: &str, ours: &Value, theirs: &Value) -> Option<&'static str> {
    let refused = |answer: &Value| answer.to_string().contains("\"Validation");
    if request.contains("begins_with(") && refused(theirs) && !refused(ours) {
        // DynamoDB refuses a wrong type only where the request itself has it; an attribute of another type is just no match.
        return Some("begins_with of an attribute that is no text is an error there");
    }
    if request.contains("next_check_at = ") && theirs.to_string().contains("Validation") && ours.to_string().contains("ConditionalCheckFailed") {
        // DynamoDB looks at the condition before it makes the item.
        return Some("an index key of the wrong type comes before the condition there");
    }
    if request.contains("size(") {
        // DynamoDB has no size for them, so that no comparison with it holds.
        return Some("numbers, truth values and nulls have a size there");
    }
    if said.contains("document path") || ours.to_string().contains("ValidationError") {
        // DynamoDB: "The document path provided in the update expression is invalid for update".
        return Some("a path whose parent is missing is made or passed over there");
    }
    if said.contains("incorrect data type") {
        return Some("arithmetic with what is no number takes the first operand there");
    }
    if request.contains("IndexName") && request.contains("FilterExpression") {
        // DynamoDB filters what it read, and it reads the index.
        return Some("a filter of the index sees what the index does not hold there");
    }
    if ["l", "m", "ss", "f", "b", "t", "#n", "n"].iter().any(|path| ["<", ">", "BETWEEN"].iter().any(|sign| request.contains(&format!("{path} {sign}")))) {
        // DynamoDB orders values of one type only.
        return Some("values of two types have an order there");
    }
    None
}

/// The keys that a request may have written.
fn touched(request: &Value) -> Vec<Value> {
    let one = |map: &serde_json::Map<String, Value>| Some(json!({ "pk": map.get("pk")?, "sk": map.get("sk")? }));
    match request {
        Value::Object(map) => one(map).map_or_else(|| map.values().flat_map(touched).collect(), |key| vec![key]),
        Value::Array(list) => list.iter().flat_map(touched).collect(),
        _ => vec![],
    }
}

/// Gives the stand-in the model's items, so that one difference is told once.
async fn agree(stand_in: &StandIn, memory: &Memory, table: &str, request: &Value) -> Result<()> {
    for key in touched(request) {
        let (_, found) = memory.answer("GetItem", &json!({ "TableName": "kiln", "Key": key }));
        let (status, body) = match found.get("Item") {
            Some(item) => stand_in.answer("PutItem", &json!({ "TableName": "kiln", "Item": item }), table).await?,
            None => stand_in.answer("DeleteItem", &json!({ "TableName": "kiln", "Key": key }), table).await?,
        };
        ensure!(status == 200, "{body}");
    }
    Ok(())
}

/// Sends the same requests to both. An error tells of the first difference.
async fn compare(stand_in: &StandIn, memory: &Memory, table: &str, seed: u64, requests: u32) -> Result<u32> {
    stand_in.create(table).await?;
    let mut generator = Generator::new(seed);
    let (mut sound, mut differed) = (0, 0);
    for count in 1..=requests {
        let (operation, request) = generator.next();
        let (status, theirs) = stand_in.answer(operation, &request, table).await?;
        let theirs = sorted(operation, essence(status, &theirs));
        let (status, raw) = memory.answer(operation, &request);
        let ours = sorted(operation, essence(status, &raw));
        sound += u32::from(status == 200);
        if ours != theirs {
            let said = raw["message"].as_str().unwrap_or_default();
            if known(&request.to_string(), said, &ours, &theirs).is_none() {
                bail!("request {count} of seed {seed}: {operation} {request}\n  model     {ours} {said}\n  stand-in  {theirs}");
            }
            differed += 1;
            agree(stand_in, memory, table, &request).await?;
        }
    }
    // The list of what is known must not hide a rule that is broken.
    ensure!(differed * 5 < requests, "{differed} of {requests} answers differ in a known way");
    ensure!(sound * 2 > requests, "only {sound} of {requests} requests were sound");
    let scan = json!({ "TableName": "kiln" });
    let (status, theirs) = stand_in.answer("Scan", &scan, table).await?;
    let (theirs, ours) = (sorted("Scan", essence(status, &theirs)), sorted("Scan", essence(200, &memory.answer("Scan", &scan).1)));
    ensure!(ours == theirs, "the items at the end of seed {seed}:\n  model     {ours}\n  stand-in  {theirs}");
    Ok(differed)
}

/// Always the same unless `KILN_LIKENESS_SEED` names another: what the stand-in does otherwise must not fail a build by chance.
fn seed() -> Result<u64> {
    match std::env::var("KILN_LIKENESS_SEED") {
        Ok(seed) => Ok(seed.parse()?),
        Err(_) => Ok(4711),
    }
}

#[tokio::test]
async fn the_model_answers_as_the_stand_in_does() -> Result<()> {
    let seed = seed()?;
    println!("seed {seed}");
    let differed = compare(&StandIn::start().await?, &Memory::new(seed), "kiln-like", seed, REQUESTS).await?;
    println!("{REQUESTS} requests, {differed} with a known difference");
    Ok(())
}

/// The canary: a broken rule of the model does not pass.
#[tokio::test]
async fn a_broken_rule_is_seen_by_the_comparison() -> Result<()> {
    let stand_in = StandIn::start().await?;
    for (at, planted) in [Planted::ConditionsIgnored, Planted::HalfTransactions, Planted::LimitAfterFilter].into_iter().enumerate() {
        let memory = Memory::new(1);
        memory.plant(planted);
        let result = compare(&stand_in, &memory, &format!("kiln-{at}"), 4711, 1_000).await;
        ensure!(result.is_err(), "{planted:?} was not seen");
    }
    Ok(())
}
