//! Mail by SES. Promises: plain text and HTML in UTF-8, and an address or a message never reaches a log or an error.

use crate::Error;
use aws_config::SdkConfig;
use aws_sdk_sesv2::Client;
use aws_sdk_sesv2::types::{Body, Content, Destination, EmailContent, Message};

#[derive(Debug, Clone)]
pub struct Mail {
    client: Client,
    from: String,
}

impl Mail {
    /// `from` is an address, or a name and an address, that SES has verified.
    pub fn new(config: &SdkConfig, from: String) -> Self {
        Self { client: Client::new(config), from }
    }

    pub async fn send(&self, to: &str, subject: &str, text: &str, html: &str) -> Result<(), Error> {
        let message = Message::builder().subject(utf8(subject)?).body(Body::builder().text(utf8(text)?).html(utf8(html)?).build()).build();
        self.client
            .send_email()
            .from_email_address(&self.from)
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
