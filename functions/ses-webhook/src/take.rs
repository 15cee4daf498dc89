//! What a message of SES changes: its addresses get no more mail, or it is kept for a person, or nothing.

use crate::feedback::{self, Feedback};
use kiln_http::{App, kept};
use kiln_store::Suppression;

/// What came of the messages of one event.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Addresses that get no more mail from now on.
    pub suppressed: u32,
    /// Addresses of which this was known, or has been cleared since.
    pub known: u32,
    /// Messages that say nothing of interest.
    pub quiet: u32,
    pub kept: u32,
}

/// Takes one genuine message; may run twice. An error means that the table could not be written, and the message must come again.
pub async fn take(app: &App, message: &str, counts: &mut Counts) -> Result<(), kiln_store::Error> {
    let told = match feedback::parse(message) {
        Ok(Feedback::Quiet { kind }) => {
            tracing::info!(kind, "mail feedback that stops nothing");
            counts.quiet += 1;
            return Ok(());
        }
        Ok(Feedback::Stop(told)) => told,
        Err(why) => {
            counts.kept += 1;
            return kept::keep(app, "ses", why, message).await;
        }
    };
    let now = app.now();
    // SES's clock is not ours; what it saw later than now it saw now.
    let found = Suppression::new(told.reason, told.at.unwrap_or(now).min(now), told.detail);
    for address in &told.addresses {
        if app.table().suppress(address, &found).await? {
            tracing::warn!(reason = ?told.reason, detail = found.detail, "an address gets no more mail");
            counts.suppressed += 1;
        } else {
            counts.known += 1;
        }
    }
    if told.unreadable > 0 {
        counts.kept += 1;
        kept::keep(app, "ses", "a recipient is no mail address", message).await?;
    }
    Ok(())
}
