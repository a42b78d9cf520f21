-- What the data API is measured on: 10,000 rows, a child table, rows of a hundred owners, and a table to grow.
create table items (
    id serial primary key,
    name text not null,
    category integer not null,
    price numeric(10, 2) not null,
    done boolean not null default false,
    created_at timestamptz not null default now()
);
insert into items (name, category, price, done)
    select 'item ' || g, g % 50, (g * 7919 % 100000) / 100.0, g % 3 = 0 from generate_series(1, 10000) g;
create index items_category_price on items (category, price);

create table comments (
    id serial primary key,
    item_id integer not null references items,
    body text not null
);
insert into comments (item_id, body) select 1 + g % 10000, 'comment ' || g from generate_series(1, 30000) g;
create index comments_item on comments (item_id);

create table notes (
    id serial primary key,
    body text not null,
    owner uuid
);
insert into notes (body, owner)
    select 'note ' || g, ('00000000-0000-4000-8000-' || lpad((g % 100)::text, 12, '0'))::uuid
    from generate_series(1, 10000) g;

create table events (
    id bigserial primary key,
    kind text not null,
    payload jsonb,
    at timestamptz not null default now()
);
-- The same rows without the index that a policy on a column wants: most of the time is Postgres', reading rows to
-- throw them away.
create table diary (like notes including all);
insert into diary select * from notes;
create index notes_owner on notes (owner);
analyze;
