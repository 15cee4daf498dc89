//! The way to a result that was paid for without an account.

use super::words::day;
use super::{Draft, Message};
use kiln_core::time::Millis;

pub struct GuestResult<'a> {
    /// Whoever holds it sees the result.
    pub link: &'a str,
    /// When the files go.
    pub until: Millis,
}

impl Message for GuestResult<'_> {
    fn draft(&self) -> Draft {
        let until = day(self.until);
        Draft::new("Your result is ready", "Your result is ready")
            .preview(format!("Download it until {until}."))
            .says(format!("What you ordered from Kiln is done. Look at it and download it here, until {until}."))
            .button("See the result", self.link)
            .footer("Whoever has this link can see the result, so pass it on only to people who should. You get this mail because this address was given when the order was paid.")
    }
}
