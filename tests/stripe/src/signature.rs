//! `Stripe-Signature`: `t=SECONDS,v1=HEX`, HMAC-SHA256 under the endpoint's secret over `SECONDS.BODY`.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The header's value. `now_s`: seconds since 1970.
pub fn header(secret: &str, now_s: i64, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(format!("{now_s}.").as_bytes());
    mac.update(body.as_bytes());
    format!("t={now_s},v1={}", hex::encode(mac.finalize().into_bytes()))
}
