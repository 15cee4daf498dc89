//! Conditions, updates and projections: what they mean, and which DynamoDB refuses.

use crate::{key, memory, put, refusal};
use kiln_dynamo::Memory;
use serde_json::{Value, json};

/// One item with something of every type.
fn with_item() -> Memory {
    let memory = memory();
    put(
        &memory,
        json!({
            "n": { "N": "5" }, "txt": { "S": "hello" }, "yes": { "BOOL": true }, "nil": { "NULL": true }, "bin": { "B": "AQID" },
            "st": { "SS": ["x", "y"] }, "ns": { "NS": ["1", "2.50"] }, "lst": { "L": [{ "N": "1" }, { "S": "two" }, { "M": { "deep": { "N": "3" } } }] },
            "map": { "M": { "a": { "N": "1" }, "b": { "M": { "c": { "S": "d" } } } } },
        }),
    );
    memory
}

fn values() -> Value {
    json!({
        ":n4": { "N": "4" }, ":n5": { "N": "5.0" }, ":n6": { "N": "6" }, ":he": { "S": "he" }, ":hello": { "S": "hello" }, ":x": { "S": "x" },
        ":t": { "S": "SS" }, ":m": { "S": "M" }, ":two": { "S": "two" }, ":n3": { "N": "3" }, ":yes": { "BOOL": true }, ":b": { "B": "AQI=" },
        ":nn": { "N": "2.5" }, ":ll": { "S": "ll" },
    })
}

/// Only the values that the text names.
fn used(text: &str) -> Value {
    let all = values();
    let named = |name: &str| text.match_indices(name).any(|(at, _)| !text[at + name.len()..].starts_with(|c: char| c.is_ascii_alphanumeric()));
    Value::Object(all.as_object().expect("an object").iter().filter(|(name, _)| named(name)).map(|(k, v)| (k.clone(), v.clone())).collect())
}

fn check(memory: &Memory, condition: &str) -> (u16, Value) {
    let mut request =
        json!({ "TableName": "kiln", "TransactItems": [{ "ConditionCheck": { "TableName": "kiln", "Key": key(), "ConditionExpression": condition } }] });
    let values = used(condition);
    let part = &mut request["TransactItems"][0]["ConditionCheck"];
    if values.as_object().is_some_and(|values| !values.is_empty()) {
        part["ExpressionAttributeValues"] = values;
    }
    if condition.contains("#m") {
        part["ExpressionAttributeNames"] = json!({ "#m": "map" });
    }
    request.as_object_mut().expect("an object").remove("TableName");
    memory.answer("TransactWriteItems", &request)
}

#[test]
fn each_condition_is_true_or_false_as_documented() {
    let memory = with_item();
    for (condition, holds) in [
        ("attribute_exists(n)", true),
        ("attribute_exists(map.b.c)", true),
        ("attribute_exists(lst[3])", false),
        ("attribute_not_exists(gone)", true),
        ("n = :n5", true),
        ("n <> :n5", false),
        ("gone <> :n5", true),
        ("gone = :n5", false),
        ("gone < :n5", false),
        ("NOT gone < :n5", true),
        ("n < :n6 AND n > :n4", true),
        ("n <= :n4 OR n >= :n6", false),
        ("txt > :n4", false),
        ("n BETWEEN :n4 AND :n6", true),
        ("n BETWEEN :n6 AND :n6", false),
        ("n IN (:n4, :n5)", true),
        ("txt IN (:n4, :he)", false),
        ("begins_with(txt, :he)", true),
        ("begins_with(bin, :b)", true),
        ("begins_with(n, :he)", false),
        ("contains(txt, :ll)", true),
        ("contains(st, :x)", true),
        ("contains(ns, :nn)", true),
        ("contains(lst, :two)", true),
        ("contains(#m, :two)", false),
        ("attribute_type(st, :t)", true),
        ("attribute_type(#m, :m)", true),
        ("attribute_type(n, :m)", false),
        ("size(txt) = :n5", true),
        ("size(lst) = :n3", true),
        ("size(n) = :n5", false),
        ("yes = :yes", true),
        ("lst[2].deep = :n3", true),
        ("#m.b.c = :two", false),
        // AND binds tighter than OR, NOT tighter than both.
        ("n = :n5 OR n = :n4 AND n = :n6", true),
        ("(n = :n5 OR n = :n4) AND n = :n6", false),
        ("NOT n = :n5 OR n = :n5", true),
        ("NOT (n = :n5 OR n = :n5)", false),
        ("n=:n5 and not n=:n4", true),
    ] {
        let condition = if condition.contains("map") && !condition.contains("#m") { condition.replace("map", "#m") } else { condition.to_owned() };
        let answer = check(&memory, &condition);
        assert_eq!(answer.0, if holds { 200 } else { 400 }, "{condition}: {}", answer.1);
        if !holds {
            assert_eq!(refusal(answer).0, "TransactionCanceledException", "{condition}");
        }
    }
}

#[test]
fn a_bad_condition_is_refused_before_any_item_is_looked_at() {
    let memory = memory();
    for (condition, words) in [
        ("", "can not be empty"),
        ("n", "Syntax error"),
        ("n =", "Syntax error"),
        ("n = :n5 AND", "Syntax error"),
        ("n == :n5", "Syntax error"),
        ("(n = :n5", "Syntax error"),
        ("n = :n5)", "Syntax error"),
        ("((n = :n5))", "redundant parentheses"),
        ("n = :n5 n = :n4", "Syntax error"),
        ("n ! :n5", "Syntax error; token: \"!\""),
        ("_n = :n5", "Syntax error"),
        ("lst[x] = :n5", "Syntax error"),
        ("lst[] = :n5", "Syntax error"),
        (".n = :n5", "Syntax error"),
        ("n IN :n5", "Syntax error"),
        ("n BETWEEN :n4", "Syntax error"),
        ("state = :n5", "reserved keyword: state"),
        ("a.Status = :n5", "reserved keyword: Status"),
        ("nothing(n)", "Invalid function name; function: nothing"),
        ("Begins_With(n, :he)", "Invalid function name"),
        ("size(n)", "Syntax error"),
        ("if_not_exists(n, :n5) = :n5", "not allowed"),
        ("n = if_not_exists(n, :n5)", "not allowed"),
        ("attribute_exists(:n5)", "requires a document path"),
        ("attribute_exists(n", "Syntax error"),
        ("attribute_type(n, :n5)", "Incorrect operand type"),
        ("attribute_type(n, :x)", "Invalid attribute type name"),
        ("begins_with(txt, :n5)", "Incorrect operand type"),
        ("n < :yes", "Incorrect operand type"),
        ("n = n", "must be distinct"),
        ("n BETWEEN :n6 AND :n4", "upper bound"),
        ("n BETWEEN :he AND :n4", "same data type"),
        ("n = :gone", "value used in expression is not defined; attribute value: :gone"),
        ("#gone = :n5", "name used in the document path is not defined; attribute name: #gone"),
        ("n = #", "Syntax error"),
    ] {
        let (kind, said) = refusal(check(&memory, condition));
        assert_eq!(kind, "ValidationException", "{condition}: {said}");
        assert!(said.starts_with("Invalid ConditionExpression: ") && said.contains(words), "{condition}: {said}");
    }
    let long = format!("n = :n5{}", " ".repeat(4090));
    assert!(refusal(check(&memory, &long)).1.contains("exceeded the maximum allowed size"));
    let deep = format!("{}n = :n5{}", "NOT (".repeat(2000), ")".repeat(2000));
    assert_eq!(refusal(check(&memory, &deep[..4096])).0, "ValidationException");
    let many = vec![":n5"; 101].join(", ");
    assert!(refusal(check(&memory, &format!("n IN ({many})"))).1.contains("too many operands"));
}

#[test]
fn names_and_values_that_no_expression_uses_are_refused() {
    let memory = memory();
    let get = |more: Value| {
        let mut request = json!({ "TableName": "kiln", "Key": key() });
        request.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        refusal(memory.answer("UpdateItem", &request))
    };
    let idle = get(json!({ "UpdateExpression": "SET a = :a", "ExpressionAttributeValues": { ":a": { "N": "1" }, ":b": { "N": "2" } } }));
    assert!(idle.1.contains("ExpressionAttributeValues unused in expressions: keys: {:b}"), "{idle:?}");
    let idle = get(json!({ "UpdateExpression": "REMOVE a", "ExpressionAttributeNames": { "#a": "a" } }));
    assert!(idle.1.contains("ExpressionAttributeNames unused in expressions: keys: {#a}"), "{idle:?}");
    assert!(get(json!({ "ExpressionAttributeNames": { "#a": "a" } })).1.contains("can only be specified when using expressions"));
    assert!(get(json!({ "UpdateExpression": "REMOVE a", "ExpressionAttributeValues": {} })).1.contains("must not be empty"));
    assert!(get(json!({ "UpdateExpression": "REMOVE a", "ExpressionAttributeNames": { "a": "a" } })).1.contains("invalid key"));
    assert!(get(json!({ "UpdateExpression": "REMOVE a", "AttributeUpdates": {} })).1.contains("not in this model"));
}

fn update(memory: &Memory, text: &str, values: Value, returns: &str) -> (u16, Value) {
    let mut request = json!({ "TableName": "kiln", "Key": key(), "UpdateExpression": text, "ReturnValues": returns });
    if !values.is_null() {
        request["ExpressionAttributeValues"] = values;
    }
    if text.contains("#m") {
        request["ExpressionAttributeNames"] = json!({ "#m": "map" });
    }
    memory.answer("UpdateItem", &request)
}

#[test]
fn each_update_changes_what_it_names_and_all_see_the_item_before_it() {
    for (text, values, after) in [
        ("SET n = n + :d", json!({ ":d": { "N": "0.5" } }), json!({ "n": { "N": "5.5" } })),
        ("SET n = :d - n", json!({ ":d": { "N": "1" } }), json!({ "n": { "N": "-4" } })),
        ("SET z = n, n = :d", json!({ ":d": { "N": "1" } }), json!({ "z": { "N": "5" }, "n": { "N": "1" } })),
        ("SET z = if_not_exists(n, :d)", json!({ ":d": { "N": "1" } }), json!({ "z": { "N": "5" } })),
        ("SET z = if_not_exists(gone, :d) + :d", json!({ ":d": { "N": "1" } }), json!({ "z": { "N": "2" } })),
        ("SET z = list_append(:l, :l)", json!({ ":l": { "L": [{ "N": "1" }] } }), json!({ "z": { "L": [{ "N": "1" }, { "N": "1" }] } })),
        ("SET #m.b.c = :d", json!({ ":d": { "N": "1" } }), json!({ "map": { "M": { "b": { "M": { "c": { "N": "1" } } } } } })),
        ("ADD n :d, fresh :d SET z = n", json!({ ":d": { "N": "2" } }), json!({ "n": { "N": "7" }, "fresh": { "N": "2" }, "z": { "N": "5" } })),
        ("ADD st :s", json!({ ":s": { "SS": ["y", "z"] } }), json!({ "st": { "SS": ["x", "y", "z"] } })),
        ("DELETE st :s", json!({ ":s": { "SS": ["y", "z"] } }), json!({ "st": { "SS": ["x"] } })),
        ("DELETE st :s", json!({ ":s": { "SS": ["x", "y", "z"] } }), json!({})),
        ("remove n, gone set z = n", Value::Null, json!({ "z": { "N": "5" } })),
    ] {
        let memory = with_item();
        let answer = update(&memory, text, values, "UPDATED_NEW");
        assert_eq!(answer.0, 200, "{text}: {}", answer.1);
        assert_eq!(answer.1.get("Attributes").cloned().unwrap_or(json!({})), after, "{text}");
    }
    // Indexes are those of the list before, whichever goes first.
    let memory = with_item();
    let answer = update(&memory, "REMOVE lst[0], lst[1] SET lst[2].deep = :d", json!({ ":d": { "N": "1" } }), "ALL_NEW");
    assert_eq!(answer.1["Attributes"]["lst"], json!({ "L": [{ "M": { "deep": { "N": "1" } } }] }), "{}", answer.1);
    // Past its end a list grows, in the order of the indexes.
    let memory = with_item();
    let answer = update(&memory, "SET lst[9] = :b, lst[7] = :a", json!({ ":a": { "S": "a" }, ":b": { "S": "b" } }), "ALL_NEW");
    let list = answer.1["Attributes"]["lst"]["L"].as_array().cloned().unwrap_or_default();
    assert_eq!(list[3..], [json!({ "S": "a" }), json!({ "S": "b" })], "{}", answer.1);
    // What was not there is made, with its key.
    let fresh = crate::memory();
    let answer = update(&fresh, "ADD n :d", json!({ ":d": { "N": "2" } }), "ALL_NEW");
    assert_eq!(answer.1["Attributes"], json!({ "pk": { "S": "P" }, "sk": { "S": "a" }, "n": { "N": "2" } }));
    assert_eq!(update(&fresh, "REMOVE n", Value::Null, "ALL_OLD").1["Attributes"]["n"], json!({ "N": "2" }));
    assert_eq!(update(&fresh, "SET q = :d", json!({ ":d": { "N": "2" } }), "UPDATED_OLD").1, json!({}));
}

#[test]
fn a_bad_update_is_refused_and_changes_nothing() {
    for (text, values, words) in [
        ("", Value::Null, "can not be empty"),
        ("n = :d", json!({ ":d": { "N": "1" } }), "Syntax error"),
        ("SET n", Value::Null, "Syntax error"),
        ("SET n = :d,", json!({ ":d": { "N": "1" } }), "Syntax error"),
        ("SET n = :d SET z = :d", json!({ ":d": { "N": "1" } }), "only be used once"),
        ("SET n = :d REMOVE n", json!({ ":d": { "N": "1" } }), "overlap"),
        ("SET a.b = :d, a.b.c = :d", json!({ ":d": { "N": "1" } }), "overlap"),
        ("SET a.b = :d, a[0] = :d", json!({ ":d": { "N": "1" } }), "conflict"),
        ("SET pk = :d", json!({ ":d": { "S": "1" } }), "part of the key"),
        ("SET n = n + :d", json!({ ":d": { "S": "1" } }), "Incorrect operand type"),
        ("SET n = txt + :d", json!({ ":d": { "N": "1" } }), "incorrect data type"),
        ("SET n = gone + :d", json!({ ":d": { "N": "1" } }), "does not exist in the item"),
        ("SET n = n * :d", json!({ ":d": { "N": "1" } }), "Syntax error"),
        ("SET z = list_append(lst, :d)", json!({ ":d": { "N": "1" } }), "Incorrect operand type"),
        ("SET z = size(n)", Value::Null, "not allowed in an update"),
        ("SET gone.a = :d", json!({ ":d": { "N": "1" } }), "invalid for update"),
        ("SET n.a = :d", json!({ ":d": { "N": "1" } }), "invalid for update"),
        ("REMOVE gone.a", Value::Null, "invalid for update"),
        ("ADD txt :d", json!({ ":d": { "N": "1" } }), "incorrect data type"),
        ("ADD n :d", json!({ ":d": { "S": "1" } }), "Incorrect operand type"),
        ("ADD n n", Value::Null, "Syntax error"),
        ("DELETE st :d", json!({ ":d": { "N": "1" } }), "Incorrect operand type"),
        ("DELETE st :d", json!({ ":d": { "NS": ["1"] } }), "incorrect data type"),
        ("SET ttl = :d", json!({ ":d": { "N": "1" } }), "reserved keyword: ttl"),
        ("SET owed_shard = :d", json!({ ":d": { "N": "1" } }), "Index Key"),
        ("SET n = n + :d", json!({ ":d": { "N": "1E-40" } }), "38 significant digits"),
    ] {
        let memory = with_item();
        let before = memory.items();
        let (kind, said) = refusal(update(&memory, text, values, "NONE"));
        assert_eq!(kind, "ValidationException", "{text}: {said}");
        assert!(said.contains(words), "{text}: {said}");
        assert_eq!(memory.items(), before, "{text}");
    }
}

#[test]
fn a_projection_shows_what_it_names_in_its_place() {
    let memory = with_item();
    let get = |text: &str, names: Value| {
        let mut request = json!({ "TableName": "kiln", "Key": key(), "ProjectionExpression": text });
        if !names.is_null() {
            request["ExpressionAttributeNames"] = names;
        }
        memory.answer("GetItem", &request)
    };
    let map = json!({ "#m": "map" });
    assert_eq!(get("n, gone", Value::Null).1, json!({ "Item": { "n": { "N": "5" } } }));
    assert_eq!(
        get("#m.b.c, lst[2], lst[0]", map.clone()).1["Item"],
        json!({
            "map": { "M": { "b": { "M": { "c": { "S": "d" } } } } }, "lst": { "L": [{ "N": "1" }, { "M": { "deep": { "N": "3" } } }] },
        })
    );
    for (text, names, words) in
        [("n, n", Value::Null, "overlap"), ("#m, #m.a", map, "overlap"), ("n +", Value::Null, "Syntax error"), ("name", Value::Null, "reserved")]
    {
        let (kind, said) = refusal(get(text, names));
        assert!(kind == "ValidationException" && said.contains(words), "{text}: {said}");
    }
}
