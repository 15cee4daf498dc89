//! How many machines there should be, which, and what they may cost.
//!
//! - [`policy`]: what the operator asks; [`gpus`]: names of GPUs that it may name; [`plan`]: what to do now, from what was observed; [`reason`]: why, as data
//! - [`history`]: what earlier looks leave to this one
//! - [`room`]: how many more jobs may come before it rents, and so who wakes the warm pool; [`standing`]: that, and what jobs wait for
//! - `size`: the part of the plan that says what comes and what goes; `standby`: which machines are stopped and kept, started again, and given back
//! - [`spot`]: how it goes with machines that may be taken away; [`reliability`]: how it went with those that are gone
//! - [`arrivals`]: how many jobs came lately; [`boots`]: what boots took; [`budget`]: what a machine is covered for; [`charges`]: what its provider says it cost; [`forecast`]: what expected jobs need; [`offers`]: which machine to rent
//! - [`usage`]: what a machine was used for, and what that cost; [`quarantine`]: which hosts fail what others do
//!
//! All of it is pure: the warm pool reads, asks [`plan::plan`], and carries its decisions out.

pub mod arrivals;
pub mod boots;
pub mod budget;
pub mod charges;
pub mod forecast;
pub mod gpus;
pub mod history;
pub mod offers;
pub mod plan;
pub mod policy;
pub mod quarantine;
pub mod reason;
pub mod reliability;
pub mod room;
mod size;
pub mod spot;
mod standby;
pub mod standing;
pub mod usage;

pub use arrivals::Arrivals;
pub use boots::{Boots, Took};
pub use history::History;
pub use plan::{Decision, Demand, Observation, Plan, Seen, plan};
pub use policy::{Keep, Policy};
pub use reason::Reason;
pub use reliability::Reliability;
pub use room::room;
pub use spot::Spot;
pub use standing::{Standing, Waits};
