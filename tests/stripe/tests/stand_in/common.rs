//! A stand-in on a free port, a client for it, and an endpoint that receives its webhooks.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use kiln_stripe_stand_in::{Config, StandIn};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

pub const KEY: &str = "sk_test_of_the_tests";

pub struct Running {
    pub url: String,
    http: reqwest::Client,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An answer of the API.
pub struct Said {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: Value,
}

impl Said {
    pub fn error(&self, field: &str) -> &str {
        self.body["error"][field].as_str().unwrap_or_default()
    }
}

pub async fn start() -> Running {
    start_with(|_| {}).await
}

/// One with other settings; by default tries follow each other within milliseconds.
pub async fn start_with(change: impl FnOnce(&mut Config)) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut config = Config::new(&url, KEY);
    config.seed = Some(7);
    config.delivery.back_off = vec![Duration::from_millis(20); 3];
    change(&mut config);
    let stand_in = StandIn::new(config).unwrap();
    let task = tokio::spawn(async move { axum::serve(listener, stand_in.router()).await.unwrap() });
    let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().timeout(Duration::from_secs(20)).build().unwrap();
    Running { url, http, task }
}

impl Running {
    pub fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method.parse().unwrap(), format!("{}{path}", self.url))
    }

    pub async fn said(&self, request: reqwest::RequestBuilder) -> Said {
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Said { status, headers, body: answer.json().await.unwrap() }
    }

    /// One call with the key. Parameters go into the body of a POST, and else into the query.
    pub async fn call(&self, method: &str, path: &str, form: &[(&str, &str)]) -> Said {
        let encoded = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let request = if method == "POST" {
            self.request(method, path).header("content-type", "application/x-www-form-urlencoded").body(encoded)
        } else {
            self.request(method, &format!("{path}?{encoded}"))
        };
        self.said(request.bearer_auth(KEY)).await
    }

    /// The same, and it must succeed.
    pub async fn ok(&self, method: &str, path: &str, form: &[(&str, &str)]) -> Value {
        let said = self.call(method, path, form).await;
        assert_eq!(said.status, 200, "{method} {path}: {}", said.body);
        said.body
    }

    pub async fn control(&self, path: &str, body: Value) -> Said {
        self.said(self.request("POST", &format!("/stand-in/{path}")).bearer_auth(KEY).json(&body)).await
    }

    pub async fn controlled(&self, path: &str, body: Value) -> Value {
        let said = self.control(path, body).await;
        assert_eq!(said.status, 200, "{path}: {}", said.body);
        said.body
    }

    pub async fn deliveries(&self) -> Vec<Value> {
        self.ok("GET", "/stand-in/deliveries", &[]).await["items"].as_array().unwrap().clone()
    }

    /// Waits until nothing is on its way.
    pub async fn idle(&self) {
        assert_eq!(self.ok("GET", "/stand-in/deliveries/idle", &[]).await["idle"], true);
    }

    /// A price of 5 dollars, by its id.
    pub async fn price(&self) -> String {
        let form = [("currency", "usd"), ("unit_amount", "500"), ("product_data[name]", "100 credits")];
        self.ok("POST", "/v1/prices", &form).await["id"].as_str().unwrap().to_owned()
    }

    pub async fn monthly(&self, amount: &str) -> String {
        let form = [("currency", "usd"), ("unit_amount", amount), ("product_data[name]", "A plan"), ("recurring[interval]", "month")];
        self.ok("POST", "/v1/prices", &form).await["id"].as_str().unwrap().to_owned()
    }

    pub async fn checkout(&self, more: &[(&str, &str)]) -> Value {
        let price = self.price().await;
        let mut form = vec![
            ("mode", "payment"),
            ("line_items[0][price]", price.as_str()),
            ("line_items[0][quantity]", "2"),
            ("success_url", "http://127.0.0.1:1/done?s={CHECKOUT_SESSION_ID}"),
        ];
        form.extend(more);
        self.ok("POST", "/v1/checkout/sessions", &form).await
    }

    /// A session that is paid.
    pub async fn paid(&self) -> Value {
        let session = self.checkout(&[]).await;
        self.controlled(&format!("checkout/{}/pay", id(&session)), json!({})).await
    }

    /// A paid session of a subscription.
    pub async fn subscribed(&self, price: &str) -> Value {
        let form = [("mode", "subscription"), ("line_items[0][price]", price), ("line_items[0][quantity]", "1"), ("success_url", "http://127.0.0.1:1/done")];
        let session = self.ok("POST", "/v1/checkout/sessions", &form).await;
        self.controlled(&format!("checkout/{}/pay", id(&session)), json!({})).await
    }
}

pub fn id(value: &Value) -> &str {
    value["id"].as_str().unwrap()
}

/// What came to an endpoint: signature and body.
pub type Letters = Arc<Mutex<Vec<(String, String)>>>;

/// An endpoint that keeps what comes and answers with the statuses it was given, then 200.
pub struct Hook {
    pub url: String,
    pub letters: Letters,
    pub answers: Arc<Mutex<VecDeque<u16>>>,
    task: JoinHandle<()>,
}

impl Drop for Hook {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Clone)]
struct Desk(Letters, Arc<Mutex<VecDeque<u16>>>);

impl Hook {
    pub async fn start() -> Self {
        async fn take(State(Desk(letters, answers)): State<Desk>, headers: HeaderMap, body: String) -> StatusCode {
            letters.lock().unwrap().push((headers["stripe-signature"].to_str().unwrap().to_owned(), body));
            answers.lock().unwrap().pop_front().map_or(StatusCode::OK, |status| StatusCode::from_u16(status).unwrap())
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let desk = Desk(Letters::default(), Arc::default());
        let router = Router::new().route("/hook", post(take)).with_state(desk.clone());
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, letters: desk.0, answers: desk.1, task }
    }

    /// Registers it for these events and tells its secret.
    pub async fn register(&self, stripe: &Running, events: &[&str]) -> String {
        let mut form = vec![("url".to_owned(), self.url.clone())];
        form.extend(events.iter().map(|e| ("enabled_events[]".to_owned(), (*e).to_owned())));
        let form: Vec<(&str, &str)> = form.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        stripe.ok("POST", "/v1/webhook_endpoints", &form).await["secret"].as_str().unwrap().to_owned()
    }

    pub fn answer(&self, statuses: &[u16]) {
        self.answers.lock().unwrap().extend(statuses);
    }

    /// The events that came, in their order.
    pub fn events(&self) -> Vec<Value> {
        self.letters.lock().unwrap().iter().map(|(_, body)| serde_json::from_str(body).unwrap()).collect()
    }

    pub fn types(&self) -> Vec<String> {
        self.events().iter().map(|e| e["type"].as_str().unwrap().to_owned()).collect()
    }
}
