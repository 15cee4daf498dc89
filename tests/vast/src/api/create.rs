//! Renting an offer.

use serde_json::{Map, Value, json};

use super::{Planned, known};
use crate::{
    error::{Answer, Refusal},
    faults::FaultKind,
    instance::{Order, Upsets},
    server::Inner,
    state::State,
};

/// What the official client sends, and what is documented beside.
const FIELDS: [&str; 24] = [
    "client_id",
    "image",
    "env",
    "price",
    "disk",
    "label",
    "extra",
    "onstart",
    "image_login",
    "python_utf8",
    "lang_utf8",
    "use_jupyter_lab",
    "jupyter_dir",
    "force",
    "cancel_unavail",
    "template_hash_id",
    "user",
    "runtype",
    "args",
    "args_str",
    "volume_info",
    "vm",
    "target_state",
    "entrypoint",
];
const MAX_LABEL: usize = 1_024;
const MAX_IMAGE: usize = 1_024;
const MAX_COMMAND: usize = 4_096;
const MAX_ENV_ENTRY: usize = 256;
const MAX_ENV: usize = 32_768;
const MIN_DISK_GB: f64 = 8.0;

/// The text of a field that may be null.
fn text<'a>(body: &'a Map<String, Value>, field: &str) -> Result<Option<&'a str>, Refusal> {
    match body.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Refusal::args(format!("{field} must be text."))),
    }
}

fn flag(body: &Map<String, Value>, field: &str) -> Result<Option<bool>, Refusal> {
    match body.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Bool(flag)) => Ok(Some(*flag)),
        Some(_) => Err(Refusal::args(format!("{field} must be true or false."))),
    }
}

fn number(body: &Map<String, Value>, field: &str) -> Result<Option<f64>, Refusal> {
    match body.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value.as_f64().map(Some).ok_or_else(|| Refusal::args(format!("{field} must be a number."))),
    }
}

pub fn label(text: &str) -> Result<String, Refusal> {
    if text.chars().count() > MAX_LABEL {
        return Err(Refusal::new(axum::http::StatusCode::BAD_REQUEST, "label_too_long", format!("A label has at most {MAX_LABEL} characters.")));
    }
    Ok(text.into())
}

fn env(body: &Map<String, Value>) -> Result<Vec<(String, String)>, Refusal> {
    let entries = match body.get("env") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Object(entries)) => entries,
        Some(_) => return Err(Refusal::args("env must be an object of texts; docker's flags as one text are not served by the stand-in.")),
    };
    let mut env = Vec::new();
    let mut total = 0;
    for (key, value) in entries {
        let value = match value {
            Value::String(text) => text.clone(),
            Value::Number(n) => n.to_string(),
            Value::Bool(b) => b.to_string(),
            _ => return Err(Refusal::args(format!("env: {key} must be text."))),
        };
        if key.is_empty() || key.contains(['=', '\0']) || value.contains('\0') {
            return Err(Refusal::args("env: a name can't be empty or hold =, and nothing a zero byte."));
        }
        let length = key.chars().count() + value.chars().count();
        if length > MAX_ENV_ENTRY {
            return Err(Refusal::args(format!("env: {key} and its value are {length} characters together; {MAX_ENV_ENTRY} are allowed.")));
        }
        total += length;
        env.push((key.clone(), value));
    }
    if total > MAX_ENV {
        return Err(Refusal::args(format!("env has {total} characters; {MAX_ENV} are allowed.")));
    }
    Ok(env)
}

/// What is ordered, with all that can be said against it without the offer.
fn order(body: &Map<String, Value>) -> Result<Order, Refusal> {
    known(body, &FIELDS).map_err(Refusal::args)?;
    for field in ["volume_info", "vm"] {
        if body.get(field).is_some_and(|v| !v.is_null() && v != false) {
            return Err(Refusal::args(format!("{field} is not served by the stand-in.")));
        }
    }
    for field in ["client_id", "extra", "image_login", "jupyter_dir", "user", "entrypoint"] {
        text(body, field)?;
    }
    for field in ["python_utf8", "lang_utf8", "use_jupyter_lab", "force"] {
        flag(body, field)?;
    }
    let template_hash = text(body, "template_hash_id")?;
    let image = text(body, "image")?.unwrap_or_default();
    if image.trim().is_empty() && template_hash.is_none() {
        return Err(Refusal::args("image is required where there is no template_hash_id."));
    }
    if image.chars().count() > MAX_IMAGE {
        return Err(Refusal::args(format!("image has at most {MAX_IMAGE} characters.")));
    }
    let args: Vec<String> = match body.get("args") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(list)) => {
            let texts: Option<Vec<String>> = list.iter().map(|v| v.as_str().map(str::to_owned)).collect();
            texts.ok_or_else(|| Refusal::args("args must be a list of texts."))?
        }
        Some(_) => return Err(Refusal::args("args must be a list of texts.")),
    };
    let (onstart, args_str) = (text(body, "onstart")?, text(body, "args_str")?);
    let length = |t: Option<&str>| t.map_or(0, |t| t.chars().count());
    let command = args.iter().map(|a| a.chars().count()).sum::<usize>() + length(onstart) + length(args_str);
    if command > MAX_COMMAND {
        return Err(Refusal::args(format!("args, args_str and onstart have {command} characters together; {MAX_COMMAND} are allowed.")));
    }
    let disk_gb = number(body, "disk")?.unwrap_or(10.0);
    if disk_gb < MIN_DISK_GB {
        return Err(Refusal::args(format!("disk must be at least {MIN_DISK_GB} GB.")));
    }
    let bid = number(body, "price")?;
    if bid.is_some_and(|bid| !(0.001..=128.0).contains(&bid)) {
        return Err(Refusal::price("price must be between 0.001 and 128 dollars an hour."));
    }
    Ok(Order {
        // Said as all else that is wrong with an order; the label's own route has its own word for it.
        label: text(body, "label")?.map(label).transpose().map_err(|_| Refusal::args(format!("label has at most {MAX_LABEL} characters.")))?,
        image: image.into(),
        env: env(body)?,
        onstart: onstart.map(str::to_owned),
        args,
        runtype: text(body, "runtype")?.unwrap_or("ssh").into(),
        disk_gb,
        bid,
        template_hash: template_hash.map(str::to_owned),
    })
}

/// Rents an offer.
pub fn one(inner: &Inner, state: &mut State, ask: u64, body: &Map<String, Value>, fault: Planned) -> Answer {
    let order = order(body)?;
    let running = match text(body, "target_state")? {
        None | Some("running") => true,
        Some("stopped") => false,
        Some(_) => return Err(Refusal::args("target_state is running or stopped.")),
    };
    // As documented: left out, a bid waits for its machine, and one on demand is cancelled.
    let cancel = flag(body, "cancel_unavail")?.unwrap_or(order.bid.is_none() && running);
    if let (Some((FaultKind::Gone, _)), Some(offer)) = (fault, state.offers.get_mut(&ask)) {
        offer.gone = true;
    }
    let Some(offer) = state.offers.get(&ask).cloned() else { return Err(Refusal::unknown_ask(ask)) };
    if offer.gone {
        return Err(Refusal::gone_ask(ask));
    }
    if order.disk_gb > offer.disk_space {
        return Err(Refusal::args(format!("disk is {} GB; the machine has {}.", order.disk_gb, offer.disk_space)));
    }
    if state.credit_left() <= 0.0 {
        return Err(Refusal::billing());
    }
    if state.holder(ask).is_some_and(|holder| !holder.is_bid()) {
        return Err(Refusal::gone_ask(ask));
    }
    let unseatable = matches!(fault, Some((FaultKind::Unavailable, _)));
    let outbid = order.bid.is_some_and(|bid| bid < state.min_bid(&offer));
    if running && cancel && (unseatable || outbid) {
        return Err(Refusal::gone_ask(ask));
    }
    let upsets = Upsets { never_boots: matches!(fault, Some((FaultKind::NeverBoots, _))), unseatable, ..Upsets::default() };
    match state.create(&offer, order, running, upsets) {
        Some(instance) => Ok(json!({ "success": true, "new_contract": instance.id, "instance_api_key": instance.key, "ask_id": ask })),
        None => Err(Refusal::new(
            axum::http::StatusCode::INSUFFICIENT_STORAGE,
            "stand_in_full",
            format!("The stand-in keeps at most {} instances at a time.", inner.config.max_instances),
        )),
    }
}
