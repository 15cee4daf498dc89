//! The commands about jobs and what they cost.

use crate::api::{Api, Failure};
use crate::args::{How, Run, Save, Upscale};
use crate::{fetch, text, wait};
use anyhow::{Context, Result};
use serde_json::{Map, Value, json};
use std::path::PathBuf;

fn print(value: &Value) -> Result<()> {
    println!("{}", serde_json::to_string_pretty(value)?);
    Ok(())
}

pub async fn upscale(api: &Api, args: Upscale, json: bool) -> Result<()> {
    let stem = args.photo.file_stem().and_then(|stem| stem.to_str()).unwrap_or("photo");
    let out = args.photo.with_file_name(format!("{stem}-x{}.png", args.scale));
    if args.how.saves() {
        fetch::check_free(args.save.out.as_ref().unwrap_or(&out), args.save.force)?;
    }
    // A float of 32 bits as a person wrote it, not its nearest double.
    let sharpen: f64 = args.sharpen.to_string().parse()?;
    let params = json!({"scale": args.scale, "sharpen": sharpen, "auto_exposure": args.auto_exposure, "auto_white_balance": args.auto_white_balance});
    make(api, "upscale", params, &[args.photo], &args.how, &args.save, Some(out), json).await
}

pub async fn run(api: &Api, args: Run, json: bool) -> Result<()> {
    if let Some(out) = args.save.out.as_ref().filter(|out| args.how.saves() && !out.is_dir()) {
        fetch::check_free(out, args.save.force)?;
    }
    let params = Value::Object(args.params.into_iter().collect::<Map<_, _>>());
    make(api, &args.kind, params, &args.inputs, &args.how, &args.save, None, json).await
}

/// Upload, price, job, wait, download.
#[allow(clippy::too_many_arguments)]
async fn make(api: &Api, kind: &str, params: Value, files: &[PathBuf], how: &How, save: &Save, default: Option<PathBuf>, json: bool) -> Result<()> {
    let mut inputs = Vec::new();
    for file in files {
        let upload = fetch::upload(api, file).await?;
        if !json {
            let size = match (upload["width"].as_u64(), upload["height"].as_u64()) {
                (Some(width), Some(height)) => format!(", {width} × {height}"),
                _ => String::new(),
            };
            eprintln!("Uploaded  {} ({}{size})", file.display(), text::bytes(upload["bytes"].as_u64().unwrap_or(0)));
        }
        inputs.push(text::plain(&upload["id"]));
    }
    let priority = if how.rush { "rush" } else { "standard" };
    let body = json!({"kind": kind, "params": params, "inputs": inputs, "priority": priority});
    let quote = api.post("jobs/quote", &body).await?;
    if how.quote && json {
        return print(&quote);
    }
    if !json {
        let available = match api.get("credits").await {
            Ok(balance) => balance["available_millicredits"].as_i64(),
            // A key may order jobs and not be told of the balance.
            Err(error) if matches!(error.downcast_ref(), Some(Failure::Refused(problem)) if problem.code == "scope_missing") => None,
            Err(error) => return Err(error),
        };
        tell_price(&quote, available);
    }
    if how.quote {
        return Ok(());
    }
    let job = api.post("jobs", &body).await?;
    let id = text::plain(&job["id"]);
    if how.no_wait {
        if json {
            return print(&job);
        }
        println!("{id}");
        return Ok(());
    }
    if !json {
        eprintln!("Job       {id}");
    }
    let job = wait::until_ended(api, &id, json).await?;
    finish(api, &job, save, default, json).await
}

fn tell_price(quote: &Value, available: Option<i64>) {
    let price = quote["quote_millicredits"].as_i64().unwrap_or(0);
    let after = match available.map(|available| available - price) {
        None => String::new(),
        Some(left) if left < 0 => format!(" ({} short)", text::credits(-left)),
        Some(left) => format!(" ({} left after)", text::credits(left)),
    };
    eprintln!("Price     {}{after}", text::credits(price));
    let lines = quote["lines"].as_array().map(Vec::as_slice).unwrap_or_default();
    if lines.len() > 1 {
        for line in lines {
            eprintln!("          {}: {}", text::plain(&line["what"]), text::credits(line["millicredits"].as_i64().unwrap_or(0)));
        }
    }
}

/// Downloads a succeeded job; says why another one is none.
async fn finish(api: &Api, job: &Value, save: &Save, default: Option<PathBuf>, json: bool) -> Result<()> {
    let id = text::plain(&job["id"]);
    if job["state"] != "succeeded" {
        if json {
            print(job)?;
        }
        let why = match &job["error"] {
            Value::Null => String::new(),
            error => format!(": {} ({})", text::plain(&error["message"]), text::plain(&error["code"])),
        };
        return Err(Failure::JobEnded(format!("{id} {}{why}", text::plain(&job["state"]))).into());
    }
    let paths = fetch::download(api, job, save, default).await;
    let paths = paths.with_context(|| format!("{id} has succeeded and its result is kept, but was not saved here (get it: kiln download {id} --out FILE)"))?;
    if json {
        return print(job);
    }
    eprintln!("Charged   {}", text::credits(job["charged_millicredits"].as_i64().unwrap_or(0)));
    for path in paths {
        println!("{}", path.display());
    }
    Ok(())
}

pub async fn download(api: &Api, id: &str, save: &Save, json: bool) -> Result<()> {
    let job = named("job", id, wait::until_ended(api, &text::plain(&json!(id)), json).await)?;
    finish(api, &job, save, None, json).await
}

pub async fn list(api: &Api, limit: u32, json: bool) -> Result<()> {
    let page = api.get(&format!("jobs?limit={limit}")).await?;
    if json {
        return print(&page);
    }
    let jobs = page["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    if jobs.is_empty() {
        eprintln!("No jobs yet.");
        return Ok(());
    }
    let mut rows = vec![["JOB", "KIND", "STATE", "PRICE", "ASKED FOR"].map(str::to_owned).to_vec()];
    rows.extend(jobs.iter().map(|job| {
        let price = text::credits(job["quote_millicredits"].as_i64().unwrap_or(0));
        vec![text::plain(&job["id"]), text::plain(&job["kind"]), text::plain(&job["state"]), price, text::time(&job["created_at"])]
    }));
    println!("{}", text::table(&rows));
    Ok(())
}

pub async fn show(api: &Api, id: &str, json: bool) -> Result<()> {
    let job = named("job", id, api.get(&format!("jobs/{}", text::plain(&json!(id)))).await)?;
    if json {
        return print(&job);
    }
    let mut rows = Vec::new();
    let mut row = |name: &str, value: String| {
        if !value.is_empty() {
            rows.push(vec![name.to_owned(), value]);
        }
    };
    for (name, field) in
        [("Job", "id"), ("Kind", "kind"), ("State", "state"), ("Stage", "stage"), ("Attempt", "attempt"), ("Priority", "priority"), ("Parameters", "params")]
    {
        row(name, text::plain(&job[field]));
    }
    row("Progress", format!("{:.0} %", job["progress"].as_f64().unwrap_or(0.0) * 100.0));
    row("Price", text::credits(job["quote_millicredits"].as_i64().unwrap_or(0)));
    row("Charged", text::credits(job["charged_millicredits"].as_i64().unwrap_or(0)));
    if !job["error"].is_null() {
        row("Error", format!("{} ({})", text::plain(&job["error"]["message"]), text::plain(&job["error"]["code"])));
    }
    for (name, field) in [("Asked for", "created_at"), ("Started", "started_at"), ("Finished", "finished_at")] {
        row(name, text::time(&job[field]));
    }
    for artifact in job["artifacts"].as_array().into_iter().flatten() {
        row(
            "Artifact",
            format!(
                "{} ({}, {})",
                text::plain(&artifact["name"]),
                text::plain(&artifact["content_type"]),
                text::bytes(artifact["bytes"].as_u64().unwrap_or(0))
            ),
        );
    }
    println!("{}", text::table(&rows));
    Ok(())
}

pub async fn cancel(api: &Api, id: &str, json: bool) -> Result<()> {
    let job = named("job", id, api.post(&format!("jobs/{}/cancel", text::plain(&json!(id))), &json!({})).await)?;
    if json {
        return print(&job);
    }
    eprintln!("{} is {}; what was held for it is given back.", text::plain(&job["id"]), text::plain(&job["state"]));
    Ok(())
}

pub async fn share(api: &Api, id: &str, json: bool) -> Result<()> {
    let share = named("job", id, api.post("shares", &json!({"job_id": id})).await)?;
    if json {
        return print(&share);
    }
    println!("{}", text::plain(&share["url"]));
    Ok(())
}

pub async fn shares(api: &Api, limit: u32, json: bool) -> Result<()> {
    let page = api.get(&format!("shares?limit={limit}")).await?;
    if json {
        return print(&page);
    }
    let shares = page["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    if shares.is_empty() {
        eprintln!("No links yet.");
        return Ok(());
    }
    let mut rows = vec![["SHARE", "JOB", "MADE", "WORKS UNTIL"].map(str::to_owned).to_vec()];
    rows.extend(shares.iter().map(|share| {
        let until = if share["expires_at"].is_null() { "you end it".to_owned() } else { text::time(&share["expires_at"]) };
        vec![text::plain(&share["id"]), text::plain(&share["job_id"]), text::time(&share["created_at"]), until]
    }));
    println!("{}", text::table(&rows));
    Ok(())
}

pub async fn unshare(api: &Api, id: &str, json: bool) -> Result<()> {
    named("link", id, api.delete(&format!("shares/{}", text::plain(&json!(id)))).await)?;
    if !json {
        eprintln!("The link has ended.");
    }
    Ok(())
}

/// A 404 says which thing isn't there.
fn named<T>(what: &str, id: &str, answer: Result<T>) -> Result<T> {
    answer.map_err(|error| match error.downcast::<Failure>() {
        Ok(Failure::Refused(problem)) if problem.status == 404 => {
            Failure::Refused(crate::api::Problem { detail: format!("There is no {what} {} of yours.", text::plain(&json!(id))), ..problem }).into()
        }
        Ok(failure) => failure.into(),
        Err(error) => error,
    })
}

pub async fn credits(api: &Api, json: bool) -> Result<()> {
    let balance = api.get("credits").await?;
    let ledger = api.get("credits/ledger?limit=10").await?;
    if json {
        return print(&json!({"balance": balance, "ledger": ledger}));
    }
    let amount = |field: &str| text::credits(balance[field].as_i64().unwrap_or(0));
    println!("Available  {}\nHeld       {}", amount("available_millicredits"), amount("held_millicredits"));
    if balance["debt_millicredits"].as_i64().unwrap_or(0) > 0 {
        println!("Owed       {}", amount("debt_millicredits"));
    }
    let entries = ledger["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    if entries.is_empty() {
        return Ok(());
    }
    let mut rows = vec![["AT", "WHAT", "AVAILABLE", "HELD", "CAUSE"].map(str::to_owned).to_vec()];
    rows.extend(entries.iter().map(|entry| {
        let change = |field: &str| match entry[field].as_i64().unwrap_or(0) {
            0 => String::new(),
            more @ 1.. => format!("+{}", text::credits(more)),
            less => text::credits(less),
        };
        vec![
            text::time(&entry["at"]),
            text::plain(&entry["kind"]),
            change("d_available_millicredits"),
            change("d_held_millicredits"),
            text::plain(&entry["cause"]),
        ]
    }));
    println!("\n{}", text::table(&rows));
    Ok(())
}

pub async fn kinds(api: &Api, json: bool) -> Result<()> {
    let kinds = api.get("jobs/kinds").await?;
    if json {
        return print(&kinds);
    }
    for kind in kinds["items"].as_array().into_iter().flatten() {
        println!("{}: {}", text::plain(&kind["kind"]), text::plain(&kind["title"]));
        let schema = &kind["params"];
        let required = schema["required"].as_array().map(Vec::as_slice).unwrap_or_default();
        let rows: Vec<_> = schema["properties"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, property)| {
                let needed = if required.contains(&json!(name)) { "needed" } else { "" };
                vec![format!("  {name}"), needed.to_owned(), text::plain(&property["description"])]
            })
            .collect();
        println!("{}", text::table(&rows));
    }
    Ok(())
}
