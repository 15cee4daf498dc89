//! kiln-local: starts the system, says where it is, and stops it when asked. What it does is in the library.

use std::process::ExitCode;

use clap::Parser;
use kiln_local::config::Config;
use kiln_local::system;

fn main() -> ExitCode {
    let config = Config::parse();
    kiln_local::logging::start();
    // No thread is running yet: preparing sets environment variables that the AWS SDK reads.
    let done = system::prepare(config).and_then(system::run);
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("kiln-local: {failure}");
            ExitCode::from(failure.code())
        }
    }
}
