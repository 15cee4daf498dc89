//! The `admin` Lambda.
fn main() -> Result<(), lambda_http::Error> {
    kiln_http::lambda::serve(kiln_admin::router)
}
