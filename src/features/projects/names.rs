//! Names and public ids of projects. Pure.

use rand::RngExt;

use crate::common::{ApiError, ApiResult, ids};

/// Characters of a project name, after trimming (02 §2.1).
const MAX_NAME: usize = 200;

const QUALITIES: [&str; 32] = [
    "amber", "brisk", "calm", "clever", "cobalt", "copper", "crisp", "dawn", "early", "ember", "fern", "gentle",
    "golden", "hazel", "indigo", "jade", "keen", "lunar", "maple", "mellow", "misty", "noble", "ochre", "plain",
    "quiet", "rapid", "silver", "solar", "stone", "sunny", "tidal", "vivid",
];
const THINGS: [&str; 32] = [
    "anchor", "arbor", "beacon", "bridge", "brook", "canyon", "cedar", "comet", "delta", "field", "forge", "garden",
    "harbor", "island", "kettle", "ladder", "lantern", "meadow", "mill", "orchard", "otter", "pebble", "pine",
    "prairie", "quarry", "ridge", "river", "sparrow", "summit", "thicket", "valley", "willow",
];

/// The name as stored: trimmed, 1 to 200 characters, no control characters.
///
/// # Errors
/// 400 `VALIDATION_ERROR` with `details.field: "name"`.
pub(super) fn valid_name(name: &str) -> ApiResult<String> {
    let name = name.trim();
    let length = name.chars().count();
    if length == 0 || length > MAX_NAME {
        return Err(ApiError::validation("name", "The name must have 1 to 200 characters."));
    }
    if name.chars().any(char::is_control) {
        return Err(ApiError::validation("name", "The name must not contain control characters."));
    }
    Ok(name.to_owned())
}

/// A readable label for a project nobody named, such as `quiet-harbor-417`.
pub(super) fn label() -> String {
    let mut rng = rand::rng();
    let quality = QUALITIES[rng.random_range(0..QUALITIES.len())];
    let thing = THINGS[rng.random_range(0..THINGS.len())];
    format!("{quality}-{thing}-{}", rng.random_range(100..1000))
}

/// Twelve random letters and digits: short, opaque, no secret, fit for a host name (04 §1.1).
pub(super) fn public_id() -> String {
    ids::random_word(12)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_trimmed_and_1_to_200_characters_without_control_characters() {
        assert_eq!(valid_name("  My shop \u{2014} 2 ").unwrap(), "My shop \u{2014} 2");
        assert!(valid_name(&"é".repeat(200)).is_ok());
        for name in ["", "   ", &"x".repeat(201), "a\nb", "a\0b", "a\u{85}b", "a\u{7f}"] {
            let error = valid_name(name).unwrap_err();
            assert_eq!(error.code(), "VALIDATION_ERROR", "{name:?}");
            assert_eq!(error.body("trc_1", false)["details"]["field"], "name");
        }
    }

    #[test]
    fn labels_are_valid_names_of_three_words() {
        for _ in 0..50 {
            let label = label();
            assert_eq!(valid_name(&label).unwrap(), label);
            assert_eq!(label.split('-').count(), 3);
        }
    }

    #[test]
    fn public_ids_are_fit_for_a_host_name() {
        let id = public_id();
        assert!(id.len() <= 40 && id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()));
    }
}
