-- The platform's part of a project database: its records, its guard, and the one door through which a transaction
-- that runs as the owner role lets the platform act (contract 02 §3.2, §6.2, §8).

-- Versions of these bootstrap files that this database has.
create table internal.bootstrap (
    version    integer primary key,
    applied_at timestamptz not null default now()
);

-- Whose database this is, and the SHA-256 of the secret that opens `platform_step`. One row once adopted.
create table internal.ownership (
    only_one    boolean primary key default true check (only_one),
    owner_role  name not null,
    secret_hash bytea not null check (length(secret_hash) = 32)
);

-- Migration ledger (§8): a migration and its row commit together.
create table internal.migrations (
    project_id   text not null,
    migration_id text not null check (char_length(migration_id) between 1 and 200),
    checksum_hex text not null check (checksum_hex ~ '^[0-9a-f]{64}$'),
    release_id   text,
    operation_id text,
    applied_at   timestamptz not null default now(),
    primary key (project_id, migration_id)
);

-- Releases whose database part is committed: the restart reads it to finish or abandon the rest (§8).
create table internal.applied_operations (
    operation_id text primary key,
    release_id   text,
    generation   bigint not null,
    applied_at   timestamptz not null default now()
);

-- The expose manifest in force and the objects made for it (§6.2). At most one row.
create table internal.project_manifest (
    only_one   boolean primary key default true check (only_one),
    manifest   jsonb not null,
    sha256_hex text not null check (sha256_hex ~ '^[0-9a-f]{64}$'),
    objects    jsonb not null default '{}',
    applied_at timestamptz not null default now()
);

-- An owner may always GRANT on its own objects, so the dark default needs a guard. Only a superuser passes, which
-- includes `platform_step`: inside it the current user is the platform.
create function internal.guard_privileges() returns event_trigger
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
begin
    if not (select rolsuper from pg_roles where rolname = current_user) then
        raise exception using
            errcode = 'insufficient_privilege',
            message = format('%s is not available: grants are automatic, expose tables through the manifest', tg_tag);
    end if;
end
$$;
create event trigger r402_guard_privileges on ddl_command_start
    when tag in ('GRANT', 'REVOKE', 'ALTER DEFAULT PRIVILEGES', 'DROP OWNED')
    execute function internal.guard_privileges();
alter event trigger r402_guard_privileges enable always;

-- Makes a fresh copy of the template the database of one project. Called once by the platform.
create function internal.adopt(owner_role name, rest_role name, secret_hash bytea) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
begin
    insert into internal.ownership (owner_role, secret_hash) values (adopt.owner_role, adopt.secret_hash);

    execute format('grant usage, create on schema public to %I', owner_role);
    execute format('grant usage on schema internal to %I', owner_role);
    execute format('grant execute on function internal.platform_step(text, text, jsonb) to %I', owner_role);
    execute format('grant usage on schema public to %I', rest_role);

    -- Dark by default: what the owner creates is for service_role alone until the manifest says otherwise.
    execute format('alter default privileges for role %I revoke execute on functions from public', owner_role);
    execute format('alter default privileges for role %I in schema public grant all on tables to service_role', owner_role);
    execute format('alter default privileges for role %I in schema public grant all on sequences to service_role', owner_role);
    execute format('alter default privileges for role %I in schema public grant execute on functions to service_role', owner_role);
end
$$;

-- Applies one list of grants or revokes to objects of `public` that the owner role owns. Objects come as oids, so
-- there is no name to resolve or to inject through; roles and privileges come from closed lists.
create function internal.change_grants(verb text, changes jsonb) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
declare
    change     jsonb;
    kind       text;
    target     text;
    owned_by   oid;
    room       oid;
    role       text;
    privilege  text;
    allowed    text[];
begin
    for change in select * from jsonb_array_elements(coalesce(changes, '[]'::jsonb)) loop
        kind := change ->> 'kind';
        if kind in ('table', 'sequence') then
            select c.oid::regclass::text, c.relowner, c.relnamespace into target, owned_by, room
            from pg_class c
            where c.oid = (change ->> 'oid')::oid
              and c.relkind = any (case kind when 'sequence' then '{S}' else '{r,p,v,m,f}' end::"char"[]);
            allowed := case kind when 'sequence' then '{USAGE,SELECT,UPDATE}'
                                 else '{SELECT,INSERT,UPDATE,DELETE}' end::text[];
        elsif kind = 'function' then
            select p.oid::regprocedure::text, p.proowner, p.pronamespace into target, owned_by, room
            from pg_proc p
            where p.oid = (change ->> 'oid')::oid and p.prokind = 'f';
            allowed := '{EXECUTE}';
        else
            raise exception using errcode = 'invalid_parameter_value', message = 'unknown kind of object';
        end if;

        if not found
           or room <> 'public'::regnamespace
           or owned_by <> (select oid from pg_roles where rolname = (select owner_role from internal.ownership)) then
            raise exception using
                errcode = 'insufficient_privilege',
                message = 'only objects of the project can be granted';
        end if;

        for privilege in select upper(value) from jsonb_array_elements_text(change -> 'privileges') loop
            if privilege <> all (allowed) then
                raise exception using errcode = 'invalid_parameter_value', message = 'unknown privilege';
            end if;
            for role in select value from jsonb_array_elements_text(change -> 'roles') loop
                if role <> all (array['anon', 'authenticated', 'project_admin', 'service_role']) then
                    raise exception using errcode = 'invalid_parameter_value', message = 'unknown role';
                end if;
                execute format(
                    '%s %s on %s %s %s %I', verb, privilege, kind, target,
                    case verb when 'grant' then 'to' else 'from' end, role
                );
            end loop;
        end loop;
    end loop;
end
$$;

-- The door. The caller proves with the secret, sent as a bound parameter after all user text of the transaction,
-- that it is the gateway. Every step stays within what belongs to this project, so even a stolen secret gives the
-- owner no more than its own database.
--
--   grants            {revoke: [change], grant: [change]}, change = {kind: table|sequence|function, oid, privileges, roles}
--   record_migration  {project_id, migration_id, checksum_hex, release_id?, operation_id?}
--   record_operation  {operation_id, release_id?, generation}
--   record_manifest   {manifest, sha256_hex, objects}
--   verify            {}: nothing but the check of the secret
create function internal.platform_step(secret text, step text, payload jsonb) returns void
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
as $$
begin
    if not exists (
        select from internal.ownership
        where secret_hash = sha256(convert_to(secret, 'UTF8')) and owner_role = session_user
    ) then
        raise exception using errcode = 'insufficient_privilege', message = 'this function is for the platform';
    end if;

    case step
        when 'verify' then
            null;
        when 'grants' then
            perform internal.change_grants('revoke', payload -> 'revoke');
            perform internal.change_grants('grant', payload -> 'grant');
        when 'record_migration' then
            insert into internal.migrations (project_id, migration_id, checksum_hex, release_id, operation_id)
            values (payload ->> 'project_id', payload ->> 'migration_id', payload ->> 'checksum_hex',
                    payload ->> 'release_id', payload ->> 'operation_id');
        when 'record_operation' then
            insert into internal.applied_operations (operation_id, release_id, generation)
            values (payload ->> 'operation_id', payload ->> 'release_id', (payload ->> 'generation')::bigint);
        when 'record_manifest' then
            insert into internal.project_manifest (manifest, sha256_hex, objects)
            values (payload -> 'manifest', payload ->> 'sha256_hex', coalesce(payload -> 'objects', '{}'))
            on conflict (only_one) do update
            set manifest = excluded.manifest, sha256_hex = excluded.sha256_hex, objects = excluded.objects,
                applied_at = now();
        else
            raise exception using errcode = 'invalid_parameter_value', message = 'unknown step';
    end case;
end
$$;

revoke all on all functions in schema internal from public;
