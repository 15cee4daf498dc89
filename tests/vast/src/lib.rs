//! A stand-in for Vast.ai: the part of its API that a pool of rented machines and the official command line use, and the machines behind it. The README
//! says what it serves and where it differs.
//!
//! ```ignore
//! let stand_in = StandIn::new(Config::new("the account's key"));
//! axum::serve(listener, stand_in.router()).await?;
//! ```
//!
//! # Control endpoints
//!
//! Under `/stand-in`, JSON in and out, with the account's key as for `/api`. Errors have Vast.ai's shape.
//!
//! | call | what it does |
//! | --- | --- |
//! | `POST faults {"kind", "times"? or "until_cleared"?, "method"?, "path"?, "query"?, "label"?, "status"?, "ms"?, "retry_after"?}` | the next API calls that fit meet it; see `Fault` and `FaultKind` |
//! | `GET faults`, `DELETE faults` | which are still to come; none any more |
//! | `POST clock {"advance_s"?, "advance_ms"?, "frozen"?}`, `GET clock` | puts the clock forward, stops it or lets it run; what was due on the way has happened when the answer comes |
//! | `POST pace {"create_ms"?, "penalty_ms"?, "destroy_ms"?, "list_ms"?, "show_ms"?, "charges_ms"?}`, `DELETE pace` | from now on the published least times between two calls hold (each as published unless told), and who is too early gets a 429; no more |
//! | `GET requests?after` | every API request, oldest first: `{items: [{n, at_ms, method, path, query, label, by, fault, status}]}`; `after` skips those up to that `n` |
//! | `GET machines` | every instance that ever was, as it truly is, with what it has cost: `{now_ms, credit_left, machines}` |
//! | `GET instances/{id}` | the same of one |
//! | `GET instances/{id}/wait?status&process&timeout_ms` | waits until it shows that status, or has or lacks a process; else 408 |
//! | `POST instances/{id}/die` | its container ends: `exited` |
//! | `POST instances/{id}/stick` | it never comes to `running`, now or when it is next started |
//! | `POST instances/{id}/offline`, `…/unheard`, `…/return` | its machine is cut off (nothing runs, nothing is billed); sends no heartbeat (`unknown`, all goes on); is back |
//! | `POST instances/{id}/vanish`, `…/appear` | it is in no list and reads as gone, while it runs and costs; it is seen again |
//! | `POST instances/{id}/undying {"status"?}`, `…/mortal` | destroying it answers 200 (or that 5xx) and it stays; it can be destroyed again |
//! | `POST instances/{id}/exited` | from now on it reads `exited` and not `stopped` when it is stopped, as Vast.ai shows many |
//! | `POST instances/{id}/outbid`, `…/free` | a bid loses its machine to somebody outside; an instance may have its machine again |
//! | `PATCH instances/{id} {"dph_base"?, "storage_cost"?, …}` | the contract's prices, from now on |
//! | `POST instances/{id}/traffic {"up_bytes"?, "down_bytes"?}` | bills bytes |
//! | `POST instances/{id}/surcharge {"usd", "days_ago"?}` | charges more (or less) than was said, today or some days ago; also what is gone |
//! | `GET offers`, `PATCH offers/{id} {…}` | all offers as they are configured; changes any field, such as a price, or `gone` |
//! | `POST credit {"left"}` | sets what is left of the account's credit |
//! | `POST reset` | forgets everything, kills all machines and begins anew |

#![recursion_limit = "512"]

mod api;
mod bill;
mod clock;
mod config;
mod control;
mod error;
mod faults;
mod filter;
mod instance;
mod journal;
mod offers;
mod pace;
mod processes;
mod request;
mod server;
mod state;

pub use config::{Config, MachineCommand, Times};
pub use faults::{Fault, FaultKind};
pub use offers::{MONTH_HOURS, Offer, generate};
pub use pace::Thresholds;
pub use server::StandIn;
