-- Names a project answers to (contract 04 §1, §8).

-- A public id is part of a host name, where an underscore is not legal: no host was ever made of the older form.
alter table projects drop constraint projects_public_id_check;
update projects set public_id = replace(public_id, '_', '');
alter table projects add constraint projects_public_id_check check (public_id ~ '^[a-z0-9]{3,40}$');

-- Claimed subdomains of the base domain. The row of a purged project stays: the name is held for its organisation
-- for a while (04 §1.8).
create table subdomains (
    name       text primary key
               check (char_length(name) between 3 and 63 and name ~ '^[a-z0-9]+(-[a-z0-9]+)*$'),
    project_id text not null references projects (id),
    -- A deployment the name was pointed at by hand; the next activation clears it. Null: the live release.
    pin        text,
    claimed_at timestamptz not null,
    updated_at timestamptz not null
);
create index subdomains_by_project on subdomains (project_id, claimed_at, name);
