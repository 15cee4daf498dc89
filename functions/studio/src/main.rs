//! The `studio` Lambda.
fn main() -> Result<(), lambda_http::Error> {
    kiln_http::lambda::serve(kiln_studio::router)
}
