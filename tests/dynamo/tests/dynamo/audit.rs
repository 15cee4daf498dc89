//! The list of the operators' audit log: its dates, cursors and filters, and what is over its days.

use anyhow::{Result, ensure};
use kiln_dynamo::{Memory, TABLE};
use kiln_store::{Audit, AuditFilter, Table};

const NOW: i64 = 1_763_721_600_000;

fn line(n: i64, action: &str, kept_for_s: i64) -> Audit {
    let at = NOW + n;
    let [action, subject, facts, outcome, actor, ip] = [action, "pool", "{}", "done", "00112233445566ff", "203.0.113.9"].map(str::to_owned);
    Audit { id: format!("aud_{n}"), at, action, subject, facts, outcome, actor, ip, ttl: NOW / 1000 + kept_for_s }
}

async fn world(memory: &Memory, lines: impl IntoIterator<Item = Audit>) -> Result<Table> {
    let table = Table::new(&memory.sdk_config(), TABLE);
    for line in lines {
        table.put_audit(&line).await?;
    }
    Ok(table)
}

/// Every page of the list, as the milliseconds after [`NOW`].
async fn pages(table: &Table, filter: &AuditFilter, limit: u32) -> Result<Vec<Vec<i64>>> {
    let (mut pages, mut after) = (Vec::new(), None);
    loop {
        let (lines, next) = table.audit(filter, NOW, limit, after.as_deref()).await?;
        pages.push(lines.iter().map(|line| line.at - NOW).collect());
        match next {
            Some(next) => after = Some(next),
            None => return Ok(pages),
        }
    }
}

#[tokio::test]
async fn a_line_whose_days_are_over_is_not_shown_though_it_is_there() -> Result<()> {
    let memory = Memory::new(1);
    let table = world(&memory, (0..6).map(|n| line(n, "pool.change", if n % 2 == 0 { 0 } else { 1 }))).await?;
    ensure!(pages(&table, &AuditFilter::default(), 100).await?.concat() == [5, 3, 1]);
    // Those that are over leave their pages short, and the list goes on.
    ensure!(pages(&table, &AuditFilter::default(), 2).await?.concat() == [5, 3, 1]);
    Ok(())
}

#[tokio::test]
async fn a_rare_line_is_found_a_thousand_rows_a_page() -> Result<()> {
    let memory = Memory::new(1);
    memory.yields(0..=0);
    let table = world(&memory, (0..2_500).map(|n| line(n, if n == 100 { "account.grant" } else { "sign-in" }, 60))).await?;
    let filter = AuditFilter { action: Some("account.grant".into()), ..AuditFilter::default() };
    ensure!(pages(&table, &filter, 20).await? == [vec![], vec![], vec![100]]);
    // Dates are no filter of rows: only what lies between them is read.
    let between = AuditFilter { from: Some(NOW + 90), to: Some(NOW + 101), ..filter };
    ensure!(pages(&table, &between, 20).await? == [vec![100]]);
    Ok(())
}

#[tokio::test]
async fn a_cursor_of_other_dates_goes_on_where_it_stands() -> Result<()> {
    let memory = Memory::new(1);
    let table = world(&memory, (0..10).map(|n| line(n, "pool.change", 60))).await?;
    let (_, cursor) = table.audit(&AuditFilter::default(), NOW, 5, None).await?;
    for (from, to, seen) in [(0, 3, &[2, 1, 0][..]), (7, 10, &[]), (3, 8, &[4, 3]), (5, 5, &[]), (8, 2, &[])] {
        let filter = AuditFilter { from: Some(NOW + from), to: Some(NOW + to), ..AuditFilter::default() };
        let (lines, next) = table.audit(&filter, NOW, 20, cursor.as_deref()).await?;
        let found: Vec<_> = lines.iter().map(|line| line.at - NOW).collect();
        ensure!(found == seen && next.is_none(), "from {from} to {to}: {found:?} {next:?}");
    }
    Ok(())
}
