//! `kiln-worker`: reads its settings, turns signals into a drain, and ends with the agent's exit code.

use clap::Parser;
use kiln_worker::agent::{self, Drain, Drains, Exit, LogForm, Settings};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::exit;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

fn main() {
    let settings = Settings::parse();
    // SAFETY: no other thread runs yet. What the engines start must not inherit the token.
    unsafe {
        std::env::remove_var("KILN_BOOT_TOKEN");
        std::env::remove_var("KILN_BOOT_TOKEN_FILE");
    }
    log_to_stderr(settings.log);
    rustls::crypto::ring::default_provider().install_default().expect("no TLS provider was set before");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    // A panic here must not wait, unwinding, for an engine's thread.
    let ended = catch_unwind(AssertUnwindSafe(|| runtime.block_on(work(settings)))).unwrap_or_else(|_| exit(101));
    match &ended {
        Exit::Drained => {}
        Exit::Over => tracing::error!("this instance is over; a new one needs a new boot token"),
        Exit::Failed(why) | Exit::WrongSettings(why) | Exit::MissingModels(why) => tracing::error!("{why}"),
    }
    // An engine's thread that has not noticed its end doesn't hold the process.
    runtime.shutdown_background();
    exit(ended.code());
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
            exit(143);
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
