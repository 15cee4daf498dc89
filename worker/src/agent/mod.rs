//! The worker's way with the network: registers, keeps a long poll parked on each of its queues, and takes one
//! job at a time from claim to report. DESIGN.md section 4 fixes the protocol; docs/WORKER.md tells how to run it.
//!
//! [`work`] is one job, [`fate`] the rules of a claim's answer, [`beat`] the heartbeat, [`slot`] what they share.

mod api;
mod backoff;
mod beat;
mod drill;
mod fate;
mod files;
mod kept;
mod line;
mod queue;
mod registry;
mod settings;
mod slot;
mod weights;
mod work;

pub use drill::Point;
pub use registry::{LoadError, Registry, load};
pub use settings::{LogForm, Settings};
pub use slot::{Drain, Drains};

pub(crate) use api::{CallError, http_client};
pub(crate) use backoff::Backoff;
pub(crate) use settings::safe_url;

use api::{Api, retrying};
use drill::Drill;
use fate::Next;
use kiln_core::fleet::{self, Queue, RegisterRequest, RegisterResponse};
use queue::{QueueError, Queues, Received};
use slot::{Slot, Stop};
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

/// About three minutes: a system that is just starting gets its time, a wrong address is told within it.
const REGISTER: Backoff = Backoff::new(200, 10_000, 24);
const HEARTBEAT: Backoff = Backoff::new(500, 5_000, u32::MAX);
const PAUSE: Backoff = Backoff::new(250, 15_000, u32::MAX);
/// A step of the boot, as the pool shows it.
const ENGINES: &str = "engines";
/// How long after a drain's limit a stopped attempt's report may take.
pub(crate) const LAST_WORD: Duration = Duration::from_secs(10);
/// How long a process that has to go still waits for its parked polls. One that is given up may have just been answered: that hint
/// stays hidden for its visibility timeout, and then comes to another worker.
const LAST_POLL: Duration = Duration::from_secs(1);

/// The exit code of a process that was told twice to stop.
pub const TOLD_TWICE: i32 = 143;

/// The exit code of a worker whose machine is to be stopped.
pub const RESTED: i32 = 6;

/// How the process ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    Drained,
    /// Drained too, and the machine is to be stopped rather than given back: whoever is started again on it is the same instance.
    Rested,
    /// It could not start.
    Failed(String),
    WrongSettings(String),
    /// The server ended this instance.
    Over,
    MissingModels(String),
    /// This machine does not do what it must.
    Unfit(String),
}

impl Exit {
    pub fn code(&self) -> i32 {
        match self {
            Exit::Drained => 0,
            Exit::Failed(_) => 1,
            Exit::WrongSettings(_) => 2,
            Exit::Over => 3,
            Exit::MissingModels(_) => 4,
            Exit::Unfit(_) => 5,
            Exit::Rested => RESTED,
        }
    }

    /// Whether a process that ended with this code would end so again, or was meant to end.
    pub fn is_final(code: i32) -> bool {
        matches!(code, 0 | 2..=RESTED | TOLD_TWICE)
    }
}

/// What the parts of the agent share.
pub(crate) struct Agent {
    api: Api,
    http: reqwest::Client,
    queues: Queues,
    registry: OnceLock<Registry>,
    slot: Slot,
    drains: Drains,
    /// The server wants this machine stopped when its worker has drained.
    rests: AtomicBool,
    drill: Drill,
    kept: kept::Kept,
    line: line::Line,
    capabilities: Vec<String>,
    /// Held by whoever speaks as the instance while its token may change.
    identity: tokio::sync::Mutex<()>,
}

impl Agent {
    /// The engines; nothing is polled before they are loaded.
    fn registry(&self) -> &Registry {
        self.registry.get().expect("engines are loaded before the first poll")
    }

    /// Registers with the token it has, or with the boot token. Its next token is of its own making: were an answer lost, or this process to die
    /// before it comes, the server would take no other.
    async fn register(&self, boot_token: Option<String>, lacks: &[String]) -> Result<RegisterResponse, CallError> {
        let _identity = self.identity.lock().await;
        let secret = secret().inspect_err(|error| tracing::warn!(%error, "the server is to make this worker's token")).ok();
        let now = self.api.token();
        let instance = boot_token.as_deref().map_or_else(|| fleet::worker_instance(&now), fleet::boot_instance);
        if let (Some(instance), Some(secret)) = (instance, &secret) {
            self.keep(&[&fleet::worker_token(&instance, secret), &now]);
        }
        let body = RegisterRequest {
            boot_token,
            secret,
            version: env!("CARGO_PKG_VERSION").into(),
            capabilities: self.capabilities.clone(),
            gpu: gpu(),
            lacks: lacks.to_vec(),
        };
        let answer = retrying(REGISTER, "register", || self.api.register(&body)).await?;
        self.api.set_token(&answer.token);
        self.keep(&[&answer.token]);
        tracing::info!(instance_id = %answer.instance_id, heartbeat_s = answer.heartbeat_s, "registered");
        Ok(answer)
    }

    fn keep(&self, tokens: &[&str]) {
        if let Err(error) = self.kept.write(tokens) {
            tracing::warn!(%error, "the instance's token could not be kept; a restart needs a new boot token");
        }
    }

    /// Kept tokens first, since the boot token works once.
    async fn first_register(&self, boot_token: Option<String>, lacks: &[String]) -> Result<RegisterResponse, CallError> {
        let kept = self.kept.read();
        for (at, token) in kept.iter().enumerate() {
            self.api.set_token(token);
            let another = at + 1 < kept.len() || boot_token.is_some();
            match self.register(None, lacks).await {
                Err(CallError::Refused { status: 401, .. }) if another => self.api.set_token(""),
                other => return other,
            }
        }
        self.register(boot_token, lacks).await
    }
}

/// 256 random bits from the operating system.
fn secret() -> std::io::Result<String> {
    use std::io::Read;
    let mut bytes = [0; 32];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(hex::encode(bytes))
}

/// The longest beginning of a text that the server takes: `max` bytes, and whole characters.
fn cut(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

/// The graphics card's name, as its driver tells it.
fn gpu() -> Option<String> {
    let card = std::fs::read_dir("/proc/driver/nvidia/gpus").ok()?.next()?.ok()?;
    let text = std::fs::read_to_string(card.path().join("information")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("Model:")).map(|name| name.trim().to_owned())
}

/// Runs until the worker has drained or can't go on. `load` makes the engines while the instance registers.
pub async fn run(settings: Settings, load: impl FnOnce() -> Result<Registry, LoadError> + Send + 'static, drains: Drains) -> Exit {
    let (base, boot_token) = match (settings.api(), settings.read_boot_token()) {
        (Ok(base), Ok(token)) => (base, token),
        (Err(message), _) | (_, Err(message)) => return Exit::WrongSettings(message),
    };
    let line = match line::Line::of(&settings) {
        Ok(line) => line,
        Err(error) => return Exit::Failed(format!("the line to the parent process: {error}")),
    };
    let http = match http_client() {
        Ok(http) => http,
        Err(error) => return Exit::Failed(format!("no HTTP client: {error}")),
    };
    let agent = Arc::new(Agent {
        api: Api::new(http.clone(), base),
        http,
        queues: Queues::new(settings.poll()),
        registry: OnceLock::new(),
        slot: Slot::default(),
        drains,
        rests: AtomicBool::new(false),
        drill: Drill::of(&settings),
        kept: kept::Kept::new(settings.state_dir.clone()),
        line,
        capabilities: settings.capabilities.clone(),
        identity: tokio::sync::Mutex::new(()),
    });
    if boot_token.is_none() && agent.kept.read().is_empty() {
        return Exit::WrongSettings("there is no token: set KILN_BOOT_TOKEN or KILN_BOOT_TOKEN_FILE".into());
    }
    tokio::spawn({
        let agent = agent.clone();
        async move {
            agent.line.ended().await;
            agent.drains.ask(Drain::Soon);
        }
    });
    let lacking = weights::lacking(&settings.models_dir, &settings.capabilities);
    let lacks: Vec<String> = lacking.iter().map(|file| file.sha256.clone()).collect();
    // Beside the registration, unless the models have to be fetched first, for which it takes the server's answer.
    let (mut load, mut loading) = (Some(load), None);
    if lacking.is_empty() {
        agent.slot.boot(ENGINES);
        loading = load.take().map(tokio::task::spawn_blocking);
    }
    let registered = match agent.first_register(boot_token, &lacks).await {
        Ok(registered) => registered,
        Err(error) if error.status() == Some(401) => {
            tracing::error!(%error, "the server doesn't accept this worker's token");
            return Exit::Over;
        }
        Err(error) => return Exit::Failed(format!("registering: {error}")),
    };
    let period = Duration::from_secs(registered.heartbeat_s.max(1));
    let beating = tokio::spawn({
        let agent = agent.clone();
        async move { beat::beat(&agent, period).await }
    });
    let lent = retrying(REGISTER, "credentials", || agent.queues.renew(&agent.api)).await;
    if let Err(error) = lent {
        beating.abort();
        return if error.status() == Some(401) { Exit::Over } else { Exit::Failed(format!("credentials for the queues: {error}")) };
    }
    let mut trouble = None;
    if !lacking.is_empty() {
        agent.slot.boot("models");
        trouble = weights::fetch(&agent.http, &settings.models_dir, &lacking, &registered.models).await.err();
        if let Some(why) = &trouble {
            tracing::error!("{why}");
        }
    }
    agent.slot.boot(ENGINES);
    let loaded = match (loading, load) {
        (Some(loading), _) => loading.await,
        (None, Some(load)) => tokio::task::spawn_blocking(load).await,
        (None, None) => return Exit::Failed("the engines were not loaded".into()),
    };
    let registry = match loaded {
        Ok(Ok(registry)) => registry,
        Ok(Err(error @ LoadError::MissingModels(_))) => return Exit::MissingModels(trouble.unwrap_or_else(|| error.to_string())),
        Ok(Err(LoadError::Unfit(why))) => return Exit::Unfit(why),
        Ok(Err(error)) => return Exit::Failed(error.to_string()),
        Err(error) => return Exit::Failed(format!("loading the engines: {error}")),
    };
    agent.slot.boot("self-test");
    let registry = match gate(registry, settings.gate()).await {
        Ok(registry) => registry,
        Err(why) => return Exit::Unfit(why),
    };
    tracing::info!(kinds = ?registry.kinds(), "ready");
    let _ = agent.registry.set(registry);
    agent.slot.loaded();
    Loop::new(agent, &settings, beating).run().await
}

/// The health gate: every engine does its self-test in time, or this machine gets no work.
async fn gate(registry: Registry, most: Duration) -> Result<Registry, String> {
    let began = Instant::now();
    let tests = tokio::task::spawn_blocking(move || registry.self_test().map(|()| registry));
    let registry = match tokio::time::timeout(most, tests).await {
        Ok(Ok(tested)) => tested.map_err(|why| format!("an engine's self-test failed: {why}"))?,
        Ok(Err(error)) => return Err(format!("an engine's self-test broke down: {error}")),
        Err(_) => return Err(format!("the engines' self-tests take longer than {} s", most.as_secs())),
    };
    tracing::info!(ms = began.elapsed().as_millis() as u64, "the engines have tested themselves");
    Ok(registry)
}

type Polled = (Queue, Result<Option<Received>, QueueError>);

/// The worker's one loop. It alone decides who has the slot, so that no two jobs can.
struct Loop {
    agent: Arc<Agent>,
    beating: JoinHandle<()>,
    drain_limit: Duration,
    polls: JoinSet<Polled>,
    /// URLs of the queues that a poll is parked on.
    parked: HashSet<String>,
    /// Who has the slot: a job, or a registration that frees it on the server too.
    taken: Option<JoinHandle<Next>>,
    troubles: u32,
    rest_until: Option<Instant>,
    renew_at: Instant,
    /// When a draining worker's attempt is stopped, and when the process goes whatever is still under way.
    limit: Option<Instant>,
    last: Option<Instant>,
    /// When the parked polls of a process that has to go are given up.
    last_poll: Option<Instant>,
}

impl Loop {
    fn new(agent: Arc<Agent>, settings: &Settings, beating: JoinHandle<()>) -> Self {
        let renew_at = agent.queues.now().renew_at().into();
        Self {
            agent,
            beating,
            drain_limit: Duration::from_secs(settings.drain_s),
            polls: JoinSet::new(),
            parked: HashSet::new(),
            taken: None,
            troubles: 0,
            rest_until: None,
            renew_at,
            limit: None,
            last: None,
            last_poll: None,
        }
    }

    async fn run(mut self) -> Exit {
        let mut drain = self.agent.drains.watch();
        // Asked for while the engines were loaded.
        let early = *drain.borrow_and_update();
        if early != Drain::No {
            self.drain(early);
        }
        loop {
            // Only looked at: a wish counts as seen where it is acted on, below. Seen here, one that came while another branch ran would
            // never set its limit.
            let wish = *drain.borrow();
            if wish != Drain::No && self.taken.is_none() && self.polls.is_empty() {
                // Whoever asks for a quicker end than the server wants the machine for something else.
                let rests = wish == Drain::AfterAttempt && self.agent.rests.load(Ordering::Relaxed);
                tracing::info!(rests, "drained");
                return if rests { Exit::Rested } else { Exit::Drained };
            }
            if wish == Drain::No && self.taken.is_none() && self.rest_until.is_none() {
                self.park();
            }
            tokio::select! {
                Some(polled) = self.polls.join_next() => self.polled(polled, wish).await,
                next = ended(&mut self.taken) => {
                    self.taken = None;
                    self.next(next, wish);
                }
                () = until(self.rest_until), if self.taken.is_none() => self.rest_until = None,
                () = tokio::time::sleep_until(self.renew_at) => self.renew().await,
                _ = drain.changed() => {
                    let wish = *drain.borrow_and_update();
                    self.drain(wish);
                }
                () = until(self.last_poll) => {
                    self.last_poll = None;
                    self.polls.abort_all();
                }
                () = until(self.limit) => self.stop(),
                () = until(self.last) => return Exit::Drained,
                _ = &mut self.beating => {
                    // What it works on is nobody's any more: the engine need not go on.
                    if let Some(attempt) = self.agent.slot.attempt() {
                        attempt.stop(Stop::Superseded);
                    }
                    return Exit::Over;
                }
            }
        }
    }

    /// Parks a poll on each queue that has none.
    fn park(&mut self) {
        for queue in self.agent.queues.now().queues.iter().filter(|queue| !self.parked.contains(&queue.url)).cloned().collect::<Vec<_>>() {
            self.parked.insert(queue.url.clone());
            let agent = self.agent.clone();
            self.polls.spawn(async move {
                let received = agent.queues.receive(&queue).await;
                (queue, received)
            });
        }
    }

    /// A poll has ended, and with it perhaps others: takes the most urgent message and gives the others back.
    async fn polled(&mut self, first: Result<Polled, tokio::task::JoinError>, wish: Drain) {
        let mut came = Vec::new();
        let mut refused = false;
        let mut ended = Some(first);
        while let Some(polled) = ended {
            ended = self.polls.try_join_next();
            let Ok((queue, received)) = polled else { continue };
            self.parked.remove(&queue.url);
            let rank = self.agent.queues.now().queues.iter().position(|known| known.url == queue.url).unwrap_or(usize::MAX);
            match received {
                Ok(Some(message)) => came.push((rank, message)),
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(%error, priority = queue.priority.as_str(), "a poll failed");
                    refused |= matches!(error, QueueError::Unauthorised(_));
                    self.rest();
                }
            }
        }
        if let Some((message, mut back)) = fate::choose(came) {
            if self.taken.is_none() && wish == Drain::No {
                self.taken = Some(tokio::spawn(work::take(self.agent.clone(), message)));
            } else {
                back.push(message);
            }
            for message in back {
                let agent = self.agent.clone();
                tokio::spawn(async move { agent.queues.give_back(&message).await });
            }
        }
        if refused {
            self.renew().await;
        }
    }

    /// The slot is free: what it does now.
    fn next(&mut self, next: Next, wish: Drain) {
        match next {
            Next::Poll => self.troubles = 0,
            Next::Pause => self.rest(),
            Next::RegisterAgain if wish != Drain::No => {}
            Next::RegisterAgain => {
                let agent = self.agent.clone();
                self.taken = Some(tokio::spawn(async move {
                    match agent.register(None, &[]).await {
                        Ok(_) => {
                            // Registering made it `loading` in the server's eyes.
                            agent.slot.tell.notify_one();
                            Next::Pause
                        }
                        Err(error) => {
                            tracing::warn!(%error, "registering again failed");
                            Next::Pause
                        }
                    }
                }));
            }
        }
    }

    /// No poll for a while, longer with each trouble in a row.
    fn rest(&mut self) {
        self.troubles += 1;
        let until = Instant::now() + PAUSE.wait(self.troubles, fastrand::f64());
        self.rest_until = Some(self.rest_until.map_or(until, |before| before.max(until)));
    }

    async fn renew(&mut self) {
        match self.agent.queues.renew(&self.agent.api).await {
            Ok(()) => self.renew_at = self.agent.queues.now().renew_at().into(),
            Err(error) => {
                tracing::warn!(%error, "new credentials for the queues were not to be had");
                self.troubles += 1;
                self.renew_at = Instant::now() + PAUSE.wait(self.troubles, fastrand::f64());
            }
        }
    }

    fn drain(&mut self, wish: Drain) {
        tracing::info!(?wish, busy = self.taken.is_some(), "draining: no new work is taken");
        self.agent.slot.draining();
        if wish == Drain::Soon && self.limit.is_none() {
            self.limit = Some(Instant::now() + self.drain_limit);
            self.last_poll = Some(Instant::now() + LAST_POLL);
        }
    }

    /// The drain's time is over: the attempt goes back to the queue, and the process ends when that is told.
    fn stop(&mut self) {
        self.limit = None;
        self.last = Some(Instant::now() + if self.taken.is_some() { LAST_WORD } else { Duration::ZERO });
        self.agent.slot.over();
    }
}

pub(crate) async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

/// Waits for who has the slot; a task that broke down leaves it to be registered anew.
async fn ended(taken: &mut Option<JoinHandle<Next>>) -> Next {
    match taken {
        Some(task) => task.await.unwrap_or_else(|error| {
            tracing::error!(%error, "the job's task broke down");
            Next::RegisterAgain
        }),
        None => std::future::pending().await,
    }
}
