//! Limits, keys and requests that DynamoDB refuses; and the schema, which is template.yaml's.

use crate::{key, memory, put, refusal};
use kiln_dynamo::{INDEX, INDEX_ATTRIBUTES, INDEX_KEY, KEY};
use serde_json::{Value, json};

#[test]
fn the_schema_is_that_of_the_template() -> anyhow::Result<()> {
    let template = kiln_local::template::Template::read(&kiln_tests::system::root().join("template.yaml"))?;
    let table = &template.resource("Table").expect("a table")["Properties"];
    let keys = |names: [&str; 2]| json!([{ "AttributeName": names[0], "KeyType": "HASH" }, { "AttributeName": names[1], "KeyType": "RANGE" }]);
    assert_eq!(table["KeySchema"], keys(KEY));
    let index = &table["GlobalSecondaryIndexes"];
    assert_eq!(index.as_array().map(Vec::len), Some(1));
    assert_eq!((&index[0]["IndexName"], &index[0]["KeySchema"]), (&json!(INDEX), &keys(INDEX_KEY)));
    assert_eq!(index[0]["Projection"]["NonKeyAttributes"], json!(INDEX_ATTRIBUTES));
    Ok(())
}

fn item(pk: &str, sk: &str, more: Value) -> Value {
    let mut item = json!({ "pk": { "S": pk }, "sk": { "S": sk } });
    item.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    item
}

#[test]
fn an_item_that_dynamodb_would_not_store_is_refused() {
    let memory = memory();
    let nested = (0..33).fold(json!({ "N": "1" }), |inner, _| json!({ "L": [inner] }));
    for (item, words) in [
        (item("", "a", json!({})), "empty string value. Key: pk"),
        (item("P", "", json!({})), "empty string value. Key: sk"),
        (json!({ "pk": { "S": "P" } }), "Missing the key sk"),
        (json!({ "pk": { "S": "P" }, "sk": { "N": "1" } }), "Type mismatch for key sk"),
        (item("P", &"x".repeat(1025), json!({})), "maximum size limit of 1024"),
        (item(&"x".repeat(2049), "a", json!({})), "maximum size limit of 2048"),
        (item("P", "a", json!({ "x": { "S": "x".repeat(400 << 10) } })), "Item size has exceeded"),
        (item("P", "a", json!({ "x": nested })), "Nesting Levels"),
        (item("P", "a", json!({ "x": { "SS": [] } })), "may not be empty"),
        (item("P", "a", json!({ "x": { "SS": ["a", "a"] } })), "contains duplicates"),
        (item("P", "a", json!({ "x": { "NS": ["1", "1.0"] } })), "contains duplicates"),
        (item("P", "a", json!({ "x": { "NULL": false } })), "must have the value of true"),
        (item("P", "a", json!({ "x": { "N": "one" } })), "cannot be converted to a numeric value"),
        (item("P", "a", json!({ "x": { "N": "1".repeat(39) } })), "38 significant digits"),
        (item("P", "a", json!({ "x": { "N": "1", "S": "1" } })), "more than one datatypes"),
        (item("P", "a", json!({ "x": {} })), "is empty"),
        (item("P", "a", json!({ "owed_shard": { "S": "" } })), "IndexKey: owed_shard"),
        (item("P", "a", json!({ "next_check_at": { "S": "1" } })), "Index Key next_check_at"),
    ] {
        let (kind, said) = refusal(memory.answer("PutItem", &json!({ "TableName": "kiln", "Item": item })));
        assert_eq!(kind, "ValidationException", "{said}");
        assert!(said.contains(words), "{words}: {said}");
    }
    assert_eq!(refusal(memory.answer("PutItem", &json!({ "TableName": "other", "Item": key() }))).0, "ResourceNotFoundException");
    assert_eq!(refusal(memory.answer("PutItem", &json!({ "TableName": "kiln", "Item": 3 }))).0, "SerializationException");
    assert_eq!(refusal(memory.answer("DescribeTable", &json!({}))).0, "UnknownOperationException");
    assert_eq!(memory.items().len(), 0);
}

#[test]
fn an_update_may_not_grow_an_item_past_its_limit() {
    let memory = memory();
    put(&memory, json!({ "l": { "L": [{ "S": "x".repeat(300 << 10) }] } }));
    let update = json!({ "TableName": "kiln", "Key": key(), "UpdateExpression": "SET l = list_append(l, l)" });
    assert!(refusal(memory.answer("UpdateItem", &update)).1.contains("Item size to update has exceeded"));
    let (_, body) = memory.answer("TransactWriteItems", &json!({ "TransactItems": [{ "Update": update }] }));
    assert_eq!(body["CancellationReasons"][0]["Code"], "ValidationError", "{body}");
}

#[test]
fn a_batch_or_transaction_has_its_limits_and_no_item_twice() {
    let memory = memory();
    let keys = |count: usize| -> Vec<Value> { (0..count).map(|i| item("P", &format!("{i}"), json!({}))).collect() };
    let batch_get = |keys: Vec<Value>| memory.answer("BatchGetItem", &json!({ "RequestItems": { "kiln": { "Keys": keys } } }));
    assert_eq!(batch_get(keys(100)).0, 200);
    assert!(refusal(batch_get(keys(101))).1.contains("Too many items"));
    assert!(refusal(batch_get([keys(1), keys(1)].concat())).1.contains("contains duplicates"));
    let puts = |items: Vec<Value>| -> Vec<Value> { items.into_iter().map(|item| json!({ "Put": { "TableName": "kiln", "Item": item } })).collect() };
    let transact = |parts: Vec<Value>| memory.answer("TransactWriteItems", &json!({ "TransactItems": parts }));
    assert_eq!(transact(puts(keys(100))).0, 200);
    assert_eq!(refusal(transact(puts(keys(101)))).0, "ValidationException");
    assert_eq!(refusal(transact(vec![])).0, "ValidationException");
    let twice = refusal(transact(puts([keys(1), keys(1)].concat())));
    assert_eq!(twice, ("ValidationException".into(), "Transaction request cannot include multiple operations on one item".into()));
    let large: Vec<Value> = (0..12).map(|i| item("P", &format!("{i}"), json!({ "x": { "S": "x".repeat(380 << 10) } }))).collect();
    assert!(refusal(transact(puts(large))).1.contains("4 MB"));
    assert_eq!(refusal(transact(vec![json!({ "ConditionCheck": { "TableName": "kiln", "Key": key() } })])).0, "ValidationException");
    let writes: Vec<Value> = keys(26).into_iter().map(|item| json!({ "PutRequest": { "Item": item } })).collect();
    assert_eq!(memory.answer("BatchWriteItem", &json!({ "RequestItems": { "kiln": writes[..25] } })).0, 200);
    assert_eq!(refusal(memory.answer("BatchWriteItem", &json!({ "RequestItems": { "kiln": writes } }))).0, "ValidationException");
}

#[test]
fn a_cancelled_transaction_tells_of_each_part_in_order_and_writes_nothing() {
    let memory = memory();
    put(&memory, json!({ "n": { "N": "1" } }));
    let other = item("P", "b", json!({}));
    let absent = |item: &Value| json!({ "Put": { "TableName": "kiln", "Item": item, "ConditionExpression": "attribute_not_exists(pk)", "ReturnValuesOnConditionCheckFailure": "ALL_OLD" } });
    let (status, body) = memory.answer("TransactWriteItems", &json!({ "TransactItems": [absent(&other), absent(&key())] }));
    assert_eq!(status, 400);
    assert_eq!(body["Message"], "Transaction cancelled, please refer cancellation reasons for specific reasons [None, ConditionalCheckFailed]");
    let failed = json!({ "Code": "ConditionalCheckFailed", "Message": "The conditional request failed", "Item": item("P", "a", json!({ "n": { "N": "1" } })) });
    assert_eq!(body["CancellationReasons"], json!([{ "Code": "None" }, failed]));
    assert_eq!(memory.items().len(), 1);
}

#[test]
fn a_token_repeats_its_transaction_and_no_other() {
    let memory = memory();
    let add = |by: &str, token: &str| {
        let update = json!({ "TableName": "kiln", "Key": key(), "UpdateExpression": "ADD n :d", "ExpressionAttributeValues": { ":d": { "N": by } } });
        memory.answer("TransactWriteItems", &json!({ "TransactItems": [{ "Update": update }], "ClientRequestToken": token }))
    };
    assert_eq!((add("1", "t1").0, add("1", "t1").0, add("1", "t2").0), (200, 200, 200));
    assert_eq!(memory.item("P", "a").and_then(|item| item["n"].as_n().ok().cloned()), Some("2".into()));
    assert_eq!(refusal(add("2", "t1")).0, "IdempotentParameterMismatchException");
}

fn query(memory: &kiln_dynamo::Memory, more: Value) -> Value {
    let mut request = json!({ "TableName": "kiln", "KeyConditionExpression": "pk = :p", "ExpressionAttributeValues": { ":p": { "S": "P" } } });
    for (name, value) in more.as_object().expect("an object") {
        if name == "ExpressionAttributeValues" {
            request[name].as_object_mut().expect("an object").extend(value.as_object().expect("an object").clone());
        } else {
            request[name] = value.clone();
        }
    }
    memory.answer("Query", &request).1
}

#[test]
fn a_query_pages_forward_and_backward_and_its_limit_counts_before_the_filter() {
    let memory = memory();
    for i in 0..10 {
        let item = item("P", &format!("k{i}"), json!({ "n": { "N": i.to_string() } }));
        assert_eq!(memory.answer("PutItem", &json!({ "TableName": "kiln", "Item": item })).0, 200);
    }
    let sks = |page: &Value| -> Vec<String> {
        page["Items"].as_array().into_iter().flatten().map(|item| item["sk"]["S"].as_str().unwrap_or_default().into()).collect()
    };
    for backward in [false, true] {
        let mut all = Vec::new();
        let mut more = json!({ "Limit": 3, "ScanIndexForward": !backward });
        loop {
            let page = query(&memory, more.clone());
            all.extend(sks(&page));
            if page["LastEvaluatedKey"].is_null() {
                break;
            }
            more["ExclusiveStartKey"] = page["LastEvaluatedKey"].clone();
        }
        let mut wanted: Vec<String> = (0..10).map(|i| format!("k{i}")).collect();
        if backward {
            wanted.reverse();
        }
        assert_eq!(all, wanted);
    }
    let page = query(&memory, json!({ "Limit": 4, "FilterExpression": "n > :n", "ExpressionAttributeValues": { ":n": { "N": "2" } } }));
    assert_eq!((sks(&page), &page["ScannedCount"], &page["Count"]), (vec!["k3".to_owned()], &json!(4), &json!(1)));
    // A page that ends exactly at the limit does not know that nothing follows.
    assert_eq!(query(&memory, json!({ "Limit": 10 }))["LastEvaluatedKey"]["sk"]["S"], "k9");
    assert_eq!(query(&memory, json!({ "Select": "COUNT" })), json!({ "Count": 10, "ScannedCount": 10 }));
    for (condition, count) in [
        ("pk = :p AND sk = :k", 1),
        ("sk < :k AND pk = :p", 5),
        ("pk = :p AND sk <= :k", 6),
        ("pk = :p AND sk > :k", 4),
        ("pk = :p AND sk >= :k", 5),
        ("pk = :p AND sk BETWEEN :k AND :k", 1),
        ("pk = :p AND begins_with(sk, :k)", 1),
    ] {
        let page = query(&memory, json!({ "KeyConditionExpression": condition, "ExpressionAttributeValues": { ":k": { "S": "k5" } } }));
        assert_eq!(page["Count"], count, "{condition}: {page}");
    }
    for (condition, sort) in [
        ("sk = :k", "k5"),
        ("pk > :p AND sk = :k", "k5"),
        ("pk = :p OR sk = :k", "k5"),
        ("pk = :p AND NOT sk = :k", "k5"),
        ("pk = :p AND n = :k", "k5"),
        ("pk = :p AND sk <> :k", "k5"),
        ("pk = :p AND contains(sk, :k)", "k5"),
        ("pk = :p AND begins_with(sk, :k)", ""),
    ] {
        let page = query(&memory, json!({ "KeyConditionExpression": condition, "ExpressionAttributeValues": { ":k": { "S": sort } } }));
        assert_eq!(refusal((400, page)).0, "ValidationException", "{condition}");
    }
    let filtered = query(&memory, json!({ "FilterExpression": "sk = :k", "ExpressionAttributeValues": { ":k": { "S": "k5" } } }));
    assert!(refusal((400, filtered)).1.contains("non-primary key attributes"));
}

#[test]
fn a_page_ends_after_a_megabyte() {
    let memory = memory();
    for i in 0..6 {
        let item = item("P", &format!("{i}"), json!({ "x": { "S": "x".repeat(300 << 10) } }));
        assert_eq!(memory.answer("PutItem", &json!({ "TableName": "kiln", "Item": item })).0, 200);
    }
    let page = query(&memory, json!({}));
    assert_eq!((&page["Count"], &page["LastEvaluatedKey"]["sk"]["S"]), (&json!(4), &json!("3")));
}

#[test]
fn the_index_is_sparse_ordered_and_shows_what_it_projects() {
    let memory = memory();
    for (sk, at) in [("a", Some(30)), ("b", Some(10)), ("c", None), ("d", Some(20))] {
        let mut more = json!({ "owed_shard": { "S": "job#01" }, "state": { "S": "queued" }, "secret": { "S": "x" } });
        if let Some(at) = at {
            more["next_check_at"] = json!({ "N": at.to_string() });
        }
        assert_eq!(memory.answer("PutItem", &json!({ "TableName": "kiln", "Item": item("P", sk, more) })).0, 200);
    }
    let due = |at: &str, limit: usize| {
        let condition = "owed_shard = :s AND next_check_at <= :at";
        let values = json!({ ":s": { "S": "job#01" }, ":at": { "N": at } });
        let request =
            json!({ "TableName": "kiln", "IndexName": "owed", "KeyConditionExpression": condition, "ExpressionAttributeValues": values, "Limit": limit });
        memory.answer("Query", &request).1
    };
    let page = due("25", 10);
    assert_eq!(
        page["Items"],
        json!([
            item("P", "b", json!({ "owed_shard": { "S": "job#01" }, "next_check_at": { "N": "10" }, "state": { "S": "queued" } })),
            item("P", "d", json!({ "owed_shard": { "S": "job#01" }, "next_check_at": { "N": "20" }, "state": { "S": "queued" } })),
        ])
    );
    assert_eq!(due("25", 1)["LastEvaluatedKey"], item("P", "b", json!({ "owed_shard": { "S": "job#01" }, "next_check_at": { "N": "10" } })));
    let gone = json!({ "TableName": "kiln", "Key": item("P", "b", json!({})), "UpdateExpression": "REMOVE owed_shard, next_check_at" });
    assert_eq!(memory.answer("UpdateItem", &gone).0, 200);
    assert_eq!(due("25", 10)["Count"], 1);
}

#[test]
fn the_segments_of_a_scan_have_every_item_once() {
    let memory = memory();
    for i in 0..100 {
        assert_eq!(memory.answer("PutItem", &json!({ "TableName": "kiln", "Item": item(&format!("P{i}"), "a", json!({})) })).0, 200);
    }
    let mut seen = std::collections::BTreeSet::new();
    for segment in 0..4 {
        let mut request = json!({ "TableName": "kiln", "Segment": segment, "TotalSegments": 4, "Limit": 7 });
        let mut count = 0;
        loop {
            let (_, page) = memory.answer("Scan", &request);
            for item in page["Items"].as_array().into_iter().flatten() {
                count += 1;
                assert!(seen.insert(item["pk"]["S"].as_str().unwrap_or_default().to_owned()));
            }
            if page["LastEvaluatedKey"].is_null() {
                break;
            }
            request["ExclusiveStartKey"] = page["LastEvaluatedKey"].clone();
        }
        assert!(count > 5, "segment {segment} has {count}");
    }
    assert_eq!(seen.len(), 100);
}
