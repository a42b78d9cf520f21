-- Values of function secrets (contract 05 §7), sealed with the box's master key.

create table project_secrets (
    project_id text not null references projects (id),
    key        text not null check (key ~ '^[A-Z_][A-Z0-9_]{0,127}$'),
    -- Nonce (24 bytes), ciphertext of at most 4096 bytes, tag (16 bytes). Opens only for this project and key.
    sealed     bytea not null check (octet_length(sealed) between 40 and 4136),
    created_at timestamptz not null,
    updated_at timestamptz not null,
    primary key (project_id, key)
);

-- Values go with the first step of a purge, whoever begins it.
create function forget_secrets_of_purged_project() returns trigger language plpgsql as $$
begin
    delete from project_secrets where project_id = new.id;
    return null;
end
$$;
create trigger forget_secrets after update of status on projects
    for each row when (new.status <> 'active') execute function forget_secrets_of_purged_project();
