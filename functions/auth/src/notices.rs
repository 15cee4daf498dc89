//! The mails about a change of address.

use crate::mail::MINUTES;
use kiln_http::letter::Letter;

/// What is told to whom.
pub enum Notice {
    /// To the new address: confirm it.
    Confirm { link: String },
    /// To a new address that has an account already.
    Taken { sign_in: String },
    /// To the old address, once it has changed.
    Moved,
}

impl Notice {
    pub fn letter(self) -> Letter<'static> {
        match self {
            Notice::Confirm { link } => Letter {
                subject: "Confirm your new address",
                says: vec![
                    "Somebody who is signed in to Kiln wants to use this address from now on.".into(),
                    format!("Open this link in the browser in which you are signed in. It works once, for {MINUTES} minutes."),
                ],
                link: Some(("Confirm", link)),
                note: "If that wasn't you, you can ignore this mail: nothing changes without the link.",
            },
            Notice::Taken { sign_in } => Letter {
                subject: "This address has an account already",
                says: vec![
                    "Somebody who is signed in to Kiln wants to use this address for another account. It has an account already, so nothing was changed."
                        .into(),
                    "If that was you: sign in with this address, or delete its account first.".into(),
                ],
                link: Some(("Sign in", sign_in)),
                note: "If that wasn't you, you can ignore this mail.",
            },
            Notice::Moved => Letter {
                subject: "Your address at Kiln has changed",
                says: vec!["Your account at Kiln has another mail address from now on, which was confirmed. This one no longer signs in to it.".into()],
                link: None,
                note: "If that wasn't you, write to whoever runs this Kiln at once.",
            },
        }
    }
}
