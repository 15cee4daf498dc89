//! Prints docs/LIMITS.md from what enforces the limits: the settings, the kinds of job, the constants of core and http, and which
//! settings template.yaml makes a parameter of. `scripts/limits` writes the file and refuses a stale one.

use kiln_core::fleet::{ARTIFACT_TYPES, MAX_ARTIFACT_BYTES, MAX_ARTIFACTS, MAX_NAME};
use kiln_core::hooks::schedule::TRIES;
use kiln_core::hooks::target::MAX_URL;
use kiln_core::kinds::{MAX_PARAMS_BYTES, offered};
use kiln_core::media::LIMITS;
use kiln_core::price::MAX_OUTPUT_PIXELS;
use kiln_core::settings::Settings;
use kiln_core::{access, profile};
use kiln_http::body::MAX_BODY_BYTES;
use kiln_http::operator::{FACTS_BYTES, FAILED_IN_ALL, FAILED_PER_NETWORK};
use kiln_http::paging::{DEFAULT_LIMIT, MAX_LIMIT};
use kiln_http::{idempotency, view};
use kiln_store::hooks::{MAX_ENDPOINTS, MAX_TRIES};
use serde_json::Value;

const TEMPLATE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../template.yaml"));

fn main() {
    println!("# Limits\n");
    println!("Written by `scripts/limits` from the data that enforces them; CI refuses a stale page. Change the data, not this page.\n");
    settings();
    files();
    requests();
    accounts();
    kinds();
}

/// The parameter by which a deployment chooses a setting, if it has one: `KILN_LEASE_S: !Ref LeaseS`.
fn parameter(variable: &str) -> Option<&'static str> {
    TEMPLATE.lines().find_map(|line| line.trim().strip_prefix(variable)?.strip_prefix(": !Ref "))
}

fn settings() {
    println!("## Settings\n");
    println!("Each is an environment variable of the functions. On a laptop, what is set when `scripts/dev` starts counts in all of them. A deployment");
    println!(
        "chooses those that have a parameter (`scripts/deploy --set NAME=VALUE`) and has the default of the others. A value out of its bounds stops the start.\n"
    );
    println!("| variable | parameter | default | from | to | what |\n| --- | --- | --- | --- | --- | --- |");
    for (name, default, least, most, what) in Settings::describe() {
        let parameter = parameter(name).map_or("–".into(), |parameter| format!("`{parameter}`"));
        println!("| `{name}` | {parameter} | {} | {} | {} | {} |", number(default), number(least), number(most), what.trim());
    }
}

fn files() {
    println!("\n## Files\n");
    println!("| what | limit |\n| --- | --- |");
    println!(
        "| an uploaded picture | {} bytes, {} pixels a side, one frame; JPEG, PNG or WebP by its bytes |",
        number(LIMITS.max_bytes as u64),
        number(LIMITS.max_side.into())
    );
    println!("| the picture that an `upscale` makes | {} pixels |", number(MAX_OUTPUT_PIXELS));
    println!("| artifacts of a job | {MAX_ARTIFACTS}, {} bytes each, names of {MAX_NAME} bytes |", number(MAX_ARTIFACT_BYTES));
    println!("| types of artifacts | {} |", ARTIFACT_TYPES.map(|kind| format!("`{kind}`")).join(", "));
    println!("| a link to a file | {} s |", view::URL_S);
}

fn requests() {
    println!("\n## Requests\n");
    println!("| what | limit |\n| --- | --- |");
    println!("| a JSON body | {} bytes |", number(MAX_BODY_BYTES as u64));
    println!("| `params` of a job | {} bytes of JSON |", number(MAX_PARAMS_BYTES as u64));
    println!("| `limit` of a list | 1 to {MAX_LIMIT}, {DEFAULT_LIMIT} unless told |");
    println!("| webhook endpoints of an account | {MAX_ENDPOINTS}, URLs of {MAX_URL} bytes |");
    println!("| tries of a webhook | {TRIES}; {MAX_TRIES} with its replays |");
    println!("| an answer to an `Idempotency-Key` | kept for {} hours |", idempotency::KEPT / 3_600_000);
    println!("| a request's body in the operators' audit log | its first {} bytes |", number(FACTS_BYTES as u64));
    println!("| failed sign-ins of operators in the audit log | {FAILED_PER_NETWORK} of a network address in an hour, {FAILED_IN_ALL} in all |");
}

fn accounts() {
    println!("\n## Accounts\n");
    println!("| what | limit |\n| --- | --- |");
    println!("| API keys of an account | {} |", access::MOST_KEYS);
    println!("| organisations that a person owns; belongs to | {}; {} |", access::MOST_OWNED, access::MOST_ORGS);
    println!("| members of an organisation | {} |", access::MOST_MEMBERS);
    println!("| open invites of an organisation | {}, each for {} days |", access::MOST_INVITES, access::INVITE_FOR / 86_400_000);
    println!("| a name of a person, an organisation or a key | {} characters |", profile::MAX_NAME);
}

fn kinds() {
    println!("\n## Kinds of job");
    for kind in offered(false) {
        let inputs = if kind.min_inputs == kind.max_inputs { kind.min_inputs.to_string() } else { format!("{} to {}", kind.min_inputs, kind.max_inputs) };
        println!("\n### `{}`: {}\n", kind.name, kind.title);
        println!("Inputs: {inputs}. An attempt may run {} s, or `KILN_MAX_RUN_S` where that is less.\n", kind.max_run_s);
        println!("| parameter | type | from | to | needed | what |\n| --- | --- | --- | --- | --- | --- |");
        let schema = kind.schema();
        let required: Vec<_> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let plain = |field: &str| if property[field].is_null() { "–".to_owned() } else { property[field].to_string() };
            let text = |field: &str| property[field].as_str().unwrap_or("–").to_owned();
            let needed = if required.contains(&name.as_str()) { "yes" } else { "no" };
            println!("| `{name}` | {} | {} | {} | {needed} | {} |", text("type"), plain("minimum"), plain("maximum"), text("description"));
        }
    }
}

/// `10000000` as `10,000,000`.
fn number(value: u64) -> String {
    let digits = value.to_string();
    let head = digits.len() % 3;
    let mut out = digits[..head].to_owned();
    for (i, group) in digits.as_bytes()[head..].chunks(3).enumerate() {
        if i > 0 || head > 0 {
            out.push(',');
        }
        out.extend(group.iter().map(|byte| char::from(*byte)));
    }
    out
}
