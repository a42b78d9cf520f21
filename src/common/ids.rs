//! Identifiers as types, so that one kind cannot be passed for another.

use std::{fmt, str::FromStr};

use rand::RngExt;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The text does not have the shape of the identifier it should be.
#[derive(Debug, thiserror::Error)]
#[error("not a valid {0}")]
pub struct InvalidId(&'static str);

/// Declares a text identifier with a validating parser.
macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let valid: fn(&str) -> bool = $valid;
                if valid(text) { Ok(Self(text.to_owned())) } else { Err(InvalidId($what)) }
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;

            fn try_from(text: String) -> Result<Self, InvalidId> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

fn is_word(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

text_id!(
    /// `prj_` and 1 to 96 of `[a-z0-9_]` (contract 02 §2.1). Safe unescaped in a URL path.
    ProjectId,
    "project id",
    |text| text.strip_prefix("prj_").is_some_and(|rest| (1..=96).contains(&rest.len()) && is_word(rest))
);

text_id!(
    /// `prn_` and 16 to 64 of `[a-z0-9]` (contract 08 §1.2).
    PrincipalId,
    "principal id",
    |text| text.strip_prefix("prn_").is_some_and(|rest| {
        (16..=64).contains(&rest.len()) && is_word(rest) && !rest.contains('_')
    })
);

text_id!(
    /// `p` and a zero-padded sequence number: the label of a project's database, never reused (02 §2.1).
    Slot,
    "schema slot",
    |text| text.strip_prefix('p').is_some_and(|rest| rest.len() >= 4 && rest.bytes().all(|b| b.is_ascii_digit()))
);

/// Letters and digits, with `_` between the parts.
fn is_tail(text: &str) -> bool {
    (1..=96).contains(&text.len()) && is_word(text)
}

text_id!(
    /// `rel_` and 1 to 96 of `[a-z0-9_]` (contract 03 §1.2).
    ReleaseId,
    "release id",
    |text| text.strip_prefix("rel_").is_some_and(is_tail)
);

text_id!(
    /// `op_` and 1 to 96 of `[a-z0-9_]` (contract 03 §1.2).
    OperationId,
    "operation id",
    |text| text.strip_prefix("op_").is_some_and(is_tail)
);

text_id!(
    /// `plan_` and 1 to 96 of `[a-z0-9_]` (contract 03 §1.2).
    PlanId,
    "plan id",
    |text| text.strip_prefix("plan_").is_some_and(is_tail)
);

text_id!(
    /// `dpl_<letters and digits>_<letters and digits>`: its only underscores are those two, so that the host label made of it by
    /// writing `-` for `_` maps back (contract 04 §1.1).
    DeploymentId,
    "deployment id",
    |text| text.strip_prefix("dpl_").and_then(|rest| rest.split_once('_')).is_some_and(|(first, second)| {
        is_tail(first) && is_tail(second) && !first.contains('_') && !second.contains('_')
    })
);

/// Fresh ids `<prefix><milliseconds>_<random>`: they sort roughly by age.
macro_rules! generated {
    ($($name:ident: $prefix:literal),*) => {$(
        impl $name {
            pub fn generate(now: super::Timestamp) -> Self {
                Self(format!(concat!($prefix, "{}_{}"), now.as_millis(), random_word(8)))
            }
        }
    )*};
}
generated!(ReleaseId: "rel_", OperationId: "op_", PlanId: "plan_", DeploymentId: "dpl_");

impl ProjectId {
    /// A fresh id: `prj_<milliseconds>_<random>`, so that ids sort roughly by age.
    pub fn generate(now: super::Timestamp) -> Self {
        Self(format!("prj_{}_{}", now.as_millis(), random_word(8)))
    }
}

impl PrincipalId {
    /// The principal derived from a keyed digest of what authenticates it.
    pub fn from_digest(digest: &[u8; 32]) -> Self {
        Self(format!("prn_{}", hex::encode(&digest[..16])))
    }
}

impl Slot {
    pub fn from_sequence(number: i64) -> Self {
        Self(format!("p{number:04}"))
    }
}

/// An organisation: a lower-case UUID, because clients treat anything else as an e-mail address (08 §1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OrganisationId(pub Uuid);

impl OrganisationId {
    pub fn generate() -> Self {
        Self(Uuid::new_v4())
    }
}

impl FromStr for OrganisationId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        Uuid::try_parse(text).map(Self).map_err(|_| InvalidId("organisation id"))
    }
}

impl fmt::Display for OrganisationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// `length` random characters of `[a-z0-9]`, about 5.2 bits each.
pub fn random_word(length: usize) -> String {
    const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let mut rng = rand::rng();
    (0..length).map(|_| char::from(ALPHABET[rng.random_range(0..ALPHABET.len())])).collect()
}

/// A trace id: `trc_` and 24 random characters (contract 01 §1.2 asks for at least 16).
pub fn trace_id() -> String {
    format!("trc_{}", random_word(24))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::Timestamp;

    #[test]
    fn project_ids_are_validated() {
        let generated = ProjectId::generate(Timestamp::from_millis(1_777_563_179_844).unwrap());
        assert!(generated.as_str().parse::<ProjectId>().is_ok());
        assert!("prj_1777563179844_1095".parse::<ProjectId>().is_ok());
        for text in ["", "prj_", "prj_A", "prj_a/b", "p_a", "prj_a\0", &format!("prj_{}", "a".repeat(97))] {
            assert!(text.parse::<ProjectId>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn slots_are_padded() {
        assert_eq!(Slot::from_sequence(7).as_str(), "p0007");
        assert_eq!(Slot::from_sequence(12_345).as_str(), "p12345");
        assert!("p007".parse::<Slot>().is_err());
        assert!("p00x7".parse::<Slot>().is_err());
    }
}
