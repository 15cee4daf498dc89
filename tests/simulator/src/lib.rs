//! The fleet simulator: the pool's production plan, [`kiln_core::pool::plan`], under a seeded world of discrete events that fails as providers do.
//!
//! - [`parameters`]: what the world is like; [`arrivals`]: the jobs; [`world`]: the truth; [`provider`]: the API in front of it; [`meter`]: what is measured
//! - [`executor`]: intents, reservations and reconciliation around the plan, a model of what the warm pool does; [`rivals`]: what others do
//! - [`bound`]: what no policy can go below, held against [`exact`] on small traces
//! - [`run`], [`table`], [`plot`]: one run, all of them, and their picture; [`faults`] and [`checker`]: schedules of faults, and what must hold in each

pub mod arrivals;
pub mod bound;
pub mod checker;
pub mod exact;
pub mod executor;
pub mod faults;
pub mod meter;
pub mod parameters;
pub mod plot;
pub mod provider;
pub mod rivals;
pub mod run;
pub mod table;
pub mod world;
