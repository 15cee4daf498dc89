//! Why kiln-local could not start or go on: one line for the person at the terminal, and an exit code for scripts.

use std::fmt;

/// The exit codes, as `--help` lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Something that no other code says.
    Unexpected = 1,
    /// The template or a setting is wrong. (2 is clap's, for the command line.)
    Template = 3,
    PortInUse = 4,
    /// Python, or the stand-in's package, is missing.
    NoStandIn = 5,
    /// The data folder can't be written or its disk is full.
    DataDir = 6,
    /// The stand-in does not start, or died too often.
    StandIn = 7,
    /// Another kiln-local holds the data folder.
    AlreadyRunning = 8,
}

pub const EXIT_CODES: &str = "Exit codes: 0 stopped as asked, 1 unexpected, 2 bad command line, 3 bad template or setting, 4 port in use, \
5 no Python or stand-in, 6 data folder not writable or disk full, 7 the stand-in does not run, 8 already running on this data folder.";

#[derive(Debug)]
pub struct Failure {
    pub reason: Reason,
    pub message: String,
}

impl Failure {
    pub fn new(reason: Reason, message: impl fmt::Display) -> Self {
        Self { reason, message: message.to_string() }
    }

    pub fn code(&self) -> u8 {
        self.reason as u8
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<crate::template::TemplateError> for Failure {
    fn from(error: crate::template::TemplateError) -> Self {
        Self::new(Reason::Template, error)
    }
}

impl From<anyhow::Error> for Failure {
    /// The whole chain on one line.
    fn from(error: anyhow::Error) -> Self {
        Self::new(Reason::Unexpected, format!("{error:#}"))
    }
}
