//! Overlapping writes fail as DynamoDB fails them.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, Get, Put, TransactGetItem, TransactWriteItem, Update};
use futures::join;
use kiln_dynamo::{Memory, TABLE};
use kiln_store::table::{Expr, Key, Parts, Table, Written};

fn client(memory: &Memory) -> Client {
    Client::new(&memory.sdk_config())
}

fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.into())
}

fn add(sk: &str) -> TransactWriteItem {
    let update = Update::builder().table_name(TABLE).key("pk", text("P")).key("sk", text(sk)).update_expression("ADD n :one");
    let update = update.expression_attribute_values(":one", AttributeValue::N("1".into()));
    TransactWriteItem::builder().update(update.build().expect("complete")).build()
}

/// Adds one to each of the items; the reasons if it was cancelled.
async fn transact(client: &Client, sks: &[&str]) -> Result<(), Vec<String>> {
    let call = client.transact_write_items().set_transact_items(Some(sks.iter().map(|sk| add(sk)).collect()));
    let Err(error) = call.send().await else { return Ok(()) };
    let error = error.into_service_error();
    assert!(error.is_transaction_canceled_exception(), "{error:?}");
    let aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError::TransactionCanceledException(cancelled) = error else { unreachable!() };
    Err(cancelled.cancellation_reasons().iter().map(|reason| reason.code().unwrap_or_default().to_owned()).collect())
}

fn n(memory: &Memory, sk: &str) -> Option<String> {
    memory.item("P", sk).and_then(|item| item.get("n")?.as_n().ok().cloned())
}

#[tokio::test]
async fn of_two_transactions_on_one_item_the_second_is_cancelled_and_told_which() {
    let memory = Memory::new(1);
    memory.yields(2..=2);
    let client = client(&memory);
    let (first, second) = join!(transact(&client, &["a", "b"]), transact(&client, &["c", "b"]));
    assert_eq!((first, second), (Ok(()), Err(vec!["None".into(), "TransactionConflict".into()])));
    assert_eq!((n(&memory, "a"), n(&memory, "b"), n(&memory, "c")), (Some("1".into()), Some("1".into()), None));
    assert_eq!(memory.conflicted(), 1);
    // Nothing stays busy.
    assert_eq!(transact(&client, &["c", "b"]).await, Ok(()));
}

#[tokio::test]
async fn transactions_on_different_items_are_in_nobody_s_way() {
    let memory = Memory::new(1);
    memory.yields(2..=2);
    let client = client(&memory);
    assert_eq!(join!(transact(&client, &["a"]), transact(&client, &["b"])), (Ok(()), Ok(())));
}

#[tokio::test]
async fn a_plain_write_that_meets_a_transaction_gets_a_conflict_and_two_plain_ones_follow_each_other() {
    let memory = Memory::new(1);
    memory.yields(2..=2);
    let client = client(&memory);
    let plain = || client.put_item().table_name(TABLE).item("pk", text("P")).item("sk", text("a")).send();
    let (transaction, put) = join!(transact(&client, &["a"]), plain());
    assert_eq!(transaction, Ok(()));
    assert!(put.expect_err("a conflict").into_service_error().is_transaction_conflict_exception());
    let (put, transaction) = join!(plain(), transact(&client, &["a"]));
    assert!(put.is_ok());
    assert_eq!(transaction, Err(vec!["TransactionConflict".into()]));
    let (one, two) = join!(plain(), plain());
    assert!(one.is_ok() && two.is_ok());
}

#[tokio::test]
async fn a_read_transaction_conflicts_with_a_write_and_a_plain_read_sees_the_item_before_it() {
    let memory = Memory::new(1);
    memory.yields(2..=2);
    let client = client(&memory);
    transact(&client, &["a"]).await.expect("alone");
    let get = Get::builder().table_name(TABLE).key("pk", text("P")).key("sk", text("a")).build().expect("complete");
    let both = client.transact_get_items().transact_items(TransactGetItem::builder().get(get).build());
    let plain = client.get_item().table_name(TABLE).key("pk", text("P")).key("sk", text("a"));
    let (write, reads, read) = join!(transact(&client, &["a"]), both.send(), plain.send());
    assert_eq!(write, Ok(()));
    assert!(reads.expect_err("a conflict").into_service_error().is_transaction_canceled_exception());
    assert_eq!(read.expect("a read").item.and_then(|item| item["n"].as_n().ok().cloned()), Some("1".into()));
}

#[tokio::test]
async fn beside_a_conflict_another_part_s_condition_may_fail_too() {
    let memory = Memory::new(1);
    memory.yields(2..=2);
    let client = client(&memory);
    transact(&client, &["b"]).await.expect("alone");
    let put = Put::builder().table_name(TABLE).item("pk", text("P")).item("sk", text("b")).condition_expression("attribute_not_exists(pk)");
    let put = TransactWriteItem::builder().put(put.build().expect("complete")).build();
    let both = client.transact_write_items().transact_items(add("a")).transact_items(put);
    let (_, both) = join!(transact(&client, &["a"]), both.send());
    let message = both.expect_err("cancelled").into_service_error().to_string();
    assert!(message.contains("TransactionConflict, ConditionalCheckFailed") || message.contains("TransactionCanceled"), "{message}");
}

#[tokio::test]
async fn without_conflicts_all_of_them_pass_and_none_is_lost() {
    let memory = Memory::new(1);
    memory.conflicts(false);
    let client = client(&memory);
    let all = futures::future::join_all((0..50).map(|_| transact(&client, &["a"]))).await;
    assert!(all.iter().all(Result::is_ok));
    assert_eq!((n(&memory, "a"), memory.conflicted()), (Some("50".into()), 0));
}

#[tokio::test]
async fn the_same_seed_tells_the_same_story() {
    let mut stories = Vec::new();
    for _ in 0..2 {
        let memory = Memory::new(42);
        let client = client(&memory);
        let all = futures::future::join_all((0..40).map(|i| transact(&client, if i % 3 == 0 { &["a", "b"] } else { &["b"] }))).await;
        stories.push((all, n(&memory, "a"), n(&memory, "b"), memory.calls()));
    }
    assert_eq!(stories[0], stories[1]);
    assert!(stories[0].0.iter().any(Result::is_err) && stories[0].0.iter().filter(|result| result.is_ok()).count() > 1);
}

/// A plain write of the store's that meets a transaction is no error of anybody's: it waits its turn, as a transaction does.
#[tokio::test]
async fn the_store_s_writes_of_one_item_all_pass_though_they_meet_transactions() {
    let memory = Memory::new(1);
    memory.yields(1..=4);
    let table = Table::new(&memory.sdk_config(), TABLE);
    let key = |sk: &str| Key { pk: "P".into(), sk: sk.into() };
    let plus = |name: &str| Expr::new(format!("ADD {name} :one")).value("one", AttributeValue::N("1".into()));
    let transactions = (0..20).map(|_| async {
        let mut parts = Parts::default();
        table.add_update(&mut parts, &key("a"), plus("n"), None).expect("a part");
        assert!(matches!(table.transact(parts).await.expect("no error"), Written::Done));
    });
    let updates = (0..20).map(|_| async {
        table.update(&key("a"), plus("m"), None).await.expect("no error").expect("no condition");
    });
    let item = || [("pk".to_owned(), text("P")), ("sk".to_owned(), text("b"))].into();
    let others = (0..20).map(|i| {
        let table = &table;
        async move { if i % 2 == 0 { table.put(item(), None).await.map(drop) } else { table.delete(&key("b")).await } }
    });
    let both = (0..10).map(|_| async {
        let mut parts = Parts::default();
        table.add_put(&mut parts, item(), None).expect("a part");
        assert!(matches!(table.transact(parts).await.expect("no error"), Written::Done));
    });
    let (_, _, others, _) =
        join!(futures::future::join_all(transactions), futures::future::join_all(updates), futures::future::join_all(others), futures::future::join_all(both));
    assert!(others.iter().all(Result::is_ok), "{others:?}");
    let number = |name: &str| memory.item("P", "a").and_then(|item| item.get(name)?.as_n().ok().cloned());
    assert_eq!((number("n").as_deref(), number("m").as_deref()), (Some("20"), Some("20")));
    assert!(memory.conflicted() > 0, "nothing met");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn on_many_threads_every_done_transaction_counts_once() {
    let memory = Memory::new(7);
    let client = client(&memory);
    let tasks: Vec<_> = (0..64)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move {
                let mut done = 0;
                for _ in 0..20 {
                    done += u64::from(transact(&client, &["a", "b"]).await.is_ok());
                }
                done
            })
        })
        .collect();
    let mut done = 0;
    for task in tasks {
        done += task.await.expect("no panic");
    }
    assert_eq!((n(&memory, "a"), n(&memory, "b")), (Some(done.to_string()), Some(done.to_string())));
    assert_eq!(memory.conflicted() + done, 64 * 20);
}
