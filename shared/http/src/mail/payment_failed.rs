//! A subscription's payment was refused.

use super::words::{day, money, name};
use super::{Draft, Message};
use kiln_core::time::Millis;

pub struct PaymentFailed<'a> {
    pub plan: &'a str,
    pub amount_minor: i64,
    pub currency: &'a str,
    /// Where the card is changed.
    pub link: &'a str,
    /// When Stripe tries again; none when it won't.
    pub next_try_at: Option<Millis>,
}

impl Message for PaymentFailed<'_> {
    fn draft(&self) -> Draft {
        let (plan, amount) = (name(self.plan), money(self.amount_minor, self.currency));
        let next = match self.next_try_at {
            Some(at) => format!("We try again on {}. Until a payment succeeds, no new credits come; those that you have stay.", day(at)),
            None => "It won't be tried again by itself. No new credits come until it is paid; those that you have stay.".to_owned(),
        };
        Draft::new(format!("The payment for your plan “{plan}” failed"), "Your payment failed")
            .preview(format!("{amount} for the plan “{plan}” could not be charged."))
            .says(format!("{amount} for your Kiln plan “{plan}” could not be charged. {next}"))
            .button("Update the card", self.link)
            .footer("You get this mail because your Kiln account has a subscription.")
    }
}
