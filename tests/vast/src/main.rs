//! `kiln-vast-stand-in`: the stand-in as a program of its own. It prints `kiln-vast-stand-in ready URL` when it is.

use std::path::PathBuf;

use anyhow::{Context, ensure};
use clap::Parser;
use kiln_vast_stand_in::{Config, MachineCommand, Offer, StandIn, Times, generate};
use tokio::signal::unix::{SignalKind, signal};

/// A stand-in for Vast.ai: its API, and machines that cost play money.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// The port on 127.0.0.1; 0 takes a free one.
    #[arg(long, env = "VAST_STAND_IN_PORT", default_value_t = 12_112)]
    port: u16,
    /// The account's key, which calls must carry.
    #[arg(long, env = "VAST_API_KEY", default_value = "play-money", hide_env_values = true)]
    key: String,
    /// The same seed gives the same offers, ids and keys.
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// How many machines are offered.
    #[arg(long, default_value_t = 24)]
    offers: usize,
    /// A JSON file with a list of offers instead, as GET /stand-in/offers shows them; each may leave out what is usual.
    #[arg(long, conflicts_with = "offers")]
    offers_file: Option<PathBuf>,
    /// The account's credit, in dollars.
    #[arg(long, default_value_t = 100.0)]
    credit: f64,
    /// From the order until a container is made, in milliseconds.
    #[arg(long, default_value_t = Times::default().provision)]
    provision_ms: i64,
    /// From then until its image is loading.
    #[arg(long, default_value_t = Times::default().create)]
    create_ms: i64,
    /// Until it runs.
    #[arg(long, default_value_t = Times::default().load)]
    load_ms: i64,
    /// Until it runs again when it was stopped.
    #[arg(long, default_value_t = Times::default().restart)]
    restart_ms: i64,
    /// Until it has stopped.
    #[arg(long, default_value_t = Times::default().stop)]
    stop_ms: i64,
    /// A clock that stands still, and moves only by POST /stand-in/clock; it begins now.
    #[arg(long)]
    frozen: bool,
    /// A command for `sh -c` that is run as each instance's container, with its variables.
    #[arg(long)]
    machine_command: Option<String>,
    /// A folder that exists, for each instance's output: ID.log.
    #[arg(long, requires = "machine_command")]
    machine_logs: Option<PathBuf>,
    /// A folder that exists, for each instance's disk: ID/, its container's working and temporary folder until it is destroyed.
    #[arg(long, requires = "machine_command")]
    machine_disks: Option<PathBuf>,
    /// How long a container that is stopped has between SIGTERM and SIGKILL.
    #[arg(long, default_value_t = 2_000)]
    grace_ms: u64,
}

fn config(args: Args) -> anyhow::Result<Config> {
    ensure!(!args.key.is_empty(), "the key is empty");
    let times = Times { provision: args.provision_ms, create: args.create_ms, load: args.load_ms, restart: args.restart_ms, stop: args.stop_ms };
    for (ms, what) in [(times.provision, "provision"), (times.create, "create"), (times.load, "load"), (times.restart, "restart"), (times.stop, "stop")] {
        ensure!((0..=86_400_000).contains(&ms), "--{what}-ms is 0 to a day");
    }
    let mut config = Config::new(args.key);
    config.seed = args.seed;
    config.credit = args.credit;
    config.times = times;
    config.offers = match args.offers_file {
        None => generate(args.seed, args.offers.min(1_000)),
        Some(path) => {
            let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            let offers: Vec<Offer> = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
            let ids: std::collections::BTreeSet<u64> = offers.iter().map(|offer| offer.id).collect();
            ensure!(ids.len() == offers.len(), "two offers have the same id");
            for offer in &offers {
                offer.check().map_err(anyhow::Error::msg)?;
            }
            offers
        }
    };
    if args.frozen {
        config.frozen_at_ms = Some(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_millis() as i64);
    }
    config.machine_command = args.machine_command.map(|command| MachineCommand {
        log_folder: args.machine_logs,
        disks: args.machine_disks,
        grace_ms: args.grace_ms,
        ..MachineCommand::new(command)
    });
    Ok(config)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into()))
        .with_writer(std::io::stderr)
        .init();
    let args = Args::parse();
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", args.port)).await?;
    let address = format!("http://{}", listener.local_addr()?);
    let stand_in = StandIn::new(config(args)?);
    let mut terminated = signal(SignalKind::terminate())?;
    println!("kiln-vast-stand-in ready {address}");
    // Open calls are not waited for: a planned time-out may hold one for minutes.
    tokio::select! {
        served = axum::serve(listener, stand_in.router()) => served?,
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        _ = terminated.recv() => {}
    }
    Ok(())
}
