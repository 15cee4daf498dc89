//! Prints the OpenAPI document of all functions, as `scripts/openapi` writes it to docs/openapi.json. That every path in it
//! is one of template.yaml's routes, and the other way round, is for the tests of the template to say.

use std::process::ExitCode;
use utoipa::openapi::OpenApi;

fn main() -> ExitCode {
    match serde_json::to_string_pretty(&document()) {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("the document can't be written as JSON: {error}");
            ExitCode::FAILURE
        }
    }
}

fn parts() -> [OpenApi; 14] {
    [
        kiln_auth::openapi(),
        kiln_accounts::openapi(),
        kiln_uploads::openapi(),
        kiln_jobs::openapi(),
        kiln_credits::openapi(),
        kiln_billing::openapi(),
        kiln_stripe_webhook::openapi(),
        kiln_studio::openapi(),
        kiln_shares::openapi(),
        kiln_fleet::openapi(),
        kiln_ops::openapi(),
        kiln_admin::openapi(),
        kiln_webhooks::openapi(),
        kiln_ses_webhook::openapi(),
    ]
}

fn document() -> OpenApi {
    kiln_http::doc::assemble(parts())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn every_operation_has_an_id_of_its_own_and_says_how_it_refuses() {
        let document = serde_json::to_value(document()).unwrap();
        let mut ids = std::collections::BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            assert!(path.starts_with("/api/v1/"), "{path}");
            for (method, operation) in item.as_object().unwrap() {
                let id = operation["operationId"].as_str().unwrap_or_default();
                assert!(!id.is_empty() && ids.insert(id.to_owned()), "{method} {path}: {id:?}");
                let responses = operation["responses"].as_object().unwrap();
                assert!(!responses.contains_key("default"), "{method} {path}: each status is written down");
                for (status, response) in responses.iter().filter(|(status, _)| status.as_str() >= "400") {
                    let problem = response["content"]["application/problem+json"]["schema"]["$ref"] == "#/components/schemas/Problem";
                    assert!(problem || (status == "503" && path.ends_with("/health")), "{method} {path} {status}");
                }
                assert!(operation["summary"].is_string(), "{method} {path}");
            }
        }
    }

    #[test]
    fn a_schema_s_name_means_the_same_in_all_functions() {
        let mut seen = std::collections::BTreeMap::new();
        for part in parts() {
            let part = serde_json::to_value(part).unwrap();
            for (name, schema) in part["components"]["schemas"].as_object().into_iter().flatten() {
                let first = seen.entry(name.clone()).or_insert_with(|| schema.clone());
                assert_eq!(first, schema, "{name}");
            }
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn walk(value: &Value, document: &Value) {
            match value {
                Value::Object(map) => {
                    if let Some(Value::String(to)) = map.get("$ref") {
                        assert!(document.pointer(to.trim_start_matches('#')).is_some(), "{to}");
                    }
                    map.values().for_each(|value| walk(value, document));
                }
                Value::Array(items) => items.iter().for_each(|value| walk(value, document)),
                _ => {}
            }
        }
        let document = serde_json::to_value(document()).unwrap();
        walk(&document, &document);
    }
}
