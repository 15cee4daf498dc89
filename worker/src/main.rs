//! `kiln-worker`: reads its settings, turns signals into a drain, and ends with the agent's exit code. With `--rented` first it is the parent
//! process of such a worker instead.

use clap::Parser;
use kiln_worker::agent::{self, Drain, Drains, Exit, LogForm, Settings, TOLD_TWICE};
use kiln_worker::supervisor::{self, Own, Why};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::exit;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

fn main() {
    match supervisor::asked_for(std::env::args_os()) {
        Some((word, args)) => {
            let own = Own::new(&word, args, |name| std::env::var(name).ok());
            forget(&["CONTAINER_API_KEY"]);
            supervise(own.unwrap_or_else(|why| {
                eprintln!("kiln-worker: {why}");
                exit(2)
            }));
        }
        None => worker(),
    }
}

/// What this process starts must not inherit these. Called while no other thread runs.
fn forget(names: &[&str]) {
    for name in names {
        // SAFETY: no other thread runs yet.
        unsafe { std::env::remove_var(name) };
    }
}

fn worker() {
    let settings = Settings::parse();
    forget(&["KILN_BOOT_TOKEN", "KILN_BOOT_TOKEN_FILE", "CONTAINER_API_KEY"]);
    log_to_stderr(settings.log);
    rustls::crypto::ring::default_provider().install_default().expect("no TLS provider was set before");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    // A panic here must not wait, unwinding, for an engine's thread.
    let ended = catch_unwind(AssertUnwindSafe(|| runtime.block_on(work(settings)))).unwrap_or_else(|_| exit(101));
    match &ended {
        Exit::Drained | Exit::Rested => {}
        Exit::Over => tracing::error!("this instance is over; a new one needs a new boot token"),
        Exit::Failed(why) | Exit::WrongSettings(why) | Exit::MissingModels(why) | Exit::Unfit(why) => tracing::error!("{why}"),
    }
    // An engine's thread that has not noticed its end doesn't hold the process.
    runtime.shutdown_background();
    exit(ended.code());
}

/// Watches over a worker until the machine is given back.
fn supervise(own: Own) -> ! {
    log_to_stderr(own.log);
    for complaint in &own.complaints {
        tracing::warn!("{complaint}");
    }
    // What this process was started with stays readable in /proc, for the worker too, which runs as the same user: unless it may not be looked into.
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "this process can be looked into by its user's others");
    }
    rustls::crypto::ring::default_provider().install_default().expect("no TLS provider was set before");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    if catch_unwind(AssertUnwindSafe(|| runtime.block_on(supervisor::run(&own)))).is_err() {
        runtime.block_on(supervisor::give_back(&own, Why::Broken));
    }
    exit(0)
}

async fn work(settings: Settings) -> Exit {
    let drains = Drains::default();
    tokio::spawn(watch_signals(drains.clone()));
    let load = {
        let settings = settings.clone();
        move || agent::load(&settings)
    };
    agent::run(settings, load, drains).await
}

/// The first SIGTERM or Ctrl-C drains; the second ends the process at once.
async fn watch_signals(drains: Drains) {
    let mut term = signal(SignalKind::terminate()).expect("a handler for SIGTERM");
    let mut int = signal(SignalKind::interrupt()).expect("a handler for SIGINT");
    for second in [false, true] {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        if second {
            exit(TOLD_TWICE);
        }
        drains.ask(Drain::Soon);
    }
}

fn log_to_stderr(form: LogForm) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    // A line that nobody takes any more is dropped: said on standard error, that very failure would be a panic.
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).log_internal_errors(false);
    match form {
        LogForm::Json => log.json().with_current_span(true).with_span_list(false).flatten_event(true).init(),
        LogForm::Text => log.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).with_target(false).init(),
    }
}
