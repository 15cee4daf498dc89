//! A subscription is over.

use super::words::{credits, day, name};
use super::{Draft, Message};
use kiln_core::time::Millis;

/// Why it is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Its owner wanted so.
    Cancelled,
    /// The last try at its payment failed.
    Unpaid,
}

pub struct SubscriptionEnded<'a> {
    pub plan: &'a str,
    pub why: Ended,
    pub at: Millis,
    /// Available, in millicredits.
    pub balance: i64,
    /// Where a plan is chosen.
    pub link: &'a str,
}

impl Message for SubscriptionEnded<'_> {
    fn draft(&self) -> Draft {
        let (plan, at) = (name(self.plan), day(self.at));
        let why = match self.why {
            Ended::Cancelled => format!("You cancelled your Kiln plan “{plan}”, and it ended on {at}. Nothing more is charged."),
            Ended::Unpaid => format!("Your Kiln plan “{plan}” ended on {at}, because its payment kept failing. Nothing more is charged."),
        };
        Draft::new(format!("Your plan “{plan}” has ended"), "Your plan has ended")
            .preview(why.clone())
            .says(why)
            .facts(vec![("Plan", plan), ("Ended", at), ("You still have", credits(self.balance))])
            .button("Choose a plan", self.link)
            .footer("Your account, its results and the credits that are left stay yours. You get this mail because your Kiln account had a subscription.")
    }
}
