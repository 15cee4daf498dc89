//! What a worker's own words leave in its machine's row.

use crate::rent::{NOW, instance, table};
use anyhow::{Context, Result, ensure};
use kiln_core::fleet::Stage;
use kiln_core::ids::InstanceId;
use kiln_core::time::{Millis, seconds};
use kiln_dynamo::Memory;
use kiln_store::table::to_item;
use kiln_store::{Instance, Said, Table, keys};

const TOKEN: &str = "the hash of its token";

/// A machine whose worker has just registered.
async fn registered(table: &Table) -> Result<InstanceId> {
    let row = Instance { boot_hash: Some("boot".into()), ..instance(1) };
    ensure!(table.put(to_item(&keys::instance(&row.instance_id), &row)?, None).await?);
    ensure!(table.register(&row.instance_id, "boot", TOKEN, &said(), at(10)).await?);
    Ok(row.instance_id)
}

fn said() -> Said<'static> {
    Said { capabilities: &[], version: "1", gpu: None }
}

fn at(s: u64) -> Millis {
    NOW + seconds(s)
}

async fn beats(table: &Table, id: &InstanceId, stage: Stage, s: u64) -> Result<Instance> {
    table.beat(id, TOKEN, stage, None, at(s)).await?.context("its token")
}

#[tokio::test]
async fn how_long_a_worker_loads_is_counted_from_when_it_registered_and_from_no_other_word() -> Result<()> {
    let table = table(&Memory::new(1));
    let id = registered(&table).await?;
    // The same again is as good as once.
    ensure!(table.register(&id, "boot", TOKEN, &said(), at(15)).await?);
    let row = table.beat(&id, TOKEN, Stage::Loading, Some("models"), at(20)).await?.context("its token")?;
    ensure!((row.loading_since, row.boot_stage.as_deref(), row.restarts) == (Some(at(10)), Some("models"), 0), "{row:?}");
    let row = beats(&table, &id, Stage::Ready, 30).await?;
    ensure!((row.loading_since, row.boot_stage.as_deref(), row.ready_at) == (None, None, Some(at(30))), "{row:?}");
    // Ready, it has nothing to load.
    ensure!(beats(&table, &id, Stage::Loading, 40).await?.loading_since.is_none());
    for s in [50, 60] {
        ensure!(table.register_again(&id, TOKEN, TOKEN, &said(), at(s)).await?);
    }
    let row = beats(&table, &id, Stage::Loading, 70).await?;
    ensure!((row.loading_since, row.restarts) == (Some(at(50)), 2), "{row:?}");
    // Whoever begins again has had no job meanwhile.
    ensure!(row.idle_since == NOW, "{row:?}");
    Ok(())
}

#[tokio::test]
async fn a_worker_that_says_that_it_leaves_is_not_believed_that_it_stays() -> Result<()> {
    let table = table(&Memory::new(2));
    let id = registered(&table).await?;
    ensure!(!beats(&table, &id, Stage::Ready, 20).await?.drain);
    for (stage, s) in [(Stage::Draining, 30), (Stage::Draining, 40), (Stage::Ready, 50)] {
        let row = beats(&table, &id, stage, s).await?;
        ensure!((row.drain, row.drained_at, row.leaves_at) == (true, Some(at(30)), Some(at(30))) && !row.was_asked_to_go(), "{row:?}");
    }
    // One that was asked to go says the same, later.
    let row = Instance { instance_id: InstanceId::new(NOW, 2), token_hash: Some(TOKEN.into()), ..instance(2) };
    ensure!(table.put(to_item(&keys::instance(&row.instance_id), &row)?, None).await?);
    table.drain(&row.instance_id, at(30)).await?;
    let row = beats(&table, &row.instance_id, Stage::Draining, 40).await?;
    ensure!((row.drain, row.drained_at, row.leaves_at) == (true, Some(at(30)), Some(at(40))) && row.was_asked_to_go(), "{row:?}");
    Ok(())
}

#[tokio::test]
async fn what_its_provider_says_of_a_machine_counts_until_its_worker_speaks() -> Result<()> {
    let table = table(&Memory::new(3));
    let row = Instance { boot_hash: Some("boot".into()), ..instance(1) };
    let id = row.instance_id.clone();
    ensure!(table.put(to_item(&keys::instance(&id), &row)?, None).await?);
    let says = async || -> Result<(Option<String>, Option<String>)> {
        let row = table.instance(&id).await?.context("the row")?;
        Ok((row.boot_stage, row.provider_says))
    };
    table.comes_up(&id, "pulling", Some("Pulling it.")).await?;
    ensure!(says().await? == (Some("pulling".into()), Some("Pulling it.".into())));
    // Where it says no more, its last words stand.
    table.comes_up(&id, "starting", None).await?;
    ensure!(says().await? == (Some("starting".into()), Some("Pulling it.".into())));
    ensure!(table.register(&id, "boot", TOKEN, &said(), at(10)).await?);
    table.comes_up(&id, "pulling", Some("late")).await?;
    ensure!(says().await? == (None, Some("Pulling it.".into())));
    // Of one that is gone nothing is written.
    table.comes_up(&InstanceId::new(NOW, 9), "pulling", None).await?;
    ensure!(table.instance(&InstanceId::new(NOW, 9)).await?.is_none());
    Ok(())
}

#[tokio::test]
async fn a_boot_token_works_until_its_deadline_and_late_it_registers_nothing() -> Result<()> {
    let table = table(&Memory::new(3));
    let row = Instance { boot_hash: Some("boot".into()), ..instance(1) };
    ensure!(table.put(to_item(&keys::instance(&row.instance_id), &row)?, None).await?);
    for late in [600, 601, 86_400] {
        ensure!(!table.register(&row.instance_id, "boot", TOKEN, &said(), at(late)).await?, "{late} s after its order");
        ensure!(!table.boot_again(&row.instance_id, "boot").await?);
        ensure!(table.instance(&row.instance_id).await?.as_ref() == Some(&row));
    }
    ensure!(table.register(&row.instance_id, "boot", TOKEN, &said(), at(599)).await?);
    Ok(())
}
