//! A guest's job did not deliver, so their money goes back.

use super::words::{line, moment, money};
use super::{Draft, Message};
use kiln_core::time::Millis;

pub struct GuestRefund<'a> {
    /// Why, as one sentence; the text of a job's error may be a worker's.
    pub why: &'a str,
    pub amount_minor: i64,
    pub currency: &'a str,
    /// When the refund was asked for.
    pub at: Millis,
}

impl Message for GuestRefund<'_> {
    fn draft(&self) -> Draft {
        let amount = money(self.amount_minor, self.currency);
        Draft::new(format!("Your order failed; {amount} is refunded"), "We could not finish your order")
            .preview(format!("{amount} is refunded to what you paid with."))
            .says(format!("Your order at Kiln was not finished, and you pay nothing for it. {amount} is refunded to the card or account that you paid with; banks take up to ten days to show it."))
            .facts(vec![("Why", line(self.why, 200)), ("Refund", amount), ("Asked for", moment(self.at))])
            .footer("You get this mail because this address was given when the order was paid.")
    }
}
