//! Waking the warm pool: how it stands, as its last run left it to those who submit, and the asynchronous invocation of its function.
//!
//! Promises: of many who want it woken within a second one wakes it; the others leave their mark, which whoever has just run looks for. None of it
//! decides anything: a wake that is lost costs the time until the schedule.

use crate::table::{Expr, Table, from_item, n};
use crate::{Depth, Error, keys};
use aws_config::SdkConfig;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_lambda::Client;
use aws_sdk_lambda::primitives::Blob;
use aws_sdk_lambda::types::InvocationType;
use kiln_core::job::Priority;
use kiln_core::pool::Standing;
use kiln_core::pool::room::{IDLE_WAKES_EVERY, WAKE_EVERY};
use kiln_core::time::Millis;

impl Table {
    /// How the pool stands; `None` where it has never run.
    pub async fn standing(&self) -> Result<Option<Standing>, Error> {
        self.get(&keys::standing()).await
    }

    /// Leaves how it stands to those who submit, those who wait and those who fall idle. Marks of theirs stay.
    pub async fn stand(&self, standing: &Standing) -> Result<(), Error> {
        let update = match standing.room {
            Some(room) => Expr::new("SET #at = :at, waits = :waits, idle_wakes = :idle, room = :room").value("room", n(room)),
            None => Expr::new("SET #at = :at, waits = :waits, idle_wakes = :idle REMOVE room"),
        };
        let waits = serde_dynamo::to_attribute_value(&standing.waits).map_err(Error::internal)?;
        let update = update.value("waits", waits).value("idle", AttributeValue::Bool(standing.idle_wakes));
        self.update(&keys::standing(), update.name("at").value("at", n(standing.at)), None).await.map(drop)
    }

    /// What a queued job is told: how many wait, and for what.
    pub async fn queue(&self) -> Result<(Option<Depth>, Option<Standing>), Error> {
        let mut found = self.get_many(&[keys::depth(), keys::standing()]).await?;
        let depth = found.remove(&keys::depth()).map(from_item).transpose()?;
        Ok((depth, found.remove(&keys::standing()).map(from_item).transpose()?))
    }

    /// Takes the wake of this second; `false` where somebody has it.
    pub async fn take_wake(&self, now: Millis) -> Result<bool, Error> {
        let take = Expr::new("SET woken_at = :now, #at = if_not_exists(#at, :never)").name("at").value("now", n(now)).value("never", n(0));
        let free = Expr::new("attribute_not_exists(woken_at) OR woken_at <= :before").value("before", n(now - WAKE_EVERY));
        Ok(self.update(&keys::standing(), take, Some(free)).await?.is_some())
    }

    /// Takes the wake of a machine that has fallen idle; `false` where somebody has just taken one, or the pool wants none.
    pub async fn take_idle_wake(&self, now: Millis) -> Result<bool, Error> {
        let take = Expr::new("SET idle_woken_at = :now").value("now", n(now));
        let free = Expr::new("idle_wakes = :yes AND (attribute_not_exists(idle_woken_at) OR idle_woken_at <= :before)");
        let free = free.value("yes", AttributeValue::Bool(true)).value("before", n(now - IDLE_WAKES_EVERY));
        Ok(self.update(&keys::standing(), take, Some(free)).await?.is_some())
    }

    /// Has whoever runs look again.
    pub async fn look_again(&self) -> Result<(), Error> {
        let mark = Expr::new("SET again = :yes, #at = if_not_exists(#at, :never)").name("at").value("yes", AttributeValue::Bool(true)).value("never", n(0));
        self.update(&keys::standing(), mark, None).await.map(drop)
    }

    /// Takes the mark of [`Table::look_again`]; `false` where there is none. A read where there is none, since every run asks.
    pub async fn takes_another_look(&self) -> Result<bool, Error> {
        if !self.standing().await?.is_some_and(|standing| standing.again) {
            return Ok(false);
        }
        let marked = Expr::new("again = :yes").value("yes", AttributeValue::Bool(true));
        Ok(self.update(&keys::standing(), Expr::new("REMOVE again"), Some(marked)).await?.is_some())
    }
}

/// Lambda, for the one function that others wake.
#[derive(Debug, Clone)]
pub struct Waker {
    client: Client,
    function: String,
}

impl Waker {
    /// `KILN_WARM_POOL` is the function's name; without it nothing is woken here, and the schedule is all there is. `AWS_ENDPOINT_URL_LAMBDA` is
    /// where Lambda answers, when that isn't where all of AWS does.
    pub fn new(config: &SdkConfig, env: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let set = |name: &str| env(name).filter(|value| !value.is_empty());
        let function = set("KILN_WARM_POOL")?;
        let mut lambda = aws_sdk_lambda::config::Builder::from(config);
        lambda.set_endpoint_url(set("AWS_ENDPOINT_URL_LAMBDA").or_else(|| config.endpoint_url().map(str::to_owned)));
        Some(Self { client: Client::from_conf(lambda.build()), function })
    }

    /// Has it run now for a job that has come, and doesn't wait for it: the index that jobs are counted by may not have it yet.
    pub async fn wake(&self, kind: &str, priority: Priority) -> Result<(), Error> {
        self.invoke(serde_json::json!({ "kind": kind, "priority": priority })).await
    }

    /// Has it run now for `what` has changed beside jobs, and doesn't wait for it.
    pub async fn look(&self, what: &str) -> Result<(), Error> {
        self.invoke(serde_json::json!({ "for": what })).await
    }

    async fn invoke(&self, wake: serde_json::Value) -> Result<(), Error> {
        let event = serde_json::json!({ "wake": wake }).to_string();
        let call = self.client.invoke().function_name(&self.function).invocation_type(InvocationType::Event).payload(Blob::new(event));
        call.send().await.map_err(|error| Error::aws_code("waking the warm pool", error)).map(drop)
    }
}
