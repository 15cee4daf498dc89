//! The commands and their options.

use clap::{Parser, Subcommand};
use std::path::PathBuf;

/// Makes media on Kiln from the command line.
///
/// Signs in by `kiln login`, or, for programs, with the API key in KILN_API_KEY.
///
/// Exit codes: 0 done, 1 refused or went wrong, 2 wrong usage, 3 not signed in, 4 the job did not succeed,
/// 5 no connection, 130 stopped by Ctrl-C (a submitted job goes on).
#[derive(Parser)]
#[command(name = "kiln", version)]
pub struct Args {
    /// Where Kiln runs; remembered at sign-in.
    #[arg(long, global = true, env = "KILN_URL", help_heading = "For every command")]
    pub url: Option<String>,
    /// Print the API's answers as JSON.
    #[arg(long, global = true, help_heading = "For every command")]
    pub json: bool,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Sign in by a link sent to your mail address.
    Login {
        /// Where the link is to go.
        #[arg(value_name = "ADDRESS")]
        mail: String,
    },
    /// Sign out and forget the session.
    Logout,
    /// Enlarge a photo and download the result.
    Upscale(Upscale),
    /// Run a job of any kind.
    Run(Run),
    /// List your newest jobs.
    Jobs {
        /// How many, from 1 to 100.
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100))]
        limit: u32,
    },
    /// Show one job.
    Job {
        /// As `kiln jobs` lists it: job_…
        #[arg(value_name = "JOB")]
        id: String,
    },
    /// Download what a finished job made.
    Download {
        /// As `kiln jobs` lists it: job_…
        #[arg(value_name = "JOB")]
        id: String,
        #[command(flatten)]
        save: Save,
    },
    /// Cancel a job; what was held for it is given back.
    Cancel {
        /// As `kiln jobs` lists it: job_…
        #[arg(value_name = "JOB")]
        id: String,
    },
    /// Make a link that shows a job's result to anybody.
    Share {
        /// As `kiln jobs` lists it: job_…
        #[arg(value_name = "JOB")]
        id: String,
    },
    /// List the links that you have made.
    Shares {
        /// How many, from 1 to 100.
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100))]
        limit: u32,
    },
    /// End a link: whoever has it sees nothing any more.
    Unshare {
        /// As `kiln shares` lists it: shr_…
        #[arg(value_name = "SHARE")]
        id: String,
    },
    /// Show your credits and what they went to.
    Credits,
    /// Show the kinds of job and their parameters.
    Kinds,
}

#[derive(clap::Args)]
pub struct Save {
    /// Where to write the result: a file, or a folder for several.
    #[arg(short, long)]
    pub out: Option<PathBuf>,
    /// Write over a file that is there already.
    #[arg(long)]
    pub force: bool,
}

#[derive(clap::Args)]
pub struct Upscale {
    /// A JPEG, PNG or WebP file.
    pub photo: PathBuf,
    /// How many times wider and higher: 2, 3 or 4.
    #[arg(short = 'x', long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(2..=4))]
    pub scale: u8,
    /// How much to sharpen afterwards, from 0 to 1.
    #[arg(long, default_value_t = 0.0, value_parser = part)]
    pub sharpen: f32,
    /// Stretch the brightness to its full range first.
    #[arg(long)]
    pub auto_exposure: bool,
    /// Take out a colour cast first.
    #[arg(long)]
    pub auto_white_balance: bool,
    #[command(flatten)]
    pub how: How,
    #[command(flatten)]
    pub save: Save,
}

#[derive(clap::Args)]
pub struct Run {
    /// See `kiln kinds`.
    pub kind: String,
    /// A file to upload for the job; may stand several times.
    #[arg(long = "input", value_name = "FILE")]
    pub inputs: Vec<PathBuf>,
    /// A parameter; the value is JSON if it reads as such, else text.
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = param)]
    pub params: Vec<(String, serde_json::Value)>,
    #[command(flatten)]
    pub how: How,
    #[command(flatten)]
    pub save: Save,
}

#[derive(clap::Args)]
pub struct How {
    /// Served before standard jobs, at a higher price.
    #[arg(long)]
    pub rush: bool,
    /// Show the price and stop there.
    #[arg(long)]
    pub quote: bool,
    /// Don't wait for the result.
    #[arg(long, conflicts_with = "quote")]
    pub no_wait: bool,
}

impl How {
    /// Whether a result comes of it here, which needs its place.
    pub fn saves(&self) -> bool {
        !self.quote && !self.no_wait
    }
}

fn part(text: &str) -> Result<f32, String> {
    text.parse().ok().filter(|part| (0.0..=1.0).contains(part)).ok_or_else(|| "a number from 0 to 1".to_owned())
}

fn param(text: &str) -> Result<(String, serde_json::Value), String> {
    let (name, value) = text.split_once('=').ok_or("a parameter is NAME=VALUE")?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
    Ok((name.to_owned(), value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_options_are_consistent() {
        use clap::CommandFactory;
        Args::command().debug_assert();
    }

    #[test]
    fn what_the_server_would_refuse_is_wrong_usage_here() {
        let refused = |args: &[&str]| Args::try_parse_from(args).is_err();
        for wrong in [["-x", "5"], ["-x", "1"], ["-x", "two"], ["--sharpen", "nan"], ["--sharpen", "1.1"], ["--sharpen", "-0.1"]] {
            assert!(refused(&["kiln", "upscale", "a.png", wrong[0], wrong[1]]), "{wrong:?}");
        }
        assert!(!refused(&["kiln", "upscale", "a.png", "-x", "4", "--sharpen", "0.5"]));
        assert!(refused(&["kiln", "jobs", "--limit", "0"]) && refused(&["kiln", "shares", "--limit", "101"]));
    }

    #[test]
    fn a_parameter_is_json_where_it_can_be() {
        assert_eq!(param("scale=2").unwrap(), ("scale".into(), json!(2)));
        assert_eq!(param("auto=true").unwrap().1, json!(true));
        assert_eq!(param("prompt=a = b").unwrap().1, json!("a = b"));
        assert!(param("scale").is_err());
    }
}
