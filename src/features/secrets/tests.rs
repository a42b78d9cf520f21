use serde_json::json;

use super::types::{SecretKey, SecretValue};

#[test]
fn keys_are_upper_case_names() {
    for key in ["A", "_", "API_KEY", "_9", "RUN402_X", &"A".repeat(128)] {
        assert!(SecretKey::of(key).is_some(), "{key}");
    }
    for key in ["", "a", "1A", "A-B", "A B", "Ä", "A\n", &"A".repeat(129)] {
        assert!(SecretKey::of(key).is_none(), "{key:?}");
    }
    for value in [None, Some(json!(null)), Some(json!(7)), Some(json!(["A"]))] {
        assert!(SecretKey::parse(value.as_ref()).is_err(), "{value:?}");
    }
}

#[test]
fn values_are_texts_of_4096_bytes_and_print_nothing() {
    for text in [String::new(), "x".repeat(4096), "é".repeat(2048)] {
        assert_eq!(SecretValue::parse(Some(json!(text))).unwrap().reveal(), text);
    }
    for value in [None, Some(json!(null)), Some(json!(1)), Some(json!("x".repeat(4097))), Some(json!("é".repeat(2049)))]
    {
        assert!(SecretValue::parse(value).is_err());
    }
    assert!(!format!("{:?}", SecretValue::parse(Some(json!("hunter2"))).unwrap()).contains("hunter2"));
}
