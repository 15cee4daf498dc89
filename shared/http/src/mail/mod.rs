//! Mail: one file for each message, one frame for all of them, one way to send one ([`App::send_mail`]).
//!
//! A message is a type with the fields that it needs; it says what it is once, as a [`Draft`], and text and HTML are both
//! rendered from that, so that they can't say different things. Promises: every field is escaped where it becomes HTML, no
//! field can add a line to a subject or make a link of itself, nothing is fetched by whoever reads the mail, and nothing
//! goes to an address that has bounced or complained.

mod account_deleted;
mod address_changed;
mod address_taken;
mod draft;
mod frame;
mod guest_refund;
mod guest_result;
mod invitation;
mod new_address;
mod payment_failed;
mod receipt;
mod sign_in;
mod subscription_ended;
mod webhook_disabled;
mod words;

pub use account_deleted::AccountDeleted;
pub use address_changed::AddressChanged;
pub use address_taken::AddressTaken;
pub use draft::Draft;
pub use guest_refund::GuestRefund;
pub use guest_result::GuestResult;
pub use invitation::Invitation;
pub use new_address::NewAddress;
pub use payment_failed::PaymentFailed;
pub use receipt::Receipt;
pub use sign_in::SignIn;
pub use subscription_ended::{Ended, SubscriptionEnded};
pub use webhook_disabled::{Disabled, WebhookDisabled};

use crate::App;

/// What can be mailed.
pub trait Message {
    fn draft(&self) -> Draft;
}

/// A message in the three forms that a mail carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// One line.
    pub subject: String,
    pub text: String,
    pub html: String,
}

pub fn render(message: &impl Message) -> Rendered {
    let draft = message.draft();
    Rendered { subject: draft.subject(), text: draft.text(), html: frame::html(&draft) }
}

/// What became of a mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mailed {
    /// SES has taken it.
    Sent,
    /// The address has bounced or complained, so nothing was sent.
    Suppressed,
}

impl App {
    /// Mails one message to one address, unless that address has bounced or complained. An error names SES's code and never
    /// the address.
    pub async fn send_mail(&self, address: &str, message: &impl Message) -> Result<Mailed, kiln_store::Error> {
        if self.table().suppression(address).await?.is_some_and(|found| found.stops()) {
            tracing::info!("a mail was not sent: its address has bounced or complained");
            return Ok(Mailed::Suppressed);
        }
        let Rendered { subject, text, html } = render(message);
        self.mail().send(address, &subject, &text, &html).await?;
        Ok(Mailed::Sent)
    }
}

/// One of each message with everyday fields, by the name of its file: for the gallery that a person looks at, and for tests.
pub fn examples() -> Vec<(&'static str, Rendered)> {
    const AT: kiln_core::time::Millis = 1_795_255_200_000;
    const DAY: kiln_core::time::Millis = 86_400_000;
    let link = "https://kiln.example.org/sign-in?token=3q2-7w8hXJ0m4T1cVb9sYkR5nLfPzA6dGuEoWiQxKjM";
    vec![
        ("sign_in", render(&SignIn { link, minutes: 15 })),
        ("new_address", render(&NewAddress { link, minutes: 15 })),
        ("address_taken", render(&AddressTaken { sign_in: "https://kiln.example.org/sign-in" })),
        ("address_changed", render(&AddressChanged { new_address: "ada.lovelace@example.org", at: AT })),
        (
            "invitation",
            render(&Invitation { link, organisation: "Studio Möller & Daughters", inviter: Some("Ada Lovelace"), role: "member", expires_at: AT + 7 * DAY }),
        ),
        (
            "receipt",
            render(&Receipt {
                credits: 500_000,
                amount_minor: 250_000,
                currency: "inr",
                balance: 512_250,
                at: AT,
                reference: Some("KILN-0042"),
                invoice_url: Some("https://invoice.stripe.com/i/acct_1/test_1"),
            }),
        ),
        (
            "guest_result",
            render(&GuestResult { link: "https://kiln.example.org/guest?token=3q2-7w8hXJ0m4T1cVb9sYkR5nLfPzA6dGuEoWiQxKjM", until: AT + 30 * DAY }),
        ),
        ("guest_refund", render(&GuestRefund { why: "No worker could finish it.", amount_minor: 200, currency: "usd", at: AT })),
        (
            "payment_failed",
            render(&PaymentFailed {
                plan: "Studio",
                amount_minor: 2_900,
                currency: "usd",
                link: "https://kiln.example.org/credits",
                next_try_at: Some(AT + 3 * DAY),
            }),
        ),
        (
            "subscription_ended",
            render(&SubscriptionEnded { plan: "Studio", why: Ended::Unpaid, at: AT, balance: 12_250, link: "https://kiln.example.org/credits" }),
        ),
        (
            "webhook_disabled",
            render(&WebhookDisabled {
                endpoint: "https://hooks.example.com/kiln/jobs?team=renders",
                why: Disabled::Failing { days: 5 },
                link: "https://kiln.example.org/webhooks",
            }),
        ),
        ("account_deleted", render(&AccountDeleted { account: None, at: AT })),
    ]
}

#[cfg(test)]
mod tests;
