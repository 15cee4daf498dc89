//! The last mail of an account.

use super::words::{moment, name};
use super::{Draft, Message};
use kiln_core::time::Millis;

pub struct AccountDeleted<'a> {
    /// The organisation's name; none for a person's own account.
    pub account: Option<&'a str>,
    pub at: Millis,
}

impl Message for AccountDeleted<'_> {
    fn draft(&self) -> Draft {
        let what = match self.account.map(name) {
            Some(organisation) => format!("The organisation “{organisation}” was deleted from Kiln"),
            None => "Your Kiln account was deleted".to_owned(),
        };
        Draft::new(what.clone(), what.clone())
            .preview("Its files are gone, and nobody can sign in to it any more.")
            .says(format!("{what} on {}. Its pictures, results and links are gone, sessions and keys have ended, and what was left of its credits is void. The ledger is kept without your name and address, because books must add up.", moment(self.at)))
            .says("The same address can be used for a new account at any time.")
            .footer("If you didn't do this, somebody has used your account: write to whoever runs this Kiln, and change the password of your mailbox.")
    }
}
