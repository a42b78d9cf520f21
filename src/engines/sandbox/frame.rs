//! Frames of the ABI: `[u32 length][JSON]`, then `[u32 length][bytes]` for each part, little endian.

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use super::services::ServiceError;

/// Parts a frame may have; more is nonsense.
const MAX_PARTS: usize = 8;

pub(super) fn pack(head: &impl Serialize, parts: &[&[u8]]) -> Vec<u8> {
    let head = serde_json::to_vec(head).unwrap_or_else(|_| b"null".to_vec());
    let size = parts.iter().fold(4 + head.len(), |size, part| size + 4 + part.len());
    let mut out = Vec::with_capacity(size);
    for part in std::iter::once(head.as_slice()).chain(parts.iter().copied()) {
        // Frames are bounded by the guest's memory, which is 4 GiB at most.
        out.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes());
        out.extend_from_slice(part);
    }
    out
}

pub(super) fn unpack<H: DeserializeOwned>(frame: Vec<u8>) -> Result<(H, Vec<Bytes>), ServiceError> {
    let mut rest = Bytes::from(frame);
    let mut parts = Vec::new();
    while !rest.is_empty() {
        let length = rest.first_chunk::<4>().map(|bytes| u32::from_le_bytes(*bytes) as usize);
        match length {
            Some(length) if rest.len() >= 4 + length && parts.len() <= MAX_PARTS => {
                let mut part = rest.split_to(4 + length);
                parts.push(part.split_off(4));
            }
            _ => return Err(ServiceError::named("TypeError", "malformed frame")),
        }
    }
    if parts.is_empty() {
        return Err(ServiceError::named("TypeError", "empty frame"));
    }
    let head = serde_json::from_slice(&parts.remove(0))
        .map_err(|error| ServiceError::named("TypeError", format!("malformed call: {error}")))?;
    Ok((head, parts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_comes_back_as_it_was() {
        let frame = pack(&"head", &[b"one", b"", b"three"]);
        let (head, parts) = unpack::<String>(frame).unwrap();
        assert_eq!(head, "head");
        assert_eq!(parts, [&b"one"[..], b"", b"three"]);
    }

    #[test]
    fn a_frame_that_lies_about_lengths_is_refused() {
        for frame in [vec![], vec![1], vec![255, 255, 255, 255, 0], vec![9, 0, 0, 0, b'"']] {
            assert!(unpack::<serde_json::Value>(frame).is_err());
        }
    }
}
