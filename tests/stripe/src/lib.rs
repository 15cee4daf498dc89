//! A stand-in for Stripe: API, Checkout page, portal, invoices and signed webhooks, with play money. It speaks API version 2026-09-30.endive, and the
//! official clients and async-stripe drive it. The README says what it serves.
//!
//! ```ignore
//! let stand_in = StandIn::new(Config::new("http://127.0.0.1:12111", "sk_test_…"))?;
//! axum::serve(listener, stand_in.router()).await?;
//! ```
//!
//! # Control endpoints
//!
//! Under `/stand-in`, JSON in and out, with the secret key as for `/v1` (Bearer or Basic). Errors have Stripe's shape.
//!
//! | call | what it does |
//! | --- | --- |
//! | `POST checkout/{id}/pay {"card": "ok"\|"declined"\|"async", "email"?}` | pays a session as its page would; the answer is the session |
//! | `POST checkout/{id}/settle {"outcome": "succeeded"\|"failed"}` | what an async payment comes to |
//! | `POST customers/{id}/card {"card": "ok"\|"declined"}` | how the customer's card fares from now on, where a call doesn't say |
//! | `POST subscriptions/{id}/renew {"card"?}` | goes on to the next period now; declined: `invoice.payment_failed`, `past_due` |
//! | `POST subscriptions/{id}/retry {"card"?, "last"?: "past_due"\|"unpaid"\|"canceled"}` | tries the open invoice again; `last`: the status if it fails |
//! | `POST disputes {"charge" or "payment_intent", "amount"?, "reason"?}` | opens a dispute |
//! | `POST disputes/{id}/close {"outcome": "won"\|"lost"}` | closes it |
//! | `POST refunds/{id}/fail` | the bank sends a refund back |
//! | `PATCH objects/{id} {…}` | merges fields into an object, with no event: for amounts that don't fit and the like |
//! | `POST clock {"advance_s"}` | puts the clock forward; sessions expire and subscriptions renew as it says |
//! | `GET deliveries?state&event&type&endpoint` | `{items, hold}`: each delivery with its tries, oldest first |
//! | `GET deliveries/idle?timeout_ms` | waits until nothing is waiting or on its way: `{idle}` |
//! | `POST deliveries/hold` | from now on deliveries are held back |
//! | `POST deliveries/release {"order"?: […], "rest"?: "release"\|"hold"\|"drop"}` | sends what is held, one after the other and each awaited, in the order given by delivery ids, event ids or event types; then the rest (`release` unless told). Holding ends unless `rest` is `hold`. `{items}` in the order sent |
//! | `POST events/{id}/deliver {"times"?, "ids"?, "endpoint"?, "tamper"?: "body"\|"signature"\|"old"}` | sends an event again, `times` in parallel, under `ids` event ids (the first is its own, the others are new events with the same object) |
//! | `POST deliver {"body": "…", "endpoint"?}` | signs and sends any text |
//! | `POST faults {"kind", "times"?, "method"?, "path"?, "ms"?}` | the next API calls fail; see `Fault` |
//! | `GET faults`, `DELETE faults` | which faults are still to come; none any more |
//! | `POST reset` | forgets everything but the configured endpoints |

#![recursion_limit = "256"]

mod api;
mod config;
mod control;
mod control_deliveries;
mod error;
mod faults;
mod form;
mod ids;
mod pages;
mod params;
mod post;
mod request;
mod server;
mod signature;
mod state;
mod work;

pub use config::{API_VERSION, Config, Delivery, Endpoint};
pub use faults::{Fault, FaultKind};
pub use server::StandIn;
