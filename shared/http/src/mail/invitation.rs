//! An invitation to an organisation. It may go to somebody who has never heard of Kiln, so what users have named themselves
//! is quoted and can't become a link.

use super::words::{day, name};
use super::{Draft, Message};
use kiln_core::time::Millis;

pub struct Invitation<'a> {
    pub link: &'a str,
    pub organisation: &'a str,
    /// The name of who invites, where they have given one.
    pub inviter: Option<&'a str>,
    /// `owner`, `admin` or `member`.
    pub role: &'a str,
    pub expires_at: Millis,
}

impl Message for Invitation<'_> {
    fn draft(&self) -> Draft {
        let organisation = name(self.organisation);
        let who = self.inviter.map(name).filter(|inviter| !inviter.is_empty()).map_or_else(|| "Somebody".to_owned(), |inviter| format!("“{inviter}”"));
        let role = name(self.role);
        let article = if role.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
        Draft::new(format!("Invitation to “{organisation}” on Kiln"), format!("You are invited to “{organisation}”"))
            .preview(format!("{who} asks you to work together on Kiln."))
            .says(format!("{who} invites you to the organisation “{organisation}” on Kiln, as {article} {role}. Its members share credits and jobs."))
            .button("Accept the invitation", self.link)
            .says(format!("The invitation can be accepted once, until {}.", day(self.expires_at)))
            .footer("The names above were chosen by the people who use them. If you don't know them, ignore this mail: nothing happens without the link.")
    }
}
