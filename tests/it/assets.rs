//! Assets over HTTP (contract 04 §6, acceptance checks 16-24 as far as they are about storage).

use std::io::Cursor;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use image::{DynamicImage, ImageFormat, RgbImage};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    Answer, Appliance, Project,
    content::{checksum, sha256},
    control,
    http::Call,
};

fn put_call(project: &Project, key: &str, content_type: &str, bytes: &[u8]) -> Call {
    project
        .api
        .post("/apply/v1/service-asset-put")
        .bearer(&project.service_key)
        .header("x-run402-asset-key", key)
        .body(content_type, bytes.to_vec())
}

async fn put(project: &Project, key: &str, bytes: &[u8]) -> Value {
    put_call(project, key, "text/plain", bytes).send().await.is(200)
}

fn storage(project: &Project, method: Method, path: &str) -> Call {
    project.api.call(method, &format!("/storage/v1/{path}")).api_key(&project.service_key)
}

async fn read(project: &Project, key: &str) -> Answer {
    storage(project, Method::GET, &format!("blob/{key}")).send().await
}

async fn list(project: &Project, query: &str) -> Answer {
    storage(project, Method::GET, &format!("blobs?{query}")).send().await
}

fn keys(listed: &Value) -> Vec<String> {
    listed["blobs"].as_array().unwrap().iter().map(|row| row["key"].as_str().unwrap().to_owned()).collect()
}

fn photograph(width: u32, height: u32, seed: u32) -> Vec<u8> {
    let colour = |x: u32, y: u32| image::Rgb([(x + seed) as u8, (y * 3) as u8, (x ^ y) as u8]);
    let mut bytes = Cursor::new(Vec::new());
    DynamicImage::from(RgbImage::from_fn(width, height, colour)).write_to(&mut bytes, ImageFormat::Jpeg).unwrap();
    bytes.into_inner()
}

#[tokio::test]
async fn a_function_puts_an_asset_and_reads_it_back() {
    let project = Appliance::shared().api().provision().await;
    let bytes = b"console.log(1)";
    let metadata = URL_SAFE_NO_PAD.encode(json!({"tag": "js", "n": 1, "gone": null}).to_string());
    let made = put_call(&project, "js/app.js", "text/javascript", bytes)
        .header("x-run402-asset-metadata", &metadata)
        .send()
        .await
        .is(200);
    let digest = sha256(bytes);
    let short = &digest[..8];
    for (field, expected) in [
        ("key", json!("js/app.js")),
        ("sha256", json!(digest)),
        ("size_bytes", json!(bytes.len())),
        ("content_type", json!("text/javascript")),
        ("visibility", json!("public")),
        ("immutable", json!(true)),
        ("sri", json!(format!("sha256-{}", checksum(bytes)))),
        ("etag", json!(format!("\"sha256-{digest}\""))),
        ("content_digest", json!(format!("sha-256=:{}:", checksum(bytes)))),
        ("metadata", json!({"tag": "js", "n": 1})),
    ] {
        assert_eq!(made[field], expected, "{field} of {made}");
    }
    assert!(made.get("width_px").is_none(), "no image fields on other types: {made}");
    let url = made["cdn_url"].as_str().unwrap();
    assert!(url.starts_with("http://pr-") && url.ends_with("/_blob/js/app.js"), "{url}");
    assert!(made["cdn_immutable_url"].as_str().unwrap().ends_with(&format!("/_blob/js/app-{short}.js")));
    assert!(made["url"].is_string() && made["immutable_url"].is_string());

    let answer = read(&project, "js/app.js").await;
    assert_eq!((answer.status.as_u16(), &answer.body[..]), (200, &bytes[..]));
    assert_eq!(answer.header("content-type"), Some("text/javascript"));
    assert_eq!(answer.header("x-run402-sha256"), Some(&*digest));
    assert_eq!(answer.header("etag"), made["etag"].as_str());
    assert_eq!(answer.header("content-digest"), made["content_digest"].as_str());
    assert_eq!(answer.header("content-length"), Some("14"));
    let path = "blob/js/app.js";
    let part = storage(&project, Method::GET, path).header("range", "bytes=0-6").send().await;
    assert_eq!((part.status.as_u16(), &part.body[..]), (206, &b"console"[..]));
    assert_eq!(part.header("content-range"), Some("bytes 0-6/14"));
    let beyond = storage(&project, Method::GET, path).header("range", "bytes=99-").send().await;
    beyond.refused(416, "RANGE_NOT_SATISFIABLE");
    assert_eq!(beyond.header("content-range"), Some("bytes */14"));
    let known =
        storage(&project, Method::GET, path).header("if-none-match", answer.header("etag").unwrap()).send().await;
    assert_eq!((known.status.as_u16(), known.body.len()), (304, 0));
    let head = storage(&project, Method::HEAD, path).send().await;
    assert_eq!((head.status.as_u16(), head.header("content-length"), head.body.len()), (200, Some("14"), 0));
    read(&project, "none").await.refused(404, "BLOB_NOT_FOUND");
    let message = read(&project, "none").await.is(404)["message"].as_str().unwrap().to_owned();
    assert!(message.contains("not found"), "{message}");
}

#[tokio::test]
async fn what_is_wrong_with_a_put_is_told() {
    let api = Appliance::shared().api();
    let project = api.provision().await;
    let call = |key: &str| put_call(&project, key, "text/plain", b"x");
    let bare =
        api.post("/apply/v1/service-asset-put").header("x-run402-asset-key", "k").body("text/plain", b"x".to_vec());
    bare.clone().send().await.refused(401, "AUTHENTICATION_REQUIRED");
    bare.clone().bearer(&project.anon_key).send().await.refused(403, "ADMIN_REQUIRED");
    bare.bearer("nonsense").send().await.refused(401, "UNAUTHORIZED");
    let unnamed =
        api.post("/apply/v1/service-asset-put").bearer(&project.service_key).body("text/plain", b"x".to_vec());
    unnamed.send().await.refused(400, "INVALID_REQUEST");
    put_call(&project, "k", "text/plain", b"").send().await.refused(400, "INVALID_REQUEST");
    for key in ["../x", "/x", "a//b", "_cas/x", "x/"] {
        call(key).send().await.refused(400, "INVALID_ASSET_KEY");
    }
    for (name, value, code) in [
        ("x-run402-asset-visibility", "secret", "INVALID_REQUEST"),
        ("x-run402-asset-immutable", "perhaps", "INVALID_REQUEST"),
        ("x-run402-asset-exif-policy", "no", "INVALID_EXIF_POLICY"),
        ("x-run402-asset-metadata", "%%%", "INVALID_ASSET_METADATA"),
        ("x-run402-asset-metadata", "eyJhIjp7fX0", "INVALID_ASSET_METADATA"),
    ] {
        call("k").header(name, value).send().await.refused(400, code);
    }
    let big = put_call(&project, "big", "text/plain", &vec![b'x'; 26 * 1024 * 1024]).send().await;
    assert_eq!(big.status, 413, "{big}");
    assert_eq!(list(&project, "").await.is(200)["blobs"], json!([]), "nothing of that was stored");
}

#[tokio::test]
async fn old_immutable_urls_outlive_overwriting_and_deleting() {
    let box_ = Appliance::shared();
    let project = box_.api().provision().await;
    let (first, second) = (put(&project, "a.txt", b"one").await, put(&project, "a.txt", b"two").await);
    assert_ne!(first["immutable_url"], second["immutable_url"]);
    assert_eq!(read(&project, "a.txt").await.body, b"two");
    let again = put(&project, "a.txt", b"two").await;
    assert_eq!(again["immutable_url"], second["immutable_url"], "equal bytes are no new version");

    let diagnose = async |url: &Value| {
        let url: String = url::form_urlencoded::byte_serialize(url.as_str().unwrap().as_bytes()).collect();
        storage(&project, Method::GET, &format!("blobs/diagnose?url={url}")).send().await.is(200)
    };
    let old = diagnose(&first["cdn_immutable_url"]).await;
    assert_eq!((&old["key"], &old["path_kind"]), (&json!("a.txt"), &json!("blob-immutable")));
    assert_eq!((&old["expected_sha256"], &old["observed_sha256"]), (&json!(sha256(b"one")), &json!(sha256(b"one"))));
    let current = diagnose(&second["cdn_url"]).await;
    assert_eq!((&current["path_kind"], &current["observed_sha256"]), (&json!("blob-mutable"), &json!(sha256(b"two"))));
    assert_eq!(current["cache"]["cache_kind"], "mutable");

    let deleted = storage(&project, Method::DELETE, "blob/a.txt").send().await.is(200);
    assert_eq!((&deleted["status"], &deleted["key"]), (&json!("deleted"), &json!("a.txt")));
    storage(&project, Method::DELETE, "blob/a.txt").send().await.refused(404, "BLOB_NOT_FOUND");
    read(&project, "a.txt").await.refused(404, "BLOB_NOT_FOUND");
    assert_eq!(diagnose(&second["cdn_url"]).await["observed_sha256"], Value::Null);
    for version in [&first, &second] {
        assert_eq!(diagnose(&version["cdn_immutable_url"]).await["observed_sha256"], version["sha256"]);
    }
    let bytes =
        control::value(box_, &format!("select blob_bytes::text from projects where id = '{}'", project.id)).await;
    assert_eq!(bytes, "0", "bytes of old URLs do not count");
    let held = format!("select count(*)::text from project_content where project_id = '{}'", project.id);
    assert_eq!(control::value(box_, &held).await, "2", "but they are kept");
}

#[tokio::test]
async fn a_private_asset_is_read_with_the_service_key_or_a_signature_only() {
    let project = Appliance::shared().api().provision().await;
    let made = put_call(&project, "p.txt", "text/plain", b"secret")
        .header("x-run402-asset-visibility", "private")
        .send()
        .await
        .is(200);
    for field in ["url", "immutable_url", "cdn_url", "cdn_immutable_url", "sri"] {
        assert_eq!(made[field], Value::Null, "{field}");
    }
    let answer = read(&project, "p.txt").await;
    assert_eq!((answer.status.as_u16(), answer.header("cache-control")), (200, Some("private, no-store")));
    let with_anon = project.api.get("/storage/v1/blob/p.txt").api_key(&project.anon_key).send().await;
    with_anon.refused(404, "BLOB_NOT_FOUND");
    let sign = |body: Value| storage(&project, Method::POST, "blob/p.txt/sign").json(&body).send();
    let signed = sign(json!({"ttl_seconds": 60})).await.is(200);
    assert_eq!(signed["expires_in"], 60);
    let url = signed["signed_url"].as_str().unwrap();
    assert!(url.contains("/_blob/p.txt?expires=") && url.contains("&signature="), "{url}");
    assert_eq!(sign(json!({})).await.is(200)["expires_in"], 3600);
    for ttl in [json!(59), json!(604_801), json!("60"), json!(60.5), json!(-1)] {
        sign(json!({"ttl_seconds": ttl})).await.refused(400, "INVALID_TTL");
    }
    storage(&project, Method::POST, "blob/none/sign").json(&json!({})).send().await.refused(404, "BLOB_NOT_FOUND");
}

#[tokio::test]
async fn making_a_key_private_hides_its_old_urls() {
    let project = Appliance::shared().api().provision().await;
    let public = put(&project, "x.txt", b"one").await;
    let url: String =
        url::form_urlencoded::byte_serialize(public["cdn_immutable_url"].as_str().unwrap().as_bytes()).collect();
    let kind = async || {
        let answer = storage(&project, Method::GET, &format!("blobs/diagnose?url={url}")).send().await.is(200);
        answer["cache"]["cache_kind"].as_str().map(str::to_owned)
    };
    assert_eq!(kind().await.as_deref(), Some("immutable"));
    put_call(&project, "x.txt", "text/plain", b"two")
        .header("x-run402-asset-visibility", "private")
        .send()
        .await
        .is(200);
    assert_eq!(kind().await.as_deref(), Some("private"));
    storage(&project, Method::DELETE, "blob/x.txt").send().await.is(200);
    assert_eq!(kind().await.as_deref(), Some("private"), "deleting does not publish");
}

#[tokio::test]
async fn keys_of_all_kinds_work() {
    let project = Appliance::shared().api().provision().await;
    for key in ["grüße/ß ü.txt", "a b.txt", "100%.txt", "q?x#y.txt", "x/sign", "'; drop table assets;--", ".env"] {
        let encoded: String = key
            .split('/')
            .map(|part| url::form_urlencoded::byte_serialize(part.as_bytes()).collect::<String>().replace('+', "%20"))
            .collect::<Vec<_>>()
            .join("/");
        let made = put_call(&project, "placeholder", "text/plain", key.as_bytes())
            .header_bytes("x-run402-asset-key", key.as_bytes())
            .send()
            .await
            .is(200);
        assert_eq!(made["key"], key);
        assert_eq!(read(&project, &encoded).await.body, key.as_bytes(), "{key}");
        storage(&project, Method::POST, &format!("blob/{encoded}/sign")).json(&json!({})).send().await.is(200);
        storage(&project, Method::DELETE, &format!("blob/{encoded}")).send().await.is(200);
    }
    for path in ["blob/%ff", "blob/%00", "blob/a%00b", "blob/"] {
        let answer = storage(&project, Method::GET, path).send().await;
        assert_eq!(answer.status, 404, "{answer}");
    }
}

#[tokio::test]
async fn storage_needs_the_service_key() {
    let api = Appliance::shared().api();
    let (project, other) = (api.provision().await, api.provision().await);
    put(&project, "a.txt", b"a").await;
    api.get("/storage/v1/blobs").send().await.refused(401, "AUTHENTICATION_REQUIRED");
    let anon = |method: Method, path: &str| api.call(method, &format!("/storage/v1/{path}")).api_key(&project.anon_key);
    assert_eq!(anon(Method::GET, "blob/a.txt").send().await.status, 200);
    anon(Method::GET, "blobs").send().await.refused(403, "ADMIN_REQUIRED");
    anon(Method::DELETE, "blob/a.txt").send().await.refused(403, "ADMIN_REQUIRED");
    anon(Method::POST, "blob/a.txt/sign").json(&json!({})).send().await.refused(403, "ADMIN_REQUIRED");
    anon(Method::GET, "blobs/diagnose?url=x").send().await.refused(403, "ADMIN_REQUIRED");
    read(&other, "a.txt").await.refused(404, "BLOB_NOT_FOUND");
    storage(&other, Method::DELETE, "blob/a.txt").send().await.refused(404, "BLOB_NOT_FOUND");
    assert_eq!(list(&other, "").await.is(200)["blobs"], json!([]));
    for gone in ["uploads", "uploads/upl_1/complete", "object/a.txt"] {
        let answer = storage(&project, Method::POST, gone).json(&json!({})).send().await;
        answer.refused(404, "RESOURCE_NOT_FOUND");
    }
}

#[tokio::test]
async fn a_diagnosis_never_leaves_the_box() {
    let api = Appliance::shared().api();
    let (project, other) = (api.provision().await, api.provision().await);
    put(&project, "a.txt", b"a").await;
    let foreign = put(&other, "b.txt", b"b").await;
    let diagnose = async |url: &str| {
        let url: String = url::form_urlencoded::byte_serialize(url.as_bytes()).collect();
        storage(&project, Method::GET, &format!("blobs/diagnose?url={url}")).send().await
    };
    diagnose(foreign["cdn_url"].as_str().unwrap()).await.refused(403, "NOT_AUTHORIZED");
    for url in [
        "",
        "x",
        "http://169.254.169.254/_blob/x",
        "http://example.org/_blob/x",
        "ftp://localhost/_blob/x",
        "http://user:pass@localhost/_blob/x",
        "http://nobody.localhost/_blob/x",
    ] {
        diagnose(url).await.refused(400, "INVALID_URL");
    }
    storage(&project, Method::GET, "blobs/diagnose").send().await.refused(400, "INVALID_URL");
}

#[tokio::test]
async fn listings_page_sort_and_filter() {
    let box_ = Appliance::shared();
    let project = box_.api().provision().await;
    let photo = photograph(400, 330, 1);
    put_call(&project, "z/photo.jpg", "image/jpeg", &photo).send().await.is(200);
    let metadata = URL_SAFE_NO_PAD.encode(json!({"tags": ["x", "y"], "uploaded_by": "me"}).to_string());
    put_call(&project, "tagged", "text/plain", b"t").header("x-run402-asset-metadata", &metadata).send().await.is(200);
    // The rest behind the box's back: two hundred puts teach nothing.
    let rows = format!(
        "insert into assets (project_id, key, sha256, size, content_type, visibility, immutable, exif_policy, created_at, updated_at)
         select '{}', 'bulk/' || to_char(n, 'FM000'), decode('{}', 'hex'), 1, 'text/plain', 'public', false, 'keep',
                '2020-01-01'::timestamptz + (n / 10) * interval '1 second', now()
         from generate_series(1, 250) n",
        project.id,
        "ab".repeat(32)
    );
    control::sql(box_, &rows).await;

    for sort in ["key:asc", "createdAt:asc", "createdAt:desc"] {
        let (mut all, mut cursor, mut pages) = (Vec::new(), String::new(), Vec::new());
        loop {
            let page = list(&project, &format!("prefix=bulk/&sort={sort}&limit=100{cursor}")).await.is(200);
            pages.push(keys(&page).len());
            all.extend(keys(&page));
            let Some(next) = page["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={}", url::form_urlencoded::byte_serialize(next.as_bytes()).collect::<String>());
        }
        assert_eq!(pages, [100, 100, 50], "{sort}");
        let mut sorted = all.clone();
        sorted.sort();
        sorted.dedup();
        assert_eq!(sorted.len(), 250, "{sort}: none twice, none missing");
        if sort != "createdAt:desc" {
            assert_eq!(all, sorted, "{sort}");
        }
    }
    let first = list(&project, "limit=1").await.is(200);
    let cursor = first["next_cursor"].as_str().unwrap();
    list(&project, &format!("sort=createdAt:desc&cursor={cursor}")).await.refused(400, "INVALID_CURSOR_FOR_SORT");
    list(&project, "limit=1001").await.refused(400, "INVALID_LIMIT");
    list(&project, "sort=size").await.refused(400, "INVALID_SORT");
    list(&project, "filter[color]=red").await.refused(400, "INVALID_FILTER_KEY");
    list(&project, "filter[is_image]=7").await.refused(400, "INVALID_FILTER_VALUE");
    for filter in [
        "filter[is_image]=true",
        "filter.is_image=true",
        "filter.format=jpeg",
        "filter.min_width=400&filter.max_height=330",
    ] {
        assert_eq!(keys(&list(&project, filter).await.is(200)), ["z/photo.jpg"], "{filter}");
    }
    assert_eq!(keys(&list(&project, "filter.min_width=401").await.is(200)), Vec::<String>::new());
    for filter in ["filter.tag=y", "filter.uploaded_by=me"] {
        assert_eq!(keys(&list(&project, filter).await.is(200)), ["tagged"], "{filter}");
    }
    let row = &list(&project, "prefix=z/").await.is(200)["blobs"][0];
    assert_eq!(row["immutable_suffix"], &sha256(&photo)[..8]);
    assert_eq!((&row["width_px"], &row["height_px"], &row["image_format"]), (&json!(400), &json!(330), &json!("jpeg")));
    let row = &list(&project, "prefix=tagged").await.is(200)["blobs"][0];
    for field in ["width_px", "height_px", "blurhash", "image_format", "image_info", "image_exif", "image_exif_policy"]
    {
        assert_eq!(row.get(field), Some(&Value::Null), "{field}");
    }
}

#[tokio::test]
async fn a_photograph_gets_its_variants_before_the_put_answers() {
    let project = Appliance::shared().api().provision().await;
    let photo = photograph(640, 480, 2);
    let made = put_call(&project, "img/p.jpg", "image/jpeg", &photo).send().await.is(200);
    assert_eq!(
        (&made["width_px"], &made["height_px"], &made["image_format"]),
        (&json!(640), &json!(480), &json!("jpeg"))
    );
    assert_eq!((&made["asset_schema"], &made["variant_spec_version"]), (&json!("v1.54"), &json!("v1")));
    assert_eq!((&made["display_url"], &made["display_immutable_url"]), (&made["cdn_url"], &made["cdn_immutable_url"]));
    assert_eq!(made["blurhash"].as_str().unwrap().chars().count(), 28);
    assert!(made["image_info"].is_object() && made["image_exif_policy"] == "keep");
    assert!(made["variants"].get("display_jpeg").is_none());
    let short = &sha256(&photo)[..8];
    for (kind, width, height) in [("thumb", 320, 240), ("medium", 640, 480), ("large", 640, 480)] {
        let variant = &made["variants"][kind];
        assert_eq!((&variant["width_px"], &variant["height_px"]), (&json!(width), &json!(height)), "{variant}");
        assert_eq!(variant["format"], "webp");
        let digest = variant["sha256"].as_str().unwrap();
        let path = format!("/_blob/img/p-{short}-v1-{kind}-{}.webp", &digest[..8]);
        assert!(variant["cdn_url"].as_str().unwrap().ends_with(&path), "{variant}");
        let url: String =
            url::form_urlencoded::byte_serialize(variant["cdn_url"].as_str().unwrap().as_bytes()).collect();
        let found = storage(&project, Method::GET, &format!("blobs/diagnose?url={url}")).send().await.is(200);
        assert_eq!((&found["observed_sha256"], &found["key"]), (&variant["sha256"], &json!("img/p.jpg")));
    }
    let again = put_call(&project, "other.jpg", "image/jpeg", &photo).send().await.is(200);
    assert_eq!(again["variants"]["thumb"]["sha256"], made["variants"]["thumb"]["sha256"]);
    let stripped = put_call(&project, "s.jpg", "image/jpeg", &photo)
        .header("x-run402-asset-exif-policy", "strip")
        .send()
        .await
        .is(200);
    assert_eq!((&stripped["image_exif"], &stripped["image_exif_policy"]), (&Value::Null, &json!("strip")));
    assert_eq!(stripped["sha256"], sha256(&photo), "the bytes are the client's");
}

#[tokio::test]
async fn bytes_that_are_no_image_are_refused_and_not_stored() {
    let project = Appliance::shared().api().provision().await;
    let refuse = async |bytes: &[u8], status: u16, code: &str| {
        put_call(&project, "x.png", "image/png", bytes).send().await.refused(status, code);
        read(&project, "x.png").await.refused(404, "BLOB_NOT_FOUND");
    };
    refuse(b"just some text", 422, "IMAGE_DECODE_FAILED").await;
    refuse(b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR", 422, "IMAGE_DECODE_FAILED").await;
    refuse(&photograph(400, 400, 3)[..500], 422, "IMAGE_DECODE_FAILED").await;
    refuse(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", 422, "IMAGE_DECODE_FAILED").await;
    // A header that promises far more than there is.
    let mut bomb = Cursor::new(Vec::new());
    DynamicImage::new_luma8(20_000, 20).write_to(&mut bomb, ImageFormat::Png).unwrap();
    refuse(bomb.get_ref(), 413, "IMAGE_INPUT_TOO_LARGE").await;
    let icon = put_call(&project, "favicon.ico", "image/x-icon", b"not looked into").send().await.is(200);
    assert!(icon.get("width_px").is_none());
    let small = put_call(&project, "s.jpg", "image/jpeg", &photograph(100, 100, 4)).send().await.is(200);
    assert!(small.get("variants").is_none() && small["display_url"].is_string());
}

#[tokio::test]
async fn quota_and_lifecycle_guard_puts() {
    let box_ = Appliance::plan().set("limits.storage_mb", "10").boot();
    let project = box_.api().provision().await;
    let megabytes = vec![b'x'; 11 * 1024 * 1024];
    put_call(&project, "big", "text/plain", &megabytes).send().await.refused(403, "QUOTA_EXCEEDED");
    put(&project, "small", b"ok").await;
}

#[tokio::test]
async fn assets_survive_kill_9_and_go_with_their_project() {
    let mut box_ = Appliance::plan().boot();
    let project = box_.api().provision().await;
    let made = put(&project, "a.txt", b"kept").await;
    let photo = photograph(350, 350, 5);
    put_call(&project, "p.jpg", "image/jpeg", &photo).send().await.is(200);
    box_.kill();
    box_.start_again();
    let project = project.through(&box_.api());
    assert_eq!(read(&project, "a.txt").await.body, b"kept");
    let again = put(&project, "a.txt", b"kept").await;
    assert_eq!(again["sha256"], made["sha256"]);
    box_.api().delete(&format!("/projects/v1/{}", project.id)).bearer(&project.service_key).send().await.is(200);
    for table in ["assets", "asset_refs", "asset_images", "asset_variants", "project_content", "content_holders"] {
        let count = format!("select count(*)::text from {table} where project_id = '{}'", project.id);
        assert_eq!(control::value(&box_, &count).await, "0", "{table}");
    }
}
