//! All SQL on assets in the control database. Whoever writes holds the lock of the project's row.

use std::collections::{HashMap, HashSet};

use serde_json::Value;
use tokio_postgres::{GenericClient, Row, Transaction, types::ToSql};

use super::{
    AssetPut, ExifPolicy, ServedAsset, Visibility,
    list::{ListQuery, Sort},
};
use crate::{
    common::{ProjectId, Timestamp},
    engines::{
        blobs::Sha256Digest,
        postgres::{Connection, DatabaseError},
    },
};

fn bytes(digests: &[Sha256Digest]) -> Vec<&[u8]> {
    digests.iter().map(|digest| &digest.as_bytes()[..]).collect()
}

fn digest(row: &Row, column: &str) -> Result<Sha256Digest, DatabaseError> {
    let bytes: &[u8] = row.try_get(column)?;
    bytes.try_into().map(Sha256Digest::from_bytes).map_err(|_| DatabaseError::damaged("asset's digest"))
}

fn size(row: &Row, column: &str) -> Result<u64, DatabaseError> {
    u64::try_from(row.try_get::<_, i64>(column)?).map_err(|_| DatabaseError::damaged("asset's size"))
}

fn side(row: &Row, column: &str) -> Result<Option<u32>, DatabaseError> {
    let side: Option<i32> = row.try_get(column)?;
    side.map(|side| u32::try_from(side).map_err(|_| DatabaseError::damaged("asset's width"))).transpose()
}

/// An asset as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Stored {
    pub key: String,
    pub sha256: Sha256Digest,
    pub size: u64,
    pub content_type: String,
    pub visibility: Visibility,
    pub immutable: bool,
    pub metadata: Option<Value>,
    pub exif_policy: ExifPolicy,
    pub immutable_path: Option<String>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl Stored {
    /// Whether putting this would change nothing.
    pub fn is(&self, put: &AssetPut) -> bool {
        self.sha256 == put.sha256
            && self.size == put.size
            && self.content_type == put.content_type
            && self.visibility == put.visibility
            && self.immutable == put.immutable
            && self.metadata == put.metadata
            && self.exif_policy == put.exif_policy
    }
}

const COLUMNS: &str = "a.key, a.sha256, a.size, a.content_type, a.visibility, a.immutable, a.metadata, a.exif_policy, \
                       a.immutable_path, a.created_at, a.updated_at";

fn stored(row: &Row) -> Result<Stored, DatabaseError> {
    Ok(Stored {
        key: row.try_get("key")?,
        sha256: digest(row, "sha256")?,
        size: size(row, "size")?,
        content_type: row.try_get("content_type")?,
        visibility: Visibility::from_stored(row.try_get("visibility")?)
            .ok_or_else(|| DatabaseError::damaged("asset's visibility"))?,
        immutable: row.try_get("immutable")?,
        metadata: row.try_get("metadata")?,
        exif_policy: ExifPolicy::from_stored(row.try_get("exif_policy")?)
            .ok_or_else(|| DatabaseError::damaged("asset's policy"))?,
        immutable_path: row.try_get("immutable_path")?,
        created_at: row.try_get("created_at")?,
        updated_at: row.try_get("updated_at")?,
    })
}

/// The assets with these keys.
pub(super) async fn find<C: GenericClient>(
    client: &C,
    project: &ProjectId,
    keys: &[&str],
) -> Result<HashMap<String, Stored>, DatabaseError> {
    let query = format!("select {COLUMNS} from assets a where a.project_id = $1 and a.key = any($2)");
    let rows = client.query(&query, &[&project.as_str(), &keys]).await?;
    rows.iter().map(|row| stored(row).map(|asset| (asset.key.clone(), asset))).collect()
}

/// Key and content of every asset below a prefix, in byte order.
pub(super) async fn below<C: GenericClient>(
    client: &C,
    project: &ProjectId,
    prefix: &str,
) -> Result<Vec<(String, Sha256Digest)>, DatabaseError> {
    let rows = client
        .query(
            "select key, sha256 from assets where project_id = $1 and starts_with(key, $2) order by key",
            &[&project.as_str(), &prefix],
        )
        .await?;
    rows.iter().map(|row| Ok((row.try_get("key")?, digest(row, "sha256")?))).collect()
}

/// What is bound to these immutable paths: path → (key, content).
pub(super) async fn bound<C: GenericClient>(
    client: &C,
    project: &ProjectId,
    paths: &[String],
) -> Result<HashMap<String, (String, Sha256Digest)>, DatabaseError> {
    let rows = client
        .query(
            "select path, key, sha256 from asset_refs where project_id = $1 and path = any($2)",
            &[&project.as_str(), &paths],
        )
        .await?;
    rows.iter().map(|row| Ok((row.try_get("path")?, (row.try_get("key")?, digest(row, "sha256")?)))).collect()
}

/// Creates or overwrites assets; a changed one keeps its `created_at`.
pub(super) async fn put(
    tx: &Transaction<'_>,
    project: &ProjectId,
    puts: &[(&AssetPut, Option<String>)],
    now: Timestamp,
) -> Result<(), DatabaseError> {
    let keys: Vec<&str> = puts.iter().map(|(put, _)| put.key.as_str()).collect();
    let digests: Vec<&[u8]> = puts.iter().map(|(put, _)| &put.sha256.as_bytes()[..]).collect();
    let sizes: Vec<i64> = puts.iter().map(|(put, _)| i64::try_from(put.size).unwrap_or(i64::MAX)).collect();
    let types: Vec<&str> = puts.iter().map(|(put, _)| put.content_type.as_str()).collect();
    let visibilities: Vec<&str> = puts.iter().map(|(put, _)| put.visibility.as_str()).collect();
    let immutables: Vec<bool> = puts.iter().map(|(put, _)| put.immutable).collect();
    let metadata: Vec<Option<&Value>> = puts.iter().map(|(put, _)| put.metadata.as_ref()).collect();
    let policies: Vec<&str> = puts.iter().map(|(put, _)| put.exif_policy.as_str()).collect();
    let paths: Vec<Option<&str>> = puts.iter().map(|(_, path)| path.as_deref()).collect();
    tx.execute(
        "insert into assets (project_id, key, sha256, size, content_type, visibility, immutable, metadata, exif_policy,
                             immutable_path, created_at, updated_at)
         select $1, d.*, $11, $11
         from unnest($2::text[], $3::bytea[], $4::bigint[], $5::text[], $6::text[], $7::bool[], $8::jsonb[], $9::text[],
                     $10::text[]) as d
         on conflict (project_id, key) do update set
             sha256 = excluded.sha256, size = excluded.size, content_type = excluded.content_type,
             visibility = excluded.visibility, immutable = excluded.immutable, metadata = excluded.metadata,
             exif_policy = excluded.exif_policy, immutable_path = excluded.immutable_path,
             updated_at = excluded.updated_at",
        &[
            &project.as_str(),
            &keys,
            &digests,
            &sizes,
            &types,
            &visibilities,
            &immutables,
            &metadata,
            &policies,
            &paths,
            &now,
        ],
    )
    .await?;
    Ok(())
}

/// A path that shall be served for good.
#[derive(Clone, Debug)]
pub(super) struct NewRef {
    pub path: String,
    pub key: String,
    pub sha256: Sha256Digest,
    pub size: u64,
    pub content_type: String,
}

pub(super) async fn add_refs(
    tx: &Transaction<'_>,
    project: &ProjectId,
    refs: &[NewRef],
    now: Timestamp,
) -> Result<(), DatabaseError> {
    let paths: Vec<&str> = refs.iter().map(|new| new.path.as_str()).collect();
    let keys: Vec<&str> = refs.iter().map(|new| new.key.as_str()).collect();
    let digests: Vec<&[u8]> = refs.iter().map(|new| &new.sha256.as_bytes()[..]).collect();
    let sizes: Vec<i64> = refs.iter().map(|new| i64::try_from(new.size).unwrap_or(i64::MAX)).collect();
    let types: Vec<&str> = refs.iter().map(|new| new.content_type.as_str()).collect();
    // A path that is bound keeps its content for good; only how it is called may change.
    tx.execute(
        "insert into asset_refs as r (project_id, path, key, sha256, size, content_type, visibility, created_at)
         select distinct on (d.path) $1, d.path, d.key, d.sha256, d.size, d.type, 'public', $7
         from unnest($2::text[], $3::text[], $4::bytea[], $5::bigint[], $6::text[])
                  as d (path, key, sha256, size, type)
         on conflict (project_id, path) do update set content_type = excluded.content_type
             where r.sha256 = excluded.sha256 and r.key = excluded.key",
        &[&project.as_str(), &paths, &keys, &digests, &sizes, &types, &now],
    )
    .await?;
    Ok(())
}

/// The old URLs of keys that are put follow them into privacy and out of it.
pub(super) async fn set_ref_visibility(
    tx: &Transaction<'_>,
    project: &ProjectId,
    keys: &[&str],
) -> Result<(), DatabaseError> {
    tx.execute(
        "update asset_refs r set visibility = a.visibility from assets a
         where a.project_id = $1 and a.key = any($2) and r.project_id = $1 and r.key = a.key
           and r.visibility <> a.visibility",
        &[&project.as_str(), &keys],
    )
    .await?;
    Ok(())
}

pub(super) async fn delete(tx: &Transaction<'_>, project: &ProjectId, keys: &[&str]) -> Result<u64, DatabaseError> {
    let query = "delete from assets where project_id = $1 and key = any($2)";
    Ok(tx.execute(query, &[&project.as_str(), &keys]).await?)
}

/// Those of these sources, and of their variants, that no asset needs any more.
pub(super) async fn unneeded(
    tx: &Transaction<'_>,
    project: &ProjectId,
    sources: &[Sha256Digest],
) -> Result<Vec<Sha256Digest>, DatabaseError> {
    let rows = tx
        .query(
            "select sha256 from (
                 select s as sha256 from unnest($2::bytea[]) s
                 union
                 select v.sha256 from asset_variants v where v.project_id = $1 and v.source = any($2)
             ) c
             where not exists (select from assets a where a.project_id = $1 and a.sha256 = c.sha256)
               and not exists (select from asset_variants v join assets a on a.project_id = $1 and a.sha256 = v.source
                               where v.project_id = $1 and v.sha256 = c.sha256)",
            &[&project.as_str(), &bytes(sources)],
        )
        .await?;
    rows.iter().map(|row| digest(row, "sha256")).collect()
}

/// A stored variant of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StoredVariant {
    pub kind: String,
    pub sha256: Sha256Digest,
    pub size: u64,
    pub width: u32,
    pub height: u32,
}

/// What is known of an image.
#[derive(Clone, Debug)]
pub(super) struct StoredImage {
    pub width: Option<u32>,
    pub height: Option<u32>,
    pub format: Option<String>,
    pub facts: Value,
    pub variants: Vec<StoredVariant>,
}

/// The images among these sources that were looked into.
pub(super) async fn images<C: GenericClient>(
    client: &C,
    project: &ProjectId,
    sources: &[Sha256Digest],
) -> Result<HashMap<Sha256Digest, StoredImage>, DatabaseError> {
    let mut images = HashMap::new();
    if sources.is_empty() {
        return Ok(images);
    }
    let sources = bytes(sources);
    let parameters: [&(dyn ToSql + Sync); 2] = [&project.as_str(), &sources];
    let rows = client
        .query(
            "select sha256, width, height, format, facts from asset_images where project_id = $1 and sha256 = any($2)",
            &parameters,
        )
        .await?;
    for row in &rows {
        images.insert(
            digest(row, "sha256")?,
            StoredImage {
                width: side(row, "width")?,
                height: side(row, "height")?,
                format: row.try_get("format")?,
                facts: row.try_get("facts")?,
                variants: Vec::new(),
            },
        );
    }
    let rows = client
        .query(
            "select source, kind, sha256, size, width, height from asset_variants
             where project_id = $1 and source = any($2) order by source, width, kind desc",
            &parameters,
        )
        .await?;
    for row in &rows {
        let Some(image) = images.get_mut(&digest(row, "source")?) else { continue };
        image.variants.push(StoredVariant {
            kind: row.try_get("kind")?,
            sha256: digest(row, "sha256")?,
            size: size(row, "size")?,
            width: side(row, "width")?.ok_or_else(|| DatabaseError::damaged("asset's width"))?,
            height: side(row, "height")?.ok_or_else(|| DatabaseError::damaged("asset's height"))?,
        });
    }
    Ok(images)
}

/// Notes what an image is, in the place of what was known before.
pub(super) async fn put_image(
    tx: &Transaction<'_>,
    project: &ProjectId,
    source: Sha256Digest,
    image: &StoredImage,
) -> Result<(), DatabaseError> {
    let side = |side: u32| i32::try_from(side).unwrap_or(i32::MAX);
    let source = &source.as_bytes()[..];
    tx.execute(
        "insert into asset_images (project_id, sha256, width, height, format, facts) values ($1, $2, $3, $4, $5, $6)
         on conflict (project_id, sha256) do update set
             width = excluded.width, height = excluded.height, format = excluded.format, facts = excluded.facts",
        &[&project.as_str(), &source, &image.width.map(side), &image.height.map(side), &image.format, &image.facts],
    )
    .await?;
    for variant in &image.variants {
        tx.execute(
            "insert into asset_variants (project_id, source, kind, sha256, size, width, height)
             values ($1, $2, $3, $4, $5, $6, $7)
             on conflict (project_id, source, kind) do update set
                 sha256 = excluded.sha256, size = excluded.size, width = excluded.width, height = excluded.height",
            &[
                &project.as_str(),
                &source,
                &variant.kind,
                &&variant.sha256.as_bytes()[..],
                &i64::try_from(variant.size).unwrap_or(i64::MAX),
                &side(variant.width),
                &side(variant.height),
            ],
        )
        .await?;
    }
    Ok(())
}

/// What a path below `/_blob/` names: immutable URLs and variants first, then keys.
pub(super) async fn resolve(
    connection: &Connection,
    project: &ProjectId,
    path: &str,
) -> Result<Option<(String, ServedAsset)>, DatabaseError> {
    let statement = connection
        .prepare_cached(
            "select key, sha256, size, content_type, visibility, true as immutable, created_at as updated_at
             from asset_refs where project_id = $1 and path = $2
             union all
             select key, sha256, size, content_type, visibility, false, updated_at
             from assets where project_id = $1 and key = $2
             order by immutable desc limit 1",
        )
        .await?;
    let Some(row) = connection.query_opt(&statement, &[&project.as_str(), &path]).await? else { return Ok(None) };
    let served = ServedAsset {
        sha256: digest(&row, "sha256")?,
        size: size(&row, "size")?,
        content_type: row.try_get("content_type")?,
        immutable: row.try_get("immutable")?,
        visibility: Visibility::from_stored(row.try_get("visibility")?)
            .ok_or_else(|| DatabaseError::damaged("asset's visibility"))?,
        updated_at: row.try_get("updated_at")?,
    };
    Ok(Some((row.try_get("key")?, served)))
}

/// One page of the project's assets, one row more than asked for when there are more.
pub(super) async fn list(
    connection: &Connection,
    project: &ProjectId,
    query: &ListQuery,
) -> Result<Vec<(Stored, Option<StoredImage>)>, DatabaseError> {
    let (comparison, order) = match query.sort {
        Sort::Key => ("a.key > $3", "a.key"),
        Sort::OldestFirst => ("(a.created_at, a.key) > ($4, $3)", "a.created_at, a.key"),
        Sort::NewestFirst => ("(a.created_at < $4 or (a.created_at = $4 and a.key > $3))", "a.created_at desc, a.key"),
    };
    let text = format!(
        "select {COLUMNS}, i.width, i.height, i.format, i.facts
         from assets a left join asset_images i
           on i.project_id = a.project_id and i.sha256 = a.sha256 and starts_with(lower(a.content_type), 'image/')
         where a.project_id = $1 and starts_with(a.key, $2)
           and (($3::text is null and $4::timestamptz is null) or {comparison})
           and ($6::text is null or a.metadata ->> 'uploaded_by' = $6)
           and ($7::text is null or a.metadata ->> 'tag' = $7
                or (jsonb_typeof(a.metadata -> 'tags') = 'array' and a.metadata -> 'tags' ? $7))
           and ($8::text is null or i.format = $8)
           and ($9::bool is null or (i.sha256 is not null) = $9)
           and ($10::int is null or i.width >= $10) and ($11::int is null or i.width <= $11)
           and ($12::int is null or i.height >= $12) and ($13::int is null or i.height <= $13)
         order by {order} limit $5"
    );
    let statement = connection.prepare_cached(&text).await?;
    let filter = &query.filter;
    let rows = connection
        .query(
            &statement,
            &[
                &project.as_str(),
                &query.prefix,
                &query.after.as_ref().map(|after| after.key.as_str()),
                &query.after.as_ref().and_then(|after| after.created_at),
                &(query.limit + 1),
                &filter.uploaded_by,
                &filter.tag,
                &filter.format,
                &filter.is_image,
                &filter.min_width,
                &filter.max_width,
                &filter.min_height,
                &filter.max_height,
            ],
        )
        .await?;
    rows.iter()
        .map(|row| {
            let facts: Option<Value> = row.try_get("facts")?;
            let image = facts.map(|facts| {
                Ok::<_, DatabaseError>(StoredImage {
                    width: side(row, "width")?,
                    height: side(row, "height")?,
                    format: row.try_get("format")?,
                    facts,
                    variants: Vec::new(),
                })
            });
            Ok((stored(row)?, image.transpose()?))
        })
        .collect()
}

pub(super) async fn forget(tx: &Transaction<'_>, project: &ProjectId) -> Result<(), DatabaseError> {
    for table in ["assets", "asset_refs", "asset_images"] {
        tx.execute(&format!("delete from {table} where project_id = $1"), &[&project.as_str()]).await?;
    }
    Ok(())
}

/// The distinct digests of a list.
pub(super) fn distinct(digests: impl IntoIterator<Item = Sha256Digest>) -> Vec<Sha256Digest> {
    let set: HashSet<_> = digests.into_iter().collect();
    set.into_iter().collect()
}
