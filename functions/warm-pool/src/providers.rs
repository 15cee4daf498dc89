//! All that machines are rented from, by the setting `KILN_PROVIDERS`.
//!
//! Promises: a provider that can't be set up stops no other one, and says why at each run; one that is no longer named still gives back what
//! was rented from it, as long as its key is there.

use crate::ec2::{self, Ec2};
use crate::provider::{Charge, Keeps, Machine, NotMade, Order, Provider};
use crate::vast::{self, Vast, Wanted};
use anyhow::{Context, bail};
use async_trait::async_trait;
use kiln_core::pool::Policy;
use kiln_core::pool::offers::Offer;
use kiln_core::time::{Millis, seconds};
use kiln_core::{kinds, models};
use kiln_http::App;
use kiln_http::pay::UNSET;
use std::collections::BTreeSet;

const NAMES: &str = "KILN_PROVIDERS";
/// The parameter that holds the key of the account at Vast.ai.
const VAST_KEY: &str = "vast-api-key";

/// The providers of one run.
pub struct Providers(pub(crate) Vec<Box<dyn Provider>>);

impl Providers {
    pub fn new(all: Vec<Box<dyn Provider>>) -> Self {
        Self(all)
    }

    /// Those that `KILN_PROVIDERS` names, separated by commas. `local` is the machine that this process runs on, where it has one to offer.
    pub async fn named(app: &App, local: Option<Box<dyn Provider>>) -> Self {
        let named = app.env(NAMES).unwrap_or_default();
        let names: BTreeSet<&str> = named.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
        let mut all: Vec<Box<dyn Provider>> = Vec::new();
        for name in &names {
            match *name {
                "vast" | "ec2" | "local" => {}
                other => all.push(Broken::boxed(other, format!("{NAMES} names {other:?}; there are: local, vast, ec2"))),
            }
        }
        match (local, names.contains("local")) {
            (Some(local), true) => all.push(local),
            (None, true) => all.push(Broken::boxed("local", format!("{NAMES} names local, which only a system on one machine can be"))),
            // What ran here before still ends here.
            (Some(local), false) => all.push(Box::new(OnlyGivesBack(local))),
            (None, false) => {}
        }
        match vast(app, names.contains("vast")).await {
            Ok(Some(vast)) => all.push(vast),
            Ok(None) => {}
            Err(error) => all.push(Broken::boxed("vast", format!("{error:#}"))),
        }
        all.extend(ec2(app, names.contains("ec2")));
        Self(all)
    }

    pub fn all(&self) -> impl Iterator<Item = &dyn Provider> {
        self.0.iter().map(AsRef::as_ref)
    }

    pub fn of(&self, name: &str) -> Option<&dyn Provider> {
        self.all().find(|provider| provider.name() == name)
    }

    /// The provider of a machine that is there.
    pub(crate) fn must(&self, name: &str) -> anyhow::Result<&dyn Provider> {
        self.of(name).with_context(|| format!("the machine is at {name}, which {NAMES} no longer names and no key is there for: it can't be given back"))
    }

    /// What a boot takes, as long as none was measured: the longest of those that rent.
    pub(crate) fn usual_boot(&self) -> Millis {
        self.all().filter(|provider| provider.rents()).map(Provider::usual_boot).max().unwrap_or(seconds(180))
    }

    /// What a start of a machine that is kept stopped takes, as long as none was measured: the longest of those that keep any; `None` where none does.
    pub(crate) fn usual_resume(&self) -> Option<Millis> {
        self.keep().map(|keeps| keeps.usual).max()
    }

    fn keep(&self) -> impl Iterator<Item = Keeps> {
        self.all().filter(|provider| provider.rents()).filter_map(Provider::keeps)
    }

    /// How its provider keeps such a machine; `None` where it is no longer rented from.
    pub(crate) fn keeps(&self, provider: &str) -> Option<Keeps> {
        self.of(provider).filter(|provider| provider.rents()).and_then(Provider::keeps)
    }

    /// Whether all of them are the operator's own.
    pub(crate) fn own(&self) -> bool {
        self.all().all(Provider::own)
    }
}

/// Vast.ai, where its key is known; else nothing, or an error where it is named.
async fn vast(app: &App, named: bool) -> anyhow::Result<Option<Box<dyn Provider>>> {
    let key = app.secrets().get(VAST_KEY).await;
    let key = match key {
        Ok(key) if &*key != UNSET => key,
        Ok(_) if !named => return Ok(None),
        Ok(_) => bail!("{NAMES} names vast, and there is no key of an account: deploy with VAST_API_KEY in the environment"),
        // A system of an older template has no such parameter.
        Err(_) if !named => return Ok(None),
        Err(error) => return Err(error).context("the key of the account at Vast.ai"),
    };
    let url = app.env("VAST_URL").unwrap_or(vast::URL);
    // With a key, what is rented can always be given back, whatever is wrong with what is to be rented.
    let gives_back = |wanted| Ok(Some(Box::new(Vast::new(url, &key, wanted)?.only_gives_back()) as Box<dyn Provider>));
    if !named {
        return gives_back(Wanted::nothing());
    }
    match wanted(app) {
        Ok(wanted) => Ok(Some(Box::new(Vast::new(url, &key, wanted)?))),
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "nothing can be rented at vast; what is rented there is still given back");
            gives_back(Wanted::nothing())
        }
    }
}

/// EC2, where it is set up, which is what gives the function its rights there; else nothing, or why not where it is named.
fn ec2(app: &App, named: bool) -> Option<Box<dyn Provider>> {
    if app.env("KILN_EC2_SUBNETS").is_none() {
        let why = format!("{NAMES} names ec2, and KILN_EC2_SUBNETS names no subnet: deploy with the parameters Ec2VpcId, Ec2Subnets and Ec2Image");
        return named.then(|| Broken::boxed("ec2", why));
    }
    let wanted = ec2::Wanted::from_env(|name| app.env(name), &app.region(), app.public_url(), app.settings().boot_s).map_err(|error| format!("{error:#}"));
    // The variable is the SDK's own.
    let ec2 = Ec2::new(app.aws(), app.env("AWS_ENDPOINT_URL_EC2"), wanted, ec2::Times::default());
    Some(Box::new(if named { ec2 } else { ec2.only_gives_back() }))
}

/// What a machine that can do all that is offered downloads of models, in GB of 10⁹ bytes.
fn models_gb() -> f64 {
    models::bytes(&kinds::CAPABILITIES.map(str::to_owned)) as f64 / 1e9
}

/// What is rented.
fn wanted(app: &App) -> anyhow::Result<Wanted> {
    let number = |name: &str, usual: u32| app.env(name).map_or(Ok(usual), |text| text.parse::<u32>().with_context(|| format!("{name} is no whole number")));
    let Some(image) = app.env("KILN_WORKER_IMAGE") else { bail!("KILN_WORKER_IMAGE names no container of the worker") };
    let wanted = Wanted {
        image: image.to_owned(),
        download_gb: f64::from(number("KILN_WORKER_IMAGE_GB", 6)?) + models_gb(),
        disk_gb: number("KILN_WORKER_DISK_GB", 32)?,
        api_url: app.public_url().to_owned(),
        max_life_s: u64::from(number("KILN_MAX_LIFE_S", 86_400)?),
    };
    wanted.check()?;
    Ok(wanted)
}

/// A provider that nothing is rented from any more.
struct OnlyGivesBack(Box<dyn Provider>);

#[async_trait]
impl Provider for OnlyGivesBack {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn own(&self) -> bool {
        self.0.own()
    }

    fn rents(&self) -> bool {
        false
    }

    fn lists_at_once(&self) -> bool {
        self.0.lists_at_once()
    }

    async fn offers(&self, _: &Policy) -> anyhow::Result<Vec<Offer>> {
        Ok(vec![])
    }

    async fn list(&self) -> anyhow::Result<Vec<Machine>> {
        self.0.list().await
    }

    async fn is_gone(&self, provider_id: &str) -> anyhow::Result<bool> {
        self.0.is_gone(provider_id).await
    }

    async fn was_taken(&self, provider_id: &str, lived: Millis) -> anyhow::Result<bool> {
        self.0.was_taken(provider_id, lived).await
    }

    async fn charges(&self, day: Millis) -> anyhow::Result<Option<Vec<Charge>>> {
        self.0.charges(day).await
    }

    async fn create(&self, _: &Order) -> Result<String, NotMade> {
        Err(NotMade::Refused(anyhow::anyhow!("{NAMES} does not name {}", self.name())))
    }

    async fn destroy(&self, provider_id: &str) -> anyhow::Result<()> {
        self.0.destroy(provider_id).await
    }
}

/// A provider that can't be set up: it lists nothing, so that nothing of it is believed gone, and rents nothing.
struct Broken {
    name: &'static str,
    why: String,
}

impl Broken {
    fn boxed(name: &str, why: String) -> Box<dyn Provider> {
        let known = ["vast", "ec2", "local"].into_iter().find(|known| *known == name);
        Box::new(Self { name: known.unwrap_or("unknown"), why })
    }

    fn why(&self) -> anyhow::Error {
        anyhow::anyhow!("{}", self.why)
    }
}

#[async_trait]
impl Provider for Broken {
    fn name(&self) -> &'static str {
        self.name
    }

    fn own(&self) -> bool {
        false
    }

    fn rents(&self) -> bool {
        false
    }

    async fn offers(&self, _: &Policy) -> anyhow::Result<Vec<Offer>> {
        Err(self.why())
    }

    async fn list(&self) -> anyhow::Result<Vec<Machine>> {
        Err(self.why())
    }

    async fn is_gone(&self, _: &str) -> anyhow::Result<bool> {
        Err(self.why())
    }

    async fn create(&self, _: &Order) -> Result<String, NotMade> {
        Err(NotMade::Refused(self.why()))
    }

    async fn destroy(&self, _: &str) -> anyhow::Result<()> {
        Err(self.why())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool_tests::process_with;

    #[tokio::test]
    async fn what_a_rental_downloads_is_the_image_as_it_is_set_and_each_model_once() {
        let memory = kiln_dynamo::Memory::new(1);
        let download_gb = async |more: &[(&str, &str)]| wanted(&process_with(&memory, more).await).unwrap().download_gb;
        let (image, usual) = (("KILN_WORKER_IMAGE", "kiln/worker:1"), download_gb(&[("KILN_WORKER_IMAGE", "kiln/worker:1")]).await);
        assert!(models_gb() > 0.0 && (usual - 6.0 - models_gb()).abs() < 1e-9, "{usual}");
        assert!((download_gb(&[image, ("KILN_WORKER_IMAGE_GB", "40")]).await - 40.0 - models_gb()).abs() < 1e-9);
        let none = wanted(&process_with(&memory, &[]).await).unwrap_err().to_string();
        assert!(none.contains("KILN_WORKER_IMAGE "), "{none}");
    }
}
