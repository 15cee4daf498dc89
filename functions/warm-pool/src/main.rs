//! The `warm-pool` Lambda, on its schedule.
use lambda_runtime::{LambdaEvent, service_fn};
use serde_json::Value;

fn main() -> Result<(), lambda_runtime::Error> {
    kiln_http::lambda::run(|app| async move {
        let app = &app;
        lambda_runtime::run(service_fn(|event: LambdaEvent<Value>| async move {
            kiln_warm_pool::tick(app, event.payload).await.map_err(|error| lambda_runtime::Error::from(format!("{error:#}")))
        }))
        .await
    })
}
