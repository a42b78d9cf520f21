//! Assets as clients see them (contract 04 §6.4, §6.5, §6.7). Pure.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};

use super::{
    AssetPut, ExifPolicy, Visibility,
    keys::{SUFFIX, VARIANT_SPEC, encode_path, variant_path},
    store::{Stored, StoredImage, StoredVariant},
};
use crate::features::hosts::ProjectUrls;

/// Schema of the image fields.
const ASSET_SCHEMA: &str = "v1.54";

/// Which of a project's hosts a URL names.
type Host = fn(&ProjectUrls) -> &str;

const PREFERRED: Host = ProjectUrls::preferred;
const OWN: Host = |urls| &urls.public;

/// The URL of a path below `/_blob/`; null for what is not public.
fn link(urls: Option<&ProjectUrls>, host: Host, path: &str) -> Value {
    urls.map_or(Value::Null, |urls| json!(format!("{}/_blob/{}", host(urls), encode_path(path))))
}

/// The AssetRef of a put: final URLs, and the image fields as far as the image is known.
pub(super) fn asset_ref(
    put: &AssetPut,
    immutable_path: Option<&str>,
    image: Option<&StoredImage>,
    urls: Option<&ProjectUrls>,
) -> Value {
    let is_public = put.visibility == Visibility::Public;
    let urls = urls.filter(|_| is_public);
    let immutable = |host| immutable_path.map_or(Value::Null, |path| link(urls, host, path));
    let digest64 = STANDARD.encode(put.sha256.as_bytes());
    let mut fields = json!({
        "key": put.key,
        "sha256": put.sha256,
        "size_bytes": put.size,
        "content_type": put.content_type,
        "visibility": put.visibility,
        "immutable": put.immutable,
        "url": link(urls, PREFERRED, &put.key),
        "immutable_url": immutable(PREFERRED),
        "cdn_url": link(urls, OWN, &put.key),
        "cdn_immutable_url": immutable(OWN),
        "sri": (put.immutable && is_public).then(|| format!("sha256-{digest64}")),
        "etag": format!("\"sha256-{}\"", put.sha256),
        "content_digest": format!("sha-256=:{digest64}:"),
        "metadata": put.metadata,
    });
    if let (Some(image), Some(fields)) = (image.filter(|_| put.is_image()), fields.as_object_mut()) {
        fields.extend(image_fields(put, image, urls));
        fields.insert("display_url".into(), link(urls, OWN, &put.key));
        fields.insert("display_immutable_url".into(), immutable(OWN));
    }
    fields
}

/// What an image has besides (contract 04 §6.5).
fn image_fields(put: &AssetPut, image: &StoredImage, urls: Option<&ProjectUrls>) -> Map<String, Value> {
    let is_complete = image.facts["complete"] == true;
    let fields = json!({
        "width_px": image.width,
        "height_px": image.height,
        "blurhash": image.facts["blurhash"],
        "blurhash_data_url": image.facts["blurhash_data_url"],
        "variant_spec_version": VARIANT_SPEC,
        "asset_schema": is_complete.then_some(ASSET_SCHEMA),
        "image_format": image.format,
        "image_info": image.facts["info"],
        "image_exif": exif(image, put.exif_policy),
        "image_exif_policy": put.exif_policy,
    });
    let Value::Object(mut fields) = fields else { return Map::new() };
    if urls.is_some() && !image.variants.is_empty() {
        let variant = |variant: &StoredVariant| {
            let path = variant_path(&put.key, &put.sha256, &variant.kind, &variant.sha256);
            let value = json!({
                "kind": variant.kind,
                "format": "webp",
                "width_px": variant.width,
                "height_px": variant.height,
                "sha256": variant.sha256,
                "url": link(urls, PREFERRED, &path),
                "immutable_url": link(urls, PREFERRED, &path),
                "cdn_url": link(urls, OWN, &path),
                "cdn_immutable_url": link(urls, OWN, &path),
            });
            (variant.kind.clone(), value)
        };
        fields.insert("variants".into(), Value::Object(image.variants.iter().map(variant).collect()));
    }
    fields
}

fn exif(image: &StoredImage, policy: ExifPolicy) -> Value {
    match policy {
        ExifPolicy::Keep => image.facts["exif"].clone(),
        ExifPolicy::Strip => Value::Null,
    }
}

/// One row of the listing.
pub(super) fn row(asset: &Stored, image: Option<&StoredImage>) -> Value {
    let fact = |name: &str| image.map_or(Value::Null, |image| image.facts[name].clone());
    let suffix = asset.immutable_path.as_ref().map(|_| asset.sha256.to_string()[..SUFFIX].to_owned());
    json!({
        "key": asset.key,
        "size_bytes": asset.size,
        "content_type": asset.content_type,
        "sha256": asset.sha256,
        "visibility": asset.visibility,
        "immutable_suffix": suffix,
        "created_at": asset.created_at,
        "updated_at": asset.updated_at,
        "metadata": asset.metadata,
        "width_px": image.and_then(|image| image.width),
        "height_px": image.and_then(|image| image.height),
        "blurhash": fact("blurhash"),
        "image_format": image.and_then(|image| image.format.clone()),
        "image_info": fact("info"),
        "image_exif": image.map_or(Value::Null, |image| exif(image, asset.exif_policy)),
        "image_exif_policy": image.map(|_| asset.exif_policy),
    })
}
