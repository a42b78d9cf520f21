//! Reads the catalog of a database: one query, one JSON document.

use serde::Deserialize;

use super::{TypeShape, Uses};
use crate::engines::postgres::{Pipeline, PipelineError};

#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error(transparent)]
    Database(#[from] PipelineError),
    #[error("the catalog document does not have the expected shape: {0}")]
    Shape(#[from] serde_json::Error),
}

/// The catalog as the query returns it, before views are traced and relationships derived.
#[derive(Debug, Default, Deserialize)]
pub struct Catalog {
    pub relations: Vec<RelationRow>,
    pub constraints: Vec<ConstraintRow>,
    pub views: Vec<ViewRow>,
    pub functions: Vec<FunctionRow>,
    pub postgis_schema: Option<String>,
    pub comment: Option<String>,
}

#[derive(Debug, Deserialize)]
pub struct RelationRow {
    pub oid: u32,
    pub name: String,
    pub kind: String,
    pub is_partition: bool,
    /// Bits as `pg_relation_is_updatable` gives them, INSTEAD OF triggers included.
    pub writable: i32,
    pub user_code: Uses,
    pub looks_beyond_caller: Uses,
    pub comment: Option<String>,
    pub columns: Vec<ColumnRow>,
}

#[derive(Debug, Deserialize)]
pub struct ColumnRow {
    pub position: i16,
    pub name: String,
    pub type_name: String,
    pub base_type: String,
    pub shape: TypeShape,
    pub nullable: bool,
    pub default: Option<String>,
    pub always_generated: bool,
    pub max_length: Option<i32>,
    pub enum_labels: Option<Vec<String>>,
    pub comment: Option<String>,
}

#[derive(Debug, Deserialize)]
pub struct ConstraintRow {
    pub name: String,
    /// `p`, `u` or `f`
    pub kind: String,
    pub relation: u32,
    pub columns: Vec<i16>,
    pub target: u32,
    pub target_columns: Option<Vec<i16>>,
}

#[derive(Debug, Deserialize)]
pub struct ViewRow {
    pub oid: u32,
    pub rule: String,
}

#[derive(Debug, Deserialize)]
pub struct FunctionRow {
    pub name: String,
    pub is_aggregate: bool,
    pub parameters: Vec<ParameterRow>,
    pub default_count: usize,
    pub returns_set: bool,
    pub returns_void: bool,
    pub returns_row: bool,
    /// oid of the relation whose row type is returned; 0 otherwise.
    pub result_relation: u32,
    pub media_type: Option<String>,
    pub estimated_rows: f64,
    pub volatility: String,
    pub comment: Option<String>,
}

#[derive(Debug, Deserialize)]
pub struct ParameterRow {
    pub name: Option<String>,
    pub type_name: String,
    /// oid of the relation whose row type it is; 0 otherwise.
    pub relation: u32,
    pub is_anyelement: bool,
    pub variadic: bool,
}

/// Types are printed under an empty search path, so every type outside `pg_catalog` comes qualified.
const SEARCH_NOTHING: &str = "select where set_config('search_path', '', true) is null";

const CATALOG: &str = r#"
with recursive base_types as (
  select t.oid as type, t.oid as base, t.typtype, t.typbasetype, t.typtypmod from pg_catalog.pg_type t
  union all
  select b.type, t.oid, t.typtype, t.typbasetype, t.typtypmod
  from base_types b join pg_catalog.pg_type t on t.oid = b.typbasetype
  where b.typtype = 'd'
), bases as (
  select b.type, b.base, t.typtype, t.typcategory, t.typrelid
  from base_types b join pg_catalog.pg_type t on t.oid = b.base
  where b.typtype <> 'd'
), columns as (
  select a.attrelid, json_agg(json_build_object(
    'position', a.attnum,
    'name', a.attname,
    'type_name', format_type(a.atttypid, a.atttypmod),
    'base_type', format_type(b.base, null),
    'shape', case when b.base = 'json'::regtype then 'json'
                  when b.base = 'jsonb'::regtype then 'jsonb'
                  when b.base = 'tsvector'::regtype then 'ts_vector'
                  when b.typcategory = 'A' then 'array'
                  when b.typtype = 'c' then 'composite'
                  else 'other' end,
    'nullable', not (a.attnotnull or t.typnotnull),
    'default', case when a.attgenerated <> '' then null
                    when a.attidentity <> '' then (
                      select format('nextval(%L::regclass)', d.objid::regclass)
                      from pg_depend d
                      where d.classid = 'pg_class'::regclass and d.refclassid = 'pg_class'::regclass
                        and d.refobjid = a.attrelid and d.refobjsubid = a.attnum and d.deptype = 'i')
                    else pg_get_expr(ad.adbin, ad.adrelid) end,
    'always_generated', a.attgenerated <> '' or a.attidentity = 'a',
    'max_length', case when a.atttypid in ('varchar'::regtype, 'bpchar'::regtype) and a.atttypmod > 4
                       then a.atttypmod - 4 end,
    'enum_labels', case when b.typtype = 'e' then (
                     select json_agg(e.enumlabel order by e.enumsortorder) from pg_enum e where e.enumtypid = b.base) end,
    'comment', col_description(a.attrelid, a.attnum)
  ) order by a.attnum) as list
  from pg_attribute a
  join pg_class c on c.oid = a.attrelid and c.relnamespace = 'public'::regnamespace and c.relkind in ('r','v','m','f','p')
  join pg_type t on t.oid = a.atttypid
  join bases b on b.type = a.atttypid
  left join pg_attrdef ad on ad.adrelid = a.attrelid and ad.adnum = a.attnum
  where a.attnum > 0 and not a.attisdropped
  group by a.attrelid
), foreign_functions as (
  -- Functions of the project, by what depends on them; the platform's own leave nothing behind in a session.
  select d.classid, d.objid
  from pg_depend d join pg_proc p on p.oid = d.refobjid
  where d.refclassid = 'pg_proc'::regclass
    and p.pronamespace not in (select oid from pg_namespace where nspname in ('pg_catalog', 'auth', 'run402', 'extensions'))
), calls as (
  -- Whatever calls a function that is not Postgres' own. Its own are not recorded; their names show in the text.
  select classid, objid from pg_depend where refclassid = 'pg_proc'::regclass
), beyond_caller as (
  -- Policies that use anything but their own table, what Postgres has and what the platform made to tell who calls.
  select o.oid as policy from pg_policy o
    where concat(pg_get_expr(o.polqual, o.polrelid), pg_get_expr(o.polwithcheck, o.polrelid)) ~* 'setting|set_config'
  union select d.objid from pg_depend d join pg_policy o on o.oid = d.objid
    left join pg_proc p on d.refclassid = 'pg_proc'::regclass and p.oid = d.refobjid
      and p.pronamespace in (select oid from pg_namespace where nspname in ('auth', 'run402', 'extensions'))
    left join pg_operator r on d.refclassid = 'pg_operator'::regclass and r.oid = d.refobjid
      and r.oprnamespace in (select oid from pg_namespace where nspname = 'extensions')
    where d.classid = 'pg_policy'::regclass and p.oid is null and r.oid is null
      and not (d.refclassid = 'pg_class'::regclass and d.refobjid = o.polrelid)
), asking as (
  select o.polrelid as relation, true as on_read, true as on_write
    from pg_policy o where o.oid in (select policy from beyond_caller)
  union all select o.adrelid, false, true from pg_attrdef o
    where pg_get_expr(o.adbin, o.adrelid) ~* 'setting|set_config'
       or exists (select from calls d where d.classid = 'pg_attrdef'::regclass and d.objid = o.oid)
  union all select o.conrelid, false, true from pg_constraint o
    where o.contype = 'c' and (pg_get_constraintdef(o.oid) ~* 'setting|set_config'
       or exists (select from calls d where d.classid = 'pg_constraint'::regclass and d.objid = o.oid))
), looks as (
  select relation, bool_or(on_read) as on_read, bool_or(on_write) as on_write from asking group by relation
), coded as (
  select o.polrelid as relation, true as on_read, true as on_write from pg_policy o
    join foreign_functions f on f.classid = 'pg_policy'::regclass and f.objid = o.oid
  -- Postgres' own way to leave something behind.
  union all select o.polrelid, true, true from pg_policy o
    where concat(pg_get_expr(o.polqual, o.polrelid), pg_get_expr(o.polwithcheck, o.polrelid)) ~* 'set_config|advisory'
  union all select o.adrelid, false, true from pg_attrdef o
    where pg_get_expr(o.adbin, o.adrelid) ~* 'set_config|advisory'
  union all select o.adrelid, false, true from pg_attrdef o
    join foreign_functions f on f.classid = 'pg_attrdef'::regclass and f.objid = o.oid
  union all select o.conrelid, false, true from pg_constraint o
    join foreign_functions f on f.classid = 'pg_constraint'::regclass and f.objid = o.oid
  union all select o.indrelid, false, true from pg_index o
    join foreign_functions f on f.classid = 'pg_class'::regclass and f.objid = o.indexrelid
  -- Not pg_depend: a trigger may run a platform's function that calls others.
  union all select o.tgrelid, false, true from pg_trigger o where not o.tgisinternal
  -- A write cascades to tables with triggers of their own.
  union all select o.confrelid, false, true from pg_constraint o
    where o.contype = 'f' and (o.confdeltype in ('c', 'n', 'd') or o.confupdtype in ('c', 'n', 'd'))
  -- Columns that a function computes from the row.
  union all select c.oid, true, true from pg_class c
    join pg_proc p on p.proargtypes[0] = c.reltype and c.reltype <> 0
  -- Types of the project bring functions along for input, output, checks and comparison.
  union all select a.attrelid, true, true from pg_attribute a join pg_type t on t.oid = a.atttypid
    where a.attnum > 0 and t.typtype not in ('e') and t.typcategory <> 'A'
      and t.typnamespace not in (select oid from pg_namespace where nspname in ('pg_catalog', 'extensions'))
)
select json_build_object(
  'relations', coalesce((
    select json_agg(json_build_object(
      'oid', c.oid::int8, 'name', c.relname, 'kind', c.relkind, 'is_partition', c.relispartition,
      'writable', pg_relation_is_updatable(c.oid, true),
      'user_code', json_build_object(
        'on_read', c.relkind <> 'r' or c.relhassubclass or exists (select from coded u where u.relation = c.oid and u.on_read),
        'on_write', c.relkind <> 'r' or c.relhassubclass or c.relhasrules
                    or exists (select from coded u where u.relation = c.oid and u.on_write)),
      'looks_beyond_caller', json_build_object(
        'on_read', coalesce(looks.on_read, false), 'on_write', coalesce(looks.on_write, false)),
      'comment', obj_description(c.oid, 'pg_class'),
      'columns', coalesce(columns.list, '[]')))
    from pg_class c left join columns on columns.attrelid = c.oid left join looks on looks.relation = c.oid
    where c.relnamespace = 'public'::regnamespace and c.relkind in ('r','v','m','f','p')), '[]'),
  'constraints', coalesce((
    select json_agg(json_build_object(
      'name', k.conname, 'kind', k.contype, 'relation', k.conrelid::int8, 'columns', k.conkey,
      'target', k.confrelid::int8, 'target_columns', k.confkey) order by k.conname)
    from pg_constraint k
    where k.contype in ('p','u','f') and k.conparentid = 0 and k.connamespace = 'public'::regnamespace), '[]'),
  'views', coalesce((
    select json_agg(json_build_object('oid', c.oid::int8, 'rule', r.ev_action::text))
    from pg_rewrite r join pg_class c on c.oid = r.ev_class join pg_namespace n on n.oid = c.relnamespace
    where r.rulename = '_RETURN' and c.relkind in ('v','m')
      and n.nspname not in ('pg_catalog', 'information_schema')), '[]'),
  'functions', coalesce((
    select json_agg(json_build_object(
      'name', p.proname,
      'is_aggregate', p.prokind = 'a',
      'parameters', coalesce((
        select json_agg(json_build_object(
          'name', nullif(arg.name, ''), 'type_name', format_type(arg.type, null),
          'relation', at.typrelid::int8, 'is_anyelement', arg.type = 'anyelement'::regtype,
          'variadic', arg.mode = 'v') order by arg.position)
        from (
          select i as position, (coalesce(p.proallargtypes, p.proargtypes::oid[]))[lower + i - 1] as type,
                 p.proargnames[i] as name, coalesce(p.proargmodes[i], 'i') as mode
          from (select case when p.proallargtypes is null then 0 else 1 end as lower) bounds,
               generate_series(1, coalesce(array_length(p.proallargtypes, 1), p.pronargs)) i
        ) arg join pg_type at on at.oid = arg.type
        where arg.mode in ('i', 'b', 'v')), '[]'),
      'default_count', p.pronargdefaults,
      'returns_set', p.proretset,
      'returns_void', p.prorettype = 'void'::regtype,
      'returns_row', b.typtype = 'c' or p.prorettype = 'record'::regtype
                     or coalesce(p.proargmodes && array['t','b','o']::"char"[], false),
      'result_relation', coalesce(b.typrelid, 0)::int8,
      'media_type', case when rt.typtype = 'd' and rt.typname like '%/%' then lower(rt.typname) end,
      'estimated_rows', p.prorows,
      'volatility', p.provolatile,
      'comment', obj_description(p.oid, 'pg_proc')) order by p.oid)
    from pg_proc p
    join pg_type rt on rt.oid = p.prorettype
    left join bases b on b.type = p.prorettype
    where p.pronamespace = 'public'::regnamespace and p.prokind in ('f', 'a')
      and p.prorettype not in ('trigger'::regtype, 'event_trigger'::regtype)), '[]'),
  'postgis_schema', (
    select n.nspname from pg_proc p join pg_namespace n on n.oid = p.pronamespace
    where p.proname = 'st_asgeojson' limit 1),
  'comment', obj_description('public'::regnamespace, 'pg_namespace')
)::text"#;

/// # Errors
/// When the database does not answer, or answers something else than this query asks for.
pub async fn read_catalog(pipeline: &mut Pipeline) -> Result<Catalog, LoadError> {
    // Whoever used the session before may have left it in another role.
    pipeline.forget_stance();
    pipeline.add("reset role", std::iter::empty());
    pipeline.add(SEARCH_NOTHING, std::iter::empty());
    pipeline.add(CATALOG, std::iter::empty());
    pipeline.sync();
    pipeline.send().await?;
    let rows = async {
        pipeline.rows().await?;
        pipeline.rows().await?;
        pipeline.rows().await
    }
    .await;
    pipeline.ready().await?;
    let rows = rows?;
    let document = rows.rows.first().and_then(|row| row.get(0)).unwrap_or(b"{}");
    Ok(serde_json::from_slice(document)?)
}
