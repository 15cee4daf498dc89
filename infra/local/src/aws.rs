//! The AWS clients of kiln-local itself, for what CloudFormation would do: settings come from the environment, as everywhere.

use aws_config::SdkConfig;
use aws_smithy_http_client::{Builder, tls};

#[derive(Debug, Clone)]
pub struct Clients {
    pub dynamodb: aws_sdk_dynamodb::Client,
    pub s3: aws_sdk_s3::Client,
    pub ses: aws_sdk_sesv2::Client,
    pub sqs: aws_sdk_sqs::Client,
    pub ssm: aws_sdk_ssm::Client,
    pub sts: aws_sdk_sts::Client,
}

impl Clients {
    pub async fn new() -> Self {
        let http = Builder::new().tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring)).build_https();
        let config: SdkConfig = aws_config::from_env().http_client(http).load().await;
        // Stand-ins have one host for all buckets; AWS answers both ways.
        let s3 = aws_sdk_s3::config::Builder::from(&config).force_path_style(true).build();
        Self {
            dynamodb: aws_sdk_dynamodb::Client::new(&config),
            s3: aws_sdk_s3::Client::from_conf(s3),
            ses: aws_sdk_sesv2::Client::new(&config),
            sqs: aws_sdk_sqs::Client::new(&config),
            ssm: aws_sdk_ssm::Client::new(&config),
            sts: aws_sdk_sts::Client::new(&config),
        }
    }

    /// The account that the credentials belong to.
    pub async fn account(&self) -> anyhow::Result<String> {
        let identity = self.sts.get_caller_identity().send().await?;
        Ok(identity.account().unwrap_or_default().to_owned())
    }
}
