//! The walk over unfinished jobs: count them, then look at each one that is due.

use kiln_core::ids::{AccountId, JobId};
use kiln_core::job::Job;
use kiln_core::machine::{self, Standing, Sweep, running_cap};
use kiln_http::App;
use kiln_http::flow::{self, TRIES};
use kiln_store::{Account, Commit, Depth, OwedRow};
use std::collections::HashMap;

#[derive(Debug, Default)]
pub(crate) struct Swept {
    pub unfinished: u64,
    pub acted: u64,
    pub hinted: u64,
    pub failed: u64,
}

/// Rows looked at in one run; the rest waits for the next, oldest first.
const MOST_ROWS: usize = 1000;

/// Accounts that are asked for their own cap in one run; beyond them, the usual one is taken.
const MOST_ACCOUNTS: usize = 100;

/// Machines that the unfinished jobs could use at once: no account's more than it may run.
async fn useful(app: &App, depth: &Depth) -> Result<u32, kiln_store::Error> {
    let usual = app.settings().account_running;
    let mut many: Vec<_> = depth.by_account.iter().filter(|(_, jobs)| **jobs > usual).map(|(account, jobs)| (account.clone(), *jobs)).collect();
    many.sort_by_key(|(_, jobs)| std::cmp::Reverse(*jobs));
    many.truncate(MOST_ACCOUNTS);
    let ids: Vec<_> = many.iter().map(|(account, _)| account.clone()).collect();
    let caps: HashMap<_, _> = if ids.is_empty() {
        HashMap::new()
    } else {
        let accounts = app.table().accounts(&ids).await?;
        accounts.into_iter().map(|account| (account.account_id.clone(), running_cap(&account.counters, app.settings()))).collect()
    };
    let of = |(account, jobs): (&AccountId, &u64)| caps.get(account).map_or(usual, |cap| (*cap).max(0) as u64).min(*jobs);
    Ok(u32::try_from(depth.by_account.iter().map(of).sum::<u64>()).unwrap_or(u32::MAX))
}

pub(crate) async fn sweep(app: &App) -> anyhow::Result<Swept> {
    let now = app.now();
    let (mut depth, rows) = app.table().unfinished(now).await?;
    depth.useful = Some(useful(app, &depth).await?);
    app.table().put_depth(&depth).await?;
    let mut swept = Swept { unfinished: depth.unfinished(), ..Swept::default() };
    let mut first = HashMap::new();
    for row in rows.iter().take(MOST_ROWS) {
        match look(app, row, &mut first).await {
            Ok(Done::Acted) => swept.acted += 1,
            Ok(Done::Hinted) => swept.hinted += 1,
            Ok(Done::Nothing) => {}
            Err(error) => {
                // This row alone; the next run sees it again.
                tracing::error!(%error, row = row.sk, "an owed row could not be handled");
                swept.failed += 1;
            }
        }
    }
    Ok(swept)
}

enum Done {
    Nothing,
    Hinted,
    Acted,
}

/// The account's first due jobs, read once a run.
type First = HashMap<AccountId, Vec<JobId>>;

async fn look(app: &App, row: &OwedRow, first: &mut First) -> anyhow::Result<Done> {
    for _ in 0..TRIES {
        // The index only suggests: the base table decides.
        let Some(job) = app.table().owed_item::<Job>(row).await? else { return Ok(Done::Nothing) };
        let account = app.table().account(&job.account_id).await?;
        match flow::end_preempted(app, &job, account.as_ref()).await? {
            Some(true) => return Ok(Done::Acted),
            Some(false) => continue,
            None => {}
        }
        let now = app.now();
        let standing = standing(app, &job, account.as_ref(), first).await?;
        let (change, hint) = match machine::sweep(&job, standing, app.settings(), now) {
            Sweep::Nothing => return Ok(Done::Nothing),
            // Another run looked at it meanwhile.
            _ if job.next_check_at.is_some_and(|at| at > now) => return Ok(Done::Nothing),
            Sweep::Later { change, hint } => (change, Some(hint)),
            Sweep::Act(change) => (change, None),
        };
        let with = Commit { entry_id: flow::entry_id(app, &change), account: account.as_ref().map(|account| &account.counters), ..Commit::default() };
        if app.table().commit(&change, with, now).await?.is_err() {
            continue;
        }
        return Ok(match hint {
            Some(true) => {
                flow::hint(app, &change.after, 0).await;
                Done::Hinted
            }
            Some(false) => Done::Nothing,
            None => {
                tracing::warn!(job_id = %job.job_id, from = job.state.as_str(), to = change.after.state.as_str(), attempt = job.attempt, "maintenance moved a job on");
                flow::after_commit(app, &change, &account.map(|account| account.counters).unwrap_or_default()).await;
                Done::Acted
            }
        });
    }
    anyhow::bail!("{} changes faster than it can be looked at", row.sk)
}

async fn standing(app: &App, job: &Job, account: Option<&Account>, first: &mut First) -> anyhow::Result<Standing> {
    let Some(account) = account else { return Ok(Standing::Gone) };
    let cap = running_cap(&account.counters, app.settings());
    if account.counters.running >= cap {
        return Ok(Standing::Full);
    }
    if !first.contains_key(&job.account_id) {
        let due = app.table().due_jobs(&job.account_id, (cap + 8) as u32, app.now()).await?;
        first.insert(job.account_id.clone(), due.into_iter().map(|(id, _, _)| id).collect());
    }
    Ok(Standing::Open { first: first.get(&job.account_id).is_some_and(|due| due.contains(&job.job_id)) })
}
