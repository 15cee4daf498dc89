//! A client as an integrator would write one: JSON over HTTP with a session cookie.

use crate::system::wait_for;
use anyhow::{Context, Result, bail, ensure};
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};
use sha2::Digest;
use std::sync::Mutex;
use std::time::Duration;

pub struct Client {
    pub url: String,
    http: reqwest::Client,
    cookie: Mutex<Option<String>>,
}

/// A status and its JSON body.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: StatusCode,
    pub body: Value,
    pub headers: reqwest::header::HeaderMap,
}

impl Answer {
    /// The body, if the status is this one.
    pub fn expect(self, status: u16) -> Result<Value> {
        ensure!(self.status == status, "{} where {status} was expected: {}", self.status, self.body);
        Ok(self.body)
    }

    /// That it is a problem with this status, code and field (empty: no field).
    pub fn problem(&self, status: u16, code: &str, field: &str) -> Result<()> {
        ensure!(self.status == status, "{} where {status} {code} was expected: {}", self.status, self.body);
        ensure!(self.headers.get("content-type").is_some_and(|kind| kind == "application/problem+json"), "not a problem: {:?}", self.headers);
        ensure!(self.body["code"] == code, "code {} where {code} was expected: {}", self.body["code"], self.body);
        ensure!(self.body["field"].as_str().unwrap_or("") == field, "field {} where {field:?} was expected: {}", self.body["field"], self.body);
        Ok(())
    }
}

impl Client {
    pub fn new(url: &str) -> Self {
        let http = reqwest::Client::builder().timeout(Duration::from_secs(40)).build().expect("a client");
        Self { url: url.to_owned(), http, cookie: Mutex::new(None) }
    }

    pub fn cookie(&self) -> Option<String> {
        self.cookie.lock().expect("unpoisoned").clone()
    }

    pub fn set_cookie(&self, cookie: Option<String>) {
        *self.cookie.lock().expect("unpoisoned") = cookie;
    }

    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        if let Some(cookie) = self.cookie() {
            request = request.header("cookie", format!("kiln_session={cookie}"));
        }
        request
    }

    pub async fn send(&self, request: reqwest::RequestBuilder) -> Result<Answer> {
        let response: Response = request.send().await?;
        let (status, headers) = (response.status(), response.headers().clone());
        for value in headers.get_all("set-cookie") {
            if let Some(token) = value.to_str()?.strip_prefix("kiln_session=") {
                let token = token.split(';').next().unwrap_or_default();
                self.set_cookie(Some(token.to_owned()).filter(|token| !token.is_empty()));
            }
        }
        let bytes = response.bytes().await?;
        let body = if bytes.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&bytes).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()))
        };
        Ok(Answer { status, body, headers })
    }

    pub async fn get(&self, path: &str) -> Result<Answer> {
        self.send(self.request(Method::GET, path)).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Result<Answer> {
        self.send(self.request(Method::POST, path).json(&body)).await
    }

    pub async fn post_once(&self, path: &str, body: Value, key: &str) -> Result<Answer> {
        self.send(self.request(Method::POST, path).header("idempotency-key", key).json(&body)).await
    }

    pub async fn patch(&self, path: &str, body: Value) -> Result<Answer> {
        self.send(self.request(Method::PATCH, path).json(&body)).await
    }

    /// A DELETE that takes a body.
    pub async fn delete_with(&self, path: &str, body: Value) -> Result<Answer> {
        self.send(self.request(Method::DELETE, path).json(&body)).await
    }

    /// How many mails this address has had, for [`Client::mailed_token`].
    pub async fn mails(&self, email: &str) -> Result<Vec<Value>> {
        Ok(self.get(&format!("/local/mail?to={email}")).await?.expect(200)?["items"].as_array().cloned().unwrap_or_default())
    }

    pub async fn delete(&self, path: &str) -> Result<Answer> {
        self.send(self.request(Method::DELETE, path)).await
    }

    /// The token in the newest sign-in mail to this address.
    pub async fn mailed_token(&self, email: &str, already: usize) -> Result<String> {
        let path = format!("/local/mail?to={}", email.replace('+', "%2B"));
        let text = wait_for("the sign-in mail", Duration::from_secs(15), || async {
            let mails = self.get(&path).await?.expect(200)?;
            let items = mails["items"].as_array().cloned().unwrap_or_default();
            Ok((items.len() > already).then(|| items.iter().map(|mail| mail["text"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()))
        })
        .await?;
        let tokens: Vec<&str> =
            text.iter().flat_map(|text| text.split("?token=").skip(1)).map(|rest| rest.split_whitespace().next().unwrap_or_default()).collect();
        match tokens[..] {
            [] => bail!("no link in the mail: {text:?}"),
            [.., newest] => Ok(newest.trim_end_matches(['.', '>']).to_owned()),
        }
    }

    /// Signs in as a person does: by the link in the mail.
    pub async fn sign_in(&self, email: &str) -> Result<Value> {
        let before = self.get(&format!("/local/mail?to={email}")).await?.expect(200)?["items"].as_array().map_or(0, Vec::len);
        self.post("/api/v1/auth/request-link", json!({ "email": email })).await?.expect(202)?;
        let token = self.mailed_token(email, before).await?;
        let answer = self.post("/api/v1/auth/verify-link", json!({ "token": token })).await?.expect(200)?;
        ensure!(self.cookie().is_some(), "no session cookie");
        Ok(answer["account"].clone())
    }

    /// Declares a file and puts its bytes where the answer says; not completed yet.
    pub async fn put(&self, name: &str, content_type: &str, bytes: &[u8]) -> Result<String> {
        let wanted = json!({ "filename": name, "content_type": content_type, "bytes": bytes.len() });
        let upload = self.post("/api/v1/uploads", wanted).await?.expect(201)?;
        let status = self.put_part(&upload, bytes).await?;
        ensure!(status.is_success(), "the PUT answered {status}");
        Ok(upload["id"].as_str().context("id")?.to_owned())
    }

    /// The presigned PUT alone.
    pub async fn put_part(&self, upload: &Value, bytes: &[u8]) -> Result<StatusCode> {
        let part = &upload["parts"][0];
        let mut request = self.http.put(part["url"].as_str().context("url")?).body(bytes.to_vec());
        for (name, value) in part["headers"].as_object().context("headers")? {
            request = request.header(name, value.as_str().unwrap_or_default());
        }
        Ok(request.send().await?.status())
    }

    /// A verified upload's id.
    pub async fn upload(&self, name: &str, content_type: &str, bytes: &[u8]) -> Result<String> {
        let id = self.put(name, content_type, bytes).await?;
        self.post(&format!("/api/v1/uploads/{id}/complete"), json!({})).await?.expect(200)?;
        Ok(id)
    }

    /// A job that does nothing for `ms`.
    pub async fn noop(&self, ms: u64) -> Result<String> {
        self.job(json!({ "kind": "noop", "params": { "ms": ms } })).await
    }

    pub async fn job(&self, wanted: Value) -> Result<String> {
        let job = self.post("/api/v1/jobs", wanted).await?.expect(202)?;
        Ok(job["id"].as_str().context("id")?.to_owned())
    }

    pub async fn show(&self, id: &str) -> Result<Value> {
        self.get(&format!("/api/v1/jobs/{id}")).await?.expect(200)
    }

    /// The job once it has ended.
    pub async fn ended(&self, id: &str, within: Duration) -> Result<Value> {
        wait_for(&format!("the end of {id}"), within, || async {
            let job = self.show(id).await?;
            Ok(matches!(job["state"].as_str(), Some("succeeded" | "failed" | "cancelled")).then_some(job))
        })
        .await
    }

    /// The job once it is in this state.
    pub async fn in_state(&self, id: &str, state: &str, within: Duration) -> Result<Value> {
        wait_for(&format!("{id} to be {state}"), within, || async {
            let job = self.show(id).await?;
            Ok((job["state"] == state).then_some(job))
        })
        .await
    }

    pub async fn download(&self, artifact: &Value) -> Result<Vec<u8>> {
        let answer = self.http.get(artifact["url"].as_str().context("url")?).send().await?;
        ensure!(answer.status().is_success(), "the download answered {}", answer.status());
        let bytes = answer.bytes().await?.to_vec();
        ensure!(hex::encode(sha2::Sha256::digest(&bytes)) == artifact["sha256"].as_str().unwrap_or_default(), "the artifact is not what was declared");
        Ok(bytes)
    }

    /// All items of a list, page by page.
    pub async fn all(&self, path: &str) -> Result<Vec<Value>> {
        let mut items = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = self.get(&format!("{path}?limit=7{cursor}")).await?.expect(200)?;
            items.extend(page["items"].as_array().cloned().unwrap_or_default());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Ok(items),
            }
        }
    }

    /// Invariants 1 and 2 as a customer can check them: the entries sum to the balances, each job that has ended has closed
    /// its hold once, and only a success was charged. Gives `(available, held)`.
    pub async fn check_books(&self) -> Result<(i64, i64)> {
        let credits = self.get("/api/v1/credits").await?.expect(200)?;
        let (available, held) = (credits["available_millicredits"].as_i64().context("available")?, credits["held_millicredits"].as_i64().context("held")?);
        let entries = self.all("/api/v1/credits/ledger").await?;
        let sum = |name: &str| entries.iter().filter_map(|entry| entry[name].as_i64()).sum::<i64>();
        ensure!(sum("d_available_millicredits") == available, "entries sum to {} available, the account says {available}", sum("d_available_millicredits"));
        ensure!(sum("d_held_millicredits") == held, "entries sum to {} held, the account says {held}", sum("d_held_millicredits"));
        ensure!(sum("amount_millicredits") == available + held, "amounts do not sum to what is owned");
        let mut open = 0;
        for job in self.all("/api/v1/jobs").await? {
            let of =
                |kinds: &[&str]| entries.iter().filter(|entry| entry["cause"] == job["id"] && kinds.contains(&entry["kind"].as_str().unwrap_or(""))).count();
            let (id, state) = (&job["id"], job["state"].as_str().unwrap_or(""));
            ensure!(of(&["hold"]) == 1, "{id} has {} holds", of(&["hold"]));
            let (captures, releases) = (of(&["capture"]), of(&["release"]));
            match state {
                "succeeded" => ensure!((captures, releases) == (1, 0), "{id} succeeded with {captures} captures and {releases} releases"),
                "failed" | "cancelled" => {
                    ensure!((captures, releases) == (0, 1), "{id} {state} with {captures} captures and {releases} releases");
                    ensure!(job["charged_millicredits"] == 0, "{id} {state} and was charged");
                }
                _ => {
                    ensure!(captures + releases == 0, "{id} is {state} with its hold closed");
                    open += job["quote_millicredits"].as_i64().unwrap_or(0);
                }
            }
        }
        ensure!(open == held, "open holds sum to {open}, the account says {held}");
        Ok((available, held))
    }
}
