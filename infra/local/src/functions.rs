//! The functions themselves, linked into this process: each gets the environment that the template gives it and no other, and is
//! entered where its `bootstrap` enters it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use async_trait::async_trait;
use axum::Router;
use kiln_core::pool::Policy;
use kiln_core::pool::offers::Offer;
use kiln_core::time::{Millis, seconds};
use kiln_deliveries::Net;
use kiln_http::App;
use kiln_warm_pool::{Machine, NotMade, Order, Provider, Providers};
use serde_json::{Value, json};

use crate::gateway::Callable;
use crate::model::{Env, Function};
use crate::workers::Workers;

/// Settings for tests, which no template has: passed on as they are.
const FOR_TESTS: &[&str] = &["KILN_TEST_ENGINES"];
/// On a laptop one person signs in again and again, and no mail is sent: the limits that stop strangers would only be in the way.
const LAPTOP: [(&str, &str); 2] = [("KILN_LINKS_PER_ADDRESS", "1000"), ("KILN_LINKS_PER_IP", "1000")];

/// All functions of the template.
pub struct Linked {
    /// Those behind routes, by logical id.
    pub callables: BTreeMap<String, Callable>,
    /// Those that schedules, queues and topics call, by logical id.
    pub scheduled: BTreeMap<String, Arc<Scheduled>>,
}

/// A function that is called with an event.
pub struct Scheduled {
    pub id: String,
    /// Its physical name, as whoever invokes it names it.
    pub name: String,
    timeout: Duration,
    app: App,
    entry: Entry,
}

enum Entry {
    Deliveries(Net),
    Maintenance,
    Settle,
    WarmPool(Workers),
    SesWebhook,
}

enum Kind {
    Routes(fn(App) -> Router),
    Deliveries,
    Maintenance,
    Settle,
    WarmPool,
    /// Behind a route and called by a topic.
    SesWebhook,
}

/// The crate of each function, by the binary that the template deploys.
fn kind(binary: &str) -> Option<Kind> {
    Some(match binary {
        "kiln-auth" => Kind::Routes(kiln_auth::router),
        "kiln-accounts" => Kind::Routes(kiln_accounts::router),
        "kiln-uploads" => Kind::Routes(kiln_uploads::router),
        "kiln-jobs" => Kind::Routes(kiln_jobs::router),
        "kiln-credits" => Kind::Routes(kiln_credits::router),
        "kiln-billing" => Kind::Routes(kiln_billing::router),
        "kiln-stripe-webhook" => Kind::Routes(kiln_stripe_webhook::router),
        "kiln-studio" => Kind::Routes(kiln_studio::router),
        "kiln-admin" => Kind::Routes(kiln_admin::router),
        "kiln-settle" => Kind::Settle,
        "kiln-shares" => Kind::Routes(kiln_shares::router),
        "kiln-fleet" => Kind::Routes(kiln_fleet::router),
        "kiln-ops" => Kind::Routes(kiln_ops::router),
        "kiln-webhooks" => Kind::Routes(kiln_webhooks::router),
        "kiln-deliveries" => Kind::Deliveries,
        "kiln-maintenance" => Kind::Maintenance,
        "kiln-warm-pool" => Kind::WarmPool,
        "kiln-ses-webhook" => Kind::SesWebhook,
        _ => return None,
    })
}

/// Whether we hold the crate that a function deploys.
pub fn holds(binary: &str) -> bool {
    kind(binary).is_some()
}

/// Makes every function ready; one that the template has and we do not, or whose events it can't take, is an error.
pub async fn link(functions: &[Function], workers: &Workers) -> Result<Linked> {
    let mut linked = Linked { callables: BTreeMap::new(), scheduled: BTreeMap::new() };
    for function in functions {
        let kind = kind(&function.binary)
            .with_context(|| format!("{} deploys {}, which kiln-local does not hold (infra/local/src/functions.rs)", function.id, function.binary))?;
        let app = App::new(function.env.clone()).await.with_context(|| format!("starting {}", function.id))?;
        let (routed, called) = (!function.routes.is_empty(), !function.schedules.is_empty() || !function.queues.is_empty() || !function.topics.is_empty());
        let entry = match kind {
            Kind::Routes(router) if !called => {
                linked.callables.insert(function.id.clone(), Callable { router: router(app), timeout: function.timeout });
                continue;
            }
            Kind::Settle if !routed => Entry::Settle,
            Kind::Deliveries if !routed => Entry::Deliveries(Net::new(app.allows_loopback(), app.settings())?),
            Kind::Maintenance if !routed => Entry::Maintenance,
            Kind::WarmPool if !routed => Entry::WarmPool(workers.clone()),
            Kind::SesWebhook => {
                linked.callables.insert(function.id.clone(), Callable { router: kiln_ses_webhook::router(app.clone()), timeout: function.timeout });
                Entry::SesWebhook
            }
            _ => bail!("{} has events that {} can't take", function.id, function.binary),
        };
        linked
            .scheduled
            .insert(function.id.clone(), Arc::new(Scheduled { id: function.id.clone(), name: function.name.clone(), timeout: function.timeout, app, entry }));
    }
    Ok(linked)
}

impl Scheduled {
    /// One invocation, ended when it takes longer than the template allows. A crash is an error, as in Lambda.
    pub async fn call(self: &Arc<Self>, event: Value) -> Result<Value> {
        let this = self.clone();
        let mut task = tokio::spawn(async move {
            match &this.entry {
                Entry::Settle => kiln_settle::handle(&this.app, event).await,
                Entry::Deliveries(net) => kiln_deliveries::handle(&this.app, net, event).await,
                Entry::Maintenance => kiln_maintenance::handle(&this.app, event).await,
                Entry::WarmPool(workers) => {
                    let providers = Providers::named(&this.app, Some(Box::new(LocalProvider(workers.clone())))).await;
                    kiln_warm_pool::invoked(&this.app, &providers, event).await
                }
                Entry::SesWebhook => kiln_ses_webhook::handle(&this.app, event).await,
            }
        });
        match tokio::time::timeout(self.timeout, &mut task).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(crash)) => bail!("it crashed: {crash}"),
            Err(_) => {
                task.abort();
                bail!("it took more than {} s and was ended", self.timeout.as_secs())
            }
        }
    }
}

/// What the environment of kiln-local itself adds to every function's: settings that it sets override the template's values, and
/// what tests need is passed on. All else a function has from the template.
pub fn override_env(env: &mut Env, own: impl Fn(&str) -> Option<String>) {
    env.extend(LAPTOP.map(|(name, value)| (name.into(), value.into())));
    let settings = kiln_core::settings::Settings::describe().into_iter().map(|(name, ..)| name);
    for name in settings.chain(FOR_TESTS.iter().copied()).chain(["KILN_DEMO", "KILN_PRICES_FILE", "KILN_WEBHOOK_ALLOW_LOOPBACK"]) {
        if let Some(value) = own(name).filter(|value| !value.is_empty()) {
            env.insert(name.into(), value);
        }
    }
    env.insert("KILN_S3_PATH_STYLE".into(), "1".into());
}

/// What each function is, has and is called by, for whoever runs a function's own binary beside this system: scripts and tests.
/// `endpoint` and `region` stand for what Lambda itself would set; credentials are whoever's who runs it and are never written.
pub fn describe(functions: &[Function], endpoint: &str, region: &str) -> Value {
    let described = functions.iter().map(|function| {
        let mut env = function.env.clone();
        env.extend([("AWS_ENDPOINT_URL".into(), endpoint.into()), ("AWS_REGION".into(), region.into())]);
        let routes: Vec<_> = function.routes.iter().map(|route| format!("{} {}", route.method, route.path)).collect();
        let queues: Vec<_> = function.queues.iter().map(|source| &source.queue).collect();
        json!({
            "id": function.id, "binary": function.binary, "timeout_s": function.timeout.as_secs(), "env": env,
            "routes": routes, "schedules": function.schedules, "queues": queues, "topics": function.topics,
        })
    });
    described.collect()
}

/// The provider `local`: a machine is a process. It is trusted, since it is this machine.
struct LocalProvider(Workers);

#[async_trait]
impl Provider for LocalProvider {
    fn name(&self) -> &'static str {
        "local"
    }

    fn own(&self) -> bool {
        true
    }

    fn lists_at_once(&self) -> bool {
        true
    }

    fn most(&self) -> Option<usize> {
        self.0.most()
    }

    fn usual_boot(&self) -> Millis {
        seconds(2)
    }

    async fn offers(&self, _: &Policy) -> Result<Vec<Offer>> {
        Ok(vec![])
    }

    async fn list(&self) -> Result<Vec<Machine>> {
        Ok(self.0.list().into_iter().map(|worker| Machine { provider_id: worker.id, label: worker.label, running: true, ..Machine::default() }).collect())
    }

    async fn is_gone(&self, provider_id: &str) -> Result<bool> {
        Ok(self.0.list().into_iter().all(|worker| worker.id != provider_id))
    }

    async fn create(&self, order: &Order) -> Result<String, NotMade> {
        self.0.create(&order.label, &order.boot_token).await.map_err(NotMade::Refused)
    }

    async fn destroy(&self, provider_id: &str) -> Result<()> {
        self.0.destroy(provider_id);
        Ok(())
    }
}
