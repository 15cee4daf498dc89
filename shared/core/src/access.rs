//! Who may do what in an account: the roles of an organisation's members, the scopes of an API key, and the limits of both.
//!
//! Promises: both lists are closed, what isn't in them is refused when it is read; no rule here depends on anything but its arguments.

use crate::FieldError;
use crate::time::{Millis, seconds};
use serde::{Deserialize, Serialize};

/// Organisations that one person may own.
pub const MOST_OWNED: u32 = 5;
/// Organisations that one person may belong to.
pub const MOST_ORGS: u32 = 50;
/// Members of one organisation.
pub const MOST_MEMBERS: u32 = 50;
/// Open invites of one organisation.
pub const MOST_INVITES: u32 = 50;
/// API keys of one account, expired ones counted until they are deleted.
pub const MOST_KEYS: u32 = 25;
/// How long an invite may be accepted.
pub const INVITE_FOR: Millis = seconds(7 * 24 * 3600);
/// A key's use is written down once in this time at most.
pub const USE_NOTED_EVERY: Millis = seconds(3600);

/// What a member may do in an organisation; each may what the one before may. A person is the owner of their own account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Makes, and sees what was made.
    Member,
    /// Also members, invites, API keys, webhooks and billing.
    Admin,
    /// Everything: also other owners, and the organisation's end.
    Owner,
}

impl Role {
    pub const ALL: [Role; 3] = [Role::Member, Role::Admin, Role::Owner];

    pub fn as_str(self) -> &'static str {
        match self {
            Role::Member => "member",
            Role::Admin => "admin",
            Role::Owner => "owner",
        }
    }

    /// Whether someone of this role may make one of `from` one of `to`; `None` is no member, so that inviting and removing are changes too.
    pub fn may_change(self, from: Option<Role>, to: Option<Role>) -> bool {
        match self {
            Role::Owner => true,
            Role::Admin => from.max(to) < Some(Role::Owner),
            Role::Member => false,
        }
    }
}

/// What an API key may be used for. Each stands alone: `jobs:write` doesn't hold `jobs:read`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Scope {
    /// See jobs and what they made.
    #[serde(rename = "jobs:read")]
    JobsRead,
    /// Price, ask for and cancel jobs; delete what they made.
    #[serde(rename = "jobs:write")]
    JobsWrite,
    /// Send, see and delete uploads.
    #[serde(rename = "uploads:write")]
    UploadsWrite,
    /// Make, see and end share links.
    #[serde(rename = "shares:write")]
    SharesWrite,
    /// See balance, ledger, usage and invoices.
    #[serde(rename = "credits:read")]
    CreditsRead,
    /// Make, see and delete webhook endpoints; see and replay deliveries.
    #[serde(rename = "webhooks:write")]
    WebhooksWrite,
}

impl Scope {
    pub const ALL: [Scope; 6] = [Scope::JobsRead, Scope::JobsWrite, Scope::UploadsWrite, Scope::SharesWrite, Scope::CreditsRead, Scope::WebhooksWrite];

    pub fn as_str(self) -> &'static str {
        match self {
            Scope::JobsRead => "jobs:read",
            Scope::JobsWrite => "jobs:write",
            Scope::UploadsWrite => "uploads:write",
            Scope::SharesWrite => "shares:write",
            Scope::CreditsRead => "credits:read",
            Scope::WebhooksWrite => "webhooks:write",
        }
    }
}

/// The scopes of a new key: one at least, none twice.
pub fn check_scopes(scopes: &[Scope]) -> Result<(), FieldError> {
    if scopes.is_empty() {
        return Err(FieldError::new("scopes", "a key needs one scope at least"));
    }
    match (1..scopes.len()).find(|i| scopes[..*i].contains(&scopes[*i])) {
        Some(i) => Err(FieldError::new(format!("scopes[{i}]"), "the same scope stands twice")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_may_what_the_one_before_may() {
        assert!(Role::Member < Role::Admin && Role::Admin < Role::Owner);
        for role in Role::ALL {
            assert_eq!(serde_json::to_value(role).unwrap(), role.as_str());
        }
    }

    #[test]
    fn an_admin_changes_members_and_admins_but_no_owner_and_makes_none() {
        use Role::{Admin, Member, Owner};
        for (from, to) in [(None, Some(Member)), (None, Some(Admin)), (Some(Member), Some(Admin)), (Some(Admin), Some(Member)), (Some(Admin), None)] {
            assert!(Admin.may_change(from, to) && Owner.may_change(from, to) && !Member.may_change(from, to), "{from:?} to {to:?}");
        }
        for (from, to) in [(None, Some(Owner)), (Some(Owner), Some(Admin)), (Some(Owner), None), (Some(Admin), Some(Owner))] {
            assert!(!Admin.may_change(from, to) && Owner.may_change(from, to) && !Member.may_change(from, to), "{from:?} to {to:?}");
        }
    }

    #[test]
    fn a_scope_is_written_as_it_is_read_and_the_list_is_closed() {
        for scope in Scope::ALL {
            assert_eq!(serde_json::to_value(scope).unwrap(), scope.as_str());
        }
        for other in ["jobs", "jobs:*", "*", "JOBS:READ", "admin", ""] {
            assert!(serde_json::from_value::<Scope>(other.into()).is_err(), "{other}");
        }
    }

    #[test]
    fn a_key_has_one_scope_at_least_and_none_twice() {
        assert_eq!(check_scopes(&[]).unwrap_err().field, "scopes");
        assert_eq!(check_scopes(&[Scope::JobsRead, Scope::JobsWrite, Scope::JobsRead]).unwrap_err().field, "scopes[2]");
        assert!(check_scopes(&Scope::ALL).is_ok());
    }
}
