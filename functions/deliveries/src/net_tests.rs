//! The guard against real sockets: a canary listens on loopback, and no name may lead there.

use super::*;
use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Answers each question with the next of its answers, the last for ever.
struct Says {
    answers: Mutex<VecDeque<Vec<IpAddr>>>,
    asked: AtomicUsize,
}

impl Says {
    fn new(answers: &[&[&str]]) -> Arc<Self> {
        let answers = answers.iter().map(|list| list.iter().map(|text| text.parse().unwrap()).collect()).collect();
        Arc::new(Self { answers: Mutex::new(answers), asked: AtomicUsize::new(0) })
    }
}

impl Lookup for Says {
    fn lookup(&self, _: String) -> BoxFuture<'static, std::io::Result<Vec<IpAddr>>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let mut answers = self.answers.lock().unwrap();
        let answer = if answers.len() > 1 { answers.pop_front().unwrap() } else { answers.front().cloned().unwrap() };
        Box::pin(async move { Ok(answer) })
    }
}

/// A server on loopback that answers everything with `answer`, and counts who comes.
struct Canary {
    port: u16,
    visits: Arc<AtomicUsize>,
}

impl Canary {
    async fn start(answer: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let visits = Arc::new(AtomicUsize::new(0));
        let counted = visits.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    let _ = stream.read(&mut [0; 4096]).await;
                    let _ = stream.write_all(answer.as_bytes()).await;
                    if answer.is_empty() {
                        // Says nothing, and stays.
                        let _ = stream.read_to_end(&mut Vec::new()).await;
                    }
                });
            }
        });
        Self { port, visits }
    }

    fn visits(&self) -> usize {
        self.visits.load(Ordering::SeqCst)
    }
}

const WITHIN: Duration = Duration::from_millis(1500);

async fn post(net: &Net, url: &str) -> Reply {
    net.post(&Message { url, id: "dlv_1", timestamp_s: 1, signatures: "v1,x", body: "{}" }).await
}

#[tokio::test]
async fn a_name_that_leads_inside_is_not_spoken_to() {
    let canary = Canary::start("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    for inside in ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "::ffff:127.0.0.1", "fd00:ec2::254", "0.0.0.0"] {
        let net = Net::with(Says::new(&[&[inside]]), false, WITHIN).unwrap();
        assert_eq!(post(&net, &format!("https://hook.example:{}/", canary.port)).await.status, Err("address_not_allowed"), "{inside}");
    }
    // One inside among others is enough.
    let net = Net::with(Says::new(&[&["1.1.1.1", "127.0.0.1"]]), false, WITHIN).unwrap();
    assert_eq!(post(&net, &format!("https://hook.example:{}/", canary.port)).await.status, Err("address_not_allowed"));
    assert_eq!(canary.visits(), 0);
}

#[tokio::test]
async fn a_name_that_says_otherwise_the_second_time_leads_nowhere_inside() {
    let canary = Canary::start("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let says = Says::new(&[&["192.0.32.10"], &["127.0.0.1"]]);
    let net = Net::with(says.clone(), false, WITHIN).unwrap();
    let url = format!("https://hook.example:{}/", canary.port);
    // The first answer is public and is what the connection goes to, whatever becomes of it there; the name is not asked again.
    let first = post(&net, &url).await;
    assert!(matches!(first.status, Err("timed_out" | "connect" | "tls" | "broken")), "{first:?}");
    assert_eq!(says.asked.load(Ordering::SeqCst), 1, "a try asks once");
    assert_eq!(post(&net, &url).await.status, Err("address_not_allowed"));
    assert_eq!(canary.visits(), 0);

    // The same where loopback is allowed and the second answer is another inside address: the check is made at each try.
    let says = Says::new(&[&["127.0.0.1"], &["10.0.0.1"]]);
    let net = Net::with(says, true, WITHIN).unwrap();
    let url = format!("http://localhost:{}/", canary.port);
    assert_eq!(post(&net, &url).await.status, Ok(200));
    assert_eq!(post(&net, &url).await.status, Err("address_not_allowed"));
    assert_eq!(canary.visits(), 1);
}

#[tokio::test]
async fn an_address_written_out_is_checked_though_nobody_resolves_it() {
    let canary = Canary::start("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let says = Says::new(&[&["1.1.1.1"]]);
    let net = Net::with(says.clone(), false, WITHIN).unwrap();
    for host in ["127.0.0.1", "2130706433", "0x7f.1", "0177.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "169.254.169.254"] {
        assert_eq!(post(&net, &format!("https://{host}:{}/", canary.port)).await.status, Err("address_not_allowed"), "{host}");
    }
    assert_eq!(post(&net, &format!("http://127.0.0.1:{}/", canary.port)).await.status, Err("address_not_allowed"));
    assert_eq!((says.asked.load(Ordering::SeqCst), canary.visits()), (0, 0));
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let inside = Canary::start("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let answer = format!("HTTP/1.1 307 Temporary Redirect\r\nlocation: http://127.0.0.1:{}/\r\ncontent-length: 0\r\n\r\n", inside.port);
    let outside = Canary::start(Box::leak(answer.into_boxed_str())).await;
    let net = Net::new(true, &Settings::default()).unwrap();
    assert_eq!(post(&net, &format!("http://127.0.0.1:{}/", outside.port)).await.status, Ok(307));
    assert_eq!((outside.visits(), inside.visits()), (1, 0));
}

#[tokio::test]
async fn a_proxy_of_the_environment_is_not_asked_and_no_connection_is_kept() {
    let canary = Canary::start("HTTP/1.1 204 No Content\r\n\r\n").await;
    let net = Net::new(true, &Settings::default()).unwrap();
    for visits in 1..=3 {
        assert_eq!(post(&net, &format!("http://127.0.0.1:{}/", canary.port)).await.status, Ok(204));
        assert_eq!(canary.visits(), visits, "each try connects anew");
    }
}

#[tokio::test]
async fn an_endpoint_that_says_nothing_is_left_after_the_time_out() {
    let canary = Canary::start("").await;
    let net = Net::with(Arc::new(System), true, Duration::from_millis(200)).unwrap();
    let reply = post(&net, &format!("http://127.0.0.1:{}/", canary.port)).await;
    assert_eq!(reply.status, Err("timed_out"));
    assert!((200..2000).contains(&reply.latency.as_millis()), "{:?}", reply.latency);
}

#[tokio::test]
async fn an_answer_that_never_ends_is_cut_and_its_status_counts() {
    // Declares more than it sends, so whoever waits for all of it waits for ever.
    let canary = Canary::start("HTTP/1.1 500 Oh\r\ncontent-length: 999999\r\n\r\nout of\x07order").await;
    let net = Net::with(Arc::new(System), true, Duration::from_millis(300)).unwrap();
    let reply = post(&net, &format!("http://127.0.0.1:{}/", canary.port)).await;
    assert_eq!((reply.status, reply.answer.as_deref()), (Ok(500), Some("out of order")));

    let long: &'static str = Box::leak(format!("HTTP/1.1 400 No\r\nconnection: close\r\n\r\n{}", "é".repeat(5000)).into_boxed_str());
    let canary = Canary::start(long).await;
    let reply = post(&net, &format!("http://127.0.0.1:{}/", canary.port)).await;
    assert_eq!(reply.answer.map(|text| text.chars().count()), Some(SHOWN / 2));
}

#[tokio::test]
async fn what_went_wrong_has_one_word() {
    let net = Net::with(Says::new(&[&["127.0.0.1"]]), true, WITHIN).unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    assert_eq!(post(&net, &format!("http://127.0.0.1:{closed}/")).await.status, Err("connect"));
    let plain = Canary::start("this is no TLS at all, and no HTTP either\r\n\r\n").await;
    assert_eq!(post(&net, &format!("https://localhost:{}/", plain.port)).await.status, Err("tls"));
    assert_eq!(post(&net, &format!("http://localhost:{}/", plain.port)).await.status, Err("broken"));
    let nobody = Net::with(Says::new(&[&[]]), false, WITHIN).unwrap();
    assert_eq!(post(&nobody, "https://hook.example/").await.status, Err("dns"));
}

#[tokio::test]
async fn retry_after_is_heard_with_429_and_503_alone() {
    let net = Net::new(true, &Settings::default()).unwrap();
    for (answer, heard) in [
        ("HTTP/1.1 429 Slow\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n", Some("7")),
        ("HTTP/1.1 503 Later\r\nretry-after: 8\r\ncontent-length: 0\r\n\r\n", Some("8")),
        ("HTTP/1.1 500 Oh\r\nretry-after: 9\r\ncontent-length: 0\r\n\r\n", None),
    ] {
        let canary = Canary::start(answer).await;
        assert_eq!(post(&net, &format!("http://127.0.0.1:{}/", canary.port)).await.retry_after.as_deref(), heard);
    }
}
