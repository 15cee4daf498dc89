//! The pool's provider of EC2 against the AWS stand-in: what a second hand has made of EC2 must do for the same calls as our own (`ec2/cloud.rs` of
//! the warm pool, which is full, slow and silent on request, and says what an order holds).

use anyhow::{Context, Result, ensure};
use aws_sdk_dynamodb::config::{Credentials, SharedCredentialsProvider};
use aws_sdk_dynamodb::types::{AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, Projection, ProjectionType, ScalarAttributeType};
use kiln_core::ids::InstanceId;
use kiln_core::pool::Policy;
use kiln_http::App;
use kiln_tests::system::start_standin;
use kiln_warm_pool::ec2::{Ec2, Times, Wanted};
use kiln_warm_pool::{Machine, Order, Provider, Providers};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What the stand-in has from the first.
const PLACE: [(&str, &str); 3] =
    [("KILN_EC2_SUBNETS", "subnet-00000001,subnet-00000002"), ("KILN_EC2_SECURITY_GROUP", "sg-00000001"), ("KILN_EC2_IMAGE", "ami-0123456789abcdef0")];

fn aws(url: &str) -> aws_config::SdkConfig {
    let http = aws_smithy_http_client::Builder::new().build_http();
    let credentials = SharedCredentialsProvider::new(Credentials::new("local", "local", None, None, "the tests"));
    let config = aws_config::SdkConfig::builder().behavior_version(aws_config::BehaviorVersion::latest()).region(aws_config::Region::new("us-east-1"));
    config.credentials_provider(credentials).http_client(http).endpoint_url(url).build()
}

/// The stand-in tells no spot prices, so what is rented here stays.
fn set() -> BTreeMap<String, String> {
    let more = [("KILN_EC2_TYPES", "g6.xlarge,g4dn.xlarge=0.526"), ("KILN_EC2_SPOT", "off"), ("KILN_WORKER_IMAGE", "kiln/worker:1")];
    PLACE.into_iter().chain(more).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[tokio::test]
async fn an_instance_is_offered_rented_listed_and_terminated_at_the_stand_in() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (_standin, url) = start_standin(folder.path()).await?;
    let set = set();
    let wanted = Wanted::from_env(|name| set.get(name).map(String::as_str), "us-east-1", "https://kiln.example.org", 600)?;
    let ec2 = Ec2::new(&aws(&url), None, Ok(wanted), Times::default());
    let offers = ec2.offers(&Policy::default()).await?;
    ensure!(offers.len() == 4 && offers.iter().all(|offer| offer.rate.microusd_per_hour > 500_000), "{offers:?}");
    ensure!(ec2.list().await?.is_empty());
    let mut made = Vec::new();
    for (n, offer) in (1..).zip(offers) {
        let instance_id = InstanceId::new(1, n);
        let order = Order { label: format!("kiln/test.tag/main/{instance_id}"), instance_id, boot_token: format!("kib_{n}.once"), offer: Some(offer) };
        let provider_id = ec2.create(&order).await.map_err(|error| anyhow::anyhow!("{error}"))?;
        made.push(Machine { provider_id, label: order.label, running: true, ..Machine::default() });
    }
    let mut listed = ec2.list().await?;
    listed.sort_by(|a, b| a.label.cmp(&b.label));
    ensure!(listed == made, "{listed:?} and not {made:?}");
    let first = &made[0].provider_id;
    ensure!(!ec2.is_gone(first).await?);
    ec2.destroy(first).await?;
    ensure!(ec2.is_gone(first).await? && ec2.list().await?.len() == 3);
    // What is gone is gone, and so is what never was.
    ec2.destroy(first).await?;
    ec2.destroy("i-0000000000000dead").await?;
    ensure!(ec2.is_gone("i-0000000000000dead").await?);
    Ok(())
}

/// The table alone, in which the pool keeps what it knows.
async fn make_table(aws: &aws_config::SdkConfig) -> Result<()> {
    let text = |name: &str| AttributeDefinition::builder().attribute_name(name).attribute_type(ScalarAttributeType::S).build();
    let key = |name: &str, kind| KeySchemaElement::builder().attribute_name(name).key_type(kind).build();
    let owed = aws_sdk_dynamodb::types::GlobalSecondaryIndex::builder()
        .index_name("owed")
        .key_schema(key("owed_shard", KeyType::Hash)?)
        .key_schema(key("next_check_at", KeyType::Range)?)
        .projection(Projection::builder().projection_type(ProjectionType::All).build())
        .build()?;
    let number = AttributeDefinition::builder().attribute_name("next_check_at").attribute_type(ScalarAttributeType::N).build()?;
    let table = aws_sdk_dynamodb::Client::new(aws).create_table().table_name("kiln-pool").billing_mode(BillingMode::PayPerRequest);
    let table = table.key_schema(key("pk", KeyType::Hash)?).key_schema(key("sk", KeyType::Range)?);
    table
        .attribute_definitions(text("pk")?)
        .attribute_definitions(text("sk")?)
        .attribute_definitions(text("owed_shard")?)
        .attribute_definitions(number)
        .global_secondary_indexes(owed)
        .send()
        .await?;
    Ok(())
}

#[tokio::test]
async fn the_pool_rents_at_the_stand_in_adopts_by_label_and_gives_back() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (_standin, url) = start_standin(folder.path()).await?;
    let aws = aws(&url);
    make_table(&aws).await?;
    let mut env = set();
    env.extend(
        [("KILN_STAGE", "local"), ("KILN_TABLE", "kiln-pool"), ("KILN_PROVIDERS", "ec2"), ("KILN_POOL_DESIRED", "1"), ("KILN_SECRETS_PREFIX", "/kiln/test/")]
            .map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    let app = App::on(env, aws.clone()).await?;
    let run = async || -> Result<Value> { kiln_warm_pool::handle(&app, &Providers::named(&app, None).await, json!({})).await };
    let done = run().await?;
    ensure!(done["started"] == 1, "{done}");
    let known = app.table().fleet(kiln_warm_pool::POOL).await?.instances;
    let ec2 = Providers::named(&app, None).await;
    let ec2 = ec2.of("ec2").context("ec2")?;
    let listed = ec2.list().await?;
    ensure!(listed.len() == 1 && Some(&listed[0].provider_id) == known[0].provider_id.as_ref() && listed[0].label == known[0].label, "{listed:?}");
    ensure!(known[0].gpu.as_deref() == Some("Tesla T4") || known[0].gpu.as_deref() == Some("L4"), "{:?}", known[0].gpu);
    // As if the answer had been lost: its row names no machine, and the list shows one with its label.
    let mut item = kiln_store_item(&app, &known[0].instance_id).await?;
    item.remove("provider_id");
    aws_sdk_dynamodb::Client::new(&aws).put_item().table_name("kiln-pool").set_item(Some(item)).send().await?;
    let done = run().await?;
    let adopted = app.table().fleet(kiln_warm_pool::POOL).await?.instances;
    ensure!(done["started"] == 0 && adopted.len() == 1 && adopted[0].provider_id == known[0].provider_id, "{done} {adopted:?}");
    ensure!(ec2.list().await?.len() == 1);
    ec2.destroy(&listed[0].provider_id).await?;
    ensure!(ec2.list().await?.is_empty());
    // It is missed, and only believed gone by a second list.
    run().await?;
    ensure!(app.table().fleet(kiln_warm_pool::POOL).await?.instances.iter().any(|instance| instance.missing_since.is_some()));
    Ok(())
}

async fn kiln_store_item(app: &App, id: &InstanceId) -> Result<std::collections::HashMap<String, AttributeValue>> {
    let client = aws_sdk_dynamodb::Client::new(app.aws());
    let key = |name: &str, value: String| (name.to_owned(), AttributeValue::S(value));
    let key = [key("pk", "FLEET".into()), key("sk", format!("INST#{id}"))].into();
    client.get_item().table_name("kiln-pool").set_key(Some(key)).send().await?.item.context("the instance's row")
}
