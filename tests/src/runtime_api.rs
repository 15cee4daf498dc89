//! A function's own binary under the Lambda runtime API, as Lambda runs it: the process is started with its environment, asks for
//! the next invocation, and posts its answer or its error.
//!
//! The API is public HTTP and a few dozen lines; a Lambda of the stand-in or `cargo lambda` would put a container engine or another
//! build between the test and the binary.

use anyhow::{Context, Result, bail, ensure};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{AppendHeaders, IntoResponse};
use axum::routing::{get, post};
use serde_json::Value;
use std::path::Path as FilePath;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{Mutex, mpsc};

/// No function of the template is given longer.
const WITHIN: Duration = Duration::from_secs(30);
const ERROR_TYPE: HeaderName = HeaderName::from_static("lambda-runtime-function-error-type");

/// How an invocation, or the start of the process, ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Ended {
    /// What the function answered.
    Answer(Value),
    /// What it posted as the invocation's error: `{errorType, errorMessage}`.
    Error(Value),
    /// The same of a start that failed; the process ends after it.
    InitError(Value),
}

/// One process of a function; killed when dropped.
pub struct Bootstrap {
    child: Child,
    events: mpsc::UnboundedSender<(String, Bytes)>,
    posted: mpsc::UnboundedReceiver<(String, Ended)>,
    invocations: usize,
}

struct Api {
    events: Mutex<mpsc::UnboundedReceiver<(String, Bytes)>>,
    posted: mpsc::UnboundedSender<(String, Ended)>,
}

impl Bootstrap {
    /// Starts the program with this environment, what Lambda adds to it, and nothing else.
    pub async fn start(program: &FilePath, env: impl IntoIterator<Item = (String, String)>) -> Result<Self> {
        let (events, waiting) = mpsc::unbounded_channel();
        let (tell, posted) = mpsc::unbounded_channel();
        let api = Arc::new(Api { events: Mutex::new(waiting), posted: tell });
        let router = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/response", post(response))
            .route("/2018-06-01/runtime/invocation/{id}/error", post(error))
            .route("/2018-06-01/runtime/init/error", post(init_error))
            .with_state(api);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        tokio::spawn(async move { axum::serve(listener, router).await });
        let name = program.file_name().context("the program has no name")?;
        let mut child = Command::new(program)
            .env_clear()
            .envs(env)
            .env("AWS_LAMBDA_RUNTIME_API", address)
            .env("AWS_LAMBDA_FUNCTION_NAME", name)
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")
            .env("AWS_LAMBDA_LOG_GROUP_NAME", "/kiln/test")
            .env("AWS_LAMBDA_LOG_STREAM_NAME", "test")
            .env("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand")
            .env("LAMBDA_TASK_ROOT", "/var/task")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| program.display().to_string())?;
        let name = name.to_string_lossy().into_owned();
        relay(name.clone(), child.stdout.take().context("stdout")?);
        relay(name, child.stderr.take().context("stderr")?);
        Ok(Self { child, events, posted, invocations: 0 })
    }

    /// Hands it one event and waits for how that ends; a process that ends or hangs instead is an error.
    pub async fn invoke(&mut self, event: impl Into<Bytes>) -> Result<Ended> {
        self.invocations += 1;
        let id = format!("00000000-0000-4000-8000-{:012}", self.invocations);
        self.events.send((id.clone(), event.into())).ok().context("the runtime API is gone")?;
        let (of, ended) = self.posted().await?;
        ensure!(of == id, "an answer to {of}, where {id} was asked");
        Ok(ended)
    }

    /// How its start failed, once the process has ended for it.
    pub async fn failed_start(mut self) -> Result<Ended> {
        let (_, ended) = self.posted().await?;
        let status = tokio::time::timeout(WITHIN, self.child.wait()).await.context("it told that it can't start and did not end")??;
        ensure!(!status.success(), "it told that it can't start and ended with success");
        Ok(ended)
    }

    async fn posted(&mut self) -> Result<(String, Ended)> {
        tokio::select! {
            biased;
            posted = self.posted.recv() => posted.context("the runtime API is gone"),
            status = self.child.wait() => {
                // Its last word may still be on its way through the server.
                match tokio::time::timeout(Duration::from_secs(1), self.posted.recv()).await {
                    Ok(Some(posted)) => Ok(posted),
                    _ => bail!("the process ended ({}) without a word", status?),
                }
            }
            () = tokio::time::sleep(WITHIN) => bail!("nothing was posted within {} s", WITHIN.as_secs()),
        }
    }
}

/// Its log goes on to ours, which the test runner shows for a failed test.
fn relay(name: String, output: impl AsyncRead + Unpin + Send + 'static) {
    let mut lines = BufReader::new(output).lines();
    tokio::spawn(async move {
        while let Ok(Some(line)) = lines.next_line().await {
            eprintln!("{name}: {line}");
        }
    });
}

async fn next(State(api): State<Arc<Api>>) -> impl IntoResponse {
    let Some((id, event)) = api.events.lock().await.recv().await else {
        return StatusCode::GONE.into_response();
    };
    let deadline = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + WITHIN;
    let headers = [
        ("content-type", "application/json".to_owned()),
        ("lambda-runtime-aws-request-id", id),
        ("lambda-runtime-deadline-ms", deadline.as_millis().to_string()),
        ("lambda-runtime-invoked-function-arn", "arn:aws:lambda:us-east-1:000000000000:function:test".to_owned()),
        ("lambda-runtime-trace-id", "Root=1-00000000-000000000000000000000000;Parent=0000000000000000;Sampled=0".to_owned()),
    ];
    (AppendHeaders(headers), event).into_response()
}

async fn response(State(api): State<Arc<Api>>, Path(id): Path<String>, body: Bytes) -> StatusCode {
    take(&api, id, Ended::Answer(json(&body)))
}

async fn error(State(api): State<Arc<Api>>, Path(id): Path<String>, body: Bytes) -> StatusCode {
    take(&api, id, Ended::Error(json(&body)))
}

async fn init_error(State(api): State<Arc<Api>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    if !headers.contains_key(ERROR_TYPE) {
        return StatusCode::BAD_REQUEST;
    }
    take(&api, String::new(), Ended::InitError(json(&body)))
}

fn take(api: &Api, id: String, ended: Ended) -> StatusCode {
    let _ = api.posted.send((id, ended));
    StatusCode::ACCEPTED
}

/// A body that is no JSON is kept as text, so that a test can say what it was.
fn json(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(body).into_owned()))
}
