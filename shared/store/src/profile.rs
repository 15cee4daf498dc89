//! What a person says of themselves, and the move to another mail address: confirmed by a token mailed to the new one, done in one
//! transaction with the rows that addresses sign in by.

use crate::accounts::{AddressRow, address_hash};
use crate::api_keys::active;
use crate::table::{Expr, Parts, Table, Written, absent, from_item, n, s, to_item};
use crate::{Account, Error, keys};
use aws_sdk_dynamodb::types::AttributeValue;
use kiln_core::ids::AccountId;
use kiln_core::profile::Theme;
use kiln_core::time::Millis;
use serde::{Deserialize, Serialize};

/// What of a profile changes; `None` stays as it is, `Some(None)` is taken away.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProfileChange {
    pub name: Option<Option<String>>,
    pub marketing_mail: Option<bool>,
    pub locale: Option<Option<String>>,
    pub theme: Option<Theme>,
}

/// A mailed confirmation of a new address; kept by the hash of its token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmation {
    pub account_id: AccountId,
    /// The address that it leaves, so that an older confirmation changes nothing later.
    pub from: String,
    pub to: String,
    pub expires_at: Millis,
    /// Seconds since 1970; only sweeps.
    pub ttl: i64,
}

/// Why an address was not changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoMove {
    /// The confirmation was used, or the account has another address by now.
    Stale,
    /// Another account has the address.
    Taken,
}

impl Table {
    /// The account as it is then; `None` where it is gone.
    pub async fn change_profile(&self, id: &AccountId, change: &ProfileChange) -> Result<Option<Account>, Error> {
        let (mut set, mut remove) = (Vec::new(), Vec::new());
        let mut values = Vec::new();
        let mut put = |name: &'static str, value: Option<AttributeValue>| match value {
            Some(value) => {
                set.push(format!("#{name} = :{name}"));
                values.push((name, Some(value)));
            }
            None => {
                remove.push(format!("#{name}"));
                values.push((name, None));
            }
        };
        if let Some(name) = &change.name {
            put("name", name.as_ref().map(s));
        }
        if let Some(wanted) = change.marketing_mail {
            put("marketing_mail", Some(AttributeValue::Bool(wanted)));
        }
        if let Some(locale) = &change.locale {
            put("locale", locale.as_ref().map(s));
        }
        if let Some(theme) = change.theme {
            put("theme", Some(s(theme.as_str())));
        }
        if values.is_empty() {
            return self.account(id).await;
        }
        let clause = |word: &str, parts: &[String]| if parts.is_empty() { String::new() } else { format!("{word} {} ", parts.join(", ")) };
        let mut update = Expr::new(clause("SET", &set) + &clause("REMOVE", &remove));
        for (name, value) in values {
            update = update.name(name);
            if let Some(value) = value {
                update = update.value(name, value);
            }
        }
        self.update(&keys::account(id), update, Some(active())).await?.map(from_item).transpose()
    }

    pub async fn put_confirmation(&self, token_hash: &str, confirmation: &Confirmation) -> Result<(), Error> {
        self.put(to_item(&keys::confirmation(token_hash), confirmation)?, Some(absent())).await.map(drop)
    }

    pub async fn confirmation(&self, token_hash: &str) -> Result<Option<Confirmation>, Error> {
        self.get(&keys::confirmation(token_hash)).await
    }

    /// Moves an account to its confirmed address; the confirmation is used up. `fingerprint` is of the old address: whoever signs up with
    /// it next gets no second sign-up grant.
    pub async fn change_address(&self, token_hash: &str, confirmation: &Confirmation, fingerprint: &str, now: Millis) -> Result<Result<(), NoMove>, Error> {
        let (id, from, to) = (&confirmation.account_id, &confirmation.from, &confirmation.to);
        let mut parts = Parts::default();
        let open = Expr::new("attribute_exists(pk) AND expires_at > :now").value("now", n(now));
        self.add_delete(&mut parts, &keys::confirmation(token_hash), Some(open))?;
        let update = Expr::new("SET email = :to").value("to", s(to));
        self.add_update(&mut parts, &keys::account(id), update, Some(active().and("email = :from").value("from", s(from))))?;
        let theirs = Expr::new("account_id = :id").value("id", s(id.as_str()));
        self.add_delete(&mut parts, &keys::address(&address_hash(from)), Some(theirs))?;
        self.add_put(&mut parts, to_item(&keys::granted(fingerprint), &Granted {})?, None)?;
        let taken = self.add_put(&mut parts, to_item(&keys::address(&address_hash(to)), &AddressRow { account_id: id.clone() })?, Some(absent()))?;
        Ok(match self.transact(parts).await? {
            Written::Done => Ok(()),
            Written::Refused(refused) => match refused.found(Some(taken)).cloned().map(from_item::<AddressRow>).transpose()? {
                Some(row) if row.account_id != *id => Err(NoMove::Taken),
                // It is this very account's: the same confirmation was used a moment ago.
                _ => Err(NoMove::Stale),
            },
        })
    }

    /// Whether an address, by its fingerprint, has had its sign-up grant.
    pub async fn was_granted(&self, fingerprint: &str) -> Result<bool, Error> {
        Ok(self.get::<Granted>(&keys::granted(fingerprint)).await?.is_some())
    }
}

/// Says only that it is there.
#[derive(Serialize, Deserialize)]
pub(crate) struct Granted {}
