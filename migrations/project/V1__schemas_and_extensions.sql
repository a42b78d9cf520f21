-- Rooms of a project database, the extensions every project has, and what is taken away from everyone
-- (contract 02 §3.1-3.2). Run once as superuser in the template database.
--
-- `public` is the tenant's. `auth` and `run402` hold functions anyone may call, `extensions` the preinstalled
-- extensions, `internal` the platform's own records, which no project role can read.

create schema internal;
create schema auth;
create schema run402;
create schema extensions;

revoke all on schema public from public;
grant usage on schema public to anon, authenticated, project_admin, service_role;
grant usage on schema auth, run402, extensions to public;

create extension pgcrypto schema extensions;
create extension "uuid-ossp" schema extensions;
create extension citext schema extensions;
create extension pg_trgm schema extensions;
create extension unaccent schema extensions;
create extension hstore schema extensions;
create extension btree_gin schema extensions;
create extension btree_gist schema extensions;
create extension fuzzystrmatch schema extensions;
create extension ltree schema extensions;
create extension intarray schema extensions;
create extension vector schema extensions;

-- The cluster is shared. Postgres itself hides what other roles' sessions run. What tells how busy other projects
-- are, or writes where no quota looks, is for the platform only. A function inside a view is checked against the
-- reader, so revoking it also closes the views built on it.
do $$
declare
    routine regprocedure;
begin
    for routine in
        select oid::regprocedure
        from pg_catalog.pg_proc
        where pronamespace = 'pg_catalog'::regnamespace
          and (proname in ('pg_logical_emit_message', 'pg_tablespace_size', 'pg_tablespace_databases')
               or proname like 'pg\_stat\_get\_db\_%')
    loop
        execute format('revoke all on function %s from public', routine);
    end loop;
end
$$;
