//! Makes at Stripe what the price list sells, and the webhook endpoint; scripts/stripe-setup runs it. Done again it changes nothing.

use anyhow::{Context, Result, bail};
use clap::Parser;
use kiln_core::prices::{DEFAULT, Prices};
use kiln_pay::Pay;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

/// Makes Stripe's products and prices from Kiln's price list, and the webhook endpoint. Run it again after the list has changed.
#[derive(Parser)]
#[command(name = "stripe-setup")]
struct Arguments {
    /// Stripe's secret key; never given as an argument, which every process of the machine can read.
    #[arg(env = "STRIPE_SECRET_KEY", hide_env_values = true, hide = true)]
    key: Option<String>,
    /// Where Stripe answers, when that isn't Stripe itself.
    #[arg(long, env = "STRIPE_API_BASE")]
    api_base: Option<String>,
    /// Another price list than the one that ships with Kiln.
    #[arg(long, env = "KILN_PRICES_FILE")]
    prices: Option<PathBuf>,
    /// Kiln's public address, such as https://kiln.example.org: its webhook endpoint is made, or tended.
    #[arg(long)]
    webhook: Option<String>,
    /// Where the signing secret of a webhook endpoint that is made now is written (for you alone to read); Stripe tells it only once.
    #[arg(long, default_value = "stripe-webhook-secret")]
    secret_file: PathBuf,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if std::env::args_os().skip(1).any(|argument| argument.to_string_lossy().starts_with("sk_")) {
        bail!("give the key in STRIPE_SECRET_KEY: arguments are seen by every process of this machine");
    }
    let key = arguments.key.filter(|key| !key.is_empty()).context("STRIPE_SECRET_KEY is not set")?;
    let text = match &arguments.prices {
        Some(path) => std::fs::read_to_string(path).with_context(|| format!("{}", path.display()))?,
        None => DEFAULT.to_owned(),
    };
    let prices = Prices::parse(&text).map_err(anyhow::Error::msg)?;
    let pay = Pay::new(&key, arguments.api_base.as_deref())?;
    let mut done = pay.set_up(&prices).await?;
    if let Some(public) = &arguments.webhook {
        // Before anything is made: a secret that can't be written down is lost.
        let mut file = open(&arguments.secret_file)?;
        let (made, secret) = pay.set_up_webhook(&format!("{}/api/v1/webhooks/stripe", public.trim_end_matches('/'))).await?;
        done.extend(made);
        match secret {
            Some(secret) => {
                writeln!(file, "{secret}")?;
                done.push(format!(
                    "its signing secret is in {}: deploy with it in STRIPE_WEBHOOK_SECRET, then delete the file",
                    arguments.secret_file.display()
                ));
            }
            None => std::fs::remove_file(&arguments.secret_file)?,
        }
    }
    for line in &done {
        println!("{line}");
    }
    println!("{} packs and {} plans are sold; {}", prices.packs.len(), prices.plans.len(), if done.is_empty() { "nothing was to do" } else { "done" });
    Ok(())
}

/// A new file that only its owner can read.
fn open(path: &std::path::Path) -> Result<std::fs::File> {
    std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).with_context(|| format!("{} can't be made anew", path.display()))
}
