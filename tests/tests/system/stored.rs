//! What is really stored, read past Kiln: the table's items and the buckets' objects.

use anyhow::{Context, Result};
use aws_sdk_dynamodb::types::AttributeValue;
use std::collections::HashMap;

/// Past the system, to the stand-in.
pub async fn config(endpoint: &str) -> aws_config::SdkConfig {
    aws_config::defaults(aws_config::BehaviorVersion::latest())
        .endpoint_url(endpoint)
        .region("us-east-1")
        .credentials_provider(aws_sdk_dynamodb::config::Credentials::new("local", "local", None, None, "test"))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .load()
        .await
}

/// Every item of the table.
pub async fn items(endpoint: &str) -> Result<Vec<HashMap<String, AttributeValue>>> {
    let client = aws_sdk_dynamodb::Client::new(&config(endpoint).await);
    let (mut items, mut start) = (Vec::new(), None);
    loop {
        let page = client.scan().table_name("kiln-local-Table").consistent_read(true).set_exclusive_start_key(start).send().await?;
        items.extend(page.items.unwrap_or_default());
        start = page.last_evaluated_key;
        if start.is_none() {
            return Ok(items);
        }
    }
}

pub fn text(item: &HashMap<String, AttributeValue>, name: &str) -> String {
    item.get(name).and_then(|value| value.as_s().ok()).cloned().unwrap_or_default()
}

/// The keys of every object of every bucket.
pub async fn objects(endpoint: &str) -> Result<Vec<String>> {
    let settings = aws_sdk_s3::config::Builder::from(&config(endpoint).await).force_path_style(true).build();
    let client = aws_sdk_s3::Client::from_conf(settings);
    let mut keys = Vec::new();
    for bucket in client.list_buckets().send().await?.buckets() {
        let name = bucket.name().context("a bucket's name")?;
        let page = client.list_objects_v2().bucket(name).send().await?;
        keys.extend(page.contents().iter().filter_map(|object| object.key().map(str::to_owned)));
    }
    Ok(keys)
}
