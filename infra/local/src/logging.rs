//! Logs for a person at a terminal, on standard error; standard output carries the banner, the mail and the ready line.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

pub fn start() {
    // Ours in full but for the requests that were answered well, which would drown the mails; the AWS SDK's and the servers' when they
    // warn. RUST_LOG says otherwise.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn,kiln=info,kiln_local=info,worker=info,kiln_http::telemetry=warn"));
    // A terminal that is gone is no reason to stop: its lines are dropped.
    tracing_subscriber::fmt()
        .log_internal_errors(false)
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
}
