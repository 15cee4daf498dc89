//! The mails about organisations and about an account's end.

use kiln_http::letter::Letter;

/// What is told to whom.
pub enum Notice<'a> {
    /// To whom is invited.
    Invite { org: &'a str, by: &'a str, link: String, days: i64 },
    /// To the address of an account that was just deleted.
    Deleted,
}

impl Notice<'_> {
    pub fn letter(self) -> Letter<'static> {
        match self {
            Notice::Invite { org, by, link, days } => Letter {
                subject: "You are invited to Kiln",
                says: vec![
                    format!("{by} invites you into the organisation “{org}” at Kiln."),
                    format!("Open this link and sign in with this address to accept. It works once, for {days} days."),
                ],
                link: Some(("See the invitation", link)),
                note: "If you don't know who that is, you can ignore this mail: nothing happens without you.",
            },
            Notice::Deleted => Letter {
                subject: "Your Kiln account is deleted",
                says: vec![
                    "Your account at Kiln was deleted, as asked for by somebody who was signed in to it. Its files, jobs and links are being removed.".into(),
                    "Its credits are gone with it. What must be kept are the lines of its account book, without your name or address.".into(),
                ],
                link: None,
                note: "If that wasn't you, somebody else can read your mail: see to that first.",
            },
        }
    }
}
