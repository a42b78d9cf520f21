-- Assets: project-level files under /_blob/ (contract 04 §6). Their bytes are held through content_holders.

create table assets (
    project_id     text not null references projects (id),
    -- Listings are in byte order.
    key            text collate "C" not null check (octet_length(key) between 1 and 1024),
    sha256         bytea not null check (octet_length(sha256) = 32),
    size           bigint not null check (size >= 0),
    content_type   text not null,
    visibility     text not null check (visibility in ('public', 'private')),
    immutable      boolean not null,
    metadata       jsonb,
    exif_policy    text not null check (exif_policy in ('keep', 'strip')),
    -- Path of the immutable URL of these bytes, below /_blob/.
    immutable_path text collate "C",
    created_at     timestamptz not null,
    updated_at     timestamptz not null,
    primary key (project_id, key)
);
create index assets_by_age on assets (project_id, created_at, key);
create index assets_by_content on assets (project_id, sha256);

-- Immutable URLs and image variants: only ever added, they outlive overwriting and deleting.
create table asset_refs (
    project_id   text not null references projects (id),
    path         text collate "C" not null,
    key          text collate "C" not null,
    sha256       bytea not null check (octet_length(sha256) = 32),
    size         bigint not null check (size >= 0),
    content_type text not null,
    -- Follows the key: what was made private is private under its old URLs too.
    visibility   text not null check (visibility in ('public', 'private')),
    created_at   timestamptz not null,
    primary key (project_id, path)
);
create index asset_refs_by_key on asset_refs (project_id, key);

-- What is known of an image, found out once for each source.
create table asset_images (
    project_id text not null references projects (id),
    sha256     bytea not null check (octet_length(sha256) = 32),
    -- Upright; an SVG may have no size.
    width      integer,
    height     integer,
    format     text,
    -- blurhash, blurhash_data_url, info, exif
    facts      jsonb not null,
    primary key (project_id, sha256)
);

create table asset_variants (
    project_id     text not null,
    source         bytea not null,
    kind           text not null check (kind in ('thumb', 'medium', 'large')),
    sha256         bytea not null check (octet_length(sha256) = 32),
    size           bigint not null check (size >= 0),
    width          integer not null,
    height         integer not null,
    primary key (project_id, source, kind),
    foreign key (project_id, source) references asset_images (project_id, sha256) on delete cascade
);
create index asset_variants_by_content on asset_variants (project_id, sha256);

-- As forget_content of V5.
create function forget_assets_of_purged_project() returns trigger language plpgsql as $$
begin
    delete from assets where project_id = new.id;
    delete from asset_refs where project_id = new.id;
    delete from asset_images where project_id = new.id;
    return new;
end
$$;
create trigger forget_assets before update of status on projects
    for each row when (new.status = 'purged' and old.status <> 'purged')
    execute function forget_assets_of_purged_project();
