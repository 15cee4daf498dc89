//! What the provider charges, held against what was recorded.

use crate::POOL;
use crate::pool_tests::{KEY, World, one};
use kiln_core::pool::Policy;
use kiln_core::time::{Millis, seconds};
use reqwest::Method;
use serde_json::{Value, json};

/// What of this test's days was settled, oldest first: yesterday and today.
async fn settled(world: &World, now: Millis) -> Vec<kiln_store::Charged> {
    let ours = world.known().await.first().map_or("kiln/kiln.".into(), |known| known.label[..known.label.find("main/").unwrap()].to_owned());
    crate::books::settle(&world.app, &world.vast, &ours, now).await.unwrap()
}

/// Committed in the day and the month of a moment.
async fn committed(world: &World, at: Millis) -> [i64; 2] {
    let all = world.app.table().committed(at).await.unwrap();
    let [_, day, month] = kiln_core::pool::budget::windows(at);
    [day, month].map(|window| all.get(&window).copied().unwrap_or(0))
}

#[tokio::test]
async fn what_is_charged_beyond_what_was_recorded_counts_once_and_what_is_not_ours_never() {
    let world = World::with(one()).await;
    world.run().await;
    let (now, id) = (world.app.now(), world.exist().await[0].0);
    let yesterday = now - seconds(86_400);
    // It has been there since noon of yesterday.
    let noon = yesterday.div_euclid(seconds(86_400)) * seconds(86_400) + seconds(43_200);
    world.change(|instance| (instance.requested_at, instance.told) = (noon, None)).await;
    let rate = world.known().await[0].rate;
    let recorded = rate.microusd_per_hour * 12 + rate.microusd_once;
    let before = committed(&world, yesterday).await;
    let surcharge = async |id: u64, microusd: i64| {
        world.control(Method::POST, &format!("instances/{id}/surcharge"), json!({ "usd": microusd as f64 / 1e6, "days_ago": 1 })).await;
    };
    // Less than was recorded: shown, and not given back.
    surcharge(id, recorded - 5_000).await;
    let day = settled(&world, now).await.remove(0);
    assert_eq!((day.recorded_microusd, day.charged_microusd, day.counted_microusd), (recorded, recorded - 5_000, 0));
    assert_eq!((day.day.as_str(), committed(&world, yesterday).await), (&kiln_core::time::rfc3339(yesterday)[..10], before));
    // More: it counts, however often it is settled.
    surcharge(id, 12_000).await;
    for _ in 0..3 {
        let day = settled(&world, now).await.remove(0);
        assert_eq!((day.charged_microusd - day.recorded_microusd, day.counted_microusd), (7_000, 7_000));
        assert_eq!(committed(&world, yesterday).await, before.map(|sum| sum + 7_000));
    }
    // Somebody else's machine in the same account, and one of ours that we don't know: a second one of an order whose answer was lost.
    for (label, counted) in [("my training run", 7_000), (world.known().await[0].label.as_str(), 8_000)] {
        let offers = world.vast.of("vast").unwrap().offers(&Policy::default()).await.unwrap();
        let body = json!({ "client_id": "me", "image": "x", "disk": 10, "label": label });
        let made = world.http.put(format!("{}/api/v0/asks/{}/", world.url, offers.last().unwrap().id)).bearer_auth(KEY).json(&body).send().await.unwrap();
        surcharge(made.json::<Value>().await.unwrap()["new_contract"].as_u64().unwrap(), 1_000).await;
        assert_eq!(settled(&world, now).await[0].counted_microusd, counted, "{label}");
    }
    // The charge is taken back by the provider: the sums follow.
    surcharge(id, -8_000).await;
    assert_eq!((settled(&world, now).await[0].counted_microusd, committed(&world, yesterday).await), (0, before));
    // One that is gone is held against its record.
    let known = world.known().await.remove(0);
    assert!(world.app.table().forget_instance(&known, noon + seconds(3_600)).await.unwrap());
    let day = settled(&world, now).await.remove(0);
    assert_eq!(day.recorded_microusd, rate.microusd_per_hour + rate.microusd_once);
    assert!(day.counted_microusd > 0);
}

#[tokio::test]
async fn charges_that_can_t_be_read_are_asked_for_again_and_change_nothing_until_they_can() {
    let world = World::with(one()).await;
    world.run().await;
    let (now, id) = (world.app.now(), world.exist().await[0].0);
    let yesterday = now - seconds(86_400);
    world.control(Method::POST, &format!("instances/{id}/surcharge"), json!({ "usd": 1.5, "days_ago": 1 })).await;
    let run = world.app.table().fleet(POOL).await.unwrap().run;
    let day = kiln_core::time::rfc3339(yesterday)[..10].to_owned();
    // A run of the first ten minutes of a day leaves it to a later one.
    assert_eq!(run.charges.due(now), !kiln_core::pool::charges::Daily::default().due(now));
    let broken = [json!({ "kind": "error" }), json!({ "kind": "success_false" }), json!({ "kind": "bad_token" })];
    for mut fault in broken {
        (fault["path"], fault["until_cleared"]) = (json!("/api/v0/charges/"), json!(true));
        world.fault(fault.clone()).await;
        crate::books::settle(&world.app, &world.vast, "kiln/", now).await.expect_err(&fault.to_string());
        world.control(Method::DELETE, "faults", Value::Null).await;
        assert!(world.app.table().charges(10).await.unwrap().iter().all(|row| row.day != day || row.charged_microusd == 0), "{fault}");
    }
    // Its answer lost twice, it is asked a third time.
    world.fault(json!({ "kind": "error_applied", "path": "/api/v0/charges/", "times": 2 })).await;
    let before = committed(&world, yesterday).await;
    assert_eq!(settled(&world, now).await[0].counted_microusd, 1_500_000);
    assert_eq!(committed(&world, yesterday).await, before.map(|sum| sum + 1_500_000));
    let rows = world.app.table().charges(10).await.unwrap();
    assert_eq!((rows.len(), rows[1].day.clone(), rows[1].provider.as_str()), (2, day, "vast"));
}
