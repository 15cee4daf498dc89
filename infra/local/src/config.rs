//! What kiln-local is told by its command line and environment, and where it finds the project's files.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use clap::Parser;

use crate::failure::{EXIT_CODES, Failure, Reason};

/// Runs the whole of Kiln on this machine: the API and the pages, a local stand-in for AWS, the warm pool and its workers.
#[derive(Debug, Clone, Parser)]
#[command(name = "kiln-local", version, after_help = EXIT_CODES)]
pub struct Config {
    /// Port of the API and the pages; 0 picks a free one, which the ready line on standard output names.
    #[arg(long, env = "KILN_PORT", default_value_t = 8080)]
    pub port: u16,
    /// Address to listen on. Anything but a loopback address lets the network in: mail, and so every account, is readable there.
    #[arg(long, env = "KILN_BIND", default_value = "127.0.0.1")]
    pub bind: IpAddr,
    /// The origin that links and cookies name; by default this address and port.
    #[arg(long, env = "KILN_PUBLIC_URL", hide_env_values = true)]
    pub public_url: Option<String>,
    /// Where everything that outlives a run is kept; by default .kiln/ beside template.yaml.
    #[arg(long, env = "KILN_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// The folder with template.yaml; by default the nearest one above the working folder or above this program.
    #[arg(long, env = "KILN_ROOT")]
    pub root: Option<PathBuf>,
    /// Another stand-in (or AWS itself) to use instead of starting one.
    #[arg(long, env = "KILN_AWS_ENDPOINT")]
    pub aws_endpoint: Option<String>,
    /// Port of the stand-in that is started; by default a free one, kept in the data folder.
    #[arg(long, env = "KILN_AWS_PORT")]
    pub aws_port: Option<u16>,
    /// The stand-in's program; by default the one that scripts/dev installs.
    #[arg(long, env = "KILN_MINISTACK")]
    pub ministack: Option<PathBuf>,
    /// Seconds between two runs of each scheduled function.
    #[arg(long, env = "KILN_TICK_S", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub tick_s: u64,
    /// The worker's program; by default kiln-worker beside this one, or in target/.
    #[arg(long, env = "KILN_WORKER_BIN")]
    pub worker_bin: Option<PathBuf>,
    /// Where workers find their weights; by default .cache/models beside template.yaml.
    #[arg(long, env = "KILN_MODELS_DIR")]
    pub models_dir: Option<PathBuf>,
    /// Seconds that workers get to finish their jobs at the end.
    #[arg(long, env = "KILN_DRAIN_S", default_value_t = 10)]
    pub drain_s: u64,
    /// The admin key; by default a random one, kept in the data folder and printed at start.
    #[arg(long, env = "KILN_ADMIN_KEY", hide_env_values = true)]
    pub admin_key: Option<String>,
    /// Stripe's secret key. Without one a stand-in with play money takes Stripe's place.
    #[arg(long, env = "STRIPE_SECRET_KEY", hide_env_values = true)]
    pub stripe_secret_key: Option<String>,
    /// The signing secret of Stripe's webhook endpoint; several with commas between, while one replaces another.
    #[arg(long, env = "STRIPE_WEBHOOK_SECRET", hide_env_values = true)]
    pub stripe_webhook_secret: Option<String>,
    /// Where Stripe answers, when that isn't Stripe itself.
    #[arg(long, env = "STRIPE_API_BASE")]
    pub stripe_api_base: Option<String>,
    /// Where the warm pool gets machines: local, vast, or both with a comma between; local unless told.
    #[arg(long, env = "KILN_PROVIDERS")]
    pub providers: Option<String>,
    /// Runs a stand-in for Vast.ai whose machines are worker processes here: rentals, faults and spend with play money.
    #[arg(long, env = "KILN_VAST_STAND_IN", value_parser = clap::builder::FalseyValueParser::new())]
    pub vast_stand_in: bool,
    /// The key of an account at Vast.ai. With KILN_PROVIDERS=vast real machines are rented and cost real money.
    #[arg(long, env = "VAST_API_KEY", hide_env_values = true)]
    pub vast_api_key: Option<String>,
    /// Where Vast.ai answers, when that isn't Vast.ai itself.
    #[arg(long, env = "VAST_URL")]
    pub vast_url: Option<String>,
    /// The worker's container, as rented machines pull it.
    #[arg(long, env = "KILN_WORKER_IMAGE")]
    pub worker_image: Option<String>,
    /// How many worker processes the provider local has at most; with others beside it, they are asked for what is more.
    #[arg(long, env = "KILN_LOCAL_WORKERS")]
    pub local_workers: Option<usize>,
    /// Prints a sign-in link for a demo account.
    #[arg(long, env = "KILN_DEMO", value_parser = clap::builder::FalseyValueParser::new())]
    pub demo: bool,
}

impl Config {
    /// The folder with template.yaml.
    pub fn find_root(&self) -> Result<PathBuf, Failure> {
        let has = |folder: &Path| folder.join("template.yaml").is_file();
        let refused = |place: String| Failure::new(Reason::Template, format!("there is no template.yaml {place}"));
        if let Some(root) = &self.root {
            return if has(root) { absolute(root) } else { Err(refused(format!("in {}", root.display()))) };
        }
        let places = [std::env::current_dir(), std::env::current_exe()];
        let found = places.iter().flatten().flat_map(|place| place.ancestors()).find(|folder| has(folder));
        found.map_or_else(|| Err(refused("above the working folder or above this program; set KILN_ROOT".into())), absolute)
    }
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    path.canonicalize().map_err(|error| Failure::new(Reason::Template, format!("{}: {error}", path.display())))
}
