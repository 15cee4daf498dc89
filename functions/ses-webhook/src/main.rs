//! The `ses-webhook` Lambda: subscribed to the topic of bounces and complaints, and behind a route for whoever delivers them by HTTPS.

fn main() -> Result<(), lambda_http::Error> {
    kiln_http::lambda::serve_both(kiln_ses_webhook::router, kiln_ses_webhook::handle)
}
