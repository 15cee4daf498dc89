//! Vast.ai: machines of many hosts, rented by the second over a REST API (written from its published description and from what its official
//! client sends).
//!
//! Promises: an order is sent once and never again, since the API knows no idempotency key: what its answer leaves open, the list must show;
//! reads and destroys are tried three times with jitter; a list that breaks between two pages is no list; the account's key is in no log, no
//! address and on no machine. What an order says to the machine is [`Vast::order`], and infra/vast/README.md tells what the machine does with it.

use crate::provider::{Charge, Keeps, Machine, NotMade, NotStarted, Order, Provider};
use anyhow::{Context, bail};
use async_trait::async_trait;
use kiln_core::pool::Policy;
use kiln_core::pool::budget::Rate;
use kiln_core::pool::offers::Offer;
use kiln_core::time::{Millis, seconds};
use reqwest::{Client, Method, StatusCode, Url};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// Where the service answers.
pub const URL: &str = "https://console.vast.ai";
/// Tries of what may be repeated.
const TRIES: u32 = 3;
/// One call may take so long; three of them and their pauses stay below the function's time-out.
const TIME_OUT: Duration = Duration::from_secs(8);
/// Largest answer that is read.
const MOST_BYTES: usize = 8 << 20;
/// Offers that are looked at.
const OFFERS: u32 = 64;
/// Pages of the list; at 25 machines a page far more than a pool has.
const MOST_PAGES: usize = 40;
/// What is bid, of the least that is taken now: hosts raise their prices by little and others bid in small steps, and each bid is paid as it is made.
const BID_ABOVE: f64 = 1.2;
/// A bid that comes near the price on demand is no bargain for a machine that may be taken away.
const BID_BELOW: f64 = 0.9;
/// The least that a host may promise of its own reliability.
const LEAST_RELIABILITY: f64 = 0.95;
/// The most that a host may ask for a GB of traffic, in dollars: most ask a cent or two, and what a machine uploads is bounded by nothing else.
const MOST_TRAFFIC: f64 = 0.20;
/// Machines that are destroyed by one call.
const MOST_AT_ONCE: usize = 100;
/// Calls that destroy several, before each is destroyed by itself.
const ROUNDS: usize = 3;
/// A stopped machine whose host has its GPU free starts within seconds; then its worker loads what its disk has.
const RESUME_USUAL: Millis = seconds(30);
/// One that has not spoken by then waits for a GPU that somebody else has, it may be for ever.
const RESUME_MOST: Millis = seconds(90);
/// Most bytes of what the service says of a machine.
const MOST_SAID: usize = 200;
/// Longest entry of `env`, name and value together.
const MOST_ENTRY: usize = 256;

/// What is rented.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The worker's container.
    pub image: String,
    /// What is downloaded of it and of the models, in GB of 10⁹ bytes: the host charges by the byte.
    pub download_gb: f64,
    pub disk_gb: u32,
    /// Kiln's public address, without the API's path.
    pub api_url: String,
    /// After so long a machine gives itself back, whatever it does.
    pub max_life_s: u64,
}

impl Wanted {
    /// Where nothing is to be rented.
    pub fn nothing() -> Self {
        Self { image: String::new(), download_gb: 0.0, disk_gb: 0, api_url: String::new(), max_life_s: 0 }
    }

    /// Whether an order can say it.
    pub fn check(&self) -> anyhow::Result<()> {
        if "KILN_API".len() + self.api().len() > MOST_ENTRY {
            bail!("the public address is too long for a machine's environment");
        }
        Ok(())
    }

    /// Where a worker finds the API.
    fn api(&self) -> String {
        format!("{}/api/v1", self.api_url.trim_end_matches('/'))
    }
}

/// The least times between two calls of a kind.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    pub create: Duration,
    /// After an order that came too early.
    pub penalty: Duration,
    pub destroy: Duration,
    pub list: Duration,
    pub show: Duration,
    pub charges: Duration,
}

impl Pace {
    /// As published.
    pub const PUBLISHED: Self = Self {
        create: Duration::from_millis(4_500),
        penalty: Duration::from_secs(12),
        destroy: Duration::from_secs(3),
        list: Duration::from_secs(1),
        show: Duration::from_secs(2),
        charges: Duration::from_secs(1),
    };
    /// For a service that counts nothing.
    pub const NONE: Self =
        Self { create: Duration::ZERO, penalty: Duration::ZERO, destroy: Duration::ZERO, list: Duration::ZERO, show: Duration::ZERO, charges: Duration::ZERO };

    /// Of which kind a call is, and how long after it the next one is served.
    fn of(&self, method: &Method, path: &str) -> (&'static str, Duration) {
        match *method {
            Method::DELETE => ("destroy", self.destroy),
            Method::GET if path == LIST => ("list", self.list),
            Method::GET if path == CHARGES => ("charges", self.charges),
            Method::GET => ("show", self.show),
            _ => ("", Duration::ZERO),
        }
    }
}

const LIST: &str = "/api/v1/instances/";
const CHARGES: &str = "/api/v0/charges/";

pub struct Vast {
    http: Client,
    url: Url,
    key: String,
    wanted: Wanted,
    rents: bool,
    pace: Pace,
    /// From when the next call of a kind is served.
    served_from: Mutex<BTreeMap<&'static str, Instant>>,
}

/// An answer: its status, and its body as JSON where it is some.
struct Answer {
    status: StatusCode,
    body: Value,
}

impl Answer {
    /// What the service says is wrong, in short.
    fn why(&self) -> String {
        let word = |name: &str| self.body[name].as_str().map(|text| text.chars().take(200).collect::<String>());
        let said = word("msg").or_else(|| word("detail")).or_else(|| word("message")).or_else(|| word("error")).unwrap_or_default();
        format!("{} {said}", self.status.as_u16())
    }

    fn done(&self) -> bool {
        self.status.is_success() && self.body["success"].as_bool() != Some(false)
    }

    /// Whether it refuses this one offer, which somebody else took, which can't start, or whose price has risen: another one may be had.
    fn refuses_offer(&self) -> bool {
        let no_ask = || self.body["msg"].as_str().is_some_and(|text| text.contains("no_such_ask"));
        self.status == StatusCode::GONE || matches!(self.body["error"].as_str(), Some("no_such_ask" | "invalid_price")) || no_ask()
    }
}

/// As it is listed; nearly every field may be null.
#[derive(Deserialize)]
struct Listed {
    id: u64,
    #[serde(default)]
    label: Option<String>,
    #[serde(default)]
    actual_status: Option<String>,
    #[serde(default)]
    intended_status: Option<String>,
    #[serde(default)]
    status_msg: Option<String>,
}

#[derive(Deserialize)]
struct Page {
    instances: Vec<Listed>,
    #[serde(default)]
    next_token: Option<String>,
}

/// A line of what was charged.
#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    source: Option<String>,
    amount: f64,
    #[serde(default)]
    metadata: Value,
}

#[derive(Deserialize)]
struct Lines {
    results: Vec<Line>,
    #[serde(default)]
    next_token: Option<String>,
}

#[derive(Deserialize)]
struct Found {
    id: u64,
    #[serde(default)]
    host_id: Option<u64>,
    #[serde(default)]
    machine_id: Option<u64>,
    #[serde(default)]
    gpu_name: Option<String>,
    #[serde(default)]
    dph_total: Option<f64>,
    /// The least bid, in dollars an hour.
    #[serde(default)]
    min_bid: Option<f64>,
    /// What the disk costs by the hour: within `dph_total`, and beside a bid.
    #[serde(default)]
    storage_total_cost: Option<f64>,
    #[serde(default)]
    inet_down_cost: Option<f64>,
    #[serde(default)]
    inet_up_cost: Option<f64>,
    #[serde(default)]
    reliability: Option<f64>,
    #[serde(default)]
    dlperf: Option<f64>,
}

impl Vast {
    /// `url` is [`URL`] but in tests.
    pub fn new(url: &str, key: &str, wanted: Wanted) -> anyhow::Result<Self> {
        let url = Url::parse(url).context("VAST_URL is no address")?;
        if key.is_empty() {
            bail!("VAST_API_KEY is empty");
        }
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = Client::builder().timeout(TIME_OUT).redirect(reqwest::redirect::Policy::none()).retry(reqwest::retry::never()).build()?;
        Ok(Self { http, url, key: key.to_owned(), wanted, rents: true, pace: Pace::PUBLISHED, served_from: Mutex::default() })
    }

    /// Where nothing is rented any more, and what was rented before is still watched and given back.
    pub fn only_gives_back(self) -> Self {
        Self { rents: false, ..self }
    }

    pub fn at_pace(self, pace: Pace) -> Self {
        Self { pace, ..self }
    }

    /// One call, not before it is served. An order waits elsewhere, before its intent is written.
    async fn in_time(&self, method: Method, path: &str, query: &[(&str, String)], body: Option<&Value>) -> reqwest::Result<Answer> {
        let (kind, least) = self.pace.of(&method, path);
        if least.is_zero() {
            return self.once(method, path, query, body).await;
        }
        // Held until the answer: of two at once the second waits.
        let mut served_from = self.served_from.lock().await;
        if let Some(from) = served_from.get(kind) {
            tokio::time::sleep_until((*from).into()).await;
        }
        let answer = self.once(method, path, query, body).await;
        served_from.insert(kind, Instant::now() + least);
        answer
    }

    async fn once(&self, method: Method, path: &str, query: &[(&str, String)], body: Option<&Value>) -> reqwest::Result<Answer> {
        let mut url = self.url.clone();
        url.set_path(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut request = self.http.request(method, url).bearer_auth(&self.key);
        if let Some(body) = body {
            request = request.json(body);
        }
        let mut answer = request.send().await?;
        let (status, mut bytes) = (answer.status(), Vec::new());
        while let Some(chunk) = answer.chunk().await? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > MOST_BYTES {
                bytes.clear();
                break;
            }
        }
        // A 429 is plain text.
        let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| json!({ "msg": String::from_utf8_lossy(&bytes) }));
        Ok(Answer { status, body })
    }

    /// What may be repeated: a read, or a destroy.
    async fn again(&self, method: Method, path: &str, query: &[(&str, String)], body: Option<&Value>) -> anyhow::Result<Answer> {
        let mut wait_ms = 300;
        for left in (0..TRIES).rev() {
            let why = match self.in_time(method.clone(), path, query, body).await {
                // The day's searches are used up: asking again only takes longer.
                Ok(answer) if answer.body["error"] == "search_quota_exceeded" => bail!("{method} {path}: the day's searches are used up"),
                Ok(answer) if answer.status == StatusCode::TOO_MANY_REQUESTS || answer.status.is_server_error() => answer.why(),
                Ok(answer) => return Ok(answer),
                Err(error) => error.without_url().to_string(),
            };
            if left == 0 {
                bail!("{method} {path}: {why}, {TRIES} times");
            }
            tokio::time::sleep(Duration::from_millis(fastrand::u64(wait_ms / 2..=wait_ms))).await;
            wait_ms *= 3;
        }
        unreachable!("the last try returns")
    }
}

#[async_trait]
impl Provider for Vast {
    fn name(&self) -> &'static str {
        "vast"
    }

    fn own(&self) -> bool {
        false
    }

    fn rents(&self) -> bool {
        self.rents
    }

    fn usual_boot(&self) -> Millis {
        seconds(180)
    }

    async fn offers(&self, policy: &Policy) -> anyhow::Result<Vec<Offer>> {
        let mut offers: Vec<Offer> = self.search(policy, false).await?.into_iter().filter_map(|found| self.offer(found, false)).collect();
        if policy.interruptible {
            // Without bids there is still what stays.
            let bids =
                self.search(policy, true).await.inspect_err(|error| tracing::error!(error = format!("{error:#}"), "what is let for bids could not be read"));
            let dear = |bid: &Offer| {
                let on_demand = offers.iter().find(|offer| offer.id == bid.id).map(|offer| offer.rate.microusd_per_hour as f64);
                on_demand.is_some_and(|price| bid.rate.microusd_per_hour as f64 > BID_BELOW * price)
            };
            let bids: Vec<Offer> = bids.unwrap_or_default().into_iter().filter_map(|found| self.offer(found, true)).filter(|bid| !dear(bid)).collect();
            offers.extend(bids);
        }
        Ok(offers)
    }

    async fn list(&self) -> anyhow::Result<Vec<Machine>> {
        let (mut machines, mut after) = (Vec::new(), None::<String>);
        for _ in 0..MOST_PAGES {
            let mut query = vec![("limit", "25".to_owned()), ("order_by", r#"[{"col":"id","dir":"asc"}]"#.to_owned())];
            query.extend(after.take().map(|token| ("after_token", token)));
            let answer = self.again(Method::GET, LIST, &query, None).await?;
            if !answer.done() {
                bail!("the list of machines was refused: {}", answer.why());
            }
            let page: Page = serde_json::from_value(answer.body).context("a list of machines that can't be read")?;
            machines.extend(page.instances.into_iter().map(Machine::from));
            match page.next_token {
                Some(token) => after = Some(token),
                None => return Ok(machines),
            }
        }
        bail!("the list of machines does not end")
    }

    async fn is_gone(&self, provider_id: &str) -> anyhow::Result<bool> {
        let id: u64 = provider_id.parse().context("no id of a machine")?;
        let answer = self.again(Method::GET, &format!("/api/v0/instances/{id}/"), &[("owner", "me".to_owned())], None).await?;
        match answer.status {
            StatusCode::NOT_FOUND if answer.body["error"] != "auth_error" => Ok(true),
            // One that is gone may read as null under the plural's name.
            _ if answer.done() => Ok(answer.body.get("instances").is_some_and(Value::is_null)),
            _ => bail!("machine {id} could not be asked for: {}", answer.why()),
        }
    }

    async fn create(&self, order: &Order) -> Result<String, NotMade> {
        let Some(offer) = &order.offer else { return Err(NotMade::Refused(anyhow::anyhow!("no offer was chosen"))) };
        let answer = match self.once(Method::PUT, &format!("/api/v0/asks/{}/", offer.id), &[], Some(&self.order(order))).await {
            Ok(answer) => answer,
            // Nobody was there to hear it.
            Err(error) if error.is_connect() => return Err(NotMade::Refused(error.without_url().into())),
            Err(error) => return Err(NotMade::Unknown(error.without_url().into())),
        };
        match answer.body["new_contract"].as_u64() {
            Some(id) if answer.done() => Ok(id.to_string()),
            None if answer.status == StatusCode::TOO_MANY_REQUESTS => Err(NotMade::TooSoon(self.pace.penalty, anyhow::anyhow!("{}", answer.why()))),
            // Said in so many words.
            None if (answer.status.is_client_error() || answer.body["success"] == false) && answer.refuses_offer() => {
                Err(NotMade::Full(anyhow::anyhow!("{}", answer.why())))
            }
            None if answer.status.is_client_error() || answer.body["success"] == false => Err(NotMade::Refused(anyhow::anyhow!("{}", answer.why()))),
            _ => Err(NotMade::Unknown(anyhow::anyhow!("{}", answer.why()))),
        }
    }

    fn keeps(&self) -> Option<Keeps> {
        self.rents.then(|| Keeps { usual: RESUME_USUAL, most: RESUME_MOST, life: seconds(self.wanted.max_life_s) })
    }

    async fn start(&self, provider_id: &str) -> Result<(), NotStarted> {
        let id: u64 = provider_id.parse().map_err(|_| NotStarted::Refused(anyhow::anyhow!("no id of a machine")))?;
        let answer = self.again(Method::PUT, &format!("/api/v0/instances/{id}/"), &[], Some(&json!({ "state": "running" }))).await;
        let answer = answer.map_err(NotStarted::Unknown)?;
        if !answer.done() {
            return Err(NotStarted::Refused(anyhow::anyhow!("machine {id} could not be started: {}", answer.why())));
        }
        Ok(())
    }

    async fn charges(&self, day: Millis) -> anyhow::Result<Option<Vec<Charge>>> {
        let begins = day / 1000;
        let filter = json!({ "day": { "gte": begins, "lte": begins }, "type": { "in": ["instance"] } }).to_string();
        let (mut dollars, mut after) = (BTreeMap::<u64, (f64, Option<String>)>::new(), None::<String>);
        for _ in 0..MOST_PAGES {
            let mut query = vec![("select_filters", filter.clone()), ("limit", "100".to_owned())];
            query.extend(after.take().map(|token| ("after_token", token)));
            let answer = self.again(Method::GET, CHARGES, &query, None).await?;
            if !answer.done() {
                bail!("the charges were refused: {}", answer.why());
            }
            let page: Lines = serde_json::from_value(answer.body).context("charges that can't be read")?;
            for line in page.results {
                let named = line.source.as_deref().and_then(|source| source.strip_prefix("instance-")?.parse().ok());
                let id = named.or_else(|| line.metadata["instance_id"].as_u64()).context("a charge names no machine")?;
                if line.amount.abs() >= 1e9 {
                    bail!("the charge of machine {id} is no sum of money");
                }
                let of = dollars.entry(id).or_default();
                of.0 += line.amount;
                of.1 = of.1.take().or_else(|| line.metadata["label"].as_str().map(str::to_owned));
            }
            match page.next_token {
                Some(token) => after = Some(token),
                None => {
                    let charge =
                        |(id, (dollars, label)): (u64, (f64, _))| Charge { provider_id: id.to_string(), label, microusd: (dollars * 1e6).round() as i64 };
                    return Ok(Some(dollars.into_iter().map(charge).collect()));
                }
            }
        }
        bail!("the charges do not end")
    }

    async fn destroy(&self, provider_id: &str) -> anyhow::Result<()> {
        // What comes from the table is ours, and still no part of an address by itself.
        let id: u64 = provider_id.parse().context("no id of a machine")?;
        let answer = self.again(Method::DELETE, &format!("/api/v0/instances/{id}/"), &[], Some(&json!({}))).await?;
        if answer.done() || answer.status == StatusCode::NOT_FOUND && answer.body["error"] != "auth_error" {
            return Ok(());
        }
        bail!("machine {id} could not be destroyed: {}", answer.why())
    }

    fn order_takes(&self) -> Duration {
        TIME_OUT
    }

    fn between_orders(&self) -> Duration {
        self.pace.create
    }

    /// By one call for all of them, which is refused where one of them is gone, and may have destroyed some before it fails at another. What is
    /// left then is destroyed one by one, another one first in each round.
    async fn destroy_many(&self, ids: &[String], until: Instant) -> Vec<(String, anyhow::Error)> {
        let mut left = Vec::new();
        for ids in ids.chunks(MOST_AT_ONCE) {
            left.extend(self.at_once(ids, until).await);
        }
        let mut failed = Vec::new();
        for id in left {
            let done = if Instant::now() < until { self.destroy(&id).await } else { Err(anyhow::anyhow!("there was no time for it; the next run goes on")) };
            failed.extend(done.err().map(|why| (id, why)));
        }
        failed
    }
}

impl Vast {
    /// Destroys several by one call; gives those of which it isn't known.
    async fn at_once(&self, ids: &[String], until: Instant) -> Vec<String> {
        let (mut there, mut absent) = (ids.to_vec(), Vec::new());
        for _ in 0..ROUNDS {
            let numbers: Vec<u64> = there.iter().filter_map(|id| id.parse().ok()).collect();
            if numbers.len() < 2 || numbers.len() < there.len() || Instant::now() >= until {
                break;
            }
            match self.in_time(Method::DELETE, "/api/v0/instances/", &[], Some(&json!({ "instance_ids": numbers }))).await {
                Ok(answer) if answer.done() => return absent,
                Ok(answer) if answer.status == StatusCode::NOT_FOUND && answer.body["error"] != "auth_error" => {
                    let Ok(machines) = self.list().await else { break };
                    let listed = |id: &String| machines.iter().any(|machine| machine.provider_id == *id);
                    let (still, gone): (Vec<_>, Vec<_>) = there.drain(..).partition(listed);
                    there = still;
                    // One that the list hides may be there all the same.
                    absent.extend(gone);
                }
                // It may have got stuck at the first of them.
                _ => there.rotate_left(1),
            }
        }
        there.extend(absent);
        there
    }

    /// What an order says: which image, and to its worker who it is and where Kiln is. `args` leaves the image's entry point as it is, and these begin
    /// its arguments: the worker's parent process, which gives the machine back by the key that Vast.ai puts into each container.
    fn order(&self, order: &Order) -> Value {
        let mut body = json!({
            "client_id": "me", "image": self.wanted.image, "disk": self.wanted.disk_gb, "label": order.label,
            "runtype": "args", "args": ["--rented", "vast"],
            "env": { "KILN_API": self.wanted.api(), "KILN_BOOT_TOKEN": order.boot_token, "KILN_MAX_LIFE_S": self.wanted.max_life_s.to_string(), "KILN_LOG": "json" },
            // Else there may be a stopped contract that bills its disk.
            "cancel_unavail": true, "target_state": "running",
        });
        if let Some(bid) = order.offer.as_ref().and_then(|offer| offer.bid_microusd_per_hour) {
            body["price"] = json!(bid as f64 / 1e6);
        }
        body
    }

    /// What is let on demand, or for bids.
    async fn search(&self, policy: &Policy, bid: bool) -> anyhow::Result<Vec<Found>> {
        let mut query = json!({
            "verified": { "eq": true }, "external": { "eq": false }, "rentable": { "eq": true }, "rented": { "eq": false }, "datacenter": { "eq": true },
            "num_gpus": { "eq": 1 }, "disk_space": { "gte": self.wanted.disk_gb }, "reliability": { "gte": LEAST_RELIABILITY },
            "order": [["dlperf_per_dphtotal", "desc"]], "type": if bid { "bid" } else { "on-demand" }, "limit": OFFERS, "allocated_storage": self.wanted.disk_gb,
            "inet_down_cost": { "lte": MOST_TRAFFIC }, "inet_up_cost": { "lte": MOST_TRAFFIC },
        });
        if !policy.gpus.is_empty() {
            query["gpu_name"] = json!({ "in": policy.gpus });
        }
        if let Some(most) = policy.max_microusd_per_hour {
            query["dph_total"] = json!({ "lte": most as f64 / 1e6 });
        }
        let answer = self.again(Method::POST, "/api/v0/bundles/", &[], Some(&query)).await?;
        if !answer.done() {
            bail!("the search for machines was refused: {}", answer.why());
        }
        serde_json::from_value(answer.body["offers"].clone()).context("offers that can't be read")
    }

    /// In our terms; none without a price or a name, nor where traffic costs too much, whatever the search let pass.
    fn offer(&self, found: Found, bid: bool) -> Option<Offer> {
        let price = |dollars: Option<f64>| dollars.filter(|price| price.is_finite() && *price > 0.0 && *price < 10_000.0);
        let bid_microusd_per_hour = if bid { Some((price(found.min_bid)? * BID_ABOVE * 1e6).ceil() as i64) } else { None };
        let dollars = match bid_microusd_per_hour {
            Some(bid) => bid as f64 / 1e6 + found.storage_total_cost.filter(|cost| cost.is_finite()).unwrap_or(0.0).clamp(0.0, 100.0),
            None => price(found.dph_total)?,
        };
        let traffic = |cost: Option<f64>| Some(cost.unwrap_or(0.0).max(0.0)).filter(|cost| *cost <= MOST_TRAFFIC);
        traffic(found.inet_up_cost)?;
        let download = traffic(found.inet_down_cost)? * self.wanted.download_gb;
        Some(Offer {
            provider: self.name().into(),
            id: found.id.to_string(),
            host: format!("vast-{}", found.host_id.or(found.machine_id)?),
            machine: found.machine_id.map(|id| id.to_string()),
            gpu: found.gpu_name?,
            rate: Rate { microusd_per_hour: (dollars * 1e6).ceil() as i64, microusd_once: (download * 1e6).ceil() as i64 },
            reliability: found.reliability.unwrap_or(0.0),
            speed: found.dlperf.unwrap_or(0.0).max(0.0),
            interruptible: bid,
            bid_microusd_per_hour,
            disk_microusd_per_hour: found.storage_total_cost.filter(|cost| cost.is_finite() && *cost > 0.0).map(|cost| (cost.min(100.0) * 1e6).ceil() as i64),
        })
    }
}

impl From<Listed> for Machine {
    fn from(listed: Listed) -> Self {
        let actual = listed.actual_status.as_deref();
        let to_stop = listed.intended_status.as_deref() == Some("stopped");
        // That it is to stop is no word that it has: until then its GPU costs. Of what is not heard it isn't known, and it is of no use.
        let runs = matches!(actual, Some("running" | "rebooting"));
        let unheard = matches!(actual, Some("frozen" | "unknown" | "offline"));
        let stopped = actual == Some("stopped") || to_stop && !runs && !unheard;
        let ended = stopped || to_stop && unheard || matches!(actual, Some("exited" | "destroyed" | "terminated"));
        // Of those that may be taken we stop none. A container that has ended by itself has exited.
        let taken = stopped && actual != Some("exited");
        let boot_stage = match actual {
            None | Some("created") => Some("provisioning"),
            Some("loading") => Some("pulling"),
            Some("running") => Some("starting"),
            Some(_) => None,
        };
        let (boot_stage, says) = (boot_stage.filter(|_| !ended), listed.status_msg.as_deref().and_then(in_a_line));
        Self { provider_id: listed.id.to_string(), label: listed.label.unwrap_or_default(), running: !ended, taken, stopped, boot_stage, says }
    }
}

/// What a host, too, may have written, as one short line; nothing where it says nothing.
fn in_a_line(text: &str) -> Option<String> {
    let line = text.split(|letter: char| letter.is_control() || letter.is_whitespace()).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    let most = line.floor_char_boundary(MOST_SAID);
    (!line.is_empty()).then(|| line[..most].to_owned())
}

#[cfg(test)]
#[path = "vast_tests.rs"]
mod tests;
