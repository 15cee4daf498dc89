//! When an endpoint is disabled, on a table in memory.

use super::*;
use kiln_core::hooks::Wanted;
use kiln_dynamo::{Memory, TABLE};
use kiln_store::table::{absent, to_item};
use kiln_store::{Account, AccountKind};

const NOW: Millis = 1_763_721_600_000;

fn account_id() -> AccountId {
    AccountId::new(NOW, 1)
}

fn endpoint() -> Endpoint {
    Endpoint {
        v: 1,
        endpoint_id: EndpointId::new(NOW, 1),
        account_id: account_id(),
        url: "https://hooks.example.com/".into(),
        events: Wanted::default(),
        enabled: true,
        disabled_because: None,
        disabled_at: None,
        secret: "sealed".into(),
        old_secret: None,
        old_secret_until: None,
        created_at: NOW,
        failing_since: Some(NOW),
        paused_until: None,
        rev: 0,
        owed_shard: None,
        next_check_at: None,
        told: 0,
    }
}

/// An account without an address, so that nobody is mailed, and its endpoint, which has failed for long.
async fn world() -> App {
    let env = [("KILN_STAGE", "local"), ("KILN_TABLE", TABLE)].map(|(name, value)| (name.to_owned(), value.to_owned()));
    let app = App::on(env.into(), Memory::new(1).sdk_config()).await.unwrap();
    let account = Account::new(account_id(), AccountKind::Person, 0, NOW);
    assert!(app.table().put(to_item(&keys::account(&account_id()), &account).unwrap(), Some(absent())).await.unwrap());
    let none = app.table().endpoints(&account_id()).await.unwrap();
    assert_eq!(app.table().save_endpoint(&none, endpoint()).await.unwrap(), Saved::Done);
    app
}

async fn stored(app: &App) -> Endpoint {
    app.table().endpoint(&account_id(), &EndpointId::new(NOW, 1)).await.unwrap().unwrap()
}

#[tokio::test]
async fn an_endpoint_that_has_recovered_during_a_try_is_not_disabled_for_its_failures() {
    let app = world().await;
    let seen = stored(&app).await;
    // Another sender's try succeeds while this one's runs into its time-out.
    app.table().endpoint_works(&seen).await.unwrap();
    disable(&app, &seen, WhyDisabled::Failing).await.unwrap();
    assert!(stored(&app).await.enabled);
    // Nor where it has failed again since: that is a new beginning.
    app.table().endpoint_fails(&seen, NOW + 1).await.unwrap();
    disable(&app, &seen, WhyDisabled::Failing).await.unwrap();
    assert!(stored(&app).await.enabled);
    // What it says itself counts at once.
    disable(&app, &seen, WhyDisabled::Gone).await.unwrap();
    assert_eq!(stored(&app).await.disabled_because, Some(WhyDisabled::Gone));
}

#[tokio::test]
async fn an_endpoint_that_only_failed_is_disabled() {
    let app = world().await;
    let seen = stored(&app).await;
    disable(&app, &seen, WhyDisabled::Failing).await.unwrap();
    let after = stored(&app).await;
    assert!(!after.enabled && after.disabled_because == Some(WhyDisabled::Failing), "{after:?}");
}
