//! To the new address of an account: only who reads it there may take it.

use super::{Draft, Message};

pub struct NewAddress<'a> {
    pub link: &'a str,
    /// For how many minutes the link works.
    pub minutes: u32,
}

impl Message for NewAddress<'_> {
    fn draft(&self) -> Draft {
        let life = format!("It works once, for {} minutes.", self.minutes);
        Draft::new("Confirm your new address for Kiln", "Confirm your new address")
            .preview(format!("Press the button to use this address for Kiln. {life}"))
            .says(format!("Somebody who is signed in to Kiln wants to use this address for their account. If that is you, confirm it here. {life}"))
            .button("Confirm this address", self.link)
            .footer("If it isn't you, ignore this mail: without the link nothing changes.")
    }
}
