//! DynamoDB's JSON 1.0 protocol: the requests that the model knows, and the shape of its refusals. A field that the model does not know
//! is refused, never ignored.

use crate::value::{Item, REFUSED, Value};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub type Names = Option<BTreeMap<String, String>>;
pub type Values = Option<BTreeMap<String, Value>>;

/// Why one part of a transaction did not let it pass.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Reason {
    pub code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub item: Option<Item>,
}

/// An error in DynamoDB's shape.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    pub status: u16,
    pub code: &'static str,
    pub message: String,
    /// What a failed condition found, where the request asked for it.
    pub item: Option<Item>,
    pub reasons: Option<Vec<Reason>>,
}

impl Failure {
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { status: 400, code, message: message.into(), item: None, reasons: None }
    }

    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new("ValidationException", message)
    }

    pub fn cancelled(reasons: Vec<Reason>) -> Self {
        let codes: Vec<&str> = reasons.iter().map(|reason| reason.code).collect();
        let message = format!("Transaction cancelled, please refer cancellation reasons for specific reasons [{}]", codes.join(", "));
        Self { reasons: Some(reasons), ..Self::new("TransactionCanceledException", message) }
    }

    pub fn body(&self) -> String {
        #[derive(Serialize)]
        struct Body<'a> {
            __type: String,
            #[serde(skip_serializing_if = "Option::is_none")]
            message: Option<&'a str>,
            // The older spelling, which this one error has.
            #[serde(rename = "Message", skip_serializing_if = "Option::is_none")]
            message_of_transaction: Option<&'a str>,
            #[serde(rename = "CancellationReasons", skip_serializing_if = "Option::is_none")]
            reasons: Option<&'a Vec<Reason>>,
            #[serde(rename = "Item", skip_serializing_if = "Option::is_none")]
            item: Option<&'a Item>,
        }
        let cancelled = self.reasons.is_some();
        let body = Body {
            __type: format!("com.amazonaws.dynamodb.v20120810#{}", self.code),
            message: Some(self.message.as_str()).filter(|_| !cancelled),
            message_of_transaction: Some(self.message.as_str()).filter(|_| cancelled),
            reasons: self.reasons.as_ref(),
            item: self.item.as_ref(),
        };
        json(&body)
    }
}

/// As JSON; all that is written here can be.
pub fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("text keys and finite numbers")
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Return {
    #[default]
    None,
    AllOld,
    AllNew,
    UpdatedOld,
    UpdatedNew,
}

/// Declares a request of DynamoDB's, whose fields have its names in Pascal case.
macro_rules! request {
    ($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Hash, Deserialize)]
        #[serde(rename_all = "PascalCase", deny_unknown_fields)]
        pub struct $name { $(#[serde(default = "Default::default")] pub $field: $type),* }
    };
}

request!(GetItem { table_name: String, key: Item, consistent_read: bool, projection_expression: Option<String>, expression_attribute_names: Names });
request!(KeysAndAttributes { keys: Vec<Item>, consistent_read: bool, projection_expression: Option<String>, expression_attribute_names: Names });
request!(BatchGetItem { request_items: BTreeMap<String, KeysAndAttributes> });
request!(
    /// PutItem, UpdateItem, DeleteItem, and the four parts of a transaction: what a field means depends on which it is.
    Write {
        table_name: String,
        item: Option<Item>,
        key: Option<Item>,
        update_expression: Option<String>,
        condition_expression: Option<String>,
        expression_attribute_names: Names,
        expression_attribute_values: Values,
        return_values: Option<Return>,
        return_values_on_condition_check_failure: Return,
    }
);
request!(
    /// Query and Scan.
    Select {
        table_name: String,
        index_name: Option<String>,
        key_condition_expression: Option<String>,
        filter_expression: Option<String>,
        projection_expression: Option<String>,
        expression_attribute_names: Names,
        expression_attribute_values: Values,
        consistent_read: bool,
        scan_index_forward: Option<bool>,
        limit: Option<i64>,
        exclusive_start_key: Option<Item>,
        select: Option<String>,
        segment: Option<i64>,
        total_segments: Option<i64>,
    }
);
request!(TransactPart { put: Option<Write>, update: Option<Write>, delete: Option<Write>, condition_check: Option<Write> });
request!(TransactWriteItems { transact_items: Vec<TransactPart>, client_request_token: Option<String> });
request!(TransactGet { get: Option<GetItem> });
request!(TransactGetItems { transact_items: Vec<TransactGet> });
request!(BatchPart { put_request: Option<Write>, delete_request: Option<Write> });
request!(BatchWriteItem { request_items: BTreeMap<String, Vec<BatchPart>> });

/// Reads a request's body.
pub fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|error| {
        let message = error.to_string();
        let place = format!(" at line {} column {}", error.line(), error.column());
        let message = message.strip_suffix(&place).unwrap_or(&message);
        match message.strip_prefix(REFUSED) {
            Some(words) => Failure::invalid(words),
            None if message.starts_with("unknown ") => Failure::invalid(format!("not in this model of DynamoDB: {message}")),
            None => Failure::new("SerializationException", message),
        }
    })
}
