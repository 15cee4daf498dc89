//! The gateway before functions of our own making, over real sockets: what it refuses, what it passes on, what it bounds.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::http::HeaderMap;
use axum::routing::{get, post};
use kiln_local::gateway::{Callable, Gateway};
use kiln_local::headers::{Cors, Security};
use kiln_local::mail::Mailbox;
use kiln_local::model::{Function, Route};
use kiln_local::pages::Pages;
use kiln_local::resolve::{Place, Resolver};
use kiln_local::routes::Routes;
use kiln_local::system::parameters;
use kiln_local::template::Template;
use serde_json::{Value, json};

struct Served {
    url: String,
    client: reqwest::Client,
    answered: Arc<Mutex<Vec<String>>>,
    _pages: tempfile::TempDir,
}

async fn serve() -> Served {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let template = Template::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../template.yaml")).unwrap();
    let place = Place { stack: "s".into(), region: "us-east-1".into(), account: "0".into(), endpoint: "http://127.0.0.1:1".into() };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let resolver = Resolver::new(&template, place, &parameters(&url, "")).unwrap();
    let routes = ["GET /api/v1/echo/{id}", "POST /api/v1/echo", "GET /api/v1/slow", "GET /api/v1/crash", "GET /api/v1/bare"];
    let routes = routes.iter().map(|route| route.split_once(' ').unwrap()).map(|(method, path)| Route { method: method.into(), path: path.into() }).collect();
    let function = Function {
        id: "F".into(),
        name: "f".into(),
        binary: "f".into(),
        env: BTreeMap::new(),
        timeout: Duration::ZERO,
        routes,
        topics: vec![],
        schedules: vec![],
        queues: vec![],
    };
    let router = Router::new()
        .route("/api/v1/echo/{id}", get(|headers: HeaderMap| async move { echo(&headers, 0) }))
        .route("/api/v1/echo", post(|headers: HeaderMap, body: axum::body::Bytes| async move { echo(&headers, body.len()) }))
        .route("/api/v1/slow", get(std::future::pending::<&str>))
        .route("/api/v1/crash", get(|| async { panic!("as a function may") as &str }))
        // The bound is the gateway's here.
        .layer(axum::extract::DefaultBodyLimit::disable())
        .route("/api/v1/hidden", get(|| async { "not in the template" }));
    let pages = tempfile::tempdir().unwrap();
    std::fs::write(pages.path().join("index.html"), "studio").unwrap();
    let answered = Arc::new(Mutex::new(Vec::new()));
    let log = answered.clone();
    let gateway = Gateway {
        routes: Routes::new(&[function]).unwrap(),
        functions: BTreeMap::from([("F".to_owned(), Callable { router, timeout: Duration::from_millis(200) })]),
        pages: Pages::new(pages.path().to_owned()),
        security: Security::new(&resolver, "http://127.0.0.1:1").unwrap(),
        cors: Cors::new(&resolver).unwrap(),
        mailbox: Arc::new(Mailbox::new(reqwest::Client::new(), "http://127.0.0.1:1", tokio::sync::mpsc::unbounded_channel().0)),
        public_url: url.clone(),
        watch: Box::new(move |answered| log.lock().unwrap().push(format!("{} {} {}", answered.method, answered.path, answered.status.as_u16()))),
    };
    let app = gateway.into_router().into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, app).await });
    let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    Served { url, client, answered, _pages: pages }
}

fn echo(headers: &HeaderMap, bytes: usize) -> axum::Json<Value> {
    let text = |name: &str| headers.get_all(name).iter().map(|value| value.to_str().unwrap().to_owned()).collect::<Vec<_>>();
    axum::Json(json!({
        "bytes": bytes,
        "x-request-id": text("x-request-id"),
        "x-forwarded-for": text("x-forwarded-for"),
        "cookie": text("cookie"),
        "te": text("te"),
    }))
}

async fn problem(response: reqwest::Response) -> (u16, String) {
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    assert!(response.headers().contains_key("x-request-id"));
    let status = response.status().as_u16();
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["status"], status);
    (status, body["code"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_function_sees_the_request_as_an_http_api_passes_it() {
    let served = serve().await;
    let request = served.client.get(format!("{}/api/v1/echo/1", served.url)).header("x-forwarded-for", "1.2.3.4").header("te", "trailers");
    let response = request.header("cookie", "a=1").header("cookie", "b=2").header("x-request-id", "mine-1").send().await.unwrap();
    assert_eq!(response.headers()["x-request-id"], "mine-1");
    assert_eq!(response.headers()["x-content-type-options"], "nosniff");
    let seen: Value = response.json().await.unwrap();
    assert_eq!(seen["x-forwarded-for"], json!(["1.2.3.4, 127.0.0.1"]));
    assert_eq!(seen["cookie"], json!(["a=1; b=2"]));
    assert_eq!(seen["x-request-id"], json!(["mine-1"]));
    assert_eq!(seen["te"], json!([]));
    assert_eq!(*served.answered.lock().unwrap(), ["GET /api/v1/echo/{id} 200"]);
    // One that could break a log line is replaced.
    let response = served.client.get(format!("{}/api/v1/echo/1", served.url)).header("x-request-id", "a b").send().await.unwrap();
    assert!(response.headers()["x-request-id"].to_str().unwrap().starts_with("req_"));
}

#[tokio::test]
async fn what_the_template_lacks_is_404_and_a_wrong_method_405() {
    let served = serve().await;
    for path in ["/api", "/api/", "/api/v1/nope", "/api/v1/hidden", "/api/v1/echo/1/2", "/local/nope"] {
        let response = served.client.get(format!("{}{path}", served.url)).send().await.unwrap();
        assert_eq!(problem(response).await, (404, "not_found".into()), "{path}");
    }
    let response = served.client.delete(format!("{}/api/v1/echo", served.url)).send().await.unwrap();
    assert_eq!(response.headers()["allow"], "POST");
    assert_eq!(problem(response).await, (405, "method_not_allowed".into()));
    let response = served.client.post(format!("{}/sign-in", served.url)).send().await.unwrap();
    assert_eq!(problem(response).await.0, 405);
}

#[tokio::test]
async fn a_body_of_ten_megabytes_passes_and_one_byte_more_is_413() {
    let served = serve().await;
    let send = |bytes: usize| served.client.post(format!("{}/api/v1/echo", served.url)).body(vec![0; bytes]).send();
    let seen: Value = send(10 << 20).await.unwrap().json().await.unwrap();
    assert_eq!(seen["bytes"], 10 << 20);
    assert_eq!(problem(send((10 << 20) + 1).await.unwrap()).await, (413, "body_too_large".into()));
}

#[tokio::test]
async fn a_slow_function_is_ended_and_a_crash_is_a_500() {
    let served = serve().await;
    let slow = served.client.get(format!("{}/api/v1/slow", served.url)).send().await.unwrap();
    assert_eq!(problem(slow).await, (504, "timeout".into()));
    let crash = served.client.get(format!("{}/api/v1/crash", served.url)).send().await.unwrap();
    assert_eq!(problem(crash).await, (500, "internal".into()));
    assert!(served.client.get(format!("{}/api/v1/echo/1", served.url)).send().await.unwrap().status().is_success());
}

#[tokio::test]
async fn pages_fall_back_to_the_studio_and_people_go_to_the_public_name() {
    let served = serve().await;
    let page = served.client.get(format!("{}/share/abc", served.url)).send().await.unwrap();
    assert!(page.headers().contains_key("content-security-policy"));
    assert_eq!(page.text().await.unwrap(), "studio");
    let other = served.url.replace("127.0.0.1", "localhost");
    let moved = served.client.get(format!("{other}/a?b=c")).send().await.unwrap();
    assert_eq!((moved.status().as_u16(), moved.headers()["location"].to_str().unwrap()), (307, format!("{}/a?b=c", served.url).as_str()));
}

#[tokio::test]
async fn mail_is_not_shown_under_a_stranger_s_name() {
    let served = serve().await;
    let response = served.client.get(format!("{}/local/mail", served.url)).header("host", "evil.example").send().await.unwrap();
    assert_eq!(problem(response).await, (403, "forbidden".into()));
}

#[tokio::test]
async fn a_preflight_is_answered_by_the_gateway() {
    let served = serve().await;
    let ask = |origin: &str| {
        let request = served.client.request(reqwest::Method::OPTIONS, format!("{}/api/v1/echo", served.url));
        request.header("origin", origin).header("access-control-request-method", "POST").send()
    };
    let ours = ask(&served.url).await.unwrap();
    assert_eq!((ours.status().as_u16(), ours.headers()["access-control-allow-origin"].to_str().unwrap()), (204, served.url.as_str()));
    assert!(!ask("http://evil.example").await.unwrap().headers().contains_key("access-control-allow-origin"));
}
