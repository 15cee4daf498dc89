//! What operators change of an account, each change with its line in the audit log in one transaction.

use crate::ledger::AccountUpdate;
use crate::table::{Parts, Table, Written, n};
use crate::{Audit, Error, keys};
use kiln_core::ids::AccountId;
use kiln_core::prices::OwnPrices;

/// What to change.
#[derive(Debug, Clone, PartialEq)]
pub struct AccountPatch {
    pub suspended: Option<bool>,
    pub prices: Option<OwnPrices>,
    /// Limits by their attribute; `None` takes one away.
    pub numbers: Vec<(&'static str, Option<i64>)>,
}

impl AccountPatch {
    pub fn is_empty(&self) -> bool {
        self.suspended.is_none() && self.prices.is_none() && self.numbers.is_empty()
    }
}

impl Table {
    /// Changes an account; `Some(false)` where there is none, `None` to try again.
    pub async fn patch_account(&self, id: &AccountId, patch: &AccountPatch, audit: &Audit) -> Result<Option<bool>, Error> {
        let mut update = AccountUpdate::new();
        if let Some(suspended) = patch.suspended {
            update = update.set("suspended", aws_sdk_dynamodb::types::AttributeValue::Bool(suspended));
        }
        if let Some(prices) = &patch.prices {
            update = update.set("prices", serde_dynamo::to_attribute_value(prices).map_err(Error::internal)?);
        }
        for (attribute, number) in &patch.numbers {
            update = match number {
                Some(number) => update.set(attribute, n(number)),
                None => update.remove(attribute),
            };
        }
        let mut parts = Parts::default();
        let account = self.add_update(&mut parts, &keys::account(id), update.expr(), Some(crate::api_keys::active()))?;
        self.add_audit(&mut parts, audit)?;
        Ok(match self.transact(parts).await? {
            Written::Done => Some(true),
            Written::Refused(refused) if refused.has(Some(account)) => Some(false),
            Written::Refused(_) => None,
        })
    }
}
