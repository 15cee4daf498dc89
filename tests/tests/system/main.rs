//! The whole system, seen from outside. One binary, so that it is linked once; each test has a system of its own.

mod access;
mod accounts;
mod backup;
mod bad_input;
mod bootstraps;
mod buying;
mod counts;
mod crowd;
mod drills;
mod fields;
mod jobs;
mod keys;
mod late_money;
mod limits;
mod local;
mod machines;
mod mail;
mod money_told;
mod named_hooks;
mod orgs;
mod prices;
mod same_key;
mod stored;
mod told;
mod webhooks;
