//! Lists as Stripe pages them: newest first, `limit`, `starting_after`, `ending_before`, `has_more`, and `created` as a filter.

use serde_json::{Value, json};

use crate::{
    error::{Answer, Refusal},
    params::Params,
    work::{Work, int, public, text},
};

const MOST: i64 = 100;

/// One page of a kind. What else the list filters by is read from `params` before.
pub fn page(work: &Work<'_>, kind: &str, url: &str, mut params: Params, keep: impl Fn(&Value) -> bool) -> Answer {
    let created = created(&mut params)?;
    let all = work.state.all(kind).filter(|v| keep(v) && created.iter().all(|c| c.holds(int(v, "created"))));
    slice(all.map(public).collect(), url, params)
}

/// One page of what is given, which is in the list's order.
pub fn slice(all: Vec<Value>, url: &str, mut params: Params) -> Answer {
    let limit = params.int_in("limit", 1, MOST)?.unwrap_or(10) as usize;
    let after = params.filled("starting_after")?;
    let before = params.filled("ending_before")?;
    params.done()?;
    let at = |id: &str, name: &str| all.iter().position(|v| text(v, "id") == id).ok_or_else(|| Refusal::no_such("object in this list", id, name));
    let (range, more) = match (after, before) {
        (Some(_), Some(_)) => return Err(Refusal::field("starting_after", "You can pass only one of starting_after and ending_before.")),
        (_, Some(id)) => {
            let end = at(&id, "ending_before")?;
            let start = end.saturating_sub(limit);
            (start..end, start > 0)
        }
        (after, None) => {
            let start = after.map_or(Ok(0), |id| at(&id, "starting_after").map(|i| i + 1))?;
            let end = (start + limit).min(all.len());
            (start..end, end < all.len())
        }
    };
    Ok(json!({ "object": "list", "url": url, "has_more": more, "data": all[range] }))
}

/// A list inside another object: all of it, as long as it is short.
pub fn inside(url: String, data: Vec<Value>) -> Value {
    json!({ "object": "list", "url": url, "has_more": data.len() > 10, "total_count": data.len(), "data": data.iter().take(10).collect::<Vec<_>>() })
}

enum Created {
    Above(i64),
    Below(i64),
}

impl Created {
    fn holds(&self, at: i64) -> bool {
        match self {
            Self::Above(when) => at >= *when,
            Self::Below(when) => at <= *when,
        }
    }
}

/// `created=…`, or `created[gt|gte|lt|lte]=…`.
fn created(params: &mut Params) -> Result<Vec<Created>, Refusal> {
    if !params.has("created") {
        return Ok(Vec::new());
    }
    let Ok(Some(mut group)) = params.group("created") else {
        return Err(Refusal::field("created", "Give created as a group: created[gte], created[gt], created[lte], created[lt]."));
    };
    let mut all = Vec::new();
    all.extend(group.int("gte")?.map(Created::Above));
    all.extend(group.int("gt")?.map(|t| Created::Above(t + 1)));
    all.extend(group.int("lte")?.map(Created::Below));
    all.extend(group.int("lt")?.map(|t| Created::Below(t - 1)));
    group.done()?;
    Ok(all)
}
