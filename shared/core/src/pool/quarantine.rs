//! Which hosts no job is given to any more because jobs fail there, by what a customer can't bring about alone.
//!
//! Promises: a fault is a job that failed at one host and that another host did; one that fails at two hosts, or that nobody can do, counts against
//! none. A host where jobs succeed beside is judged only by several accounts, and never for less than a third of what it did. Whatever jobs do, at
//! least half of the hosts stay.

use crate::time::Millis;

/// As many faults, today and yesterday (UTC), are no accident: a machine or two die at work on most days, and three times at one host they don't.
pub const MOST_FAULTS: u64 = 3;

/// A host of the fleet, as it is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Host<'a> {
    pub host: &'a str,
    /// Jobs that failed there and were done elsewhere.
    pub faults: u64,
    /// Of so many accounts.
    pub accounts: usize,
    /// Jobs that succeeded there since the first of these faults was seen.
    pub succeeded: u64,
}

impl Host<'_> {
    fn is_at_fault(&self) -> bool {
        self.faults >= MOST_FAULTS && self.succeeded < 2 * self.faults && (self.accounts > 1 || self.succeeded == 0)
    }
}

/// The hosts to be left, of all that work and are not left already; `left` were in force before, for what jobs did there.
pub fn to_leave<'a>(hosts: &[Host<'a>], left: usize) -> Vec<Host<'a>> {
    let mut at_fault: Vec<Host<'a>> = hosts.iter().copied().filter(Host::is_at_fault).collect();
    at_fault.sort_by_key(|host| std::cmp::Reverse(host.faults));
    let most = room(hosts.len(), left);
    at_fault.truncate(most);
    at_fault
}

/// How many more of the hosts that work may be left for what jobs did there: those that stay are as many as those that are left, at least.
pub fn room(working: usize, left: usize) -> usize {
    working.saturating_sub(left) / 2
}

/// Until when a host is left: until none of its faults counts any longer, a day at least.
pub fn until(now: Millis) -> Millis {
    const DAY: Millis = crate::time::seconds(86_400);
    (now.div_euclid(DAY) + 2) * DAY
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(host: &str, faults: u64, accounts: usize, succeeded: u64) -> Host<'_> {
        Host { host, faults, accounts, succeeded }
    }

    fn left(hosts: &[Host<'_>], before: usize) -> Vec<String> {
        to_leave(hosts, before).iter().map(|host| host.host.to_owned()).collect()
    }

    #[test]
    fn a_host_that_fails_what_others_do_is_left_and_one_that_also_works_only_by_several_accounts() {
        let good = [host("g1", 0, 0, 50), host("g2", 1, 1, 9), host("g3", 2, 1, 0)];
        let with = |one: Host<'static>| left(&[&good[..], &[one]].concat(), 0);
        assert!(with(host("a", 2, 2, 0)).is_empty(), "two may be an accident");
        assert_eq!(with(host("a", 3, 1, 0)), ["a"]);
        assert!(with(host("a", 30, 1, 1)).is_empty(), "one customer alone, while another's job succeeds there");
        assert_eq!(with(host("a", 3, 2, 5)), ["a"]);
        assert!(with(host("a", 3, 2, 6)).is_empty(), "two in three succeed");
    }

    #[test]
    fn whatever_fails_half_of_the_hosts_stay() {
        let all: Vec<Host<'_>> = ["a", "b", "c", "d"].iter().map(|name| host(name, 9, 9, 0)).collect();
        assert_eq!(left(&all, 0).len(), 2);
        assert_eq!((left(&all, 2).len(), left(&all, 4).len(), left(&all[..1], 0).len()), (1, 0, 0));
        // As it goes on: those that are left are replaced by new ones, which fail too.
        for fleet in 1..20 {
            let mut left = 0;
            for _ in 0..50 {
                left += to_leave(&vec![host("x", 9, 9, 0); fleet], left).len();
                assert!(left <= fleet, "{left} of {fleet}");
            }
        }
        assert_eq!((until(0), until(86_399_999), until(86_400_000)), (172_800_000, 172_800_000, 259_200_000));
    }
}
