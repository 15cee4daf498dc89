//! The operator's own machines that no provider lists and none has made: an operator registers one by hand, and its worker comes with the boot token
//! that they were given. They cost nothing.

use crate::fleet::Instance;
use crate::table::{Expr, Parts, Table, Written, absent, n, s, to_item};
use crate::{Audit, Error, keys};
use aws_sdk_dynamodb::types::AttributeValue;
use kiln_core::ids::InstanceId;
use kiln_core::time::Millis;

/// What their rows name as the provider.
pub const OWN: &str = "own";

impl Instance {
    /// Whether no provider has it: it is the operator's own, registered by hand.
    pub fn is_own(&self) -> bool {
        self.provider == OWN
    }

    /// Whether it has left by its own word alone, as a machine does that is being restarted.
    pub fn left_by_itself(&self) -> bool {
        self.drain && !self.was_asked_to_go()
    }
}

impl Table {
    /// Writes the row of an own machine, with a line of the audit log; `false` where its id is taken.
    pub async fn add_own(&self, instance: &Instance, audit: &Audit) -> Result<bool, Error> {
        let mut parts = Parts::default();
        self.add_put(&mut parts, to_item(&keys::instance(&instance.instance_id), instance)?, Some(absent()))?;
        self.add_audit(&mut parts, audit)?;
        Ok(matches!(self.transact(parts).await?, Written::Done))
    }

    /// One that left by its own word at `left_at` is back, and takes jobs again; `false` where it was asked to go meanwhile, or is another's.
    pub async fn comes_back(&self, id: &InstanceId, token_hash: &str, left_at: Millis) -> Result<bool, Error> {
        let update = Expr::new("SET drain = :no REMOVE drained_at, leaves_at").value("no", AttributeValue::Bool(false));
        let as_read = Expr::new("token_hash = :token AND drained_at = :left AND leaves_at = :left").value("token", s(token_hash)).value("left", n(left_at));
        Ok(self.update(&keys::instance(id), update, Some(as_read)).await?.is_some())
    }
}
