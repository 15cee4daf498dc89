//! An endpoint of a customer's own gets no more webhooks.

use super::words::line;
use super::{Draft, Message};

/// Why it gets none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disabled {
    /// It answered 410, which says: send no more.
    Gone,
    /// No delivery has succeeded for this many days.
    Failing { days: u32 },
}

pub struct WebhookDisabled<'a> {
    /// As its owner has entered it.
    pub endpoint: &'a str,
    pub why: Disabled,
    /// Where it is switched on again.
    pub link: &'a str,
}

impl Message for WebhookDisabled<'_> {
    fn draft(&self) -> Draft {
        // Its query may hold a secret.
        let endpoint = line(self.endpoint.split(['?', '#']).next().unwrap_or_default(), 200);
        let why = match self.why {
            Disabled::Gone => "It answered 410 Gone, which asks us to send no more.".to_owned(),
            Disabled::Failing { days } => format!("No delivery to it has succeeded for {days} days."),
        };
        Draft::new("A webhook endpoint was disabled", "A webhook endpoint was disabled")
            .preview(format!("{why} No further events are sent to it."))
            .says(format!("{why} No further events are sent to it until you enable it again. What it missed can be replayed from the list of deliveries."))
            .facts(vec![("Endpoint", endpoint)])
            .button("See the deliveries", self.link)
            .footer("You get this mail because your Kiln account has this endpoint.")
    }
}
