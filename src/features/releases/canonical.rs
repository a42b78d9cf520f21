//! Canonical JSON, for digests (contract 03 §1.2): object keys sorted, array order kept, no white space, UTF-8.

use std::io::{self, Write};

use serde_json::Value;
use sha2::{Digest, Sha256};

/// SHA-256 of the canonical JSON, in hexadecimal.
pub(super) fn digest(value: &Value) -> String {
    let mut hasher = Hasher(Sha256::new());
    // A hasher takes every write, and text and numbers always have a JSON form.
    let _ = write(value, &mut hasher);
    hex::encode(hasher.0.finalize())
}

struct Hasher(Sha256);

impl Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write(value: &Value, out: &mut impl Write) -> io::Result<()> {
    match value {
        Value::Array(items) => {
            out.write_all(b"[")?;
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.write_all(b",")?;
                }
                write(item, out)?;
            }
            out.write_all(b"]")
        }
        Value::Object(map) => {
            let mut members: Vec<_> = map.iter().collect();
            members.sort_unstable_by_key(|(key, _)| key.as_str());
            out.write_all(b"{")?;
            for (index, (key, member)) in members.into_iter().enumerate() {
                if index > 0 {
                    out.write_all(b",")?;
                }
                serde_json::to_writer(&mut *out, key)?;
                out.write_all(b":")?;
                write(member, out)?;
            }
            out.write_all(b"}")
        }
        scalar => Ok(serde_json::to_writer(out, scalar)?),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::common::sealing::sha256_hex;

    #[test]
    fn keys_are_sorted_and_nothing_is_padded() {
        let value = json!({ "b": [1, { "z": null, "a": "é\n" }], "a": true });
        let mut text = Vec::new();
        write(&value, &mut text).unwrap();
        assert_eq!(String::from_utf8(text.clone()).unwrap(), "{\"a\":true,\"b\":[1,{\"a\":\"é\\n\",\"z\":null}]}");
        assert_eq!(digest(&value), sha256_hex(&text));
    }
}
