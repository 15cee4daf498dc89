//! The order of things: what is prepared before threads exist, what starts after what, what stops before what.

use std::collections::BTreeMap;
use std::future::IntoFuture;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::http::Method;
use kiln_http::operator::LEAST_ADMIN_KEY;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::aws::Clients;
use crate::config::Config;
use crate::data::DataDir;
use crate::failure::{Failure, Reason};
use crate::functions::{describe, link, override_env};
use crate::gateway::{Answered, Gateway};
use crate::headers::{Cors, Security};
use crate::invoke::Invocations;
use crate::mail::Mailbox;
use crate::pages::Pages;
use crate::play::Payments;
use crate::provision::provision;
use crate::rentals::Rentals;
use crate::resolve::{Place, Resolver};
use crate::routes::Routes;
use crate::say::{self, say};
use crate::standin::{self, StandIn};
use crate::template::Template;
use crate::workers::{self, Workers};
use crate::{demo, model, schedules, secrets, simulator};

/// The stack's name: it is in the names of all resources.
pub const STACK: &str = "kiln-local";
const SENDER: &str = "no-reply@kiln.local";
/// What requests that are still running get at the end.
const FINISH_WITHIN: Duration = Duration::from_secs(5);

/// All that is decided before the first thread starts.
pub struct Prepared {
    config: Config,
    root: PathBuf,
    data: DataDir,
    template: Template,
    listener: TcpListener,
    public_url: String,
    endpoint: String,
    /// The port and program of the stand-in; none where another is used.
    standin: Option<(u16, PathBuf)>,
}

/// Checks what can be checked without starting anything, and sets the environment that the AWS SDK reads. Call it before any thread starts.
pub fn prepare(config: Config) -> Result<Prepared, Failure> {
    let root = config.find_root()?;
    let template = Template::read(&root.join("template.yaml"))?;
    // Each setting is checked here once, by the rules that the functions apply to it.
    kiln_core::settings::Settings::from_env(|name| std::env::var(name).ok()).map_err(|message| Failure::new(Reason::Template, message))?;
    if config.admin_key.as_ref().is_some_and(|key| key.len() < LEAST_ADMIN_KEY) {
        return Err(Failure::new(Reason::Template, format!("KILN_ADMIN_KEY has less than {LEAST_ADMIN_KEY} characters")));
    }
    let data = DataDir::open(&config.data_dir.clone().unwrap_or_else(|| root.join(".kiln")))?;
    let address = SocketAddr::new(config.bind, config.port);
    let listener = TcpListener::bind(address).map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => Failure::new(Reason::PortInUse, format!("port {} is in use; set KILN_PORT to a free one", config.port)),
        _ => Failure::new(Reason::Unexpected, format!("can't listen on {address}: {error}")),
    })?;
    let port = listener.local_addr().map_err(|error| Failure::new(Reason::Unexpected, error))?.port();
    let public_url = config.public_url.clone().unwrap_or_else(|| format!("http://127.0.0.1:{port}"));
    let (endpoint, standin) = match &config.aws_endpoint {
        Some(endpoint) => (endpoint.trim_end_matches('/').to_owned(), None),
        None => {
            let program = standin::find_program(&root, config.ministack.clone())?;
            let port = standin::choose_port(&data, config.aws_port)?;
            (format!("http://127.0.0.1:{port}"), Some((port, program)))
        }
    };
    set_aws_environment(&endpoint, standin.is_some());
    Ok(Prepared { config, root, data, template, listener, public_url, endpoint, standin })
}

/// Our own stand-in is spoken to with made-up credentials, whatever the person at this machine has set for AWS; another one gets
/// theirs where they have set any. With none at all the SDK would look for a cloud machine's.
fn set_aws_environment(endpoint: &str, ours: bool) {
    // SAFETY: main calls this before it starts any thread.
    let set = |name: &str, value: &str| unsafe { std::env::set_var(name, value) };
    let absent = |name: &str| std::env::var_os(name).is_none();
    let clear = |name: &str| unsafe { std::env::remove_var(name) };
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("AWS_ENDPOINT_URL_")) {
        clear(&name.to_string_lossy());
    }
    set("AWS_ENDPOINT_URL", endpoint);
    if ours {
        for name in ["AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CA_BUNDLE"] {
            clear(name);
        }
        set("AWS_CONFIG_FILE", "/dev/null");
        set("AWS_SHARED_CREDENTIALS_FILE", "/dev/null");
    }
    if ours || absent("AWS_REGION") {
        set("AWS_REGION", "us-east-1");
    }
    if ours || (absent("AWS_ACCESS_KEY_ID") && absent("AWS_PROFILE")) {
        set("AWS_ACCESS_KEY_ID", "local");
        set("AWS_SECRET_ACCESS_KEY", "local");
    }
    set("AWS_EC2_METADATA_DISABLED", "true");
    // Stand-ins have one host for all buckets.
    set("KILN_S3_PATH_STYLE", "1");
}

pub fn run(prepared: Prepared) -> Result<(), Failure> {
    // One TLS provider for every client of this process.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Runtime::new().map_err(|error| Failure::new(Reason::Unexpected, error))?;
    let done = runtime.block_on(supervise(prepared));
    // A task that hangs must not keep the program.
    runtime.shutdown_timeout(Duration::from_secs(1));
    done
}

/// Starts the stand-in first and stops it last, and between them runs the system until it is asked to stop or can't go on.
async fn supervise(prepared: Prepared) -> Result<(), Failure> {
    let stop = stop_signal()?;
    let mut standin = match &prepared.standin {
        Some((port, program)) => Some(StandIn::start(&prepared.data, *port, program.clone()).await?),
        None => None,
    };
    let done = serve(&prepared, &mut standin, stop).await;
    if let Some(standin) = standin {
        info!("saving the data");
        standin.stop(&prepared.data).await;
        info!("stopped");
    }
    done
}

/// Turns true at the first Ctrl-C or SIGTERM; the second ends the program at once.
fn stop_signal() -> Result<watch::Receiver<bool>, Failure> {
    let failed = |error| Failure::new(Reason::Unexpected, format!("signals: {error}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let (tell, stop) = watch::channel(false);
    tokio::spawn(async move {
        let mut times = 0;
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            times += 1;
            if times > 1 {
                // The stand-in has a session of its own: it lives on, unsaved but unharmed, and the next start adopts it.
                eprintln!("kiln-local: stopped at once; the stand-in for AWS goes on and is adopted by the next start");
                std::process::exit(130);
            }
            info!("stopping; once more stops at once");
            tell.send_replace(true);
        }
    });
    Ok(stop)
}

async fn serve(prepared: &Prepared, standin: &mut Option<StandIn>, mut stop: watch::Receiver<bool>) -> Result<(), Failure> {
    let Prepared { config, root, data, template, endpoint, public_url, .. } = prepared;
    let clients = Clients::new().await;
    let account = clients.account().await.map_err(|error| Failure::new(Reason::StandIn, format!("{endpoint} does not answer as AWS does: {error:#}")))?;
    let place = Place { stack: STACK.into(), region: std::env::var("AWS_REGION").unwrap_or_default(), account, endpoint: endpoint.clone() };
    let payments = Payments::choose(config)?;
    let rentals = Rentals::choose(config)?;
    let mut chosen = parameters(public_url, payments.base());
    chosen.extend(rentals.parameters(config).into_iter().map(|(name, value)| (name.to_owned(), value)));
    let mut resolver = Resolver::new(template, place.clone(), &chosen)?;
    let urls = provision(&clients, &resolver).await?;
    resolver.set_queue_urls(urls);
    let mut given: BTreeMap<_, _> = config.admin_key.iter().map(|key| ("admin-key".to_owned(), key.clone())).collect();
    given.extend(payments.secrets(config));
    given.extend(rentals.secrets(config));
    let stripe = payments.base().to_owned();
    let wanted = model::secrets(&resolver)?;
    let kept = secrets::ensure(&clients.ssm, data, &wanted, &given).await?;
    let mut functions = model::functions(&resolver)?;
    for function in &mut functions {
        override_env(&mut function.env, |name| std::env::var(name).ok());
    }
    let unbound = |error: std::io::Error| Failure::new(Reason::Unexpected, format!("no port for functions to invoke one another at: {error}"));
    let invocations = Invocations::bind(&mut functions).map_err(unbound)?;
    data.write("functions.json", &format!("{:#}", describe(&functions, endpoint, &place.region)))?;

    let listener = listener(prepared)?;
    let port = listener.local_addr().map_err(|error| Failure::new(Reason::Unexpected, error))?.port();
    // Workers speak to this machine itself, whatever its public name.
    let api = format!("http://127.0.0.1:{port}/api/v1");
    let settings = workers::Settings {
        program: workers::find_program(root, config.worker_bin.as_deref()),
        api: api.clone(),
        models: config.models_dir.clone().unwrap_or_else(|| root.join(".cache/models")),
        drain: Duration::from_secs(config.drain_s),
        most: config.local_workers,
    };
    // Before the first run of the pool may ask it.
    let machines = rentals.serve(&settings, &data.join("machines")).map_err(|error| Failure::new(Reason::Unexpected, format!("play machines: {error:#}")))?;
    let workers = Workers::new(settings);
    let linked = link(&functions, &workers).await?;
    invocations.serve(linked.scheduled.values().cloned()).map_err(|error| Failure::new(Reason::Unexpected, format!("invocations: {error:#}")))?;
    let (sent, mails) = mpsc::unbounded_channel();
    let mailbox = Arc::new(Mailbox::new(standin::http_client(), endpoint, sent));
    let shows_mail = mailbox.remember().await.inspect_err(|error| warn!("mail is not shown: {error:#}")).is_ok();
    let wakes = Wakes::new(&functions);
    let gateway = Gateway {
        routes: Routes::new(&functions)?,
        functions: linked.callables,
        pages: Pages::new(root.join("web/dist")),
        security: Security::new(&resolver, endpoint)?,
        cors: Cors::new(&resolver)?,
        mailbox: mailbox.clone(),
        public_url: public_url.clone(),
        watch: wakes.watcher(),
    };

    let (close, closing) = watch::channel(false);
    let app = gateway.into_router().into_make_service_with_connect_info::<SocketAddr>();
    let server = tokio::spawn(axum::serve(listener, app).with_graceful_shutdown(until(closing)).into_future());
    let mut loops = JoinSet::new();
    for function in &functions {
        let Some(scheduled) = linked.scheduled.get(&function.id) else { continue };
        for event in &function.schedules {
            loops.spawn(schedules::schedule(scheduled.clone(), event.clone(), place.clone(), Duration::from_secs(config.tick_s), stop.clone()));
        }
        for source in &function.queues {
            loops.spawn(schedules::queue(scheduled.clone(), source.clone(), place.clone(), clients.sqs.clone(), stop.clone()));
        }
    }
    let hears = |function: &model::Function| Some((linked.scheduled.get(&function.id)?.clone(), function.topics.clone()));
    let listeners = functions.iter().filter_map(hears).flat_map(|(function, topics)| topics.into_iter().map(move |topic| (function.clone(), topic))).collect();
    loops.spawn(until_stop(simulator::run(listeners, mails), stop.clone()));
    let printer = shows_mail.then(|| tokio::spawn(print_mail(mailbox.clone(), wakes.mail.clone())));

    payments.serve(data, &api).await.map_err(|error| Failure::new(Reason::Unexpected, format!("play money: {error:#}")))?;
    banner(prepared, &kept, &workers, &stripe, machines.as_deref());
    if config.demo {
        match demo::sign_in_link(&standin::http_client(), &api, &mailbox).await {
            Ok(link) => say(&format!("  Demo       signs you in as {}: {link}\n", demo::ADDRESS)),
            Err(error) => warn!("no demo account: {error:#}"),
        }
    }
    say::ready(public_url);

    let done = loop {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break Ok(()),
            how = died(standin) => {
                // Not raced against the stop: see revive.
                let revived = match standin {
                    Some(standin) => standin.revive(data, &how).await,
                    None => Ok(()),
                };
                let made = match revived {
                    Ok(()) => remake(&clients, &resolver, data, &wanted, &given).await,
                    failed => failed,
                };
                if let Err(failure) = made {
                    break Err(failure);
                }
            }
        }
    };

    // First nothing new is started, then the workers finish while the API still hears them, then the API, and the data last of all.
    let asked = *stop.borrow();
    if asked && tokio::time::timeout(FINISH_WITHIN, async { while loops.join_next().await.is_some() {} }).await.is_err() {
        warn!("a scheduled function took more than {} s to finish and was cut off", FINISH_WITHIN.as_secs());
    }
    loops.shutdown().await;
    workers.end().await;
    close.send_replace(true);
    if tokio::time::timeout(FINISH_WITHIN, server).await.is_err() {
        warn!("requests that took more than {} s were cut off", FINISH_WITHIN.as_secs());
    }
    if let Some(printer) = printer {
        printer.abort();
    }
    done
}

/// After the stand-in has come back: what it had not saved is made again.
async fn remake(clients: &Clients, resolver: &Resolver<'_>, data: &DataDir, wanted: &[model::Secret], given: &BTreeMap<String, String>) -> Result<(), Failure> {
    provision(clients, resolver).await?;
    secrets::ensure(&clients.ssm, data, wanted, given).await?;
    info!("the stand-in for AWS runs again");
    Ok(())
}

async fn until(mut told: watch::Receiver<bool>) {
    let _ = told.wait_for(|told| *told).await;
}

async fn until_stop(work: impl Future<Output = ()>, mut stop: watch::Receiver<bool>) {
    tokio::select! {
        () = work => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
}

async fn died(standin: &mut Option<StandIn>) -> String {
    match standin {
        Some(standin) => standin.died().await,
        None => std::future::pending().await,
    }
}

/// What an answer of the API sets going at once: mail that it may have sent is printed.
struct Wakes {
    mail: Arc<Notify>,
    /// The functions that can send mail.
    senders: Vec<String>,
}

impl Wakes {
    fn new(functions: &[model::Function]) -> Self {
        let senders = functions.iter().filter(|function| function.env.contains_key("KILN_MAIL_FROM")).map(|function| function.id.clone()).collect();
        Self { mail: Arc::default(), senders }
    }

    fn watcher(&self) -> Box<dyn Fn(Answered) + Send + Sync> {
        let (mail, senders) = (self.mail.clone(), self.senders.clone());
        Box::new(move |answered| {
            if answered.method == Method::POST && senders.iter().any(|sender| sender == answered.function) {
                mail.notify_one();
            }
        })
    }
}

/// Prints mail as it is sent: a function has sent it before it answers.
async fn print_mail(mailbox: Arc<Mailbox>, sent: Arc<Notify>) {
    loop {
        sent.notified().await;
        if let Err(error) = mailbox.refresh().await {
            warn!("mail is not shown: {error:#}");
        }
    }
}

fn banner(prepared: &Prepared, secrets: &BTreeMap<String, String>, workers: &Workers, stripe: &str, machines: Option<&str>) {
    let Prepared { config, data, public_url, endpoint, .. } = prepared;
    let mut lines = format!("\n  Kiln runs at {public_url}\n\n  API        {public_url}/api/v1\n  Mail       printed here; also {public_url}/local/mail\n");
    lines += &format!("  Data       {}\n  Stand-in   {endpoint}\n", data.path.display());
    lines += &match (config.stripe_secret_key.is_some(), stripe) {
        (false, base) => format!("  Payments   play money at {base}; STRIPE_SECRET_KEY takes the real Stripe\n"),
        (true, "") => "  Payments   Stripe\n".to_owned(),
        (true, base) => format!("  Payments   {base}\n"),
    };
    if let Some(machines) = machines {
        lines += &format!("  Machines   {machines}\n");
    }
    if config.admin_key.is_none()
        && let Some(key) = secrets.get("admin-key")
    {
        lines += &format!("  Admin key  {key}\n");
    }
    if let Err(why) = workers.program() {
        lines += &format!("  Workers    none: {why}\n");
    }
    if !config.demo {
        lines += "  Demo       KILN_DEMO=1 signs in a demo account\n";
    }
    say(&format!("{lines}  Stop       Ctrl-C\n"));
}

fn listener(prepared: &Prepared) -> Result<tokio::net::TcpListener, Failure> {
    let listener = prepared.listener.try_clone().and_then(|listener| listener.set_nonblocking(true).map(|()| listener));
    listener.and_then(tokio::net::TcpListener::from_std).map_err(|error| Failure::new(Reason::Unexpected, error))
}

/// The template's parameters on a laptop.
pub fn parameters(public_url: &str, stripe: &str) -> BTreeMap<String, String> {
    [("Stage", "local"), ("StripeApiBase", stripe), ("PublicUrl", public_url), ("MailFrom", SENDER), ("Providers", "local"), ("Alarms", "off")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}
