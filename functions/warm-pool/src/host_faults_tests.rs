//! Hosts that fail what others do, against the stand-in for Vast.ai and a table in memory: which are left, and which stay whatever a customer sends.

use crate::pool_tests::{World, idle, one};
use crate::{Machine, NotMade, Order, POOL, Provider, Providers};
use kiln_core::fleet::Stage;
use kiln_core::pool::Policy;
use kiln_core::pool::offers::Offer;
use kiln_core::time::seconds;
use serde_json::json;
use std::sync::Mutex;

/// Jobs of an account that failed at a host and were done at another.
async fn faults(world: &World, host: &str, account: u128, jobs: u64) {
    use kiln_store::table::{n, s};
    let now = world.app.now();
    let (key, day) = (kiln_store::keys::fault(host, &kiln_core::ids::AccountId::new(1, account)), format!("on{}", now.div_euclid(86_400_000)));
    let item = [("pk", s(key.pk)), ("sk", s(key.sk)), (day.as_str(), n(jobs))];
    assert!(world.app.table().put(item.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(), None).await.unwrap());
}

#[tokio::test]
async fn a_host_that_fails_what_others_do_is_drained_and_left_and_half_of_the_fleet_stays_whatever_fails() {
    let world = World::with(Policy { desired_size: 2, max: 2, ..one() }).await;
    world.run().await;
    let now = world.app.now();
    world
        .change(|instance| (instance.stage, instance.ready_at, instance.heartbeat_at, instance.slot_attempt) = (Stage::Ready, Some(now), Some(now), None))
        .await;
    let mut hosts: Vec<_> = world.known().await.into_iter().map(|instance| instance.host).collect();
    hosts.dedup();
    assert_eq!(hosts.len(), 2, "two hosts");
    faults(&world, &hosts[0], 1, 2).await;
    assert_eq!(world.run().await["started"], 0, "two are an accident");
    faults(&world, &hosts[0], 2, 1).await;
    faults(&world, &hosts[1], 1, 9).await;
    let done = world.run().await;
    // The one where more failed; the other one stays, and is not replaced before the first has gone.
    let known = world.known().await;
    let drained: Vec<_> = known.iter().filter(|instance| instance.drain).map(|instance| instance.host.clone()).collect();
    assert_eq!((drained, done["started"].clone()), (vec![hosts[1].clone()], json!(1)), "{known:?}");
    let run = world.app.table().fleet(POOL).await.unwrap().run;
    assert_eq!((run.avoid_why.get(&hosts[1]).map(String::as_str), run.told[0].reason.as_str()), (Some("quarantined"), "quarantined"), "{run:?}");
    assert!(run.avoid[&hosts[1]] >= now + seconds(86_400));
    // Whatever fails now, the others stay.
    for instance in world.known().await {
        faults(&world, &instance.host, 1, 50).await;
        faults(&world, &instance.host, 2, 50).await;
    }
    world.run().await;
    assert_eq!(world.known().await.iter().filter(|instance| !instance.drain).count(), 2);
    // A machine of that host that comes late, or that a run which died has not asked to go, goes too.
    world.change(|instance| (instance.drain, instance.drained_at) = (false, None)).await;
    world.run().await;
    let known = world.known().await;
    assert!(known.iter().all(|instance| instance.drain == (instance.host == hosts[1])), "{known:?}");
}

/// A provider of one kind of machine, and any number of it.
#[derive(Default)]
struct Kind(Mutex<Vec<Machine>>);

#[async_trait::async_trait]
impl Provider for Kind {
    fn name(&self) -> &'static str {
        "kind"
    }
    fn own(&self) -> bool {
        false
    }
    fn has_many(&self) -> bool {
        true
    }
    async fn offers(&self, _: &Policy) -> anyhow::Result<Vec<Offer>> {
        Ok(vec![Offer {
            provider: "kind".into(),
            id: "a".into(),
            host: "kind-a".into(),
            gpu: "L4".into(),
            rate: kiln_core::pool::budget::Rate { microusd_per_hour: 500_000, microusd_once: 0 },
            reliability: 0.99,
            speed: 1.0,
            interruptible: false,
            bid_microusd_per_hour: None,
            disk_microusd_per_hour: None,
            machine: None,
        }])
    }
    async fn list(&self) -> anyhow::Result<Vec<Machine>> {
        Ok(self.0.lock().unwrap().clone())
    }
    async fn is_gone(&self, id: &str) -> anyhow::Result<bool> {
        Ok(self.0.lock().unwrap().iter().all(|machine| machine.provider_id != id))
    }
    async fn create(&self, order: &Order) -> Result<String, NotMade> {
        let provider_id = order.instance_id.to_string();
        self.0.lock().unwrap().push(Machine { provider_id: provider_id.clone(), label: order.label.clone(), running: true, ..Machine::default() });
        Ok(provider_id)
    }
    async fn destroy(&self, id: &str) -> anyhow::Result<()> {
        self.0.lock().unwrap().retain(|machine| machine.provider_id != id);
        Ok(())
    }
}

#[tokio::test]
async fn machines_of_one_offer_are_hosts_of_their_own_and_what_does_not_boot_is_avoided_by_the_offer() {
    let mut world = World::with(Policy { desired_size: 3, ..one() }).await;
    world.vast = Providers::new(vec![Box::new(Kind::default())]);
    assert_eq!(world.run().await["started"], 3);
    let now = world.app.now();
    world.change(|instance| idle(instance, now, 10)).await;
    let known = world.known().await;
    let hosts: std::collections::BTreeSet<_> = known.iter().map(|instance| instance.host.clone()).collect();
    assert!(hosts.len() == 3 && known.iter().all(|instance| instance.avoided_as() == "kind-a"), "{known:?}");
    // What fails at one of them is counted against it, and the others stay.
    faults(&world, &known[1].host, 1, 3).await;
    world.run().await;
    let drained: Vec<_> = world.known().await.into_iter().filter(|instance| instance.drain).map(|instance| instance.host).collect();
    assert_eq!(drained, [known[1].host.clone()]);
    // Another was rented in its place; it does not boot, so none of its kind is rented for a while.
    world
        .change(|instance| {
            if instance.ready_at.is_none() {
                (instance.requested_at, instance.boot_expires_at) = (now - seconds(700), now - 1);
            }
        })
        .await;
    assert_eq!(world.run().await["started"], 0);
    let run = world.app.table().fleet(POOL).await.unwrap().run;
    assert_eq!(run.avoid_why.get("kind-a").map(String::as_str), Some("boot_too_long"), "{run:?}");
}

#[tokio::test]
async fn a_host_where_jobs_succeed_is_not_left_for_one_customer_s_faults_when_one_of_its_machines_goes() {
    let world = World::with(Policy { desired_size: 3, ..one() }).await;
    world.run().await;
    let now = world.app.now();
    world.change(|instance| idle(instance, now, 10)).await;
    let of_two = world.known().await[0].host.clone();
    // (Jobs that each machine has done, faults of one customer), look by look; the first two are one host's.
    let left = async |looks: &[(&[u64], u64)]| {
        let mut run = world.app.table().fleet(POOL).await.unwrap().run;
        let mut told = 0;
        for (done, jobs) in looks {
            faults(&world, &of_two, 1, *jobs).await;
            let mut fleet = world.app.table().fleet(POOL).await.unwrap();
            for (at, instance) in fleet.instances.iter_mut().enumerate() {
                instance.host = if at < 2 { of_two.clone() } else { format!("{at}") };
                instance.timings.add("t.noop.r0", done.get(at).copied().unwrap_or(0));
            }
            // One that has done nothing is gone.
            fleet.instances.retain(|instance| instance.host != of_two || instance.timings.0["noop"].run.count() > 0);
            told = crate::quarantine::quarantine(&world.app, &mut fleet, &mut run).await.len();
        }
        told
    };
    // A hundred jobs of the first and ten of the second before; then five more, and the first machine goes.
    assert_eq!(left(&[(&[100, 10], 1), (&[0, 15], 3)]).await, 0);
    // What succeeded at the machine that goes counts, too.
    assert_eq!(left(&[(&[100, 10], 1), (&[101, 10], 2), (&[0, 10], 3)]).await, 0);
    // What succeeded before the first fault is no excuse.
    assert_eq!(left(&[(&[100, 10], 1), (&[100, 10], 3)]).await, 2);
    world.change(|instance| (instance.drain, instance.drained_at) = (false, None)).await;
    assert_eq!(left(&[(&[100, 10], 1), (&[0, 10], 3)]).await, 1);
}
