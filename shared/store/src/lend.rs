//! What a rented machine is lent: an hour of STS credentials for the job queues and nothing else (invariant 10).
//!
//! Promises: the session's policy names three actions and the given queues; a lent secret shows in no `Debug` or error.

use crate::Error;
use aws_config::SdkConfig;
use aws_sdk_sts::Client;
use std::time::SystemTime;

/// STS gives a role assumed from another role an hour at most.
const LENT_S: i32 = 3600;

#[derive(Clone, PartialEq, Eq)]
pub struct Lent {
    pub access_key_id: String,
    pub secret_access_key: String,
    pub session_token: String,
    /// A duration, because a worker's clock isn't trusted.
    pub expires_in_s: u64,
}

impl std::fmt::Debug for Lent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lent").field("expires_in_s", &self.expires_in_s).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone)]
pub struct Lender {
    client: Client,
    role_arn: String,
    region: String,
}

impl Lender {
    pub fn new(config: &SdkConfig, role_arn: impl Into<String>) -> Self {
        let region = config.region().map(|region| region.to_string()).unwrap_or_default();
        Self { client: Client::new(config), role_arn: role_arn.into(), region }
    }

    /// Credentials for these queues; `session_name` (the instance) is what CloudTrail shows for their use.
    pub async fn lend(&self, session_name: &str, queue_urls: &[String]) -> Result<Lent, Error> {
        if queue_urls.is_empty() {
            return Err(Error::internal("no queue to lend"));
        }
        let arns = queue_urls.iter().map(|url| queue_arn(url, &self.region)).collect::<Result<Vec<_>, _>>()?;
        let output = self
            .client
            .assume_role()
            .role_arn(&self.role_arn)
            .role_session_name(safe_session_name(session_name))
            .duration_seconds(LENT_S)
            .policy(session_policy(&arns))
            .send()
            .await
            .map_err(|error| Error::aws_code("lending the worker role", error))?;
        let credentials = output.credentials.ok_or_else(|| Error::internal("STS answered without credentials"))?;
        let left = SystemTime::try_from(credentials.expiration).ok().and_then(|at| at.duration_since(SystemTime::now()).ok()).unwrap_or_default();
        Ok(Lent {
            access_key_id: credentials.access_key_id,
            secret_access_key: credentials.secret_access_key,
            session_token: credentials.session_token,
            expires_in_s: left.as_secs().min(LENT_S as u64),
        })
    }
}

/// Exactly what a worker does with a message. STS grants the intersection with the role, so this can only take away.
pub fn session_policy(arns: &[String]) -> String {
    serde_json::json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow",
            "Action": ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility"],
            "Resource": arns,
        }],
    })
    .to_string()
}

/// The ARN of a queue from its URL (`https://sqs.REGION.amazonaws.com/ACCOUNT/NAME`). Another host, such as a local
/// endpoint, says no region, so ours is taken.
pub fn queue_arn(url: &str, our_region: &str) -> Result<String, Error> {
    let bad = || Error::internal(format!("not the URL of a queue: {url}"));
    let (host, path) = url.split_once("://").and_then(|(_, rest)| rest.split_once('/')).ok_or_else(bad)?;
    let mut segments = path.trim_end_matches('/').rsplit('/');
    let (Some(name), Some(account)) = (segments.next(), segments.next()) else { return Err(bad()) };
    let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    let is_account = account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
    // A `*` here would lend every queue of the account.
    if !is_name || !is_account {
        return Err(bad());
    }
    let region = host.strip_prefix("sqs.").and_then(|rest| rest.split_once(".amazonaws.com")).map_or(our_region, |(region, _)| region);
    if region.is_empty() {
        return Err(Error::internal("no region is set"));
    }
    let partition = match region {
        china if china.starts_with("cn-") => "aws-cn",
        gov if gov.starts_with("us-gov-") => "aws-us-gov",
        _ => "aws",
    };
    Ok(format!("arn:{partition}:sqs:{region}:{account}:{name}"))
}

/// STS takes 2 to 64 of these characters.
fn safe_session_name(name: &str) -> String {
    let kept: String = name.chars().map(|c| if c.is_ascii_alphanumeric() || "_+=,.@-".contains(c) { c } else { '-' }).take(64).collect();
    if kept.len() < 2 { format!("kiln-{kept}") } else { kept }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_allows_three_actions_on_the_given_queues_and_no_more() {
        let arns = ["arn:aws:sqs:eu-central-1:123456789012:rush".to_owned(), "arn:aws:sqs:eu-central-1:123456789012:standard".to_owned()];
        let policy: serde_json::Value = serde_json::from_str(&session_policy(&arns)).unwrap();
        let expected = serde_json::json!({
            "Version": "2012-10-17",
            "Statement": [{
                "Effect": "Allow",
                "Action": ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility"],
                "Resource": arns,
            }],
        });
        assert_eq!(policy, expected);
        assert!(session_policy(&arns).len() < 2048, "STS takes no longer policy");
    }

    #[test]
    fn an_arn_follows_from_a_url() {
        let arn = |url| queue_arn(url, "eu-west-1");
        assert_eq!(arn("https://sqs.us-east-1.amazonaws.com/123456789012/kiln-rush").unwrap(), "arn:aws:sqs:us-east-1:123456789012:kiln-rush");
        assert_eq!(arn("https://sqs.cn-north-1.amazonaws.com.cn/123456789012/q").unwrap(), "arn:aws-cn:sqs:cn-north-1:123456789012:q");
        assert_eq!(arn("http://127.0.0.1:4566/000000000000/kiln-rush").unwrap(), "arn:aws:sqs:eu-west-1:000000000000:kiln-rush");
        assert_eq!(arn("http://sqs.eu-west-1.localhost:4566/000000000000/q").unwrap(), "arn:aws:sqs:eu-west-1:000000000000:q");
    }

    #[test]
    fn nothing_wider_than_one_queue_becomes_an_arn() {
        for url in [
            "",
            "nonsense",
            "https://sqs.us-east-1.amazonaws.com/",
            "https://sqs.us-east-1.amazonaws.com/123456789012/*",
            "https://h/*/q",
            "https://h/12/q",
            "https://h/q",
        ] {
            assert!(queue_arn(url, "eu-west-1").is_err(), "{url}");
        }
        assert!(queue_arn("http://127.0.0.1:4566/000000000000/q", "").is_err());
    }

    #[test]
    fn a_session_s_name_is_one_that_sts_takes() {
        assert_eq!(safe_session_name("ins_01J"), "ins_01J");
        assert_eq!(safe_session_name("a b/c"), "a-b-c");
        assert_eq!(safe_session_name(""), "kiln-");
        assert_eq!(safe_session_name(&"x".repeat(99)).len(), 64);
    }

    #[test]
    fn debug_keeps_the_secret() {
        let lent = Lent { access_key_id: "AKIA".into(), secret_access_key: "s3cret".into(), session_token: "t0ken".into(), expires_in_s: 3600 };
        assert_eq!(format!("{lent:?}"), "Lent { expires_in_s: 3600, .. }");
    }

    #[tokio::test]
    async fn nothing_is_lent_without_a_queue() {
        let lender = Lender::new(&crate::testing::config(), "arn:aws:iam::123456789012:role/worker");
        assert_eq!(lender.lend("ins_1", &[]).await.unwrap_err().to_string(), "no queue to lend");
    }
}
