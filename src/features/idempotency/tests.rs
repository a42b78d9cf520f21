use axum::http::{HeaderValue, StatusCode};

use super::{is_kept, valid_key};

#[test]
fn keys_are_1_to_255_printable_ascii() {
    assert_eq!(valid_key(&HeaderValue::from_static("a b-1")).unwrap(), "a b-1");
    assert!(valid_key(&HeaderValue::from_str(&"k".repeat(255)).unwrap()).is_ok());
    let bad = [Vec::new(), vec![b'k'; 256], "clé".as_bytes().to_vec(), b"a\tb".to_vec()];
    for bytes in bad {
        let error = valid_key(&HeaderValue::from_bytes(&bytes).unwrap()).unwrap_err();
        assert_eq!(error.code(), "INVALID_IDEMPOTENCY_KEY");
    }
}

#[test]
fn only_refusals_that_would_repeat_are_kept() {
    for status in [400, 403, 404, 409, 413, 422] {
        assert!(is_kept(StatusCode::from_u16(status).unwrap()), "{status}");
    }
    for status in [401, 402, 408, 429, 500, 501, 503] {
        assert!(!is_kept(StatusCode::from_u16(status).unwrap()), "{status}");
    }
}
