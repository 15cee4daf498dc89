//! Mail by SES. Promises: plain text and HTML in UTF-8, and an address or a message never reaches a log or an error.

use crate::Error;
use aws_config::SdkConfig;
use aws_sdk_sesv2::Client;
use aws_sdk_sesv2::types::{Body, Content, Destination, EmailContent, Message};

#[derive(Debug, Clone)]
pub struct Mail {
    client: Client,
    from: String,
    configuration_set: Option<String>,
}

impl Mail {
    /// `from` is an address, or a name and an address, that SES has verified; the configuration set is what tells of bounces.
    pub fn new(config: &SdkConfig, from: String, configuration_set: Option<String>) -> Self {
        Self { client: Client::new(config), from, configuration_set }
    }

    /// Whether an address takes mail is asked before: `kiln_http`'s `App::send_mail` is the one way to send.
    pub async fn send(&self, to: &str, subject: &str, text: &str, html: &str) -> Result<(), Error> {
        let message = Message::builder().subject(utf8(subject)?).body(Body::builder().text(utf8(text)?).html(utf8(html)?).build()).build();
        self.client
            .send_email()
            .from_email_address(&self.from)
            .set_configuration_set_name(self.configuration_set.clone())
            .destination(Destination::builder().to_addresses(to).build())
            .content(EmailContent::builder().simple(message).build())
            .send()
            .await
            .map_err(|error| Error::aws_code("sending mail", error))?;
        Ok(())
    }
}

fn utf8(text: &str) -> Result<Content, Error> {
    Content::builder().data(text).charset("UTF-8").build().map_err(Error::internal)
}
