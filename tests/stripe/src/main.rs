//! `kiln-stripe-stand-in`: the stand-in as a program of its own. It prints `kiln-stripe-stand-in ready URL` when it is.

use std::path::PathBuf;

use clap::Parser;
use kiln_stripe_stand_in::{Config, Endpoint, StandIn};

/// A stand-in for Stripe with play money.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// The port on 127.0.0.1; 0 takes a free one.
    #[arg(long, env = "STRIPE_STAND_IN_PORT", default_value_t = 12_111)]
    port: u16,
    /// The secret key that calls must carry.
    #[arg(long, env = "STRIPE_SECRET_KEY", default_value = "sk_test_play_money", hide_env_values = true)]
    secret_key: String,
    /// A JSON file to keep the state in.
    #[arg(long)]
    state: Option<PathBuf>,
    /// A webhook endpoint for all events, with its secret: URL,whsec_…
    #[arg(long, value_parser = endpoint)]
    endpoint: Vec<Endpoint>,
    /// The same seed gives the same ids.
    #[arg(long)]
    seed: Option<u64>,
    /// Deliver one event at a time, in the order they happened.
    #[arg(long)]
    in_order: bool,
    /// Waits before further tries of a delivery, in milliseconds.
    #[arg(long, value_delimiter = ',')]
    back_off_ms: Option<Vec<u64>>,
}

fn endpoint(text: &str) -> Result<Endpoint, String> {
    let (url, secret) = text.split_once(',').ok_or("give URL,whsec_…")?;
    Ok(Endpoint { url: url.into(), secret: secret.into(), events: vec!["*".into()] })
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
    let mut config = Config::new(&address, args.secret_key);
    config.state_file = args.state;
    config.endpoints = args.endpoint;
    config.seed = args.seed;
    config.delivery.in_order = args.in_order;
    if let Some(waits) = args.back_off_ms {
        config.delivery.back_off = waits.into_iter().map(std::time::Duration::from_millis).collect();
    }
    let stand_in = StandIn::new(config)?;
    println!("kiln-stripe-stand-in ready {address}");
    axum::serve(listener, stand_in.router())
        .with_graceful_shutdown(async {
            let _ = tokio::signal::ctrl_c().await;
        })
        .await?;
    Ok(())
}
