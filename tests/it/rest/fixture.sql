create type mood as enum ('sad', 'happy');
create table authors(id int primary key, name text, born date);
create table books(
    id serial primary key, title text not null, author_id int constraint books_author_fk references authors,
    tags text[], data jsonb, raw json, price numeric(8,2) default 1.5, words tsvector,
    made timestamptz default '2026-01-02T03:04:05.123456Z', kind text, span int4range, big bigint, mood mood);
create table labels(id int primary key, label text);
create table book_labels(book_id int references books, label_id int references labels, primary key (book_id, label_id));
create table details(book_id int primary key references books, pages int);
create table people(id int primary key, name text, boss int constraint people_boss_fk references people);
create table matches(id int primary key, home int constraint match_home references authors,
    away int constraint match_away references authors);
create table forty(id int primary key);
create table nothing_in(id int primary key);
create table "odd name"("a b" int primary key, "qu""ote" text, "émoji 🙂" text);
create table defaults(id serial primary key, n int default 7, stamp timestamptz default '2026-01-01Z',
    g int generated always as (n * 2) stored);
create table always(id int generated always as identity primary key, v text);
create table pairs(a int, b int, v text, primary key (a, b));
create table nokey(n int unique, v text);
create table notes(id serial primary key, body text not null check (body <> 'bad'), n int unique, done boolean default false,
    day date, list int[], doc jsonb);
create table guarded(id int primary key, owner text, v text);
alter table guarded enable row level security;
create policy readers on guarded for select to anon using (owner = 'anon');
create policy writers on guarded for insert to anon with check (owner = 'anon');
create policy changers on guarded for update to anon using (owner = 'anon') with check (owner = 'anon');
create policy removers on guarded for delete to anon using (owner = 'anon');
create view book_view as select b.id, b.title as t, b.author_id as aid from books b;
create view author_books as select a.id, a.name, b.title from authors a join books b on b.author_id = a.id;

-- Never granted to anybody: what an undeclared object is.
create table dark(id serial primary key, secret text);
create table dark_child(id int primary key, book_id int references books, secret text);
create view dark_view as select 'xyzzy' as secret;
create materialized view dark_matview as select 'xyzzy' as secret;
create sequence dark_sequence;
create function dark_function() returns text language sql as $$ select 'xyzzy' $$;
create function dark_rows() returns setof dark language sql as $$ select * from dark $$;
create table half_dark(id int primary key, open text, secret text);
insert into dark(secret) values ('xyzzy');
insert into dark_child values (1, null, 'xyzzy');
insert into half_dark values (1, 'open', 'xyzzy');

create function full_title(books) returns text language sql stable as $$ select $1.title || '!' $$;
create function writer(books) returns setof authors rows 1 language sql stable
    as $$ select * from authors where id = $1.author_id $$;
create function others(books) returns setof books language sql stable as $$ select * from books where id <> $1.id $$;
create function add(a int, b int default 10) returns int language sql immutable as $$ select a + b $$;
create function get_books(mn int) returns setof books language sql stable as $$ select * from books where id >= mn $$;
create function one_book(i int) returns books language sql stable as $$ select * from books where id = i $$;
create function tbl(n int) returns table(x int, y text) language sql stable
    as $$ select g, 'v' || g from generate_series(1, n) g $$;
create function outs(in a int, out p int, out q text) language sql as $$ select a, 'z' $$;
create function inout_one(inout a int) language sql immutable as $$ select a * 2 $$;
create function rec(out a int, out b int) returns setof record language sql stable as $$ values (1, 2), (3, 4) $$;
create function nums() returns setof int language sql stable as $$ select generate_series(1, 3) $$;
create function vari(variadic v int[]) returns int language sql immutable as $$ select sum(x)::int from unnest(v) x $$;
create function arr(v text[]) returns int language sql immutable as $$ select cardinality(v) $$;
create function nothing() returns void language sql as '';
create function nullish() returns text language sql as $$ select null::text $$;
create function answer() returns int language sql immutable as $$ select 42 $$;
create function echo(t text) returns text language sql immutable as $$ select t $$;
create function doc(j jsonb) returns jsonb language sql immutable as $$ select j $$;
create function raw_json(json) returns json language sql as $$ select $1 $$;
create function raw_text(text) returns text language sql as $$ select $1 $$;
create function raw_bytes(bytea) returns int language sql as $$ select length($1) $$;
create function over(a int) returns text language sql as $$ select 'int' $$;
create function over(a text) returns text language sql as $$ select 'text' $$;
create function over(a int, b int) returns text language sql as $$ select 'two' $$;
create function writes() returns void language sql as $$ insert into labels values (99, 'x') $$;
create function touch_labels(n int) returns setof labels language sql
    as $$ update labels set label = label where id <= n returning * $$;
create function raise_as(state text) returns void language plpgsql
    as $$ begin raise exception using errcode = state, message = 'm ' || state, detail = 'd', hint = 'h'; end $$;
create function raise_custom(message text, detail text) returns void language plpgsql
    as $$ begin raise sqlstate 'PGRST' using message = message, detail = detail; end $$;
create function says(status text, headers text) returns int language sql as $$
    select set_config('response.status', status, true); select set_config('response.headers', headers, true); select 1 $$;
create function whoami() returns json language sql stable as $$ select json_build_object(
    'role', current_user, 'auth_role', auth.role(), 'uid', auth.uid(), 'project', auth.project_id(),
    'user', run402.current_user_id(), 'path', current_setting('request.path'),
    'method', current_setting('request.method'), 'headers', current_setting('request.headers')::json,
    'cookies', current_setting('request.cookies')::json, 'claims', current_setting('request.jwt.claims')::json,
    'tz', current_setting('timezone'), 'search_path', current_setting('search_path')) $$;
create function slow(seconds int) returns void language sql as $$ select pg_sleep(seconds) $$;
create function big(n int) returns setof text language sql stable
    as $$ select repeat('x', 1000000) from generate_series(1, n) $$;
create domain "text/plain" as text;
create domain "image/x-test" as bytea;
create domain "text/x-lines" as text;
create function greet(name text) returns "text/plain" language sql immutable
    as $$ select ('hello ' || name)::"text/plain" $$;
create function picture() returns "image/x-test" language sql immutable as $$ select '\x00ff01'::bytea::"image/x-test" $$;
create function lines_step(state "text/x-lines", one labels) returns "text/x-lines" language sql immutable
    as $$ select (state || one.label || E'\n')::"text/x-lines" $$;
create aggregate lines(labels) (sfunc = lines_step, stype = "text/x-lines", initcond = '');
comment on table labels is 'Coloured labels';
comment on column labels.label is 'What it says';

insert into authors values (1, 'Ann', '1970-01-02'), (2, 'Bob', null), (3, 'Cy', null);
insert into books(title, author_id, tags, data, raw, kind, span, big, mood, words) values
    ('Alpha', 1, '{x,y}', '{"k":"v","n":1,"a":[1,2],"o":{"p":"q"}}', '{"k":"v","n":1}', 'p', '[1,5)', 9007199254740993,
     'happy', to_tsvector('english', 'the quick cats')),
    ('Beta, two', 1, '{y}', '{"k":"w","n":2}', null, 'p', '[5,9)', null, 'sad', to_tsvector('english', 'slow dogs')),
    ('Gamma "g"', 2, null, null, null, 'q', null, null, null, null),
    ('Delta', null, '{}', null, null, 'q', null, null, null, null);
insert into labels values (1, 'red'), (2, 'blue'), (3, 'unused');
insert into book_labels values (1, 1), (1, 2), (2, 2);
insert into details values (1, 100), (2, 50);
insert into people values (1, 'Top', null), (2, 'Mid', 1), (3, 'Low', 2);
insert into matches values (1, 1, 2);
insert into forty select generate_series(1, 42);
insert into "odd name" values (1, 'x', 'y');
insert into pairs values (1, 1, 'x'), (1, 2, 'y');
insert into notes(body, n, day, list, doc) values ('one', 1, '2026-01-01', '{1,2}', '{"a":1}'), ('two', 2, null, null, null);
insert into guarded values (1, 'anon', 'a'), (2, 'other', 'b');
