//! The `billing` Lambda.
fn main() -> Result<(), lambda_http::Error> {
    kiln_http::lambda::serve(kiln_billing::router)
}
