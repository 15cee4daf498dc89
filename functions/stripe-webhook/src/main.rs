//! The `stripe-webhook` Lambda.
fn main() -> Result<(), lambda_http::Error> {
    kiln_http::lambda::serve(kiln_stripe_webhook::router)
}
