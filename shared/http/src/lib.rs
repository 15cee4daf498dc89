//! What every function shares: the app and its environment, who calls, problem+json, idempotency keys, paging,
//! telemetry, OpenAPI. A function adds its endpoints and nothing of these.

mod app;
pub mod body;
pub mod caller;
pub mod doc;
pub mod flow;
pub mod idempotency;
pub mod kept;
pub mod lambda;
pub mod mail;
pub mod paging;
pub mod path;
pub mod problem;
pub mod telemetry;
pub mod view;

pub use app::{App, Env, Secret, new_secret};
pub use body::Body;
pub use caller::{Admin, Caller, RequestId, Signed, Worker};
pub use idempotency::{Key, Once};
pub use paging::{Page, Paging};
pub use path::Id;
pub use problem::{Problem, Result};
