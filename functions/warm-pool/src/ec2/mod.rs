//! EC2: GPU instances of the deployment's own account and region, spot first with on-demand behind it.
//!
//! Promises: an order is sent once and never again, though its client token would make that safe at AWS, because whoever stands in for it may not
//! know tokens: what its answer leaves open, the list must show; reads and destroys are tried three times with jitter; a list that breaks between
//! two pages is no list. What is ours carries the tag `kiln:label`. What is asked for is [`order::request`], what an instance runs is
//! infra/aws/user-data.sh, and infra/aws/README.md tells what it does by that.

mod offers;
mod order;
mod wanted;

pub use wanted::{Kind, Wanted};

use crate::provider::{Machine, NotMade, Order, Provider};
use anyhow::{Context, bail, ensure};
use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_ec2::Client;
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ec2::types::{Filter, Instance, InstanceStateName, InstanceType};
use aws_smithy_types::DateTime;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use kiln_core::pool::Policy;
use kiln_core::pool::offers::Offer;
use kiln_core::time::{Millis, seconds};
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};
use tokio::sync::OnceCell;

const NAME: &str = "ec2";
/// The tag that says whose an instance is.
pub(crate) const LABEL: &str = "kiln:label";
/// How the codes begin that an instance's state has as its reason where its spot machine was taken away: `Server.SpotInstanceTermination`,
/// `Server.SpotInstanceShutdown`.
const TAKEN: &str = "Server.SpotInstance";
/// The code where it has shut down by itself; by us it is another.
const BY_ITSELF: &str = "Client.InstanceInitiatedShutdown";
/// Tries of what may be repeated.
const TRIES: u32 = 3;
/// One read or destroy may take so long; three of them and their pauses stay below the function's time-out.
const READ: Duration = Duration::from_secs(7);
/// An order may take so long: a spot machine is not promised before it is there.
const ORDER: Duration = Duration::from_secs(15);
/// Pages of a list; at 500 machines a page far more than a pool has.
const MOST_PAGES: usize = 40;
/// A kind that did not boot is left alone for so long. Another one of it is another host, so not for a day.
const AVOIDED_FOR: Millis = seconds(10 * 60);
/// What exists and costs, or will.
const THERE: [InstanceStateName; 4] = [InstanceStateName::Pending, InstanceStateName::Running, InstanceStateName::Stopping, InstanceStateName::Stopped];

/// How long calls may take.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    pub read: Duration,
    pub order: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self { read: READ, order: ORDER }
    }
}

pub struct Ec2 {
    /// For what may be repeated.
    again: Client,
    once: Client,
    /// Or why nothing can be rented.
    wanted: Result<Wanted, String>,
    rents: bool,
    root: OnceCell<Root>,
}

/// The disk that an AMI boots from.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Root {
    device: String,
    gb: u32,
}

impl Root {
    fn disk_gb(&self, wanted: &Wanted) -> u32 {
        self.gb + wanted.disk_gb
    }
}

impl Ec2 {
    /// `endpoint` is where EC2 answers, when that isn't where the rest of AWS does. Where `wanted` is an error, it is told instead of offers.
    pub fn new(aws: &SdkConfig, endpoint: Option<&str>, wanted: Result<Wanted, String>, times: Times) -> Self {
        let client = |retries: RetryConfig, time_out: Duration| {
            let time_outs = TimeoutConfig::builder().connect_timeout(time_out.min(Duration::from_secs(3))).operation_attempt_timeout(time_out).build();
            let mut config = aws_sdk_ec2::config::Builder::from(aws).retry_config(retries).timeout_config(time_outs);
            if let Some(endpoint) = endpoint {
                config = config.endpoint_url(endpoint);
            }
            Client::from_conf(config.build())
        };
        let tries = RetryConfig::standard().with_max_attempts(TRIES).with_initial_backoff(Duration::from_millis(600)).with_max_backoff(Duration::from_secs(2));
        Self { again: client(tries, times.read), once: client(RetryConfig::disabled(), times.order), wanted, rents: true, root: OnceCell::new() }
    }

    /// Where nothing is rented any more, and what was rented before is still watched and given back.
    pub fn only_gives_back(self) -> Self {
        Self { rents: false, ..self }
    }

    fn wanted(&self) -> anyhow::Result<&Wanted> {
        self.wanted.as_ref().map_err(|why| anyhow::anyhow!("{why}"))
    }

    /// Each subnet's zone.
    async fn zones(&self, wanted: &Wanted) -> anyhow::Result<BTreeMap<String, String>> {
        let answer = self.again.describe_subnets().set_subnet_ids(Some(wanted.subnets.clone())).send().await;
        let answer = answer.map_err(|error| anyhow::anyhow!("{}", said(&error))).context("the subnets could not be read")?;
        let zone = |subnet: &aws_sdk_ec2::types::Subnet| Some((subnet.subnet_id()?.to_owned(), subnet.availability_zone()?.to_owned()));
        let zones: BTreeMap<_, _> = answer.subnets().iter().filter_map(zone).collect();
        for subnet in &wanted.subnets {
            ensure!(zones.contains_key(subnet), "{subnet} is in no zone");
        }
        Ok(zones)
    }

    async fn root(&self, wanted: &Wanted) -> anyhow::Result<&Root> {
        let read = || async {
            let answer = self.again.describe_images().image_ids(&wanted.ami).send().await;
            let answer = answer.map_err(|error| anyhow::anyhow!("{}", said(&error))).with_context(|| format!("{} could not be read", wanted.ami))?;
            let image = answer.images().first().with_context(|| format!("there is no {} in this region", wanted.ami))?;
            let device = image.root_device_name().with_context(|| format!("{} names no disk to boot from", wanted.ami))?;
            let disks = image.block_device_mappings().iter().filter(|disk| disk.device_name() == Some(device));
            let gb = disks.filter_map(|disk| disk.ebs()?.volume_size()).next().with_context(|| format!("{} boots from no disk of EBS", wanted.ami))?;
            anyhow::Ok(Root { device: device.to_owned(), gb: gb.try_into()? })
        };
        self.root.get_or_try_init(read).await
    }

    /// What a spot machine costs now, by type and zone, in millionths of a dollar an hour.
    async fn spot_prices(&self, wanted: &Wanted) -> anyhow::Result<BTreeMap<(String, String), i64>> {
        if !wanted.spot {
            return Ok(BTreeMap::new());
        }
        let types = wanted.types.iter().map(|kind| InstanceType::from(kind.name.as_str())).collect();
        let call = self.again.describe_spot_price_history().set_instance_types(Some(types)).product_descriptions("Linux/UNIX");
        // From now on: the price that holds now, and no history.
        let mut pages = call.start_time(DateTime::from(SystemTime::now())).into_paginator().send();
        let mut newest: BTreeMap<(String, String), (DateTime, i64)> = BTreeMap::new();
        for _ in 0..MOST_PAGES {
            let Some(page) = pages.next().await else { return Ok(newest.into_iter().map(|(at, (_, price))| (at, price)).collect()) };
            let page = page.map_err(|error| anyhow::anyhow!("{}", said(&error))).context("the spot prices could not be read")?;
            for price in page.spot_price_history() {
                let read =
                    || Some((price.instance_type()?.as_str().to_owned(), price.availability_zone()?.to_owned(), price.spot_price()?.parse::<f64>().ok()?));
                let Some((kind, zone, dollars)) = read().filter(|(_, _, dollars)| dollars.is_finite() && *dollars > 0.0 && *dollars < 1_000.0) else {
                    continue;
                };
                let since = price.timestamp().copied().unwrap_or(DateTime::from_secs(0));
                let known = newest.entry((kind, zone)).or_insert((since, wanted::microusd(dollars)));
                if since > known.0 {
                    *known = (since, wanted::microusd(dollars));
                }
            }
        }
        bail!("the spot prices do not end")
    }
}

#[async_trait]
impl Provider for Ec2 {
    fn name(&self) -> &'static str {
        NAME
    }

    fn own(&self) -> bool {
        false
    }

    fn rents(&self) -> bool {
        self.rents
    }

    fn usual_boot(&self) -> Millis {
        seconds(240)
    }

    fn order_takes(&self) -> Duration {
        ORDER
    }

    fn has_many(&self) -> bool {
        true
    }

    fn avoided_for(&self) -> Millis {
        AVOIDED_FOR
    }

    async fn offers(&self, _: &Policy) -> anyhow::Result<Vec<Offer>> {
        let wanted = self.wanted()?;
        let (zones, spot, root) = futures::try_join!(self.zones(wanted), self.spot_prices(wanted), self.root(wanted))?;
        Ok(offers::all(wanted, &zones, &spot, wanted::beside(root.disk_gb(wanted))?))
    }

    async fn list(&self) -> anyhow::Result<Vec<Machine>> {
        let filter = |name: &str, values: Vec<String>| Filter::builder().name(name).set_values(Some(values)).build();
        let states = THERE.iter().map(|state| state.as_str().to_owned()).collect();
        let call = self.again.describe_instances().filters(filter("tag-key", vec![LABEL.into()])).filters(filter("instance-state-name", states));
        let (mut pages, mut machines) = (call.into_paginator().page_size(500).send(), Vec::new());
        for _ in 0..MOST_PAGES {
            let Some(page) = pages.next().await else { return Ok(machines) };
            let page = page.map_err(|error| anyhow::anyhow!("the list of instances could not be read: {}", said(&error)))?;
            machines.extend(page.reservations().iter().flat_map(|reservation| reservation.instances()).filter_map(machine));
        }
        bail!("the list of instances does not end")
    }

    async fn is_gone(&self, provider_id: &str) -> anyhow::Result<bool> {
        ensure!(wanted::is_id(provider_id, "i-"), "no id of an instance");
        match self.again.describe_instances().instance_ids(provider_id).send().await {
            Ok(answer) => Ok(answer
                .reservations()
                .iter()
                .flat_map(|reservation| reservation.instances())
                .all(|instance| state(instance) == InstanceStateName::Terminated)),
            Err(error) if error.code() == Some("InvalidInstanceID.NotFound") => Ok(true),
            Err(error) => bail!("{provider_id} could not be asked for: {}", said(&error)),
        }
    }

    async fn was_taken(&self, provider_id: &str, lived: Millis) -> anyhow::Result<bool> {
        ensure!(wanted::is_id(provider_id, "i-"), "no id of an instance");
        // Told by EC2 two minutes ahead, a machine drains and shuts down by itself, and EC2 gives that as the reason. One that has worked until then
        // does so for hardly another, but that its longest life is over.
        let young = self.wanted.as_ref().is_ok_and(|wanted| lived < seconds(wanted.max_life_s));
        let noticed = |instance: &Instance| young && because(instance) == BY_ITSELF;
        match self.again.describe_instances().instance_ids(provider_id).send().await {
            Ok(answer) => Ok(answer.reservations().iter().flat_map(|reservation| reservation.instances()).any(|it| taken(it) || noticed(it))),
            // It forgets them within the hour.
            Err(error) if error.code() == Some("InvalidInstanceID.NotFound") => Ok(false),
            Err(error) => bail!("{provider_id} could not be asked for: {}", said(&error)),
        }
    }

    async fn create(&self, order: &Order) -> Result<String, NotMade> {
        let refused = NotMade::Refused;
        let wanted = self.wanted().map_err(refused)?;
        let offer = order.offer.as_ref().context("no offer was chosen").map_err(refused)?;
        let choice = offers::Choice::of(offer).map_err(refused)?;
        let root = self.root(wanted).await.map_err(refused)?;
        let request = order::request(self.once.run_instances(), wanted, root, &choice, order).map_err(refused)?;
        let made = request.send().await.map_err(order::not_made)?;
        let id = made.instances().first().and_then(Instance::instance_id).context("an answer without an instance").map_err(NotMade::Unknown)?;
        Ok(id.to_owned())
    }

    async fn destroy(&self, provider_id: &str) -> anyhow::Result<()> {
        // What comes from the table is ours, and still no other kind of word.
        ensure!(wanted::is_id(provider_id, "i-"), "no id of an instance");
        match self.again.terminate_instances().instance_ids(provider_id).send().await {
            Ok(_) => Ok(()),
            Err(error) if error.code() == Some("InvalidInstanceID.NotFound") => Ok(()),
            Err(error) => bail!("{provider_id} could not be terminated: {}", said(&error)),
        }
    }
}

/// None where it is gone, or going for good: it costs no more, and can't come back.
fn machine(instance: &Instance) -> Option<Machine> {
    let state = state(instance);
    let label = instance.tags().iter().find(|tag| tag.key() == Some(LABEL)).and_then(|tag| tag.value());
    THERE.contains(&state).then_some(())?;
    Some(Machine {
        provider_id: instance.instance_id()?.to_owned(),
        label: label.unwrap_or_default().to_owned(),
        running: matches!(state, InstanceStateName::Pending | InstanceStateName::Running),
        taken: taken(instance),
        ..Machine::default()
    })
}

/// Whether EC2 itself has ended a spot machine.
fn taken(instance: &Instance) -> bool {
    because(instance).starts_with(TAKEN)
}

fn because(instance: &Instance) -> &str {
    instance.state_reason().and_then(|reason| reason.code()).unwrap_or_default()
}

/// A state that is not told is one in which it may cost.
fn state(instance: &Instance) -> InstanceStateName {
    instance.state().and_then(|state| state.name()).cloned().unwrap_or(InstanceStateName::Stopped)
}

/// What is wrong, in short: the service's code and the beginning of what it says, or what became of the call.
fn said<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> String {
    let short = |text: &str| text.chars().take(200).collect::<String>();
    match error {
        SdkError::ServiceError(service) => {
            let (code, message) = (service.err().code().unwrap_or("no code"), service.err().message().unwrap_or_default());
            format!("{} {}", short(code), short(message)).trim_end().to_owned()
        }
        SdkError::TimeoutError(_) => "no answer in time".into(),
        SdkError::ConstructionFailure(_) => "the request could not be made".into(),
        SdkError::ResponseError(_) => "an answer that can't be read".into(),
        SdkError::DispatchFailure(failure) => {
            let mut why = String::from("no connection, or a broken one");
            let mut link = failure.as_connector_error().map(|error| error as &(dyn std::error::Error + 'static));
            while let Some(error) = link {
                why = short(&error.to_string());
                link = error.source();
            }
            why
        }
        _ => "the call failed".into(),
    }
}

#[cfg(test)]
mod boot_tests;
#[cfg(test)]
mod cloud;
#[cfg(test)]
mod tests;
