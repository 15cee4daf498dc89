//! Every operation through the real client, so that its reader of answers is satisfied too.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::{
    AttributeValue, Get, KeysAndAttributes, PutRequest, ReturnValue, ReturnValuesOnConditionCheckFailure, Select, TransactGetItem, WriteRequest,
};
use kiln_dynamo::{Memory, TABLE};
use std::collections::HashMap;

fn s(value: &str) -> AttributeValue {
    AttributeValue::S(value.into())
}

#[tokio::test]
async fn the_client_reads_every_answer_as_it_was_meant() -> anyhow::Result<()> {
    let memory = Memory::new(1);
    let client = Client::new(&memory.sdk_config());
    let item = HashMap::from([
        ("pk".to_owned(), s("P")),
        ("sk".to_owned(), s("a")),
        ("n".to_owned(), AttributeValue::N("1.5".into())),
        ("b".to_owned(), AttributeValue::B(Blob::new([0, 255]))),
        ("l".to_owned(), AttributeValue::L(vec![AttributeValue::Null(true), AttributeValue::Bool(false)])),
        ("m".to_owned(), AttributeValue::M(HashMap::from([("x".to_owned(), AttributeValue::Ns(vec!["1".into(), "2".into()]))]))),
        ("bs".to_owned(), AttributeValue::Bs(vec![Blob::new([1])])),
    ]);
    client.put_item().table_name(TABLE).set_item(Some(item.clone())).send().await?;
    assert_eq!(client.get_item().table_name(TABLE).key("pk", s("P")).key("sk", s("a")).send().await?.item, Some(item.clone()));
    assert_eq!(client.get_item().table_name(TABLE).key("pk", s("P")).key("sk", s("b")).send().await?.item, None);
    assert_eq!((memory.item("P", "a"), memory.partition("P").len(), memory.partitions()), (Some(item.clone()), 1, vec!["P".to_owned()]));
    #[derive(serde::Deserialize, PartialEq, Debug)]
    struct Row {
        n: f64,
    }
    assert_eq!(memory.typed::<Row>("P", "a")?, vec![Row { n: 1.5 }]);
    assert_eq!(memory.typed_item::<Row>("P", "b")?, None);

    let key = HashMap::from([("pk".to_owned(), s("P")), ("sk".to_owned(), s("a"))]);
    let many = KeysAndAttributes::builder().keys(key.clone()).projection_expression("n").build()?;
    let many = client.batch_get_item().request_items(TABLE, many).send().await?;
    assert_eq!(many.responses.and_then(|mut tables| tables.remove(TABLE)), Some(vec![HashMap::from([("n".to_owned(), item["n"].clone())])]));
    let get = Get::builder().table_name(TABLE).set_key(Some(key.clone())).build()?;
    let got = client.transact_get_items().transact_items(TransactGetItem::builder().get(get).build()).send().await?;
    assert_eq!(got.responses.and_then(|mut responses| responses.remove(0).item), Some(item.clone()));

    let put = WriteRequest::builder().put_request(PutRequest::builder().item("pk", s("P")).item("sk", s("b")).build()?).build();
    assert!(client.batch_write_item().request_items(TABLE, vec![put]).send().await?.unprocessed_items.unwrap_or_default().is_empty());
    let query = client.query().table_name(TABLE).key_condition_expression("pk = :p").expression_attribute_values(":p", s("P"));
    let page = query.clone().limit(1).send().await?;
    assert_eq!((page.count, page.last_evaluated_key), (1, Some(key.clone())));
    assert_eq!(query.select(Select::Count).send().await?.count, 2);
    assert_eq!(client.scan().table_name(TABLE).segment(0).total_segments(1).send().await?.items().len(), 2);

    let changed = client.update_item().table_name(TABLE).set_key(Some(key.clone())).update_expression("ADD n :d").return_values(ReturnValue::UpdatedNew);
    let changed = changed.expression_attribute_values(":d", AttributeValue::N("1".into())).send().await?;
    assert_eq!(changed.attributes, Some(HashMap::from([("n".to_owned(), AttributeValue::N("2.5".into()))])));
    let refused = client.delete_item().table_name(TABLE).set_key(Some(key.clone())).condition_expression("attribute_not_exists(n)");
    let refused = refused.return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld).send().await;
    let error = refused.expect_err("refused").into_service_error();
    let aws_sdk_dynamodb::operation::delete_item::DeleteItemError::ConditionalCheckFailedException(failed) = error else { panic!("{error:?}") };
    assert_eq!(failed.item().map(|item| &item["n"]), Some(&AttributeValue::N("2.5".into())));
    let old = client.delete_item().table_name(TABLE).set_key(Some(key)).return_values(ReturnValue::AllOld).send().await?;
    assert_eq!(old.attributes.map(|item| item.len()), Some(item.len()));
    assert_eq!(memory.items().len(), 1);
    let bad = client.get_item().table_name(TABLE).key("pk", s("")).key("sk", s("b")).send().await;
    assert_eq!(bad.expect_err("refused").into_service_error().meta().code(), Some("ValidationException"));
    Ok(())
}
