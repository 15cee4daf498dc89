//! The operator's hand on the pool and its machines, over the API of a running system; and the whole of it with rented machines, which a
//! stand-in for Vast.ai runs as worker processes.

use anyhow::{Context, Result, ensure};
use kiln_tests::system::wait_for;
use kiln_tests::{Client, System};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;

const ADMIN: &str = "the-admin-key-of-this-test";
const SOON: Duration = Duration::from_secs(60);

pub(crate) struct Operator(pub Client);

impl Operator {
    pub async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Result<kiln_tests::client::Answer> {
        let request = self.0.request(method, &format!("/api/v1/admin/pool{path}")).bearer_auth(ADMIN);
        self.0.send(body.iter().fold(request, |request, body| request.json(body))).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Result<kiln_tests::client::Answer> {
        self.ask(Method::POST, path, Some(body)).await
    }

    pub async fn change(&self, change: Value) -> Result<kiln_tests::client::Answer> {
        self.ask(Method::PATCH, "", Some(change)).await
    }

    pub async fn pool(&self) -> Result<Value> {
        self.ask(Method::GET, "", None).await?.expect(200)
    }

    /// The pool, once this is so.
    pub async fn when(&self, what: &str, so: impl Fn(&Value) -> bool) -> Result<Value> {
        wait_for(what, SOON, async || Ok(Some(self.pool().await?).filter(&so))).await
    }
}

fn ready(pool: &Value) -> bool {
    pool["instances"].as_array().is_some_and(|all| !all.is_empty() && all.iter().all(|one| one["stage"] == "ready"))
}

/// Whether the last look that decided anything decided this, for this reason.
pub(crate) fn decided(pool: &Value, what: &str, reason: &str) -> bool {
    pool["last_run"]["decisions"].as_array().is_some_and(|all| all.iter().any(|one| one["what"] == what && one["reason"] == reason))
}

#[tokio::test]
async fn an_operator_has_machines_ready_ahead_claims_one_and_sends_it_away() -> Result<()> {
    let system = System::start(&[("KILN_ADMIN_KEY", ADMIN), ("KILN_POOL_MAX", "2")]).await?;
    let operator = Operator(system.client());
    let wanted = operator.post("/prewarm", json!({ "machines": 1 })).await?.expect(200)?;
    ensure!(wanted["machines"] == 1 && wanted["until"].is_string(), "{wanted}");
    let pool = operator.when("a machine ahead of the jobs", ready).await?;
    ensure!(pool["prewarm"]["machines"] == 1 && pool["desired_size"] == 0, "{pool}");
    let reasons = pool["last_run"]["decisions"].as_array().context("decisions")?;
    ensure!(reasons.iter().any(|one| one["what"] == "rent" && one["reason"] == "floor" && one["text"].is_string()), "{pool}");
    let id = pool["instances"][0]["id"].as_str().context("id")?.to_owned();
    ensure!(pool["instances"][0]["ready_at"].is_string() && pool["instances"][0]["lease"].is_null(), "{pool}");

    let lease = operator.post("/leases", json!({ "instance_id": id, "minutes": 30 })).await?.expect(201)?;
    let lease_id = lease["id"].as_str().context("id")?;
    ensure!(lease["expires_at"].is_string() && operator.pool().await?["instances"][0]["lease"]["id"] == lease_id);
    operator.post("/leases", json!({ "instance_id": id, "minutes": 1 })).await?.problem(409, "instance_leased", "")?;
    operator.post("/terminate", json!({ "instance_id": id })).await?.problem(409, "instance_leased", "")?;
    let release = format!("/leases/{lease_id}");
    ensure!(operator.ask(Method::DELETE, &release, None).await?.status == 204);
    operator.ask(Method::DELETE, &release, None).await?.problem(404, "not_found", "")?;

    operator.post("/prewarm", json!({ "machines": 0 })).await?.expect(200)?;
    let going = operator.post("/terminate", json!({ "instance_id": id })).await?.expect(202)?;
    ensure!(going["stage"] == "draining", "{going}");
    let pool = operator.when("the machine to go", |pool| pool["instances"] == json!([])).await?;
    ensure!(pool["prewarm"].is_null(), "{pool}");
    // The operator's own machine has cost nothing, and is in no record of what was spent.
    ensure!(operator.ask(Method::GET, "/history", None).await?.expect(200)?["items"] == json!([]));
    Ok(())
}

#[tokio::test]
async fn words_that_make_no_sense_are_refused_by_their_field_and_change_nothing() -> Result<()> {
    let system = System::start(&[("KILN_ADMIN_KEY", ADMIN), ("KILN_POOL_MAX", "1"), ("KILN_TICK_S", "3600")]).await?;
    let operator = Operator(system.client());
    let stranger = format!("ins_{}", "0".repeat(26));
    for (path, body, field) in [
        ("/prewarm", json!({ "machines": 2 }), "machines"),
        ("/prewarm", json!({ "machines": -1 }), "machines"),
        ("/prewarm", json!({ "machines": 1, "minutes": 0 }), "minutes"),
        ("/prewarm", json!({ "machines": 1, "minutes": 241 }), "minutes"),
        ("/prewarm", json!({ "machines": 1, "hours": 1 }), "hours"),
        ("/prewarm", json!({}), "machines"),
        ("/leases", json!({ "instance_id": stranger, "minutes": 31 }), "minutes"),
        ("/leases", json!({ "instance_id": stranger, "minutes": 0 }), "minutes"),
        ("/leases", json!({ "instance_id": "i-1", "minutes": 1 }), "instance_id"),
        ("/terminate", json!({ "instance_id": 7 }), "instance_id"),
        ("/terminate", json!({ "instance_id": stranger, "at_once": "yes" }), "at_once"),
    ] {
        operator.post(path, body).await?.problem(422, "bad_field", field)?;
    }
    let before = operator.when("the first look", |pool| pool["last_run"].is_object()).await?;
    for (change, field) in [
        (json!({ "desired_size": -1 }), "desired_size"),
        (json!({ "desired_size": 1.5 }), "desired_size"),
        (json!({ "desired_size": "1" }), "desired_size"),
        (json!({ "desired_size": 101, "max": 100 }), "desired_size"),
        (json!({ "min": 2 }), "min"),
        (json!({ "min": 1, "max": 0 }), "min"),
        (json!({ "max": 101 }), "max"),
        (json!({ "max": -1 }), "max"),
        (json!({ "idle_shutdown_s": 0 }), "idle_shutdown_s"),
        (json!({ "idle_shutdown_s": 86_401 }), "idle_shutdown_s"),
        (json!({ "start_within_s": 0 }), "start_within_s"),
        (json!({ "budget_hour_microusd": -1 }), "budget_hour_microusd"),
        (json!({ "budget_day_microusd": 0.5 }), "budget_day_microusd"),
        (json!({ "budget_month_microusd": 1_000_000_000_001_i64 }), "budget_month_microusd"),
        (json!({ "budget_hour_microusd": 2, "budget_day_microusd": 1 }), "budget_hour_microusd"),
        (json!({ "budget_day_microusd": 2, "budget_month_microusd": 1 }), "budget_day_microusd"),
        (json!({ "max_microusd_per_hour": -1 }), "max_microusd_per_hour"),
        (json!({ "safe_mode": "yes" }), "safe_mode"),
        (json!({ "policy": "eager" }), "policy"),
        (json!({ "gpus": [""] }), "gpus"),
        (json!({ "gpus": ["RTX4090"] }), "gpus[0]"),
        (json!({ "gpus": ["L4", "RTX 4090", "Voodoo 2"] }), "gpus[2]"),
        (json!({ "max": 1, "desired_sise": 1 }), "desired_sise"),
    ] {
        operator.change(change.clone()).await?.problem(422, "bad_field", field).with_context(|| change.to_string())?;
    }
    let misspelt = operator.change(json!({ "gpus": ["rtx_4090"] })).await?.body.to_string();
    ensure!(misspelt.contains("RTX 4090"), "{misspelt}");
    let after = operator.pool().await?;
    ensure!(after == before, "{after} {before}");
    operator.post("/leases", json!({ "instance_id": stranger, "minutes": 30 })).await?.problem(404, "not_found", "")?;
    operator.post("/terminate", json!({ "instance_id": stranger })).await?.problem(404, "not_found", "")?;
    let set = operator.change(json!({ "gpus": ["L4", "RTX 4090"], "safe_mode": true })).await?.expect(200)?;
    ensure!(set["gpus"] == json!(["L4", "RTX 4090"]), "{set}");
    operator.post("/prewarm", json!({ "machines": 1 })).await?.problem(409, "safe_mode", "")?;
    let guess = system.client();
    for path in ["/prewarm", "/leases", "/terminate"] {
        let request = guess.request(Method::POST, &format!("/api/v1/admin/pool{path}")).bearer_auth("guess-guess-guess").json(&json!({}));
        guess.send(request).await?.problem(401, "not_admin", "")?;
    }
    let pool = operator.pool().await?;
    ensure!(pool["prewarm"].is_null() && pool["instances"] == json!([]), "{pool}");
    Ok(())
}

/// By its worker's own end, its own key at the provider, and its own disk.
#[tokio::test]
async fn a_rented_machine_without_work_is_kept_stopped_and_does_the_next_job() -> Result<()> {
    let system = System::start(&[("KILN_ADMIN_KEY", ADMIN), ("KILN_VAST_STAND_IN", "1"), ("KILN_POOL_MAX", "1")]).await?;
    let (operator, ada) = (Operator(system.client()), system.signed_in("ada@example.org").await?);
    operator.ask(Method::PATCH, "", Some(json!({ "budget_day_microusd": 50_000_000, "interruptible": false }))).await?.expect(200)?;
    // As much work as makes a machine worth its disk.
    let mut jobs = Vec::new();
    for _ in 0..6 {
        jobs.push(ada.noop(2_500).await?);
    }
    for job in &jobs {
        ensure!(ada.ended(job, SOON).await?["state"] == "succeeded");
    }
    let ran = operator.pool().await?["instances"][0].clone();
    operator.ask(Method::PATCH, "", Some(json!({ "idle_shutdown_s": 1 }))).await?.expect(200)?;
    let pool = operator.when("it to be stopped", |pool| pool["instances"][0]["stage"] == "stopped").await?;
    let kept = &pool["instances"][0];
    ensure!(kept["id"] == ran["id"] && kept["provider_id"] == ran["provider_id"] && pool["instances"].as_array().map(Vec::len) == Some(1), "{pool}");
    let price = |machine: &Value| machine["microusd_per_hour"].as_i64().context("a price");
    ensure!(price(kept)? > 0 && price(kept)? * 10 <= price(&ran)? && kept["boot_by"].is_null(), "{kept} {ran}");
    ensure!(pool["spend"]["now_microusd_per_hour"] == kept["microusd_per_hour"], "{pool}");
    operator.post("/leases", json!({ "instance_id": kept["id"], "minutes": 1 })).await?.problem(409, "instance_stopped", "")?;

    operator.ask(Method::PATCH, "", Some(json!({ "idle_shutdown_s": 900 }))).await?.expect(200)?;
    let job = ada.noop(1).await?;
    ensure!(ada.ended(&job, SOON).await?["state"] == "succeeded");
    let again = operator.pool().await?["instances"][0].clone();
    ensure!(again["id"] == ran["id"] && again["provider_id"] == ran["provider_id"] && price(&again)? == price(&ran)?, "{again} {ran}");
    let records = operator.ask(Method::GET, "/history", None).await?.expect(200)?["items"].as_array().cloned().context("items")?;
    let stretches: Vec<_> = records.iter().map(|record| (&record["stopped"], &record["stays"], record["jobs"].as_u64())).collect();
    ensure!(stretches == [(&json!(true), &json!(true), Some(0)), (&json!(false), &json!(true), Some(6))], "{records:?}");
    operator.ask(Method::PATCH, "", Some(json!({ "safe_mode": true }))).await?.expect(200)?;
    operator.when("safe mode to end it", |pool| pool["instances"].as_array().is_some_and(|all| all.iter().all(|one| one["stage"] == "lost"))).await?;
    ada.check_books().await?;
    Ok(())
}

/// Everything but the money is real: the warm pool rents over the provider's API, the machine boots a worker by its token, the job is done there.
#[tokio::test]
async fn a_job_brings_a_rented_machine_which_does_it_and_safe_mode_ends_it() -> Result<()> {
    let system = System::start(&[("KILN_ADMIN_KEY", ADMIN), ("KILN_VAST_STAND_IN", "1"), ("KILN_POOL_MAX", "1")]).await?;
    let (operator, ada) = (Operator(system.client()), system.signed_in("ada@example.org").await?);
    operator.ask(Method::PATCH, "", Some(json!({ "budget_day_microusd": 50_000_000 }))).await?.expect(200)?;
    let job = ada.noop(1).await?;
    // What a run has decided is told when it has ended.
    let rented = |pool: &Value| pool["instances"][0]["provider_id"].is_string() && pool["last_run"]["decisions"][0]["what"] == "rent";
    let pool = operator.when("a machine to be rented", rented).await?;
    let machine = &pool["instances"][0];
    ensure!(machine["provider"] == "vast" && machine["microusd_per_hour"].as_i64() > Some(0) && machine["gpu"].is_string(), "{pool}");
    ensure!(machine["stage"] == "requested" && machine["boot_by"].is_string(), "{pool}");
    let spend = |name: &str| pool["spend"][name].as_i64().context("spend");
    ensure!(spend("now_microusd_per_hour")? == machine["microusd_per_hour"].as_i64().context("a price")?, "{pool}");
    for span in ["hour", "day", "month"] {
        let (committed, spent) = (spend(&format!("{span}_microusd"))?, spend(&format!("spent_{span}_microusd"))?);
        ensure!(committed > 0 && (0..committed).contains(&spent), "{span}: {pool}");
    }
    ensure!(machine["heartbeat_age_s"].is_null() && pool["charges"].is_array(), "{pool}");
    // No budget is set below what runs already, and nothing else of such a change is done either.
    for (change, field) in [
        (json!({ "max": 2, "budget_hour_microusd": 1 }), "budget_hour_microusd"),
        (json!({ "max": 2, "budget_day_microusd": 1 }), "budget_day_microusd"),
        (json!({ "max": 2, "budget_day_microusd": null, "budget_month_microusd": 1 }), "budget_month_microusd"),
    ] {
        let refused = operator.change(change).await?;
        refused.problem(422, "bad_field", field)?;
        ensure!(refused.body.to_string().contains("committed now"), "{}", refused.body);
    }
    let unchanged = operator.pool().await?;
    ensure!(unchanged["max"] == 1 && unchanged["budget_day_microusd"] == 50_000_000 && unchanged["budget_hour_microusd"].is_null(), "{unchanged}");
    operator.change(json!({ "budget_day_microusd": 40_000_000 })).await?.expect(200)?;
    ensure!(ada.ended(&job, SOON).await?["state"] == "succeeded");
    let pool = operator.pool().await?;
    ensure!(pool["instances"][0]["ready_at"].is_string() && pool["instances"].as_array().map(Vec::len) == Some(1), "{pool}");
    ensure!(pool["instances"][0]["heartbeat_age_s"].as_u64().is_some_and(|age| age < 60), "{pool}");
    let told = format!("/events?instance_id={}", pool["instances"][0]["id"].as_str().context("id")?);
    let events = wait_for("its usage to be told", SOON, || async {
        let events = operator.ask(Method::GET, &told, None).await?.expect(200)?["items"].as_array().cloned().context("items")?;
        Ok((events.len() >= 4).then_some(events))
    })
    .await?;
    let phases: Vec<_> = events.iter().rev().map(|event| event["event"].as_str().unwrap_or_default()).take(4).collect();
    ensure!(phases == ["rented", "booting", "ready", "busy"] && events[0]["cost_microusd"].as_i64() >= Some(0), "{events:?}");
    operator.ask(Method::GET, "/events?instance_id=i-1", None).await?.problem(422, "bad_field", "instance_id")?;
    // With safe mode any budget is taken.
    operator.change(json!({ "safe_mode": true, "budget_day_microusd": 1 })).await?.expect(200)?;
    operator.when("safe mode to end it", |pool| pool["instances"].as_array().is_some_and(|all| all.iter().all(|one| one["stage"] == "lost"))).await?;
    ada.check_books().await?;
    Ok(())
}

/// One goes when its job is done, and one at once; nobody takes their place, and the others stay.
#[tokio::test]
async fn of_two_rented_machines_the_one_that_is_sent_away_goes_and_the_other_stays() -> Result<()> {
    let system = System::start(&[("KILN_ADMIN_KEY", ADMIN), ("KILN_VAST_STAND_IN", "1"), ("KILN_POOL_MAX", "2")]).await?;
    let (operator, ada) = (Operator(system.client()), system.signed_in("ada@example.org").await?);
    operator.change(json!({ "budget_day_microusd": 50_000_000, "interruptible": false, "keep_stopped": false })).await?.expect(200)?;
    operator.post("/prewarm", json!({ "machines": 2 })).await?.expect(200)?;
    let both = |pool: &Value| ready(pool) && pool["instances"].as_array().map(Vec::len) == Some(2);
    let pool = operator.when("two machines", both).await?;
    ensure!(pool["instances"].as_array().is_some_and(|all| all.iter().all(|one| one["provider"] == "vast" && one["heartbeat_age_s"].is_u64())), "{pool}");
    operator.post("/prewarm", json!({ "machines": 0 })).await?.expect(200)?;

    let job = ada.noop(8_000).await?;
    let at_work =
        |pool: &Value| pool["instances"].as_array().and_then(|all| all.iter().find(|one| one["stage"] == "busy" && one["job_id"] == job.as_str()).cloned());
    let pool = operator.when("one to work", |pool| at_work(pool).is_some()).await?;
    let goes = at_work(&pool).context("one at work")?["id"].clone();
    let of = |pool: &Value, id: &Value| pool["instances"].as_array().and_then(|all| all.iter().find(|one| one["id"] == *id).cloned()).unwrap_or_default();
    let stays = pool["instances"].as_array().and_then(|all| all.iter().map(|one| one["id"].clone()).find(|id| *id != goes)).context("the other")?;
    operator.post("/terminate", json!({ "instance_id": goes })).await?.expect(202)?;
    let pool = operator.pool().await?;
    ensure!(of(&pool, &goes)["stage"] == "draining" && of(&pool, &stays)["stage"] == "ready", "{pool}");
    let done = ada.ended(&job, SOON).await?;
    ensure!(done["state"] == "succeeded" && done["attempt"] == 1, "what it was at was ended: {done}");

    // The other one does the next job, and goes at once when it is told so.
    let next = ada.noop(1).await?;
    ensure!(ada.ended(&next, SOON).await?["state"] == "succeeded");
    let told = format!("/events?instance_id={}", stays.as_str().context("id")?);
    wait_for("its work to be told", SOON, || async {
        let events = operator.ask(Method::GET, &told, None).await?.expect(200)?["items"].as_array().cloned().context("items")?;
        Ok(events.iter().any(|event| event["event"] == "busy").then_some(()))
    })
    .await?;
    operator.post("/terminate", json!({ "instance_id": stays, "at_once": true })).await?.expect(202)?;
    let ended = |pool: &Value| {
        let decisions = pool["last_run"]["decisions"].as_array();
        decisions.is_some_and(|all| all.iter().any(|one| one["what"] == "destroy" && one["reason"] == "sent_away" && one["instance_id"] == stays))
    };
    operator.when("the other to be destroyed", ended).await?;
    ada.check_books().await?;
    Ok(())
}
