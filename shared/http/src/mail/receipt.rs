//! What was bought, for how much, and what there is now.

use super::words::{credits, line, moment, money};
use super::{Draft, Message};
use kiln_core::time::Millis;

pub struct Receipt<'a> {
    /// Bought, in millicredits.
    pub credits: i64,
    /// Paid, in the smallest unit of the currency.
    pub amount_minor: i64,
    /// ISO 4217, in either case.
    pub currency: &'a str,
    /// Available afterwards, in millicredits.
    pub balance: i64,
    pub at: Millis,
    /// The number of the invoice or of the payment.
    pub reference: Option<&'a str>,
    /// The invoice on Stripe's pages.
    pub invoice_url: Option<&'a str>,
}

impl Message for Receipt<'_> {
    fn draft(&self) -> Draft {
        let (bought, paid) = (credits(self.credits), money(self.amount_minor, self.currency));
        let mut facts = vec![("Bought", bought.clone()), ("Paid", paid.clone()), ("Paid on", moment(self.at)), ("You have now", credits(self.balance))];
        facts.extend(self.reference.map(|reference| ("Reference", line(reference, 60))));
        let draft = Draft::new(format!("Receipt: {bought} for {paid}"), "Thank you, your credits are here")
            .preview(format!("{bought} for {paid}. You have now {}.", credits(self.balance)))
            .facts(facts);
        match self.invoice_url {
            Some(url) => draft.button("See the invoice", url),
            None => draft,
        }
        .footer("You get this mail because credits were bought for your Kiln account. Each use of them stands in the ledger of your account.")
    }
}
