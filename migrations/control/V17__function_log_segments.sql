-- What functions write, in segments: the entries that one project wrote within a moment are one row, packed
-- (src/features/functions/logs/segment.rs). A row and five index entries for each line cost more than the calls that
-- wrote them.
--
-- The entries of the table before are not taken along: they would be forgotten within a day anyway.

drop table function_logs;

create table function_log_segments (
    id         bigint generated always as identity,
    project_id text not null references projects (id),
    -- Of its newest entry.
    last_at    timestamptz not null,
    -- Whose entries are in it.
    functions  text[] not null,
    -- Bytes its entries count for in the project's limit: their text, and a little for each.
    size       bigint not null check (size > 0),
    entries    bytea not null,
    -- All questions are of one project and begin with its newest entries.
    primary key (project_id, last_at, id)
);
-- Compressed already.
alter table function_log_segments alter column entries set storage external;
