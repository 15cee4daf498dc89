//! Who calls, as far as the table knows: what a request says of its caller leads to the items that prove it, all by base-table key, so
//! that a handler may read them together with whatever else it needs.

use crate::table::{Item, Key, Table, from_item};
use crate::{ApiKey, Error, Member, Session, keys};
use kiln_core::ids::{AccountId, KeyId};
use std::collections::HashMap;

/// What a request says of its caller, unproven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// A session of this person, acting for their own account or an organisation's.
    Session { person: AccountId, token_hash: String, acts_for: AccountId },
    /// A key of this account.
    Key { account_id: AccountId, key_id: KeyId, token_hash: String },
}

/// What there is to prove it.
#[derive(Debug, Clone, Default)]
pub struct Proof {
    pub session: Option<Session>,
    /// The session's person in the organisation that it acts for.
    pub member: Option<Member>,
    pub key: Option<ApiKey>,
}

impl Asked {
    /// Whose things the request is about.
    pub fn account_id(&self) -> &AccountId {
        match self {
            Asked::Session { acts_for, .. } => acts_for,
            Asked::Key { account_id, .. } => account_id,
        }
    }

    /// The same session, about its own person's things.
    pub fn of_person(&self) -> Self {
        match self {
            Asked::Session { person, token_hash, .. } => Asked::Session { person: person.clone(), token_hash: token_hash.clone(), acts_for: person.clone() },
            Asked::Key { .. } => self.clone(),
        }
    }

    pub(crate) fn keys(&self) -> Vec<Key> {
        match self {
            Asked::Session { person, token_hash, acts_for } if person == acts_for => vec![keys::session(token_hash)],
            Asked::Session { person, token_hash, acts_for } => vec![keys::session(token_hash), keys::member(acts_for, person)],
            Asked::Key { account_id, key_id, .. } => vec![keys::api_key(account_id, key_id)],
        }
    }

    pub(crate) fn proof(&self, found: &mut HashMap<Key, Item>) -> Result<Proof, Error> {
        let mut wanted = self.keys().into_iter();
        let mut next = || wanted.next().and_then(|key| found.remove(&key));
        Ok(match self {
            Asked::Session { .. } => Proof { session: next().map(from_item).transpose()?, member: next().map(from_item).transpose()?, key: None },
            Asked::Key { .. } => Proof { key: next().map(from_item).transpose()?, ..Proof::default() },
        })
    }
}

impl Table {
    /// Reads what proves a caller, in one call.
    pub async fn prove(&self, asked: &Asked) -> Result<Proof, Error> {
        let wanted = asked.keys();
        let mut found = match &wanted[..] {
            // A read of one costs what a batch of one does, and has no unprocessed rest.
            [one] => self.get_item(one).await?.map(|item| (one.clone(), item)).into_iter().collect(),
            _ => self.get_many(&wanted).await?,
        };
        asked.proof(&mut found)
    }
}
