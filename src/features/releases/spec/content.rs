//! References to bytes.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use super::{SpecLimits, error::Violations, reader::Fields};
use crate::{engines::blobs::Sha256Digest, features::releases::types::FileRef};

/// Longest content type; it becomes a header.
const MAX_CONTENT_TYPE: usize = 255;

/// What every reference of a spec is held against.
pub(super) struct Contents<'a> {
    limits: &'a SpecLimits,
    sizes: HashMap<Sha256Digest, u64>,
}

impl<'a> Contents<'a> {
    pub fn new(limits: &'a SpecLimits) -> Self {
        Self { limits, sizes: HashMap::new() }
    }

    /// Reads `{sha256, size, content_type?, integrity?}`.
    pub fn file(&mut self, value: Value, path: &str, problems: &mut Violations) -> Option<FileRef> {
        let mut fields = Fields::of(value, path, problems)?;
        let sha256 = fields.digest("sha256", problems);
        let size = required_integer(&mut fields, "size", problems);
        let content_type = content_type(&mut fields, problems);
        // A hint for the client's own checks: the digest says all of it.
        let _ = fields.string("integrity", problems);
        fields.finish(problems);
        let (sha256, size) = (sha256?, size?);
        self.note(sha256, size, path, problems);
        Some(FileRef { sha256, size, content_type })
    }

    /// Holds one reference against the others and the limit.
    pub fn note(&mut self, sha256: Sha256Digest, size: u64, path: &str, problems: &mut Violations) {
        if size > self.limits.max_object_bytes {
            problems.invalid(path, format!("{path} is larger than {} bytes.", self.limits.max_object_bytes));
        }
        let known = *self.sizes.entry(sha256).or_insert(size);
        if known != size {
            problems.invalid(path, format!("{path} gives {size} bytes for {sha256}, which elsewhere has {known}."));
        }
    }

    /// Reads a map of path to file; `check` judges the paths.
    pub fn files(
        &mut self,
        fields: Fields,
        check: fn(&str) -> Result<(), &'static str>,
        problems: &mut Violations,
    ) -> BTreeMap<String, FileRef> {
        let mut files = BTreeMap::new();
        for (name, value, path) in fields.entries() {
            if let Err(message) = check(&name) {
                problems.invalid(path.clone(), message);
            }
            if let Some(file) = self.file(value, &path, problems) {
                files.insert(name, file);
            }
        }
        files
    }
}

pub(super) fn required_integer(fields: &mut Fields, key: &str, problems: &mut Violations) -> Option<u64> {
    if !fields.has(key) {
        problems.invalid(fields.at(key), format!("{} is missing.", fields.at(key)));
    }
    fields.integer(key, problems)
}

/// `content_type`, trimmed. It is sent as a header later, so it is held to what a header can bear.
pub(super) fn content_type(fields: &mut Fields, problems: &mut Violations) -> Option<String> {
    let text = fields.string_either("content_type", "contentType", problems)?;
    let trimmed = text.trim_matches([' ', '\t']);
    let printable = trimmed.bytes().all(|byte| matches!(byte, b'\t' | b' '..=b'~'));
    if trimmed.is_empty() || trimmed.len() > MAX_CONTENT_TYPE || !printable {
        let path = fields.at("content_type");
        problems.invalid(path.clone(), format!("{path} must be 1 to 255 printable ASCII characters."));
        return None;
    }
    Some(trimmed.to_owned())
}
