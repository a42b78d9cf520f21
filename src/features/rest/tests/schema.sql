create role r402_p0001_rest login noinherit;
create role anon;
create role authenticated;
create role project_admin in role authenticated;
create role service_role bypassrls;
grant anon, authenticated, project_admin, service_role to r402_p0001_rest;
grant usage on schema public to anon, authenticated, service_role;
alter default privileges revoke execute on functions from public;
alter default privileges grant all on tables to service_role;
alter default privileges grant all on sequences to service_role;
alter default privileges grant execute on functions to service_role;

create type mood as enum ('sad', 'happy');
create table authors(id int primary key, name text, born date);
create table books(
    id serial primary key, title text not null, author_id int constraint books_author_fk references authors,
    tags text[], data jsonb, raw json, price numeric(8,2) default 1.5, words tsvector,
    made timestamptz default '2026-01-02T03:04:05.123456Z', kind text, span int4range, big bigint, mood mood);
create table labels(id int primary key, label text);
create table book_labels(book_id int references books, label_id int references labels, primary key(book_id, label_id));
create table details(book_id int primary key references books, pages int);
create table people(id int primary key, name text, boss int constraint people_boss_fk references people);
create table matches(id int primary key, home int constraint match_home references authors, away int constraint match_away references authors);
create table dark(id int primary key);
create table "odd name"("a b" int primary key, "qu""ote" text);
create table empty_defaults(id serial primary key, n int default 7, at timestamptz default now(), g int generated always as (n * 2) stored);
create table pairs(a int, b int, v text, primary key (a, b));
create table nokey(n int unique, v text);
create table owned(id int primary key, owner text, v text);
alter table owned enable row level security;
create policy mine on owned to authenticated using (owner = current_setting('run402.user_id', true)) with check (owner = current_setting('run402.user_id', true));
create view book_view as select b.id, b.title as t, b.author_id as aid, upper(title) as up from books b;
create view nested_view as select id as vid, aid as writer from book_view where id > 0;
create view author_books as select a.id, a.name, b.title from authors a join books b on b.author_id = a.id;

create function full_title(books) returns text language sql stable as 'select $1.title || ''!''';
create function writer(books) returns setof authors rows 1 language sql stable as 'select * from authors where id = $1.author_id';
create function others(books) returns setof books language sql stable as 'select * from books where id <> $1.id';
create function add(a int, b int default 10) returns int language sql immutable as 'select a + b';
create function get_books(mn int) returns setof books language sql stable as 'select * from books where id >= mn';
create function one_book(i int) returns books language sql stable as 'select * from books where id = i';
create function tbl(n int) returns table(x int, y text) language sql stable as 'select g, ''v''||g from generate_series(1,n) g';
create function outs(in a int, out p int, out q text) language sql as 'select a, ''z''';
create function nums() returns setof int language sql stable as 'select generate_series(1,3)';
create function vari(variadic v int[]) returns int language sql immutable as 'select sum(x)::int from unnest(v) x';
create function arr(v text[]) returns int language sql immutable as 'select cardinality(v)';
create function nothing() returns void language sql as '';
create function nullish() returns text language sql as 'select null::text';
create function raw_json(json) returns json language sql as 'select $1';
create function raw_text(text) returns text language sql as 'select $1';
create function raw_bytes(bytea) returns int language sql as 'select length($1)';
create function over(a int) returns text language sql as 'select ''int''';
create function over(a text) returns text language sql as 'select ''text''';
create function over(a int, b int) returns text language sql as 'select ''two''';
create function writes() returns void language sql as 'insert into labels values (99, ''x'')';
create function sneaky() returns int language plpgsql stable as $$ begin execute 'insert into labels values (98, ''x'')'; return 1; end $$;
create function teapot() returns void language plpgsql as $$ begin raise sqlstate 'PT418' using message = 'short and stout', detail = 'd', hint = 'h'; end $$;
create function raises() returns void language plpgsql as $$ begin raise exception 'plain'; end $$;
create function custom() returns void language plpgsql as $$ begin raise sqlstate 'PGRST' using message = '{"code":"C1","message":"m"}', detail = '{"status":409,"headers":{"X-Why":"because"}}'; end $$;
create function says(status text, headers text) returns int language sql as $$ select set_config('response.status', status, true); select set_config('response.headers', headers, true); select 1 $$;
create function whoami() returns json language sql stable as $$ select json_build_object('role', current_user, 'claims', current_setting('request.jwt.claims')::json, 'method', current_setting('request.method'), 'path', current_setting('request.path'), 'user', current_setting('run402.user_id'), 'header', current_setting('request.headers')::json->>'x-test', 'tz', current_setting('timezone'), 'timeout', current_setting('statement_timeout')) $$;
create function touch_books(n int) returns setof books language sql as 'update books set kind = kind where id <= n returning *';
create function hidden() returns int language sql as 'select 1';
create function slow() returns void language sql as 'select pg_sleep(30)';
create domain "text/plain" as text;
create domain "image/x-test" as bytea;
create domain "text/x-lines" as text;
create function greet(name text) returns "text/plain" language sql immutable as $$ select ('hello ' || name)::"text/plain" $$;
create function picture() returns "image/x-test" language sql immutable as $$ select '\x00ff01'::bytea::"image/x-test" $$;
create function lines_step(state "text/x-lines", one labels) returns "text/x-lines" language sql immutable as $$ select (state || one.label || E'\n')::"text/x-lines" $$;
create aggregate lines(labels) (sfunc = lines_step, stype = "text/x-lines", initcond = '');

insert into authors values (1,'Ann','1970-01-02'),(2,'Bob',null),(3,'Cy',null);
insert into books(title,author_id,tags,data,raw,kind,span,big,mood,words) values
 ('Alpha',1,'{x,y}','{"k":"v","n":1,"a":[1,2],"o":{"p":"q"}}','{"k":"v","n":1}','p','[1,5)',9007199254740993,'happy',to_tsvector('english','the quick cats')),
 ('Beta, two',1,'{y}','{"k":"w","n":2}',null,'p','[5,9)',null,'sad',to_tsvector('english','slow dogs')),
 ('Gamma "g"',2,null,null,null,'q',null,null,null,null),
 ('Delta',null,'{}',null,null,'q',null,null,null,null);
insert into labels values (1,'red'),(2,'blue'),(3,'unused');
insert into book_labels values (1,1),(1,2),(2,2);
insert into details values (1,100),(2,50);
insert into people values (1,'Top',null),(2,'Mid',1),(3,'Low',2);
insert into matches values (1,1,2);
insert into "odd name" values (1,'x');
insert into owned values (1,'u1','a'),(2,'u2','b');
insert into pairs values (1,1,'x'),(1,2,'y');
grant select on authors, books, labels, book_labels, details, people, matches, "odd name", pairs, book_view, nested_view, author_books to anon, authenticated;
grant all on owned to authenticated;
grant select on owned to anon;
grant execute on all functions in schema public to anon, authenticated;
revoke execute on function hidden() from anon, authenticated, public;
