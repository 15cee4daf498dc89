//! kiln-local against the template that is deployed: whatever is added there must resolve here, or this fails before anybody's laptop does.

use std::collections::BTreeMap;
use std::path::Path;

use kiln_local::headers::{Cors, Security};
use kiln_local::model::{self, Function};
use kiln_local::resolve::{Place, Resolver};
use kiln_local::routes::{Found, Routes};
use kiln_local::system::{STACK, parameters};
use kiln_local::template::Template;

fn template() -> Template {
    Template::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../template.yaml")).unwrap()
}

fn resolver(template: &Template) -> Resolver<'_> {
    let place = Place { stack: STACK.into(), region: "us-east-1".into(), account: "000000000000".into(), endpoint: "http://127.0.0.1:4566".into() };
    Resolver::new(template, place, &parameters("http://127.0.0.1:8080", "")).unwrap()
}

fn functions() -> Vec<Function> {
    let template = template();
    model::functions(&resolver(&template)).unwrap()
}

#[test]
fn every_function_s_environment_resolves_to_plain_values() {
    for function in functions() {
        assert_eq!(function.env["KILN_STAGE"], "local", "{}", function.id);
        assert_eq!(function.env["KILN_TABLE"], "kiln-local-Table", "{}", function.id);
        for (name, value) in &function.env {
            assert!(!value.contains("${") && !value.contains("AWS::"), "{}: {name}={value}", function.id);
        }
    }
}

#[test]
fn a_function_has_the_variables_of_the_template_and_no_more() {
    let functions: BTreeMap<_, _> = functions().into_iter().map(|function| (function.id.clone(), function)).collect();
    let jobs = &functions["JobsFunction"].env;
    assert_eq!(jobs["KILN_QUEUE_IMAGE_RUSH"], "http://127.0.0.1:4566/000000000000/kiln-local-JobsImageRushQueue");
    assert_eq!(jobs["KILN_MEDIA_BUCKET"], "kiln-local-mediabucket");
    assert!(!jobs.contains_key("KILN_MAIL_FROM"), "only auth sends mail");
    assert_eq!(functions["FleetFunction"].env["KILN_WORKER_ROLE_ARN"], "arn:aws:iam::000000000000:role/kiln-local-WorkerRole");
    assert_eq!(functions["WarmPoolFunction"].env["KILN_PROVIDERS"], "local");
}

#[test]
fn every_function_is_one_that_kiln_local_holds_and_every_route_leads_to_it() {
    let functions = functions();
    let routes = Routes::new(&functions).unwrap();
    for function in &functions {
        assert!(kiln_local::functions::holds(&function.binary), "{} deploys {}", function.id, function.binary);
        for route in &function.routes {
            let example = route.path.replace("{id}", "job_1").replace("{token}", "t.x-1").replace("{member_id}", "acc_2").replace("{invite_id}", "inv_1");
            assert!(!example.contains('{'), "{}: give its parameter an example here", route.path);
            let found = routes.find(&route.method, &example);
            assert_eq!(found, Found::Route { function: &function.id, path: &route.path }, "{} {example}", route.method);
        }
    }
    assert_eq!(routes.find("GET", "/api/v1/nope"), Found::Nothing);
    assert_eq!(routes.find("PUT", "/api/v1/jobs"), Found::WrongMethod(vec!["GET", "POST"]));
}

#[test]
fn the_events_that_a_laptop_must_fire_are_found() {
    let functions: BTreeMap<_, _> = functions().into_iter().map(|function| (function.id.clone(), function)).collect();
    assert_eq!(functions["WarmPoolFunction"].schedules, ["Tick"]);
    let dlq = &functions["MaintenanceFunction"].queues[0];
    assert_eq!((dlq.queue.as_str(), dlq.batch, dlq.partial), ("JobsDlq", 10, true));
    assert_eq!(dlq.arn, "arn:aws:sqs:us-east-1:000000000000:kiln-local-JobsDlq");
}

#[test]
fn every_resource_is_made_or_knowingly_left_out() {
    let template = template();
    kiln_local::provision::check(&resolver(&template)).unwrap();
}

#[test]
fn the_secrets_are_those_that_the_template_lists() {
    let template = template();
    let secrets = model::secrets(&resolver(&template)).unwrap();
    let names: Vec<_> = secrets.iter().map(|secret| secret.parameter.strip_prefix("/kiln/kiln-local/").unwrap()).collect();
    assert_eq!(names, ["hmac-key", "admin-key", "stripe-secret-key", "stripe-webhook-secret", "vast-api-key", "webhook-key"]);
    // Those of another's making are given, never made up.
    assert_eq!(secrets.iter().filter_map(|secret| secret.given.as_deref()).collect::<Vec<_>>(), ["STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRET", "VAST_API_KEY"]);
}

#[test]
fn the_pages_get_the_distribution_s_headers_with_the_stand_in_in_the_content_policy() {
    let template = template();
    let mut headers = axum::http::HeaderMap::new();
    Security::new(&resolver(&template), "http://127.0.0.1:4566").unwrap().apply(&mut headers);
    let policy = headers["content-security-policy"].to_str().unwrap();
    for directive in ["img-src", "connect-src"] {
        let words = policy.split("; ").find(|words| words.starts_with(directive)).unwrap();
        assert!(words.ends_with(" http://127.0.0.1:4566"), "{words}");
    }
    assert!(policy.starts_with("default-src 'self';"), "{policy}");
    assert_eq!(headers["x-frame-options"], "DENY");
    assert_eq!(headers["referrer-policy"], "same-origin");
    assert!(!headers.contains_key("strict-transport-security"));
    // A stricter policy of a function's own stays; the rest is set over it.
    let mut own: axum::http::HeaderMap = [("content-security-policy", "default-src 'none'"), ("x-frame-options", "SAMEORIGIN")]
        .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
        .into_iter()
        .collect();
    Security::new(&resolver(&template), "http://x").unwrap().apply(&mut own);
    assert_eq!((&own["content-security-policy"], &own["x-frame-options"]), (&"default-src 'none'".parse().unwrap(), &"DENY".parse().unwrap()));
}

#[test]
fn the_api_s_cors_rules_let_in_its_own_origin_only() {
    let template = template();
    let cors = Cors::new(&resolver(&template)).unwrap();
    let mut headers = axum::http::HeaderMap::new();
    assert!(!cors.allow(Some(&"http://evil.example".parse().unwrap()), &mut headers));
    assert!(headers.is_empty());
    assert!(cors.allow(Some(&"http://127.0.0.1:8080".parse().unwrap()), &mut headers));
    assert_eq!(headers["access-control-allow-credentials"], "true");
}
