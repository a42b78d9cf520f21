//! Assets as clients see them (contract 04 §6.4, §6.5, §6.7). Pure.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};

use super::{
    AssetPut, ExifPolicy, Visibility,
    keys::{SUFFIX, VARIANT_SPEC, encode_path, variant_path},
    store::{Stored, StoredImage},
};
use crate::features::hosts::ProjectUrls;

/// Schema of the image fields.
const ASSET_SCHEMA: &str = "v1.54";

/// Which of a project's hosts a URL names.
type Host = fn(&ProjectUrls) -> &str;

/// The AssetRef of a put: final URLs, and the image fields as far as the image is known.
pub(super) fn asset_ref(
    put: &AssetPut,
    immutable_path: Option<&str>,
    image: Option<&StoredImage>,
    urls: Option<&ProjectUrls>,
) -> Value {
    let public = urls.filter(|_| put.visibility == Visibility::Public);
    let on = |host: Host, path: &str| -> Value {
        public.map_or(Value::Null, |urls| json!(format!("{}/_blob/{}", host(urls), encode_path(path))))
    };
    let (preferred, own): (Host, Host) = (ProjectUrls::preferred, |urls| &urls.public);
    let immutable = |host| immutable_path.map_or(Value::Null, |path| on(host, path));
    let digest64 = STANDARD.encode(put.sha256.as_bytes());
    let mut fields = Map::new();
    let mut set = |name: &str, value: Value| fields.insert(name.to_owned(), value);
    set("key", json!(put.key));
    set("sha256", json!(put.sha256));
    set("size_bytes", json!(put.size));
    set("content_type", json!(put.content_type));
    set("visibility", json!(put.visibility));
    set("immutable", json!(put.immutable));
    set("url", on(preferred, &put.key));
    set("immutable_url", immutable(preferred));
    set("cdn_url", on(own, &put.key));
    set("cdn_immutable_url", immutable(own));
    let sri = (put.immutable && put.visibility == Visibility::Public).then(|| format!("sha256-{digest64}"));
    set("sri", json!(sri));
    set("etag", json!(format!("\"sha256-{}\"", put.sha256)));
    set("content_digest", json!(format!("sha-256=:{digest64}:")));
    set("metadata", put.metadata.clone().unwrap_or(Value::Null));

    let Some(image) = image.filter(|_| put.is_image()) else { return Value::Object(fields) };
    let complete = image.facts["complete"] == true;
    set("width_px", json!(image.width));
    set("height_px", json!(image.height));
    set("blurhash", image.facts["blurhash"].clone());
    set("blurhash_data_url", image.facts["blurhash_data_url"].clone());
    set("variant_spec_version", json!(VARIANT_SPEC));
    set("asset_schema", json!(complete.then_some(ASSET_SCHEMA)));
    set("display_url", on(own, &put.key));
    set("display_immutable_url", immutable(own));
    if public.is_some() && !image.variants.is_empty() {
        let variants: Map<String, Value> = image
            .variants
            .iter()
            .map(|variant| {
                let path = variant_path(&put.key, &put.sha256, &variant.kind, &variant.sha256);
                let value = json!({
                    "kind": variant.kind,
                    "format": "webp",
                    "width_px": variant.width,
                    "height_px": variant.height,
                    "sha256": variant.sha256,
                    "url": on(preferred, &path),
                    "immutable_url": on(preferred, &path),
                    "cdn_url": on(own, &path),
                    "cdn_immutable_url": on(own, &path),
                });
                (variant.kind.clone(), value)
            })
            .collect();
        set("variants", Value::Object(variants));
    }
    set("image_format", json!(image.format));
    set("image_info", image.facts["info"].clone());
    set("image_exif", exif(image, put.exif_policy));
    set("image_exif_policy", json!(put.exif_policy));
    Value::Object(fields)
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
