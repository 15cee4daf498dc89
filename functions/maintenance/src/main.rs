//! The `maintenance` Lambda: a schedule, and the dead-letter queue.
use lambda_runtime::{LambdaEvent, service_fn};
use serde_json::Value;

fn main() -> Result<(), lambda_runtime::Error> {
    kiln_http::lambda::run(|app| async move {
        let app = &app;
        lambda_runtime::run(service_fn(|event: LambdaEvent<Value>| async move {
            // Boxed: the future of all that maintenance may do is deeper than the compiler likes to lay out.
            Box::pin(kiln_maintenance::handle(app, event.payload)).await.map_err(|error| lambda_runtime::Error::from(format!("{error:#}")))
        }))
        .await
    })
}
