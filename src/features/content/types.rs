//! What content routes receive and answer, and the layout of uploads.

use std::{collections::HashMap, fmt, ops::Range, str::FromStr};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Reference, error::ContentError};
use crate::{
    common::{ProjectId, Timestamp, ids},
    engines::blobs::Sha256Digest,
};

/// Rows in a content plan at most (contract 03 §3.1).
const MAX_ROWS: usize = 50_000;
/// Parts of an object at most: S3's number.
const MAX_PARTS: u64 = 10_000;

/// Body of `POST /content/v1/plans`. Other fields are ignored.
#[derive(Debug, Deserialize, ToSchema)]
pub struct ContentPlanRequest {
    content: Vec<ContentRow>,
    /// Needed without a project key; must otherwise be the key's project.
    pub(super) project_id: Option<String>,
}

#[derive(Debug, Deserialize, ToSchema)]
pub struct ContentRow {
    /// 64 lower-case hexadecimal digits.
    sha256: String,
    /// Bytes.
    size: u64,
}

impl ContentPlanRequest {
    /// The distinct objects asked for, in the order of their first mention.
    pub(super) fn validate(&self, max_object_bytes: u64) -> Result<Vec<Reference>, ContentError> {
        let invalid = |resource: String, message: &str| ContentError::InvalidSpec { resource, message: message.into() };
        if self.content.is_empty() {
            return Err(invalid("content".into(), "content must list at least one object."));
        }
        if self.content.len() > MAX_ROWS {
            return Err(invalid("content".into(), "content may list 50,000 objects at most. Make several plans."));
        }
        let mut known = HashMap::with_capacity(self.content.len());
        let mut distinct = Vec::with_capacity(self.content.len());
        for (at, row) in self.content.iter().enumerate() {
            let sha256: Sha256Digest = row.sha256.parse().map_err(|_| {
                invalid(format!("content.{at}.sha256"), "sha256 must be 64 lower-case hexadecimal digits.")
            })?;
            if row.size > max_object_bytes {
                return Err(ContentError::ObjectTooLarge { sha256, size: row.size, limit: max_object_bytes });
            }
            match known.insert(sha256, row.size) {
                None => distinct.push(Reference { sha256, size: row.size }),
                Some(size) if size == row.size => {}
                Some(_) => {
                    return Err(invalid(format!("content.{at}.size"), "One sha256 is listed with two sizes."));
                }
            }
        }
        Ok(distinct)
    }
}

/// Answer of `POST /content/v1/plans`.
#[derive(Debug, Serialize, ToSchema)]
pub struct ContentPlan {
    #[schema(value_type = String)]
    pub plan_id: ContentPlanId,
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
    /// What is to be uploaded.
    pub missing: Vec<UploadSession>,
    pub entries: Vec<ContentEntry>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ContentEntry {
    #[schema(value_type = String)]
    pub sha256: Sha256Digest,
    pub missing: bool,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct UploadSession {
    #[schema(value_type = String)]
    pub sha256: Sha256Digest,
    /// `single` or `multipart`
    pub mode: &'static str,
    pub parts: Vec<UploadPart>,
    pub part_size_bytes: u64,
    pub part_count: u32,
    pub upload_id: String,
    pub staging_key: String,
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct UploadPart {
    /// From 1.
    pub part_number: u32,
    pub url: String,
    pub byte_start: u64,
    /// Inclusive; -1 for an empty object.
    pub byte_end: i64,
}

/// Answer of the commit of a content plan.
#[derive(Debug, Serialize, ToSchema)]
pub struct CommittedContent {
    #[schema(value_type = String)]
    pub plan_id: ContentPlanId,
    #[schema(example = "committed")]
    pub status: &'static str,
    pub committed: Vec<CommittedObject>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct CommittedObject {
    #[schema(value_type = String)]
    pub sha256: Sha256Digest,
    pub size: u64,
}

/// `cplan_<milliseconds>_<random>`
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct ContentPlanId(String);

impl ContentPlanId {
    pub(super) fn generate(now: Timestamp) -> Self {
        Self(format!("cplan_{}_{}", now.as_millis(), ids::random_word(12)))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id of the upload session with this number.
    pub(super) fn upload_id(&self, session: u32) -> String {
        format!("upl_{}_{session}", self.0.trim_start_matches("cplan_"))
    }

    /// Reads an upload id back.
    pub(super) fn of_upload(upload_id: &str) -> Option<(Self, u32)> {
        let (plan, session) = upload_id.strip_prefix("upl_")?.rsplit_once('_')?;
        let number: u32 = session.parse().ok()?;
        let plan: Self = format!("cplan_{plan}").parse().ok()?;
        (number > 0 && plan.upload_id(number) == upload_id).then_some((plan, number))
    }
}

/// The text is not the id of a content plan.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the id of a content plan")]
pub struct InvalidPlanId;

impl FromStr for ContentPlanId {
    type Err = InvalidPlanId;

    fn from_str(text: &str) -> Result<Self, InvalidPlanId> {
        let tail = text.strip_prefix("cplan_").ok_or(InvalidPlanId)?;
        let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        if (1..=96).contains(&tail.len()) && tail.bytes().all(word) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidPlanId)
        }
    }
}

impl fmt::Display for ContentPlanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A stored content plan.
#[derive(Debug)]
pub(super) struct Plan {
    pub id: ContentPlanId,
    pub project: ProjectId,
    /// Session n is the entry n - 1.
    pub sessions: Vec<Reference>,
    pub single_bytes: u64,
    pub part_bytes: u64,
    pub expires_at: Timestamp,
    pub committed: bool,
}

/// How one object is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub size: u64,
    /// Bytes in every part but the last.
    pub part_bytes: u64,
    pub parts: u32,
    pub multipart: bool,
}

impl Layout {
    pub fn new(size: u64, single_bytes: u64, part_bytes: u64) -> Self {
        if size <= single_bytes {
            return Self { size, part_bytes: size, parts: 1, multipart: false };
        }
        // A huge object gets larger parts instead of more than `MAX_PARTS`.
        let part_bytes = part_bytes.max(size.div_ceil(MAX_PARTS)).max(1);
        let parts = u32::try_from(size.div_ceil(part_bytes)).unwrap_or(u32::MAX);
        Self { size, part_bytes, parts, multipart: true }
    }

    /// The bytes of part `number`, counted from 1.
    pub fn range(&self, number: u32) -> Option<Range<u64>> {
        if number == 0 || number > self.parts {
            return None;
        }
        let start = u64::from(number - 1) * self.part_bytes;
        Some(start..(start + self.part_bytes).min(self.size))
    }
}

impl Plan {
    /// The object of session `number`, counted from 1.
    pub fn session(&self, number: u32) -> Option<Reference> {
        let at = usize::try_from(number).ok()?.checked_sub(1)?;
        self.sessions.get(at).copied()
    }

    pub fn layout(&self, object: Reference) -> Layout {
        Layout::new(object.size, self.single_bytes, self.part_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(json: &str) -> ContentPlanRequest {
        serde_json::from_str(json).unwrap()
    }

    fn digest(byte: u8) -> String {
        format!("{byte:02x}").repeat(32)
    }

    #[test]
    fn one_object_is_listed_once() {
        let (a, b) = (digest(1), digest(2));
        let rows = request(&format!(
            r#"{{"content":[{{"sha256":"{a}","size":1}},{{"sha256":"{b}","size":2,"content_type":"x"}},{{"sha256":"{a}","size":1}}]}}"#
        ));
        let distinct = rows.validate(10).unwrap();
        assert_eq!(distinct.iter().map(|object| object.size).collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn mistakes_name_the_row() {
        let a = digest(1);
        let cases = [
            (r#"{"content":[]}"#.to_owned(), "content"),
            (
                format!(r#"{{"content":[{{"sha256":"{}","size":1}}]}}"#, a.to_uppercase().replace('1', "A")),
                "content.0.sha256",
            ),
            (r#"{"content":[{"sha256":"","size":1}]}"#.to_owned(), "content.0.sha256"),
            (format!(r#"{{"content":[{{"sha256":"{a}","size":1}},{{"sha256":"{a}","size":2}}]}}"#), "content.1.size"),
        ];
        for (json, expected) in cases {
            match request(&json).validate(10) {
                Err(ContentError::InvalidSpec { resource, .. }) => assert_eq!(resource, expected, "{json}"),
                other => panic!("{json}: {other:?}"),
            }
        }
        let huge = request(&format!(r#"{{"content":[{{"sha256":"{a}","size":11}}]}}"#));
        assert!(matches!(huge.validate(10), Err(ContentError::ObjectTooLarge { .. })));
    }

    #[test]
    fn an_upload_id_names_its_plan_and_session_in_one_way_only() {
        let plan: ContentPlanId = "cplan_1777_abc".parse().unwrap();
        let id = plan.upload_id(7);
        assert_eq!(ContentPlanId::of_upload(&id), Some((plan, 7)));
        for text in
            ["", "upl_", "upl_7", "upl_1777_abc_0", "upl_1777_abc_07", "upl_1777_abc_-1", "upl_1777_abc_x", "upl_A_1"]
        {
            assert_eq!(ContentPlanId::of_upload(text), None, "{text}");
        }
    }

    #[test]
    fn parts_cover_the_object_without_gaps() {
        for (size, single, part, parts, multipart) in [
            (0, 64, 16, 1, false),
            (64, 64, 16, 1, false),
            (65, 64, 16, 5, true),
            (80, 64, 16, 5, true),
            (81, 64, 16, 6, true),
        ] {
            let layout = Layout::new(size, single, part);
            assert_eq!((layout.parts, layout.multipart), (parts, multipart), "{size}");
            let mut at = 0;
            for number in 1..=parts {
                let range = layout.range(number).unwrap();
                assert_eq!(range.start, at, "{size} {number}");
                at = range.end;
            }
            assert_eq!(at, size);
            assert_eq!((layout.range(0), layout.range(parts + 1)), (None, None));
        }
        let huge = Layout::new(1_000_000, 64, 16);
        assert_eq!((huge.parts, huge.part_bytes), (10_000, 100));
    }
}
