-- Roles shared by every project database of the cluster (contract 02 §3.2). Run as superuser in the
-- maintenance database at every boot; repeating it changes nothing.
--
-- The four API roles cannot log in: a session logs in as a role of its own project and takes one of them.
-- `authenticator` is only a reserved name: a login shared by all projects would let one project's function, after
-- RESET ROLE, change the login's defaults, terminate its sessions or read their query text in every other project.
do $$
declare
    wanted record;
begin
    for wanted in
        select * from (values
            ('anon', false), ('authenticated', false), ('project_admin', false), ('service_role', true),
            ('authenticator', false)
        ) as roles (name, bypasses_rls)
    loop
        if not exists (select from pg_catalog.pg_roles where rolname = wanted.name) then
            execute format('create role %I', wanted.name);
        end if;
        execute format(
            'alter role %I with nologin nosuperuser nocreatedb nocreaterole noreplication %s password null',
            wanted.name, case when wanted.bypasses_rls then 'bypassrls' else 'nobypassrls' end
        );
        -- A role may set its own defaults, so a function running as `anon` can leave some behind.
        execute format('alter role %I reset all', wanted.name);
    end loop;

    -- Inherited, so that policies written TO authenticated also hold for promoted users.
    grant authenticated to project_admin with inherit true, set true;
end
$$;

-- No project role has any business in the databases of the platform.
do $$
declare
    name text;
begin
    for name in select datname from pg_catalog.pg_database where datname !~ '^r402_p[0-9]+$' and datname <> 'template0' loop
        execute format('revoke all on database %I from public', name);
    end loop;
end
$$;
