//! What a machine can do that sleeps, lies or comes late: a worker played by the test, with a real boot token.

use anyhow::{Context, Result, ensure};
use kiln_core::time::parse_rfc3339;
use kiln_tests::client::Answer;
use kiln_tests::system::wait_for;
use kiln_tests::{Client, Machine, System};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::Digest;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const ADMIN: &str = "an-admin-key-of-the-tests";
const SOON: Duration = Duration::from_secs(60);

pub(crate) struct Worker {
    pub client: Client,
    pub token: String,
    pub id: String,
}

impl Worker {
    pub async fn register(system: &System, boot_token: &str) -> Result<Self> {
        let client = system.client();
        let body = json!({ "boot_token": boot_token, "version": "1", "capabilities": ["image"] });
        let answer = client.post("/api/v1/fleet/register", body).await?.expect(200)?;
        let text = |name: &str| Ok::<_, anyhow::Error>(answer[name].as_str().context("register")?.to_owned());
        Ok(Self { token: text("token")?, id: text("instance_id")?, client })
    }

    pub async fn ask(&self, path: &str, body: Value) -> Result<Answer> {
        self.client.send(self.client.request(Method::POST, &format!("/api/v1/fleet/{path}")).bearer_auth(&self.token).json(&body)).await
    }

    pub async fn claim(&self, job: &str, account: &str) -> Result<Answer> {
        self.claim_as(job, account, &self.id).await
    }

    pub async fn claim_as(&self, job: &str, account: &str, claim_id: &str) -> Result<Answer> {
        self.ask(&format!("jobs/{job}/claim"), json!({ "account_id": account, "claim_id": claim_id })).await
    }

    /// Gets the job's second attempt, as soon as it may.
    async fn takes_over(&self, job: &str, account: &str) -> Result<()> {
        let taken = wait_for("the job to be free again", SOON, || async {
            let answer = self.claim(job, account).await?;
            Ok((answer.status == 200).then_some(answer.body))
        })
        .await?;
        ensure!(taken["attempt"] == 2, "{taken}");
        Ok(())
    }
}

pub(crate) fn report(account: &str, attempt: i64, name: &str, bytes: &[u8]) -> Value {
    let sha256 = hex::encode(sha2::Sha256::digest(bytes));
    let artifact = json!({ "name": name, "content_type": "image/png", "bytes": bytes.len(), "sha256": sha256 });
    json!({ "account_id": account, "attempt": attempt, "artifacts": [artifact] })
}

/// A job, its account, and two workers that the pool has started; no maintenance comes between.
pub(crate) async fn two_workers() -> Result<(System, Client, String, String, Worker, Worker)> {
    let machine = Machine::new()?;
    let settings =
        [("KILN_ADMIN_KEY", ADMIN), ("KILN_WORKER_BIN", machine.program.as_str()), ("KILN_POOL_MAX", "2"), ("KILN_POOL_DESIRED", "2"), ("KILN_TICK_S", "3600")];
    let system = System::start(&settings).await?;
    let ada = system.signed_in("ada@example.org").await?;
    let account = ada.get("/api/v1/me").await?.expect(200)?["account"]["id"].as_str().context("account")?.to_owned();
    let tokens = machine.boot_tokens(2).await?;
    let (one, two) = (Worker::register(&system, &tokens[0]).await?, Worker::register(&system, &tokens[1]).await?);
    let job = ada.noop(0).await?;
    Ok((system, ada, account, job, one, two))
}

pub(crate) async fn machine_of(system: &System, id: &str) -> Result<Value> {
    let answer: Value = reqwest::Client::new().get(format!("{}/api/v1/admin/pool", system.url)).bearer_auth(ADMIN).send().await?.json().await?;
    answer["instances"].as_array().and_then(|all| all.iter().find(|one| one["id"] == id)).cloned().context("the instance")
}

#[tokio::test]
async fn a_machine_that_slept_has_lost_its_job_and_is_free_again() -> Result<()> {
    let (system, ada, account, job, sleeper, other) = two_workers().await?;
    ensure!(sleeper.claim(&job, &account).await?.expect(200)?["attempt"] == 1);
    ensure!(other.claim(&job, &account).await?.status == 409);
    // Its lease runs out, and another takes the job over.
    other.takes_over(&job, &account).await?;
    let bytes = b"a picture, says the worker".as_slice();
    for late in ["artifacts", "complete"] {
        sleeper.ask(&format!("jobs/{job}/{late}"), report(&account, 1, "result.png", bytes)).await?.problem(409, "attempt_lost", "")?;
        sleeper.ask(&format!("jobs/{job}/{late}"), report(&account, 2, "result.png", bytes)).await?.problem(409, "attempt_lost", "")?;
    }
    ensure!(machine_of(&system, &sleeper.id).await?["job_id"] == job, "its row still has the attempt");
    // Though it goes on to speak of it.
    let beat = json!({ "job_id": job, "account_id": account, "attempt": 1, "progress": 0.5 });
    let told = sleeper.ask("heartbeat", json!({ "stage": "busy", "job": beat })).await?.expect(200)?;
    ensure!(told["cancel"] == "superseded", "{told}");
    ensure!(machine_of(&system, &sleeper.id).await?["job_id"].is_null(), "an attempt that is lost keeps no machine busy");
    sleeper.ask("heartbeat", json!({ "stage": "ready" })).await?.expect(200)?;
    ensure!(machine_of(&system, &sleeper.id).await?["stage"] == "ready");
    // The other one's slot is its own: a heartbeat without the job, sent before its claim was answered, empties nothing.
    other.ask("heartbeat", json!({ "stage": "ready" })).await?.expect(200)?;
    ensure!(machine_of(&system, &other.id).await?["job_id"] == job);
    other
        .ask(&format!("jobs/{job}/fail"), json!({ "account_id": account, "attempt": 2, "failure": "permanent", "code": "gone", "message": "" }))
        .await?
        .expect(200)?;
    ensure!(ada.ended(&job, SOON).await?["state"] == "failed");
    ensure!(ada.check_books().await? == (10_000, 0));
    Ok(())
}

#[tokio::test]
async fn a_process_that_begins_again_gives_its_attempt_up_and_its_old_token_too() -> Result<()> {
    let (system, ada, account, job, one, two) = two_workers().await?;
    one.claim(&job, &account).await?.expect(200)?;
    let again = one.ask("register", json!({ "version": "1", "capabilities": ["image"] })).await?.expect(200)?;
    let reborn = Worker { client: system.client(), token: again["token"].as_str().context("token")?.to_owned(), id: one.id.clone() };
    ensure!(again["instance_id"] == one.id.as_str() && reborn.token != one.token);
    let calls = [("heartbeat", json!({ "stage": "ready" })), ("credentials", json!({})), ("register", json!({ "version": "1", "capabilities": ["image"] }))];
    for (call, body) in calls {
        one.ask(call, body).await?.problem(401, "unknown_worker", "")?;
    }
    one.claim(&job, &account).await?.problem(401, "unknown_worker", "")?;
    ensure!(machine_of(&system, &one.id).await?["job_id"].is_null(), "the attempt has left its slot");
    let shown = ada.get(&format!("/api/v1/jobs/{job}")).await?.expect(200)?;
    ensure!(shown["state"] == "queued", "{shown}");
    two.takes_over(&job, &account).await?;
    reborn.ask(&format!("jobs/{job}/complete"), report(&account, 1, "result.png", b"x")).await?.problem(409, "attempt_lost", "")?;
    ada.post(&format!("/api/v1/jobs/{job}/cancel"), json!({})).await?.expect(200)?;
    ensure!(ada.check_books().await? == (10_000, 0));
    Ok(())
}

#[tokio::test]
async fn a_machine_can_put_only_what_its_job_s_kind_makes() -> Result<()> {
    let (_system, ada, account, job, one, two) = two_workers().await?;
    one.claim(&job, &account).await?.expect(200)?;
    for name in ["result-65.png", "extra.png", "result-1.png"] {
        for call in ["artifacts", "complete"] {
            one.ask(&format!("jobs/{job}/{call}"), report(&account, 1, name, b"x")).await?.problem(422, "bad_field", "artifacts[0].name")?;
        }
    }
    // Nor anything at all of a job that another has.
    two.ask(&format!("jobs/{job}/artifacts"), report(&account, 1, "result.png", b"x")).await?.problem(409, "attempt_lost", "")?;
    // What was never put can't be delivered.
    one.ask(&format!("jobs/{job}/complete"), report(&account, 1, "result.png", b"x")).await?.problem(422, "artifact_mismatch", "artifacts[0]")?;
    ada.post(&format!("/api/v1/jobs/{job}/cancel"), json!({})).await?.expect(200)?;
    ensure!(ada.check_books().await? == (10_000, 0));
    Ok(())
}

#[tokio::test]
async fn two_changes_of_the_pool_at_once_both_hold() -> Result<()> {
    let system = System::start(&[("KILN_ADMIN_KEY", ADMIN), ("KILN_POOL_MAX", "0")]).await?;
    let url = format!("{}/api/v1/admin/pool", system.url);
    let change = |body: Value| {
        let request = reqwest::Client::new().patch(&url).bearer_auth(ADMIN).json(&body);
        async move { anyhow::Ok(request.send().await?.error_for_status()?) }
    };
    for round in 1..=10 {
        tokio::try_join!(change(json!({ "max": round })), change(json!({ "idle_shutdown_s": 100 + round })))?;
        let pool: Value = reqwest::Client::new().get(&url).bearer_auth(ADMIN).send().await?.json().await?;
        ensure!(pool["max"] == round && pool["idle_shutdown_s"] == 100 + round, "{pool}");
    }
    Ok(())
}

#[tokio::test]
async fn a_boot_token_that_is_used_twice_ends_its_machine_and_a_guess_does_not() -> Result<()> {
    let machine = Machine::new()?;
    let settings = [("KILN_ADMIN_KEY", ADMIN), ("KILN_WORKER_BIN", machine.program.as_str()), ("KILN_POOL_DESIRED", "1"), ("KILN_TICK_S", "3600")];
    let system = System::start(&settings).await?;
    let token = machine.boot_token().await?;
    let worker = Worker::register(&system, &token).await?;
    worker.ask("heartbeat", json!({ "stage": "ready" })).await?.expect(200)?;
    let register = |token: String| json!({ "boot_token": token, "version": "1", "capabilities": ["image"] });
    let guess = format!("{}.guess", token.split_once('.').context("a token")?.0);
    system.client().post("/api/v1/fleet/register", register(guess)).await?.problem(401, "unknown_worker", "")?;
    worker.ask("heartbeat", json!({ "stage": "ready" })).await?.expect(200)?;
    system.client().post("/api/v1/fleet/register", register(token)).await?.problem(401, "unknown_worker", "")?;
    worker.ask("heartbeat", json!({ "stage": "ready" })).await?.problem(401, "unknown_worker", "")?;
    ensure!(machine_of(&system, &worker.id).await?["stage"] == "lost");
    Ok(())
}

#[tokio::test]
async fn a_registration_whose_answer_was_lost_may_be_repeated_with_the_same_secret_and_with_no_other() -> Result<()> {
    let machine = Machine::new()?;
    let settings = [("KILN_ADMIN_KEY", ADMIN), ("KILN_WORKER_BIN", machine.program.as_str()), ("KILN_POOL_DESIRED", "1"), ("KILN_TICK_S", "3600")];
    let system = System::start(&settings).await?;
    let (boot, client) = (machine.boot_token().await?, system.client());
    let said = |secret: &str| json!({ "boot_token": boot, "secret": secret, "version": "1", "capabilities": ["image"] });
    for bad in ["", "short", &"a".repeat(65), &"é".repeat(22), &format!("{} ", "a".repeat(43))] {
        client.post("/api/v1/fleet/register", said(bad)).await?.problem(422, "bad_field", "secret")?;
    }
    let (first, second) = ("a".repeat(64), "b".repeat(64));
    let token = client.post("/api/v1/fleet/register", said(&first)).await?.expect(200)?["token"].clone();
    ensure!(client.post("/api/v1/fleet/register", said(&first)).await?.expect(200)?["token"] == token);
    let worker = Worker { client: system.client(), token: token.as_str().context("token")?.to_owned(), id: String::new() };
    worker.ask("heartbeat", json!({ "stage": "ready" })).await?.expect(200)?;
    // A process that begins again repeats itself in the same way: its old token is gone by the first answer, which it has not heard.
    let again = json!({ "secret": second, "version": "1", "capabilities": ["image"] });
    let new = worker.ask("register", again.clone()).await?.expect(200)?["token"].clone();
    ensure!(new != token && worker.ask("register", again).await?.expect(200)?["token"] == new);
    worker.ask("register", json!({ "secret": "c".repeat(64), "version": "1", "capabilities": ["image"] })).await?.problem(401, "unknown_worker", "")?;
    let worker = Worker { token: new.as_str().context("token")?.to_owned(), ..worker };
    worker.ask("heartbeat", json!({ "stage": "ready" })).await?.expect(200)?;
    // Its first registration can't be repeated any more: that is a second use of the boot token.
    client.post("/api/v1/fleet/register", said(&first)).await?.problem(401, "unknown_worker", "")?;
    worker.ask("heartbeat", json!({ "stage": "ready" })).await?.problem(401, "unknown_worker", "")?;
    Ok(())
}

#[tokio::test]
async fn a_boot_token_that_comes_after_its_deadline_is_refused_and_registers_nothing() -> Result<()> {
    let machine = Machine::new()?;
    let settings =
        [("KILN_ADMIN_KEY", ADMIN), ("KILN_WORKER_BIN", machine.program.as_str()), ("KILN_POOL_DESIRED", "1"), ("KILN_TICK_S", "3600"), ("KILN_BOOT_S", "1")];
    let system = System::start(&settings).await?;
    let token = machine.boot_token().await?;
    let id = token.trim_start_matches("kib_").split('.').next().context("a token")?;
    let boot_by = machine_of(&system, id).await?["boot_by"].as_str().and_then(parse_rfc3339).context("boot_by")?;
    wait_for("its deadline to pass", SOON, || async {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
        Ok((i64::try_from(now)? > boot_by).then_some(()))
    })
    .await?;
    let register = json!({ "boot_token": token, "version": "1", "capabilities": ["image"], "gpu": "RTX 4090" });
    system.client().post("/api/v1/fleet/register", register).await?.problem(401, "unknown_worker", "")?;
    let row = machine_of(&system, id).await?;
    ensure!(row["stage"] == "requested" && row["heartbeat_age_s"].is_null() && row["gpu"].is_null(), "{row}");
    Ok(())
}

/// What STS is asked for, and not only what the policy's text would be.
#[tokio::test]
async fn a_worker_s_queues_are_lent_to_it_by_name_for_an_hour_at_most_and_for_three_actions() -> Result<()> {
    let system = System::start_watched(&[("KILN_ADMIN_KEY", ADMIN)]).await?;
    let ada = system.signed_in("ada@example.org").await?;
    let job = ada.noop(0).await?;
    ensure!(ada.ended(&job, SOON).await?["state"] == "succeeded");
    let calls = system.faults.as_ref().context("a proxy")?.calls();
    let asked: Vec<_> = calls.iter().filter(|call| call.name == "AssumeRole").collect();
    ensure!(!asked.is_empty(), "nothing was lent");
    for call in asked {
        let url = reqwest::Url::parse(&format!("http://sts/?{}", String::from_utf8(call.body.to_vec())?))?;
        let said = |name: &str| url.query_pairs().find(|(known, _)| known == name).map(|(_, value)| value.into_owned()).context(name.to_owned());
        let lasts: u32 = said("DurationSeconds")?.parse()?;
        ensure!((900..=3600).contains(&lasts), "{lasts} s");
        ensure!(said("RoleSessionName")?.starts_with("ins_"), "{url}");
        let policy: Value = serde_json::from_str(&said("Policy")?)?;
        let statements = policy["Statement"].as_array().context("statements")?;
        ensure!(statements.len() == 1 && statements[0]["Effect"] == "Allow", "{policy}");
        ensure!(statements[0]["Action"] == json!(["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility"]), "{policy}");
        let queues = statements[0]["Resource"].as_array().context("queues")?;
        let one = |queue: &Value| queue.as_str().is_some_and(|arn| arn.starts_with("arn:aws:sqs:") && !arn.contains('*'));
        ensure!(queues.len() == 2 && queues.iter().all(one), "{policy}");
    }
    Ok(())
}
