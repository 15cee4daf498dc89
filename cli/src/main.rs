//! `kiln`: the command-line client. Signs in, uploads, runs a job, waits with a progress bar, downloads the result.
//! What a command makes goes to standard output (as JSON with `--json`), everything else to standard error.

mod api;
mod args;
mod fetch;
mod jobs;
mod session;
mod sign_in;
mod text;
mod wait;

use api::{Api, Failure};
use args::{Args, Command};
use clap::Parser;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let args = Args::parse();
    rustls::crypto::ring::default_provider().install_default().expect("no TLS provider was set before");
    let json = args.json;
    if let Err(error) = run(args).await {
        let failure = error.downcast_ref::<Failure>();
        match (json, failure) {
            (true, Some(Failure::Refused(problem))) => eprintln!("{}", serde_json::to_string_pretty(problem).unwrap_or_default()),
            _ => eprintln!("kiln: {error:#}"),
        }
        std::process::exit(failure.map_or(1, Failure::exit_code));
    }
}

async fn run(args: Args) -> anyhow::Result<()> {
    let mut api = Api::new(args.url.as_deref())?;
    let json = args.json;
    match args.command {
        Command::Login { mail } => sign_in::login(&mut api, &mail, json).await,
        Command::Logout => sign_in::logout(&api).await,
        Command::Upscale(upscale) => jobs::upscale(&api, upscale, json).await,
        Command::Run(run) => jobs::run(&api, run, json).await,
        Command::Jobs { limit } => jobs::list(&api, limit, json).await,
        Command::Job { id } => jobs::show(&api, &id, json).await,
        Command::Download { id, save } => jobs::download(&api, &id, &save, json).await,
        Command::Cancel { id } => jobs::cancel(&api, &id, json).await,
        Command::Share { id } => jobs::share(&api, &id, json).await,
        Command::Shares { limit } => jobs::shares(&api, limit, json).await,
        Command::Unshare { id } => jobs::unshare(&api, &id, json).await,
        Command::Credits => jobs::credits(&api, json).await,
        Command::Kinds => jobs::kinds(&api, json).await,
    }
}
