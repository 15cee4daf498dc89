//! A backup restored beside its source, at one account of the provider: neither touches the other's machines (invariant 8).

use crate::POOL;
use crate::Providers;
use crate::pool_tests::{KEY, World, one};
use crate::vast::{Pace, Vast, Wanted};
use kiln_core::fleet::Stage;
use kiln_core::pool::Policy;
use kiln_core::time::seconds;
use kiln_store::Instance;
use serde_json::json;

async fn put(world: &World, instance: &Instance) {
    let item = kiln_store::table::to_item(&kiln_store::keys::instance(&instance.instance_id), instance).unwrap();
    assert!(world.app.table().put(item, None).await.unwrap());
}

/// Two machines of the source, working; and a world at the same account into whose table their rows were restored, days later.
async fn beside() -> (World, World) {
    let source = World::with(Policy { desired_size: 2, ..one() }).await;
    source.run().await;
    let mut restored = World::with(one()).await;
    let wanted = Wanted { image: "kiln/worker:1".into(), download_gb: 5.0, disk_gb: 20, api_url: "https://kiln.example.org".into(), max_life_s: 86_400 };
    restored.vast = Providers::new(vec![Box::new(Vast::new(&source.url, KEY, wanted).unwrap().at_pace(Pace::NONE))]);
    let old = source.app.now() - seconds(86_400);
    for instance in source.known().await {
        put(&restored, &Instance { stage: Stage::Ready, requested_at: old, heartbeat_at: Some(old), ready_at: Some(old), told: None, ..instance }).await;
    }
    (source, restored)
}

async fn destroys(world: &World) -> usize {
    world.came(0).await.iter().filter(|(method, _)| method == "DELETE").count()
}

#[tokio::test]
async fn a_restored_table_drops_its_source_s_rows_and_leaves_the_machines_alone() {
    let (source, restored) = beside().await;
    for _ in 0..3 {
        restored.run().await;
    }
    let (theirs, own) = (source.known().await, restored.known().await);
    assert_eq!((source.exist().await.len(), destroys(&source).await, own.len()), (3, 0, 1), "{own:?}");
    assert!(theirs.iter().all(|known| known.instance_id != own[0].instance_id));
    // Also where it ends all that it has.
    restored.set(Policy { safe_mode: true, ..one() }).await;
    restored.run().await;
    let left: Vec<String> = source.exist().await.into_iter().map(|(id, _)| id.to_string()).collect();
    assert!(left.len() == 2 && theirs.iter().all(|known| left.contains(known.provider_id.as_ref().unwrap())), "{left:?}");
    // And the source goes on.
    assert_eq!(source.run().await["started"], 0);
}

#[tokio::test]
async fn nor_does_it_end_them_while_the_list_can_t_be_read() {
    for policy in [one(), Policy { safe_mode: true, ..one() }] {
        let (source, restored) = beside().await;
        restored.set(policy).await;
        source.fault(json!({ "kind": "error", "method": "GET", "until_cleared": true })).await;
        restored.run().await;
        assert_eq!((source.exist().await.len(), destroys(&source).await, restored.known().await.len()), (2, 0, 0));
    }
}

#[tokio::test]
async fn a_machine_that_carries_another_s_label_by_now_is_not_acted_on_and_one_whose_label_the_list_lacks_is_ours() {
    // (what somebody writes on it, whether it is ours)
    for (label, ours) in [("my training run", false), ("kiln/kiln.another/main/ins_1", false), ("", true)] {
        let world = World::with(one()).await;
        world.run().await;
        let id = world.exist().await[0].0;
        let body = json!({ "label": label });
        let http = reqwest::Client::new();
        let changed = http.put(format!("{}/api/v0/instances/{id}/", world.url)).bearer_auth(KEY).json(&body).send().await.unwrap();
        assert!(changed.status().is_success(), "{}", changed.text().await.unwrap());
        world.set(Policy { safe_mode: true, ..one() }).await;
        world.run().await;
        assert_eq!((world.exist().await.is_empty(), destroys(&world).await), (ours, usize::from(ours)), "{label:?}");
        let run = world.app.table().fleet(POOL).await.unwrap().run;
        assert_eq!((world.known().await.len(), run.avoid.len()), (usize::from(ours), 0), "{label:?}");
    }
}
