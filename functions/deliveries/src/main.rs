//! The `deliveries` Lambda: a schedule, and the queue of what is to be delivered.
use kiln_deliveries::Net;
use lambda_runtime::{LambdaEvent, service_fn};
use serde_json::Value;

fn main() -> Result<(), lambda_runtime::Error> {
    kiln_http::lambda::run(|app| async move {
        let net = &Net::new(app.allows_loopback(), app.settings())?;
        let app = &app;
        lambda_runtime::run(service_fn(|event: LambdaEvent<Value>| async move {
            kiln_deliveries::handle(app, net, event.payload).await.map_err(|error| lambda_runtime::Error::from(format!("{error:#}")))
        }))
        .await
    })
}
