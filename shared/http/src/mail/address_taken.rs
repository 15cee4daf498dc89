//! To an address that somebody wants for another account, and that has one already.

use super::{Draft, Message};

pub struct AddressTaken<'a> {
    pub sign_in: &'a str,
}

impl Message for AddressTaken<'_> {
    fn draft(&self) -> Draft {
        Draft::new("This address has a Kiln account already", "This address has an account already")
            .preview("Nothing was changed.")
            .says("Somebody who is signed in to Kiln wants to use this address for another account. It has an account already, so nothing was changed. If that was you: sign in with this address, or delete its account first.")
            .button("Sign in", self.sign_in)
            .footer("If it wasn't you, you can ignore this mail.")
    }
}
