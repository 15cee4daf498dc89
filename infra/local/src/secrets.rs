//! The secrets that the template wants in the parameter store: made once, kept in the data folder, put where they are missing.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result};
use aws_sdk_ssm::types::ParameterType;

use crate::data::DataDir;
use crate::model::Secret;

const KEPT: &str = "secrets.json";

/// Puts each secret; `given` holds values that the caller insists on, by name. Returns all values by name.
pub async fn ensure(client: &aws_sdk_ssm::Client, data: &DataDir, secrets: &[Secret], given: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>> {
    // The stand-in forgets what it had not saved when it is killed, and a new key would end every session: so we keep them too.
    let mut kept: BTreeMap<String, String> = match fs::read_to_string(data.join(KEPT)) {
        Ok(text) => serde_json::from_str(&text).with_context(|| format!("{} is damaged", data.join(KEPT).display()))?,
        Err(_) => BTreeMap::new(),
    };
    let before = kept.clone();
    let mut values = BTreeMap::new();
    for secret in secrets {
        let stored = match client.get_parameter().name(&secret.parameter).with_decryption(true).send().await {
            Ok(found) => found.parameter.and_then(|parameter| parameter.value),
            Err(error) if error.as_service_error().is_some_and(|error| error.is_parameter_not_found()) => None,
            Err(error) => return Err(error).with_context(|| format!("reading {}", secret.parameter)),
        };
        let value = match given.get(&secret.name).or(stored.as_ref().filter(|_| secret.given.is_none())).or(kept.get(&secret.name)) {
            Some(value) => value.clone(),
            // What only its owner can give, and did not.
            None if secret.given.is_some() => kiln_http::pay::UNSET.to_owned(),
            None => random()?,
        };
        if stored.as_ref() != Some(&value) {
            let put = client.put_parameter().name(&secret.parameter).r#type(ParameterType::SecureString).value(&value).overwrite(true);
            put.send().await.with_context(|| format!("writing {}", secret.parameter))?;
        }
        // What the caller insists on is theirs to keep.
        if !given.contains_key(&secret.name) && secret.given.is_none() {
            kept.insert(secret.name.clone(), value.clone());
        }
        values.insert(secret.name.clone(), value);
    }
    if kept != before {
        data.write(KEPT, &serde_json::to_string_pretty(&kept)?).map_err(|failure| anyhow::anyhow!("{failure}"))?;
    }
    Ok(values)
}

/// 256 bits of the system's randomness, in hexadecimal.
pub fn random() -> Result<String> {
    let mut bytes = [0; 32];
    std::io::Read::read_exact(&mut fs::File::open("/dev/urandom")?, &mut bytes)?;
    Ok(hex::encode(bytes))
}
