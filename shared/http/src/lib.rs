//! What every function shares: the app and its environment, who calls, problem+json, idempotency keys, paging,
//! telemetry, OpenAPI. A function adds its endpoints and nothing of these.

mod app;
pub mod ask;
pub mod body;
pub mod caller;
pub mod doc;
pub mod flow;
pub mod guest;
pub mod idempotency;
pub mod kept;
pub mod lambda;
pub mod limits;
pub mod mail;
pub mod operator;
pub mod pace;
pub mod paging;
pub mod path;
#[cfg(feature = "pay")]
pub mod pay;
pub mod problem;
pub mod reads;
pub mod restoring;
pub mod sealed;
pub mod telemetry;
pub mod view;

pub use app::{App, Env, Secret, new_secret, random_bytes};
pub use body::Body;
pub use caller::{Caller, For, Person, RequestId, Signed, Visitor, Who, Worker, scope};
pub use idempotency::{Key, Once};
pub use operator::{Action, Acts, Admin, action};
pub use paging::{Page, Paging};
pub use path::Id;
pub use problem::{Problem, Result};
