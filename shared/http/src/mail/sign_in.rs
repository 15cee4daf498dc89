//! The link that signs a person in, up, and back in.

use super::{Draft, Message};

pub struct SignIn<'a> {
    pub link: &'a str,
    /// For how many minutes the link works.
    pub minutes: u32,
}

impl Message for SignIn<'_> {
    fn draft(&self) -> Draft {
        let life = format!("It works once, for {} minutes.", self.minutes);
        Draft::new("Sign in to Kiln", "Sign in to Kiln")
            .preview(format!("Your link is here. {life}"))
            .says(format!("Open this link to sign in. {life}"))
            .button("Sign in", self.link)
            .footer("If you didn't ask for it, you can ignore this mail: nobody gets in without the link.")
    }
}
