//! Accounts under deletion: their files go, then their items, in bounded steps, until nothing is left but the books.

use kiln_core::job::OWED_SHARDS;
use kiln_core::time::{Millis, seconds};
use kiln_http::App;
use kiln_store::{Account, Leaving, Leftover};

const MOST_PER_SHARD: u32 = 20;
/// What one run spends on this; the rest waits for the next.
const FOR: Millis = seconds(20);
/// Objects of one job, and of one account's uploads, that are deleted in one step.
const MOST_FILES: usize = 5000;
/// How long a worker's last PUT may be used after its job has ended, and a little more.
const PUTS_END: Millis = seconds(15 * 60);
/// Until an account that could not be emptied is looked at again, so that it doesn't stand in the others' way.
const AGAIN_AFTER: Millis = seconds(10 * 60);

pub(crate) async fn sweep(app: &App) -> anyhow::Result<u64> {
    let until = app.now() + FOR;
    let mut emptied = 0;
    for shard in 0..OWED_SHARDS {
        for row in app.table().owed("account", shard, app.now(), MOST_PER_SHARD).await? {
            if app.now() > until {
                return Ok(emptied);
            }
            let account = match app.table().owed_item::<Account>(&row).await {
                Ok(Some(account)) => account,
                Ok(None) => continue,
                Err(error) => {
                    tracing::error!(%error, pk = row.pk, "a row that is owed can't be read");
                    app.table().look_later(&row, app.now() + AGAIN_AFTER).await?;
                    continue;
                }
            };
            let due = account.state == Some(Leaving::Deleting) && account.next_check_at.is_some_and(|at| at <= app.now());
            if !due {
                continue;
            }
            let next = match empty(app, &account, until).await {
                Ok(next) => next,
                Err(error) => {
                    tracing::error!(%error, account_id = %account.account_id, "a deleted account could not be emptied");
                    Some(app.now() + AGAIN_AFTER)
                }
            };
            app.table().deletion_goes_on(&account.account_id, next).await?;
            emptied += u64::from(next.is_none());
        }
    }
    Ok(emptied)
}

/// One walk over what is left; when to walk again, or `None` when nothing can come any more.
async fn empty(app: &App, account: &Account, until: Millis) -> anyhow::Result<Option<Millis>> {
    let id = &account.account_id;
    let settled = account.deleted_at.unwrap_or(0) + seconds(app.settings().deletion_settle_s);
    let (mut after, mut late) = (None, false);
    loop {
        let (items, next) = app.table().leftovers(id, after.as_deref()).await?;
        let mut going = Vec::new();
        for item in items {
            if let Some(job) = &item.job_id {
                // Files first: should we die in between, the job still tells where they are.
                if !app.files().forget_results_of(job, MOST_FILES).await? {
                    return Ok(Some(app.now()));
                }
            }
            if may_come(app, &item, settled) { late = true } else { going.push(item) }
        }
        app.table().forget(&going).await?;
        after = next;
        if after.is_none() {
            break;
        }
        if app.now() > until {
            return Ok(Some(app.now()));
        }
    }
    if !app.files().forget_uploads_of(id, MOST_FILES).await? {
        return Ok(Some(app.now()));
    }
    // A link to send a file by, signed before the deletion, may be used after it; so all is looked for once more when none works any longer.
    Ok(if late || app.now() < settled { Some(settled.max(app.now())) } else { None })
}

/// Whether a worker may still send files of this job.
fn may_come(app: &App, item: &Leftover, settled: Millis) -> bool {
    let now = app.now();
    now < settled && item.job_id.is_some() && item.ended_at.is_some_and(|at| at + PUTS_END > now)
}
