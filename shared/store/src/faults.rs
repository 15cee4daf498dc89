//! What failed at a host and was done at another: counted by day and account, in the transaction of the job that shows it, so each counts once.

use crate::table::{Expr, Item, Parts, Table, n};
use crate::{Error, keys};
use kiln_core::ids::AccountId;
use kiln_core::pool::charges::DAY;
use kiln_core::time::Millis;
use std::collections::BTreeMap;

/// Days that count: this one and the one before.
const DAYS: i64 = 2;

/// Of each host: of each account, by the day since 1970, how many jobs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Faults(BTreeMap<String, BTreeMap<String, BTreeMap<i64, u64>>>);

impl Faults {
    /// Of each host with faults that count now: how many there are, and of how many accounts.
    pub fn now(&self, now: Millis) -> BTreeMap<&str, (u64, usize)> {
        let counts = |day: i64| day > now.div_euclid(DAY) - DAYS;
        let of = |accounts: &BTreeMap<String, BTreeMap<i64, u64>>| {
            let each: Vec<u64> =
                accounts.values().map(|days| days.iter().filter(|(day, _)| counts(**day)).map(|(_, jobs)| jobs).sum()).filter(|jobs| *jobs > 0).collect();
            (each.iter().sum(), each.len())
        };
        self.0.iter().map(|(host, accounts)| (host.as_str(), of(accounts))).filter(|(_, (jobs, _))| *jobs > 0).collect()
    }

    /// Adds what stands in an item of theirs.
    pub(crate) fn add(&mut self, sk: &str, item: &Item) {
        let Some((host, account)) = sk.strip_prefix(keys::FAULT).and_then(|rest| rest.rsplit_once('#')) else { return };
        let of = self.0.entry(host.to_owned()).or_default().entry(account.to_owned()).or_default();
        for (attribute, value) in item {
            let day = attribute.strip_prefix("on").and_then(|day| day.parse().ok());
            if let (Some(day), Some(jobs)) = (day, value.as_n().ok().and_then(|text| text.parse().ok())) {
                of.insert(day, jobs);
            }
        }
    }
}

impl Table {
    /// One more, in the transaction of the job that was done elsewhere.
    pub(crate) fn add_fault(&self, parts: &mut Parts, host: &str, account: &AccountId, now: Millis) -> Result<(), Error> {
        let day = now.div_euclid(DAY);
        let kept = Expr::new("SET #ttl = :ttl").name("ttl").value("ttl", n((day + DAYS + 1) * DAY / 1000)).adding(&[(format!("on{day}"), 1)]);
        self.add_update(parts, &keys::fault(host, account), kept, None).map(drop)
    }
}
