//! How many transactions a second the store's code gets through: printed, and bounded far below what is seen, for a busy machine.

use kiln_dynamo::{Memory, TABLE};
use kiln_store::Table;
use kiln_store::table::{Expr, Key, Parts, n, to_item};
use std::time::Instant;

const COUNT: u32 = 5_000;

#[tokio::test]
async fn the_store_does_thousands_of_transactions_a_second() -> anyhow::Result<()> {
    let memory = Memory::new(1);
    memory.yields(0..=0);
    let table = Table::new(&memory.sdk_config(), TABLE);
    let account = Key { pk: "ACC#1".into(), sk: "ACCOUNT".into() };
    table.put(to_item(&account, &serde_json::json!({ "available": 1_000_000 }))?, None).await?;
    let begun = Instant::now();
    for _ in 0..COUNT {
        let mut parts = Parts::default();
        table.add_update(&mut parts, &account, Expr::new("ADD available :one").value("one", n(1)), None)?;
        table.transact(parts).await?;
    }
    println!("{:.0} transactions of one item a second", f64::from(COUNT) / begun.elapsed().as_secs_f64());
    let begun = Instant::now();
    for i in 0..COUNT {
        let mut parts = Parts::default();
        let funds = Expr::new("available >= :one").value("one", n(1));
        table.add_update(&mut parts, &account, Expr::new("ADD available :less").value("less", n(-1)), Some(funds))?;
        let entry = Key { pk: account.pk.clone(), sk: format!("LEDGER#{i:06}") };
        table.add_put(&mut parts, to_item(&entry, &serde_json::json!({ "d_available": -1 }))?, Some(kiln_store::table::absent()))?;
        table.transact(parts).await?;
    }
    let rate = f64::from(COUNT) / begun.elapsed().as_secs_f64();
    println!("{rate:.0} transactions of two items a second");
    assert_eq!(memory.partition("ACC#1").len(), COUNT as usize + 1);
    assert!(rate > 500.0, "{rate:.0} a second");
    Ok(())
}
