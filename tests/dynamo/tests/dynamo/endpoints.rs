//! Endpoints that are changed at once: the account's sum of wanted events is always that of its enabled endpoints, or events are lost.

use anyhow::{Context, Result, ensure};
use kiln_core::hooks::{EventType, Wanted};
use kiln_core::ids::{AccountId, EndpointId};
use kiln_dynamo::{Memory, TABLE};
use kiln_store::hooks::{Endpoint, Saved};
use kiln_store::table::{absent, to_item};
use kiln_store::{Account, AccountKind, Table, keys};

const NOW: i64 = 1_763_721_600_000;

fn account_id() -> AccountId {
    AccountId::new(NOW, 1)
}

fn endpoint(n: u128, enabled: bool) -> Result<Endpoint> {
    Ok(Endpoint {
        v: 1,
        endpoint_id: EndpointId::new(NOW, n),
        account_id: account_id(),
        url: format!("https://hooks.example.com/{n}"),
        events: Wanted::parse(vec!["job.*".into()])?,
        enabled,
        disabled_because: None,
        disabled_at: None,
        secret: "sealed".into(),
        old_secret: None,
        old_secret_until: None,
        created_at: NOW,
        failing_since: None,
        paused_until: None,
        rev: 0,
        owed_shard: None,
        next_check_at: None,
        told: 0,
    })
}

/// An account with two endpoints for `job.*`: the first is enabled, the second is not.
async fn world(memory: &Memory) -> Result<Table> {
    let table = Table::new(&memory.sdk_config(), TABLE);
    let account = Account::new(account_id(), AccountKind::Person, 0, NOW);
    table.put(to_item(&keys::account(&account_id()), &account)?, Some(absent())).await?;
    for (n, enabled) in [(1, true), (2, false)] {
        let read = table.endpoints(&account_id()).await?;
        ensure!(table.save_endpoint(&read, endpoint(n, enabled)?).await? == Saved::Done);
    }
    Ok(table)
}

/// Enables or disables one, as the API does: read, decide, write, and read again where something moved.
async fn switch(table: &Table, n: u128, enabled: bool) -> Result<()> {
    loop {
        let read = table.endpoints(&account_id()).await?;
        let mut after = read.find(&EndpointId::new(NOW, n)).context("the endpoint")?.clone();
        after.enabled = enabled;
        if table.save_endpoint(&read, after).await? == Saved::Done {
            return Ok(());
        }
    }
}

async fn wants_jobs(table: &Table) -> Result<bool> {
    let account = table.account(&account_id()).await?.context("the account")?;
    Ok(account.counters.hook_events.wants(EventType::JobFailed))
}

#[tokio::test]
async fn a_change_that_relies_on_a_sum_which_is_gone_is_refused() -> Result<()> {
    let table = world(&Memory::new(1)).await?;
    let read = table.endpoints(&account_id()).await?;
    switch(&table, 1, false).await?;
    ensure!(!wants_jobs(&table).await?);
    // By what it has read the sum is `job.*` already, so there is nothing in it to write.
    let mut second = read.find(&EndpointId::new(NOW, 2)).context("the second")?.clone();
    second.enabled = true;
    ensure!(table.save_endpoint(&read, second).await? == Saved::Moved);
    switch(&table, 2, true).await?;
    ensure!(wants_jobs(&table).await?);
    Ok(())
}

#[tokio::test]
async fn a_sum_that_leaves_out_an_endpoint_enabled_since_is_refused() -> Result<()> {
    let table = world(&Memory::new(1)).await?;
    let read = table.endpoints(&account_id()).await?;
    // It changes nothing in the sum, and yet the other one may not write what it has added up without it.
    switch(&table, 2, true).await?;
    let mut first = read.find(&EndpointId::new(NOW, 1)).context("the first")?.clone();
    first.enabled = false;
    ensure!(table.save_endpoint(&read, first).await? == Saved::Moved);
    switch(&table, 1, false).await?;
    ensure!(wants_jobs(&table).await?);
    Ok(())
}

#[tokio::test]
async fn what_leaves_an_endpoint_s_events_as_they_are_is_in_no_other_s_way() -> Result<()> {
    let table = world(&Memory::new(1)).await?;
    let read = table.endpoints(&account_id()).await?;
    switch(&table, 2, true).await?;
    let mut moved = read.find(&EndpointId::new(NOW, 1)).context("the first")?.clone();
    moved.url = "https://hooks.example.com/moved".into();
    ensure!(table.save_endpoint(&read, moved).await? == Saved::Done);
    ensure!(wants_jobs(&table).await?);
    Ok(())
}

#[tokio::test]
async fn one_endpoint_disabled_and_another_enabled_at_once_leave_the_events_wanted() -> Result<()> {
    for seed in 0..64 {
        let memory = Memory::new(seed);
        let table = world(&memory).await?;
        // Each call takes its turns, so that both have read before either writes, in one order or the other.
        memory.yields(0..=3);
        let (off, on) = futures::join!(switch(&table, 1, false), switch(&table, 2, true));
        off?;
        on?;
        let enabled: Vec<bool> = table.endpoints(&account_id()).await?.all.iter().map(|endpoint| endpoint.enabled).collect();
        ensure!(enabled == [true, false], "newest first: {enabled:?}");
        ensure!(wants_jobs(&table).await?, "seed {seed}: an enabled endpoint is told of nothing");
    }
    Ok(())
}
