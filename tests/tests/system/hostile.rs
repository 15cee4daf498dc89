//! What a host does that is paid to work and means harm, line by line as docs/SECURITY.md says what it can and can't do. Others are in
//! machines.rs (a machine that sleeps, begins again, or whose boot token is used twice).

use crate::machines::{Worker, machine_of, report};
use anyhow::{Context, Result, ensure};
use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region};
use kiln_tests::client::Answer;
use kiln_tests::system::wait_for;
use kiln_tests::{Client, Machine, System};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::time::Duration;

const ADMIN: &str = "an-admin-key-of-the-tests";
const SOON: Duration = Duration::from_secs(60);
const PNG: &[u8] = b"\x89PNG\r\n\x1a\nand so on, says the worker";
/// The longest that SQS hides a message.
const TWELVE_HOURS: i32 = 43_200;

/// A customer, and two machines of the pool that the test plays.
struct World {
    system: System,
    ada: Client,
    account: String,
    eve: Worker,
    bob: Worker,
}

impl World {
    /// `tick_s`: how often maintenance looks.
    async fn new(tick_s: &str) -> Result<Self> {
        let machine = Machine::new()?;
        let settings = [
            ("KILN_ADMIN_KEY", ADMIN),
            ("KILN_WORKER_BIN", machine.program.as_str()),
            ("KILN_POOL_MAX", "2"),
            ("KILN_POOL_DESIRED", "2"),
            ("KILN_TICK_S", tick_s),
            ("KILN_LEASE_S", "60"),
        ];
        let system = System::start(&settings).await?;
        let ada = system.signed_in("ada@example.org").await?;
        let account = ada.get("/api/v1/me").await?.expect(200)?["account"]["id"].as_str().context("account")?.to_owned();
        let tokens = machine.boot_tokens(2).await?;
        let (eve, bob) = (Worker::register(&system, &tokens[0]).await?, Worker::register(&system, &tokens[1]).await?);
        Ok(Self { system, ada, account, eve, bob })
    }

    /// As the pool's operator.
    async fn terminate(&self, worker: &Worker, at_once: bool) -> Result<()> {
        let client = self.system.client();
        let request = client.request(Method::POST, "/api/v1/admin/pool/terminate").bearer_auth(ADMIN);
        client.send(request.json(&json!({ "instance_id": worker.id, "at_once": at_once }))).await?.expect(202)?;
        Ok(())
    }

    /// Puts the picture of an attempt and delivers it.
    async fn deliver(&self, worker: &Worker, job: &str, attempt: i64) -> Result<Value> {
        let declared = report(&self.account, attempt, "result.png", PNG);
        let puts = worker.ask(&format!("jobs/{job}/artifacts"), declared.clone()).await?.expect(200)?;
        ensure!(put(&puts["puts"][0], PNG).await?.is_success());
        worker.ask(&format!("jobs/{job}/complete"), declared).await?.expect(200)
    }
}

async fn put(signed: &Value, bytes: &[u8]) -> Result<StatusCode> {
    let mut request = reqwest::Client::new().put(signed["url"].as_str().context("url")?).body(bytes.to_vec());
    for (name, value) in signed["headers"].as_object().context("headers")? {
        request = request.header(name, value.as_str().unwrap_or_default());
    }
    Ok(request.send().await?.status())
}

/// The queues, as a worker's credentials open them.
struct Queue {
    client: aws_sdk_sqs::Client,
    url: String,
}

impl Queue {
    async fn lent_to(worker: &Worker) -> Result<Self> {
        let lent = worker.ask("credentials", json!({})).await?.expect(200)?;
        let text = |name: &str| lent[name].as_str().unwrap_or_default().to_owned();
        let keys = Credentials::new(text("access_key_id"), text("secret_access_key"), Some(text("session_token")), None, "lent");
        let config = aws_sdk_sqs::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(text("region")))
            .credentials_provider(keys)
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .endpoint_url(text("endpoint"));
        let queues = lent["queues"].as_array().context("queues")?;
        let standard = queues.iter().find(|queue| queue["priority"] == "standard").context("the standard queue")?;
        Ok(Self { client: aws_sdk_sqs::Client::from_conf(config.build()), url: standard["url"].as_str().context("url")?.to_owned() })
    }

    /// The receipt of a message about the job, once there is one.
    async fn hint(&self, job: &str) -> Result<String> {
        wait_for(&format!("a hint of {job}"), SOON, || async {
            let received = self.client.receive_message().queue_url(&self.url).max_number_of_messages(10).wait_time_seconds(1).send().await?;
            let about = received.messages().iter().find(|message| message.body().is_some_and(|body| body.contains(job)));
            Ok(about.and_then(|message| message.receipt_handle()).map(str::to_owned))
        })
        .await
    }
}

#[tokio::test]
async fn a_machine_that_hoards_hides_or_deletes_messages_only_delays_their_jobs() -> Result<()> {
    let world = World::new("1").await?;
    let (eve, bob) = (Queue::lent_to(&world.eve).await?, Queue::lent_to(&world.bob).await?);
    for crime in ["hoards", "hides", "deletes"] {
        let job = world.ada.noop(0).await?;
        let receipt = eve.hint(&job).await?;
        match crime {
            "hides" => {
                eve.client.change_message_visibility().queue_url(&eve.url).receipt_handle(receipt).visibility_timeout(TWELVE_HOURS).send().await?;
            }
            "deletes" => {
                eve.client.delete_message().queue_url(&eve.url).receipt_handle(receipt).send().await?;
            }
            // It is hidden for a minute by being received.
            _ => {}
        }
        // Another hint comes, and it leads to the same job.
        bob.hint(&job).await.with_context(|| format!("a machine {crime} the first"))?;
        ensure!(world.bob.claim_as(&job, &world.account, crime).await?.expect(200)?["attempt"] == 1);
        world.deliver(&world.bob, &job, 1).await?;
        ensure!(world.ada.ended(&job, SOON).await?["state"] == "succeeded", "{crime}");
    }
    ensure!(world.ada.check_books().await?.1 == 0);
    Ok(())
}

#[tokio::test]
async fn a_token_is_worth_nothing_after_its_machine_s_end_or_under_another_machine_s_name() -> Result<()> {
    let world = World::new("3600").await?;
    let job = world.ada.noop(0).await?;
    let secret = world.eve.token.split_once('.').context("a token")?.1;
    let posing = Worker { client: world.system.client(), token: format!("kin_{}.{secret}", world.bob.id), id: world.bob.id.clone() };
    let all = async |worker: &Worker| -> Result<()> {
        let register = json!({ "version": "1", "capabilities": ["image"] });
        for (call, body) in [("heartbeat", json!({ "stage": "ready" })), ("credentials", json!({})), ("register", register)] {
            worker.ask(call, body).await?.problem(401, "unknown_worker", "").with_context(|| call.to_owned())?;
        }
        worker.claim(&job, &world.account).await?.problem(401, "unknown_worker", "")
    };
    all(&posing).await?;
    // It has done no harm to whose name it used.
    world.bob.ask("heartbeat", json!({ "stage": "ready" })).await?.expect(200)?;
    world.eve.claim(&job, &world.account).await?.expect(200)?;
    world.terminate(&world.eve, true).await?;
    all(&world.eve).await?;
    let report = report(&world.account, 1, "result.png", PNG);
    for call in ["artifacts", "complete"] {
        world.eve.ask(&format!("jobs/{job}/{call}"), report.clone()).await?.problem(401, "unknown_worker", "")?;
    }
    world.ada.post(&format!("/api/v1/jobs/{job}/cancel"), json!({})).await?.expect(200)?;
    ensure!(world.ada.check_books().await? == (10_000, 0));
    Ok(())
}

#[tokio::test]
async fn a_machine_can_neither_take_nor_report_for_nor_fail_another_machine_s_job() -> Result<()> {
    let world = World::new("3600").await?;
    let (eve, account) = (&world.eve, &world.account);
    let job = world.ada.noop(0).await?;
    world.bob.claim(&job, account).await?.expect(200)?;
    eve.claim(&job, account).await?.problem(409, "lease_live", "")?;
    // By the claim that opened it, too.
    eve.claim_as(&job, account, &world.bob.id).await?.problem(409, "claim_used", "")?;
    for attempt in [1, 2] {
        for call in ["artifacts", "complete"] {
            eve.ask(&format!("jobs/{job}/{call}"), report(account, attempt, "result.png", PNG)).await?.problem(409, "attempt_lost", "")?;
        }
        let fail = json!({ "account_id": account, "attempt": attempt, "failure": "permanent", "code": "gone", "message": "" });
        eve.ask(&format!("jobs/{job}/fail"), fail).await?.problem(409, "attempt_lost", "")?;
        let beat = json!({ "job_id": job, "account_id": account, "attempt": attempt, "progress": 0.9 });
        let told = eve.ask("heartbeat", json!({ "stage": "busy", "job": beat })).await?.expect(200)?;
        ensure!(told["cancel"] == "superseded" && told["lease_s"].is_null(), "{told}");
    }
    // Somebody else's job can't be asked for under an account that it is not of.
    let zoe = world.system.signed_in("zoe@example.org").await?;
    let of_zoe = zoe.get("/api/v1/me").await?.expect(200)?["account"]["id"].as_str().context("account")?.to_owned();
    eve.claim(&job, &of_zoe).await?.problem(404, "job_not_found", "")?;
    let shown = world.ada.show(&job).await?;
    ensure!(shown["state"] == "running" && shown["progress"] == 0.0 && shown["attempt"] == 1, "{shown}");
    world.deliver(&world.bob, &job, 1).await?;
    ensure!(world.ada.show(&job).await?["state"] == "succeeded");
    // It holds one job at a time.
    let (one, two) = (world.ada.noop(0).await?, world.ada.noop(0).await?);
    eve.claim_as(&one, account, "one").await?.expect(200)?;
    eve.claim_as(&two, account, "two").await?.problem(409, "worker_busy", "")?;
    for job in [one, two] {
        world.ada.post(&format!("/api/v1/jobs/{job}/cancel"), json!({})).await?.expect(200)?;
    }
    ensure!(world.ada.check_books().await? == (9_000, 0));
    Ok(())
}

#[tokio::test]
async fn an_artifact_is_not_overwritten_and_other_bytes_or_another_type_are_not_delivered() -> Result<()> {
    let world = World::new("3600").await?;
    let (eve, account) = (&world.eve, &world.account);
    let job = world.ada.noop(0).await?;
    eve.claim(&job, account).await?.expect(200)?;
    let path = |call: &str| format!("jobs/{job}/{call}");
    // A type that no artifact has, and one that its bytes are not of.
    let mut page = report(account, 1, "result.png", b"<script>alert(1)</script>");
    for content_type in ["text/html", "image/svg+xml", "application/x-executable"] {
        page["artifacts"][0]["content_type"] = json!(content_type);
        for call in ["artifacts", "complete"] {
            eve.ask(&path(call), page.clone()).await?.problem(422, "bad_field", "artifacts[0].content_type")?;
        }
    }
    page["artifacts"][0]["content_type"] = json!("image/png");
    let signed = eve.ask(&path("artifacts"), page.clone()).await?.expect(200)?["puts"][0].clone();
    // Other bytes than were declared are not taken.
    ensure!(!put(&signed, b"<script>alert(2)</script>").await?.is_success());
    ensure!(put(&signed, b"<script>alert(1)</script>").await?.is_success());
    eve.ask(&path("complete"), page).await?.problem(422, "artifact_mismatch", "artifacts[0]")?;
    // Under that name there is something by now, which nothing overwrites.
    let signed = eve.ask(&path("artifacts"), report(account, 1, "result.png", PNG)).await?.expect(200)?["puts"][0].clone();
    ensure!(put(&signed, PNG).await? == StatusCode::PRECONDITION_FAILED);
    eve.ask(&path("complete"), report(account, 1, "result.png", PNG)).await?.problem(422, "artifact_mismatch", "artifacts[0]")?;
    ensure!(world.ada.show(&job).await?["state"] == "running", "nothing was delivered");
    let fail = json!({ "account_id": account, "attempt": 1, "failure": "retryable", "code": "oops", "message": "" });
    eve.ask(&path("fail"), fail).await?.expect(200)?;
    // The next attempt has names of its own; what it delivered stays as it is.
    let taken = wait_for("the second attempt", SOON, || async {
        let answer: Answer = world.bob.claim_as(&job, account, "second").await?;
        Ok((answer.status == 200).then_some(answer.body))
    })
    .await?;
    ensure!(taken["attempt"] == 2, "{taken}");
    let declared = report(account, 2, "result.png", PNG);
    let signed = world.bob.ask(&path("artifacts"), declared.clone()).await?.expect(200)?["puts"][0].clone();
    ensure!(put(&signed, PNG).await?.is_success());
    world.bob.ask(&path("complete"), declared.clone()).await?.expect(200)?;
    ensure!(put(&signed, PNG).await? == StatusCode::PRECONDITION_FAILED);
    let done = world.ada.show(&job).await?;
    ensure!(world.ada.download(&done["artifacts"][0]).await? == PNG, "{done}");
    // Delivered again it is the same answer, and is charged once.
    world.bob.ask(&path("complete"), declared).await?.expect(200)?;
    ensure!(world.ada.check_books().await? == (9_000, 0));
    Ok(())
}

#[tokio::test]
async fn progress_that_is_a_lie_is_shown_and_changes_nothing_else() -> Result<()> {
    let world = World::new("3600").await?;
    let job = world.ada.noop(0).await?;
    world.eve.claim(&job, &world.account).await?.expect(200)?;
    let beat = async |progress: Value, stage: &str| {
        let beat = json!({ "job_id": job, "account_id": world.account, "attempt": 1, "progress": progress, "stage": stage });
        world.eve.ask("heartbeat", json!({ "stage": "busy", "job": beat })).await
    };
    for (said, shown) in [(0.5, 0.5), (-3.0, 0.5), (0.1, 0.5), (7e30, 1.0), (0.2, 1.0)] {
        beat(json!(said), "<b>almost</b>").await?.expect(200)?;
        let job = world.ada.show(&job).await?;
        ensure!(job["progress"] == shown && job["state"] == "running" && job["charged_millicredits"] == 0, "{said}: {job}");
    }
    beat(json!("all of it"), "x").await?.problem(422, "bad_field", "job.progress")?;
    beat(json!(0.5), &"x".repeat(65)).await?.problem(422, "bad_field", "job.stage")?;
    // A stage that is the server's to say.
    for stage in ["requested", "lost", "gone", "stopped"] {
        world.eve.ask("heartbeat", json!({ "stage": stage })).await?.problem(422, "bad_field", "stage")?;
    }
    // Done by its own word, it has delivered nothing and is paid nothing.
    world.eve.ask(&format!("jobs/{job}/complete"), report(&world.account, 1, "result.png", PNG)).await?.problem(422, "artifact_mismatch", "artifacts[0]")?;
    world.ada.post(&format!("/api/v1/jobs/{job}/cancel"), json!({})).await?.expect(200)?;
    ensure!(world.ada.check_books().await? == (10_000, 0));
    Ok(())
}

#[tokio::test]
async fn a_machine_that_is_asked_to_go_gets_no_job_any_more() -> Result<()> {
    let world = World::new("3600").await?;
    world.terminate(&world.eve, false).await?;
    let job = world.ada.noop(0).await?;
    ensure!(world.eve.ask("heartbeat", json!({ "stage": "ready" })).await?.expect(200)?["drain"] == true);
    world.eve.claim(&job, &world.account).await?.problem(409, "worker_draining", "")?;
    // Nor by beginning again, nor by saying that it stays.
    let again = world.eve.ask("register", json!({ "version": "2", "capabilities": ["image"] })).await?.expect(200)?;
    let reborn = Worker { client: world.system.client(), token: again["token"].as_str().context("token")?.to_owned(), id: world.eve.id.clone() };
    reborn.ask("heartbeat", json!({ "stage": "busy" })).await?.expect(200)?;
    reborn.claim(&job, &world.account).await?.problem(409, "worker_draining", "")?;
    ensure!(machine_of(&world.system, &world.eve.id).await?["stage"] == "draining");
    world.bob.claim(&job, &world.account).await?.expect(200)?;
    world.deliver(&world.bob, &job, 1).await?;
    // By its own word it goes for good, too.
    ensure!(world.bob.ask("heartbeat", json!({ "stage": "draining" })).await?.expect(200)?["drain"] == true);
    world.bob.ask("heartbeat", json!({ "stage": "ready" })).await?.expect(200)?;
    let another = world.ada.noop(0).await?;
    world.bob.claim(&another, &world.account).await?.problem(409, "worker_draining", "")?;
    world.ada.post(&format!("/api/v1/jobs/{another}/cancel"), json!({})).await?.expect(200)?;
    ensure!(world.ada.check_books().await? == (9_000, 0));
    Ok(())
}
