//! The `assets` slice.

use std::collections::HashSet;

use serde_json::Value;

use super::{
    SpecLimits, Violation,
    content::{Contents, content_type, required_integer},
    error::Violations,
    reader::{Fields, check_names},
};
use crate::features::{
    assets::{AssetPut, AssetSlice, AssetSync, ExifPolicy, SyncConfirm, Visibility, validate_key, validate_metadata},
    releases::path::content_type_of,
};

const MAX_PREFIX: usize = 1024;
const MAX_CONFIRM_TEXT: usize = 256;

pub(super) fn read(
    mut fields: Fields,
    limits: &SpecLimits,
    contents: &mut Contents<'_>,
    problems: &mut Violations,
) -> AssetSlice {
    let path = fields.at("put");
    let items = fields.list("put", problems).unwrap_or_default();
    let delete = fields.strings("delete", problems).unwrap_or_default();
    if items.len() + delete.len() > limits.max_assets {
        problems.invalid(path.clone(), format!("A spec has at most {} asset operations.", limits.max_assets));
    }
    let mut keys = HashSet::new();
    let mut put = Vec::new();
    for (index, item) in items.into_iter().enumerate() {
        let path = format!("{path}.{index}");
        let Some(entry) = entry(item, &path, contents, problems) else { continue };
        if !keys.insert(entry.key.clone()) {
            problems.push(Violation::new(
                "ASSET_DUPLICATE_KEY_IN_PUT",
                format!("{path}.key"),
                format!("The asset {:?} is put twice: keep one.", entry.key),
            ));
        }
        put.push(entry);
    }
    for (index, key) in delete.iter().enumerate() {
        let path = format!("{}.{index}", fields.at("delete"));
        if let Err(message) = validate_key(key) {
            problems.invalid(path.clone(), message);
        }
        if keys.contains(key) {
            problems.push(Violation::new(
                "ASSET_KEY_IN_PUT_AND_DELETE",
                path,
                format!("The asset {key:?} is both put and deleted: keep one."),
            ));
        }
    }
    check_names(&delete, &fields.at("delete"), None, problems);
    let sync = fields.object("sync", problems).and_then(|sync| read_sync(sync, problems));
    fields.finish(problems);
    AssetSlice { put, delete, sync }
}

fn entry(value: Value, path: &str, contents: &mut Contents<'_>, problems: &mut Violations) -> Option<AssetPut> {
    let mut fields = Fields::of(value, path, problems)?;
    let key = fields.required_string("key", problems);
    if let Some(Err(message)) = key.as_deref().map(validate_key) {
        problems.invalid(fields.at("key"), message);
    }
    let sha256 = fields.digest("sha256", problems);
    let size = required_integer(&mut fields, "size_bytes", problems);
    if let (Some(sha256), Some(size)) = (sha256, size) {
        contents.note(sha256, size, path, problems);
    }
    let content_type = content_type(&mut fields, problems);
    let visibility = match fields.string("visibility", problems).as_deref() {
        None | Some("public") => Visibility::Public,
        Some("private") => Visibility::Private,
        Some(_) => {
            problems.invalid(fields.at("visibility"), "The visibility of an asset is `public` or `private`.");
            Visibility::Private
        }
    };
    let immutable = fields.boolean("immutable", problems).unwrap_or(true);
    let metadata = match fields.take("metadata") {
        None | Some(Value::Null) => None,
        Some(metadata) => validate_metadata(&metadata).unwrap_or_else(|message| {
            problems.push(Violation::new("INVALID_ASSET_METADATA", fields.at("metadata"), message));
            None
        }),
    };
    let exif_policy = match fields.take_either("exif_policy", "exifPolicy", problems) {
        None => ExifPolicy::Keep,
        Some(Value::String(policy)) if policy == "keep" => ExifPolicy::Keep,
        Some(Value::String(policy)) if policy == "strip" => ExifPolicy::Strip,
        Some(_) => {
            problems.push(Violation::new(
                "INVALID_EXIF_POLICY",
                fields.at("exif_policy"),
                "The EXIF policy of an asset is `keep` or `strip`.",
            ));
            ExifPolicy::Keep
        }
    };
    fields.finish(problems);
    let key = key?;
    let content_type = content_type.unwrap_or_else(|| content_type_of(&key).to_owned());
    Some(AssetPut { key, sha256: sha256?, size: size?, content_type, visibility, immutable, metadata, exif_policy })
}

fn read_sync(mut fields: Fields, problems: &mut Violations) -> Option<AssetSync> {
    let prefix = fields.required_string("prefix", problems);
    if prefix.as_ref().is_some_and(|prefix| !(1..=MAX_PREFIX).contains(&prefix.len())) {
        problems.invalid(fields.at("prefix"), "The prefix of a sync has 1 to 1024 bytes.");
    }
    if fields.take("prune") != Some(Value::Bool(true)) {
        problems.invalid(fields.at("prune"), "`assets.sync` needs `prune: true`: without pruning, put is enough.");
    }
    let confirm = fields.object("confirm", problems).and_then(|mut confirm| {
        let base_revision = confirm.required_string("base_revision", problems);
        let delete_set_digest = confirm.required_string("delete_set_digest", problems);
        for (key, text) in [("base_revision", &base_revision), ("delete_set_digest", &delete_set_digest)] {
            if text.as_ref().is_some_and(|text| text.len() > MAX_CONFIRM_TEXT) {
                problems.invalid(confirm.at(key), "Echo the value of the plan's `asset_sync`.");
            }
        }
        let expected_delete_count = required_integer(&mut confirm, "expected_delete_count", problems);
        confirm.finish(problems);
        Some(SyncConfirm {
            base_revision: base_revision?,
            delete_set_digest: delete_set_digest?,
            expected_delete_count: expected_delete_count?,
        })
    });
    fields.finish(problems);
    Some(AssetSync { prefix: prefix?, confirm })
}
