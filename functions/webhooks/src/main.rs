//! The `webhooks` Lambda.
fn main() -> Result<(), lambda_http::Error> {
    kiln_http::lambda::serve(kiln_webhooks::router)
}
