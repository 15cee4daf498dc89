//! Each fault: what the caller hears, what was applied, how often the SDK tried.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes, TransactWriteItem, Update};
use kiln_dynamo::{Chances, Fate, Fault, Memory, TABLE};
use std::collections::HashMap;

fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.into())
}

async fn add_one(client: &Client) -> Result<(), String> {
    let call = client.update_item().table_name(TABLE).key("pk", text("P")).key("sk", text("a")).update_expression("ADD n :one");
    let call = call.expression_attribute_values(":one", AttributeValue::N("1".into())).send().await;
    call.map(drop).map_err(|error| match error {
        SdkError::ServiceError(service) => service.err().meta().code().unwrap_or_default().to_owned(),
        SdkError::DispatchFailure(failure) if failure.is_timeout() => "timeout".into(),
        SdkError::DispatchFailure(failure) if failure.is_io() => "io".into(),
        other => format!("{other:?}"),
    })
}

async fn add_in_transaction(client: &Client) -> bool {
    let update = Update::builder().table_name(TABLE).key("pk", text("P")).key("sk", text("a")).update_expression("ADD n :one");
    let update = update.expression_attribute_values(":one", AttributeValue::N("1".into())).build().expect("complete");
    client.transact_write_items().transact_items(TransactWriteItem::builder().update(update).build()).send().await.is_ok()
}

fn n(memory: &Memory) -> u64 {
    memory.item("P", "a").and_then(|item| item["n"].as_n().ok()?.parse().ok()).unwrap_or(0)
}

#[tokio::test]
async fn the_sdk_tries_again_and_a_lost_answer_is_a_write_done_twice() {
    for (fault, times) in [
        (Fault::Pass, 1),
        (Fault::Lost, 1),
        (Fault::TimedOut, 1),
        (Fault::AnswerLost, 2),
        (Fault::AnswerTimedOut, 2),
        (Fault::Throttled, 1),
        (Fault::PartThrottled, 1),
        (Fault::ServerError, 1),
        (Fault::ServerErrorApplied, 2),
        (Fault::Partial, 1),
    ] {
        let memory = Memory::new(1);
        let client = Client::new(&memory.sdk_config());
        memory.script([fault]);
        assert_eq!(add_one(&client).await, Ok(()), "{fault:?}");
        assert_eq!(n(&memory), times, "{fault:?}");
        let tries = if matches!(fault, Fault::Pass | Fault::Partial) { 1 } else { 2 };
        assert_eq!(memory.calls()["UpdateItem"], tries, "{fault:?}");
    }
}

#[tokio::test]
async fn a_transaction_s_token_makes_its_repetition_harmless() {
    for fault in [Fault::AnswerLost, Fault::AnswerTimedOut, Fault::ServerErrorApplied, Fault::Late] {
        let memory = Memory::new(1);
        let client = Client::new(&memory.sdk_config());
        memory.script([fault]);
        assert!(add_in_transaction(&client).await, "{fault:?}");
        for _ in 0..10 {
            let _ = client.get_item().table_name(TABLE).key("pk", text("P")).key("sk", text("x")).send().await;
        }
        assert_eq!(n(&memory), 1, "{fault:?}");
    }
}

#[tokio::test]
async fn a_late_plain_write_is_applied_behind_its_own_repetition() {
    let memory = Memory::new(1);
    let client = Client::new(&memory.sdk_config());
    memory.fault_next("UpdateItem", Fault::Late);
    assert_eq!(add_one(&client).await, Ok(()));
    for _ in 0..10 {
        let _ = client.get_item().table_name(TABLE).key("pk", text("P")).key("sk", text("x")).send().await;
    }
    assert_eq!(n(&memory), 2);
}

#[tokio::test]
async fn three_faults_in_a_row_reach_the_caller() {
    for (fault, said, times) in [
        (Fault::Lost, "io", 0),
        (Fault::TimedOut, "timeout", 0),
        (Fault::AnswerLost, "io", 3),
        (Fault::AnswerTimedOut, "timeout", 3),
        (Fault::Throttled, "ProvisionedThroughputExceededException", 0),
        (Fault::ServerError, "InternalServerError", 0),
    ] {
        let memory = Memory::new(1);
        let client = Client::new(&memory.sdk_config());
        memory.script([fault; 3]);
        assert_eq!(add_one(&client).await, Err(said.to_owned()), "{fault:?}");
        assert_eq!(n(&memory), times, "{fault:?}");
        assert_eq!(add_one(&client).await, Ok(()));
    }
}

#[tokio::test]
async fn a_throttled_part_cancels_its_transaction_and_a_partial_batch_hands_back_its_rest() {
    let memory = Memory::new(1);
    let client = Client::new(&memory.sdk_config());
    memory.fault_next("TransactWriteItems", Fault::PartThrottled);
    assert!(!add_in_transaction(&client).await);
    assert_eq!(n(&memory), 0);
    memory.fault_next("BatchGetItem", Fault::Partial);
    let keys: Vec<_> = (0..4).map(|i| HashMap::from([("pk".to_owned(), text("P")), ("sk".to_owned(), text(&i.to_string()))])).collect();
    let keys = KeysAndAttributes::builder().set_keys(Some(keys)).build().expect("complete");
    let output = client.batch_get_item().request_items(TABLE, keys).send().await.expect("an answer");
    assert_eq!(output.unprocessed_keys.and_then(|tables| tables.get(TABLE).map(|keys| keys.keys.len())), Some(2));
}

#[tokio::test]
async fn the_call_where_the_process_dies_never_answers() {
    for (fate, times) in [(Fate::Applied, 2), (Fate::NotApplied, 1)] {
        let memory = Memory::new(1);
        let client = Client::new(&memory.sdk_config());
        memory.stop_after(2, fate);
        {
            let work = async {
                for _ in 0..5 {
                    let _ = add_one(&client).await;
                }
            };
            tokio::select! {
                _ = work => panic!("it came to its end"),
                _ = memory.stopped() => {}
            }
        }
        assert_eq!(n(&memory), times, "{fate:?}");
        assert_eq!(add_one(&client).await, Ok(()), "the next process is well");
    }
}

#[tokio::test]
async fn a_dropped_call_gets_the_fate_that_was_said_and_leaves_nothing_busy() {
    for (fate, times) in [(Fate::Applied, 1), (Fate::NotApplied, 0)] {
        for turns in 1..6 {
            let memory = Memory::new(1);
            memory.yields(2..=2).on_drop(fate);
            let client = Client::new(&memory.sdk_config());
            let mut call = Box::pin(add_in_transaction(&client));
            let mut polls = 0;
            std::future::poll_fn(|context| {
                polls += 1;
                assert!(call.as_mut().poll(context).is_pending());
                if polls < turns { std::task::Poll::Pending } else { std::task::Poll::Ready(()) }
            })
            .await;
            drop(call);
            // Behind the fourth turn it is applied, whoever hears of it.
            assert_eq!(n(&memory), if turns > 4 { 1 } else { times }, "{fate:?} after {turns} turns");
            assert!(add_in_transaction(&client).await);
        }
    }
}

#[tokio::test]
async fn faults_by_chance_come_as_often_as_they_should() {
    let memory = Memory::new(3);
    memory.yields(0..=0).chances(Chances { lost: 0.2, ..Chances::default() });
    let client = Client::new(&memory.sdk_config());
    for _ in 0..500 {
        let _ = add_one(&client).await;
    }
    let tries = memory.calls()["UpdateItem"];
    assert!((560..760).contains(&tries), "{tries}");
    memory.calm().reset_counts();
    for _ in 0..100 {
        assert_eq!(add_one(&client).await, Ok(()));
    }
    assert_eq!(memory.calls()["UpdateItem"], 100);
}
