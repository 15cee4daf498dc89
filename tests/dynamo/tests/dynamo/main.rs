//! The model of DynamoDB against what DynamoDB documents, against the stand-in of the system tests, and under the store's own code.

mod admission;
mod audit;
mod batch_events;
mod beats;
mod conflicts;
mod crash;
mod endpoints;
mod expressions;
mod faults;
mod generator;
mod learn;
mod likeness;
mod limits;
mod rent;
mod rest;
mod sdk;
mod speed;

use kiln_dynamo::Memory;
use serde_json::{Value, json};

/// Without yields: each raw call is at once anyway.
fn memory() -> Memory {
    let memory = Memory::new(1);
    memory.yields(0..=0);
    memory
}

fn key() -> Value {
    json!({ "pk": { "S": "P" }, "sk": { "S": "a" } })
}

/// Puts the item with the attributes at the key `P`, `a`.
fn put(memory: &Memory, attributes: Value) {
    let mut item = key();
    item.as_object_mut().expect("an object").extend(attributes.as_object().expect("an object").clone());
    let (status, body) = memory.answer("PutItem", &json!({ "TableName": "kiln", "Item": item }));
    assert_eq!(status, 200, "{body}");
}

/// The error's name and words, from an answer.
fn refusal(answer: (u16, Value)) -> (String, String) {
    let kind = answer.1["__type"].as_str().unwrap_or("none").rsplit('#').next().unwrap_or_default().to_owned();
    let words = answer.1["message"].as_str().or(answer.1["Message"].as_str()).unwrap_or_default().to_owned();
    (kind, words)
}
