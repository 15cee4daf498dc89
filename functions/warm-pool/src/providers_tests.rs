//! Several providers at once.

use crate::pool_tests::{KEY, World, one};
use crate::{Machine, NotMade, Order, Provider, Providers, handle};
use kiln_core::pool::Policy;
use kiln_core::pool::offers::Offer;
use kiln_dynamo::TABLE;
use kiln_http::App;
use kiln_store::Instance;
use serde_json::json;
use std::sync::Mutex;

/// The operator's own machine, with room for so many.
pub(crate) struct Own(pub(crate) usize, pub(crate) Mutex<Vec<Machine>>);

#[async_trait::async_trait]
impl Provider for Own {
    fn name(&self) -> &'static str {
        "local"
    }
    fn own(&self) -> bool {
        true
    }
    fn most(&self) -> Option<usize> {
        Some(self.0)
    }
    fn lists_at_once(&self) -> bool {
        true
    }
    async fn offers(&self, _: &Policy) -> anyhow::Result<Vec<Offer>> {
        Ok(vec![])
    }
    async fn list(&self) -> anyhow::Result<Vec<Machine>> {
        Ok(self.1.lock().unwrap().clone())
    }
    async fn is_gone(&self, id: &str) -> anyhow::Result<bool> {
        Ok(self.1.lock().unwrap().iter().all(|machine| machine.provider_id != id))
    }
    async fn create(&self, order: &Order) -> Result<String, NotMade> {
        let mut machines = self.1.lock().unwrap();
        let id = format!("{}", machines.len());
        machines.push(Machine { provider_id: id.clone(), label: order.label.clone(), running: true, ..Machine::default() });
        Ok(id)
    }
    async fn destroy(&self, id: &str) -> anyhow::Result<()> {
        self.1.lock().unwrap().retain(|machine| machine.provider_id != id);
        Ok(())
    }
}

#[tokio::test]
async fn of_several_providers_the_own_machine_is_taken_first_and_one_s_trouble_is_not_the_others() {
    let mut world = World::with(Policy { desired_size: 3, ..one() }).await;
    let vast = std::mem::replace(&mut world.vast, Providers::new(vec![]));
    let Providers(mut all) = vast;
    all.insert(0, Box::new(Own(2, Mutex::default())));
    world.vast = Providers(all);
    assert_eq!(world.run().await["started"], 3);
    let of = |known: &[Instance], name: &str| known.iter().filter(|instance| instance.provider == name).count();
    let known = world.known().await;
    assert_eq!((of(&known, "local"), of(&known, "vast"), world.exist().await.len()), (2, 1, 1));
    // While the one can't be read, the other is still acted for.
    world.fault(json!({ "kind": "error", "until_cleared": true })).await;
    world.set(Policy { safe_mode: true, ..one() }).await;
    world.run().await;
    world.run().await;
    let known = world.known().await;
    assert_eq!((of(&known, "local"), of(&known, "vast")), (0, 1));
}

#[tokio::test]
async fn a_provider_that_can_t_be_set_up_says_why_and_one_that_is_no_longer_named_still_gives_back() {
    let world = World::with(one()).await;
    let named = async |providers: &str, key: Option<&str>| {
        let env = [("KILN_STAGE", "local"), ("KILN_TABLE", TABLE), ("KILN_SECRETS_PREFIX", "/kiln/"), ("KILN_PROVIDERS", providers)];
        let more = [("VAST_URL", world.url.as_str()), ("KILN_WORKER_IMAGE", "kiln/worker:1"), ("KILN_PUBLIC_URL", "https://kiln.example.org")];
        if let Some(key) = key {
            world.memory.put_parameter("/kiln/vast-api-key", key);
        }
        let env = env.into_iter().chain(more).map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Providers::named(&App::on(env, world.memory.sdk_config()).await.unwrap(), None).await
    };
    let why = async |providers: &Providers, name: &str| format!("{:#}", providers.of(name).unwrap().list().await.unwrap_err());
    let none = named("vast, local,mars", Some("unset")).await;
    assert!(why(&none, "vast").await.contains("deploy with VAST_API_KEY"));
    assert!(why(&none, "local").await.contains("one machine"));
    assert!(why(&none, "unknown").await.contains("\"mars\"; there are: local, vast"));
    assert!(none.all().all(|provider| !provider.rents()));
    let set_up = named("vast", Some(KEY)).await;
    assert!(set_up.of("vast").unwrap().rents());
    handle(&world.app, &set_up, json!({})).await.unwrap();
    assert_eq!(world.exist().await.len(), 1);
    // The setting is taken back while a machine runs: it is given back, and none is rented.
    let dropped = named("", None).await;
    assert!(!dropped.of("vast").unwrap().rents());
    world.set(Policy { safe_mode: true, ..one() }).await;
    handle(&world.app, &dropped, json!({})).await.unwrap();
    assert_eq!(world.exist().await, []);
    world.set(one()).await;
    let done = handle(&world.app, &dropped, json!({})).await.unwrap();
    assert_eq!((done["started"].clone(), world.exist().await.len()), (json!(0), 0));
}
