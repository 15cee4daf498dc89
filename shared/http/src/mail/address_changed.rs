//! To the old address of an account, so that nobody loses an account in silence.

use super::words::moment;
use super::{Draft, Message};
use kiln_core::time::Millis;

pub struct AddressChanged<'a> {
    /// Shown by its first letters only: the old mailbox may be somebody else's by now.
    pub new_address: &'a str,
    pub at: Millis,
}

impl Message for AddressChanged<'_> {
    fn draft(&self) -> Draft {
        let masked = mask(self.new_address);
        Draft::new("The address of your Kiln account was changed", "Your address was changed")
            .preview(format!("Sign-in links now go to {masked}."))
            .says("The account that signed in with this address now has another one. From now on sign-in links go there.")
            .facts(vec![("New address", masked), ("Changed", moment(self.at))])
            .footer("If you didn't do this, somebody has used your account: write to whoever runs this Kiln at once, and change the password of your mailbox.")
    }
}

/// `a***@e***.org`.
fn mask(address: &str) -> String {
    let (local, domain) = address.split_once('@').unwrap_or((address, ""));
    let (host, top) = domain.rsplit_once('.').unwrap_or((domain, ""));
    let first = |text: &str| text.chars().next().map(String::from).unwrap_or_default();
    super::words::line(&format!("{}***@{}***.{top}", first(local), first(host)), 80)
}
