//! Prefixed ULIDs: `job_01J…`, sortable by time, 80 bits of randomness, one Rust type a kind of thing.
//! The alphabet and layout are those of the ULID specification (Crockford's base 32, 48-bit milliseconds).

use crate::time::Millis;
use serde::{Deserialize, Serialize};

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// The 26 characters of a ULID. `random` gives its low 80 bits.
pub fn ulid(at: Millis, random: u128) -> String {
    let value = ((at.max(0) as u128 & 0xFFFF_FFFF_FFFF) << 80) | (random & ((1 << 80) - 1));
    (0..26).rev().map(|i| ALPHABET[(value >> (5 * i)) as usize & 31] as char).collect()
}

/// The milliseconds in a ULID's first ten characters, or `None` for what isn't one.
pub fn ulid_time(text: &str) -> Option<Millis> {
    if !is_ulid(text) {
        return None;
    }
    text.bytes().take(10).try_fold(0i64, |sum, byte| {
        let digit = ALPHABET.iter().position(|a| *a == byte)?;
        Some(sum * 32 + digit as i64)
    })
}

fn is_ulid(text: &str) -> bool {
    text.len() == 26 && text.as_bytes()[0] <= b'7' && text.bytes().all(|byte| ALPHABET.contains(&byte))
}

/// What isn't an id of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no id of that kind, which begins with {prefix}_")]
pub struct BadId {
    pub prefix: &'static str,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            pub const PREFIX: &'static str = $prefix;

            /// A new id for this instant; `random` gives its low 80 bits.
            pub fn new(at: Millis, random: u128) -> Self {
                Self(format!("{}_{}", $prefix, ulid(at, random)))
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Its random part, the low 80 bits.
            pub fn random(&self) -> u128 {
                let body = self.0[$prefix.len() + 1..].bytes().fold(0u128, |sum, byte| {
                    sum << 5 | ALPHABET.iter().position(|a| *a == byte).unwrap_or(0) as u128
                });
                body & ((1 << 80) - 1)
            }

            /// The id that follows this one: for a second thing of the same instant, made by the same hand.
            pub fn next(&self) -> Self {
                Self::new(self.time(), self.random().wrapping_add(1))
            }

            /// When it was made, as the id itself says.
            pub fn time(&self) -> Millis {
                ulid_time(&self.0[$prefix.len() + 1..]).unwrap_or(0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = BadId;
            fn from_str(text: &str) -> Result<Self, BadId> {
                text.strip_prefix(concat!($prefix, "_"))
                    .filter(|rest| is_ulid(rest))
                    .map(|_| Self(text.to_owned()))
                    .ok_or(BadId { prefix: $prefix })
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadId;
            fn try_from(text: String) -> Result<Self, BadId> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        #[cfg(feature = "openapi")]
        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                utoipa::openapi::ObjectBuilder::new()
                    .schema_type(utoipa::openapi::schema::Type::String)
                    .pattern(Some(concat!("^", $prefix, "_[0-7][0-9A-HJKMNP-TV-Z]{25}$")))
                    .examples([concat!($prefix, "_01JD6Z3M8Q4V5X7Y9A2B3C4D5E")])
                    .into()
            }
        }

        #[cfg(feature = "openapi")]
        impl utoipa::ToSchema for $name {}
    };
}

id!(/** Who owns credits, projects and jobs. */ AccountId, "acc");
id!(/** A signed-in browser. */ SessionId, "ses");
id!(/** A file that a client put into S3. */ UploadId, "upl");
id!(/** One piece of work asked for. */ JobId, "job");
id!(/** One immutable line of an account's history. */ EntryId, "led");
id!(/** Something asked to be paid: a pack, a plan, or a guest's job. */ OrderId, "ord");
id!(/** Many jobs asked for at once. */ BatchId, "bat");
id!(/** A link that shows a result signed out. */ ShareId, "shr");
id!(/** A secret of one account, with scopes. */ KeyId, "key");
id!(/** An invitation into an organisation. */ InviteId, "inv");
id!(/** One rented machine, or one slot of it. */ InstanceId, "ins");
id!(/** An operator's claim on a machine. */ LeaseId, "lea");
id!(/** An address outside that is told of events. */ EndpointId, "whe");
id!(/** Something that happened, to be told. */ EventId, "evt");
id!(/** One event for one endpoint, with its tries. */ DeliveryId, "dlv");
id!(/** One line of the operators' audit log. */ AuditId, "aud");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_sorts_by_time_and_gives_it_back() {
        let early = JobId::new(1_763_721_600_000, u128::MAX);
        let late = JobId::new(1_763_721_600_001, 0);
        assert!(early < late);
        assert_eq!(late.time(), 1_763_721_600_001);
        assert_eq!(late.as_str().len(), 30);
    }

    #[test]
    fn the_next_id_is_of_the_same_instant_and_another() {
        let id = JobId::new(1_763_721_600_000, 41);
        assert_eq!(id.next(), JobId::new(1_763_721_600_000, 42));
        assert_eq!(JobId::new(5, (1 << 80) - 1).next(), JobId::new(5, 0));
        assert_eq!((JobId::new(5, (1 << 80) - 1).random(), JobId::new(i64::MAX, 7).random()), ((1 << 80) - 1, 7));
    }

    #[test]
    fn what_is_not_an_id_of_the_kind_is_refused() {
        let job = JobId::new(1, 2).to_string();
        assert!(job.parse::<JobId>().is_ok());
        assert!(job.parse::<UploadId>().is_err());
        for bad in ["", "job_", "job_01", "job_8ZZZZZZZZZZZZZZZZZZZZZZZZZ", "job_0123456789abcdefghjkmnpqrs", "job_01J#00000000000000000000000"] {
            assert!(bad.parse::<JobId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn it_agrees_with_the_specification_s_example_layout() {
        assert_eq!(ulid(1_469_918_176_385, 0)[..10], *"01ARYZ6S41");
    }
}
