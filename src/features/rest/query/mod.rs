//! Third stage: SQL text with parameters (contract 02 §7.17). Pure: nothing here touches a connection.
//!
//! Whatever is asked becomes one main statement with one result row: the body as text, how many rows it has,
//! the total when it was asked for, and what the database wants to say about the response.

mod call;
mod mutate;
mod predicates;
mod read;
pub mod sql;
#[cfg(test)]
mod tests;

use self::sql::Sql;
use super::{
    plan::{Level, Operation, StatementPlan, mutate::MutatePlan, negotiate::BodyFormat, returns_rows},
    request::{
        media::{PlanFormat, PlanRequest},
        preferences::Count,
    },
    schema_cache::Returns,
};

/// Above this many rows `count=estimated` trusts the planner, unless `max_rows` says otherwise.
const ESTIMATE_THRESHOLD: i64 = 1_000;

/// Columns of the result row. The last two are there only when [`MainQuery`] says so.
pub mod columns {
    pub const BODY: usize = 0;
    /// Rows in the body; for writes, rows affected.
    pub const ROWS: usize = 1;
    pub const TOTAL: usize = 2;
    pub const HEADERS: usize = 3;
    pub const STATUS: usize = 4;
    /// `text[]`: the key of an inserted row.
    pub const LOCATION: usize = 5;
    /// Text of an integer: how many rows of an upsert are new.
    pub const INSERTED: usize = 6;
}

/// The planner's count, asked for beside or after the main statement.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedCount {
    /// `EXPLAIN (FORMAT JSON)` of the counted rows.
    pub sql: Sql,
    /// Ask only when the main statement counted more rows than this.
    pub above: Option<i64>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct MainQuery {
    pub sql: Sql,
    pub planned_count: Option<PlannedCount>,
    pub has_location: bool,
    pub has_inserted: bool,
    /// The text is EXPLAIN's: each result row is a line (or the one JSON document) of the body.
    pub is_explain: bool,
}

pub fn render(plan: &StatementPlan) -> MainQuery {
    let mut sql = Sql::new();
    let is_explain = if let BodyFormat::Explain { request, .. } = &plan.format.format {
        explain_prefix(&mut sql, request);
        true
    } else {
        false
    };
    let format = match &plan.format.format {
        BodyFormat::Explain { of, .. } => of,
        format => format,
    };
    let mut query = MainQuery { sql, planned_count: None, has_location: false, has_inserted: false, is_explain };
    match (&plan.operation, &plan.read) {
        (Operation::Read, Some(level)) => read_query(&mut query, plan, level, format),
        // A read always has a level.
        (Operation::Read, None) => {}
        (Operation::Mutate(mutation), level) => mutate_query(&mut query, mutation, level.as_ref(), format),
        (Operation::Call(call), level) => call_query(&mut query, plan, call, level.as_ref(), format),
    }
    query
}

fn explain_prefix(sql: &mut Sql, request: &PlanRequest) {
    sql.push("EXPLAIN (");
    for option in request.options.words() {
        sql.push(option).push(", ");
    }
    sql.push(match request.format {
        PlanFormat::Json => "FORMAT json) ",
        PlanFormat::Text => "FORMAT text) ",
    });
}

fn read_query(query: &mut MainQuery, plan: &StatementPlan, level: &Level, format: &BodyFormat) {
    let sql = &mut query.sql;
    let threshold = plan.max_rows.unwrap_or(ESTIMATE_THRESHOLD);
    let total = |sql: &mut Sql| match plan.count {
        None | Some(Count::Planned) => {
            sql.push("NULL::bigint");
        }
        Some(Count::Exact) => {
            sql.push("(");
            read::count(sql, level);
            sql.push(")");
        }
        Some(Count::Estimated) => {
            sql.push("(");
            read::bounded_count(sql, level, threshold.saturating_add(1));
            sql.push(")");
        }
    };
    result_row(sql, format, total, "count(*)", false, |sql| read::select(sql, level));
    if let Some(count @ (Count::Planned | Count::Estimated)) = plan.count {
        let mut sql = Sql::new();
        sql.push("EXPLAIN (FORMAT json) ");
        read::countable_rows(&mut sql, level);
        let above = (count == Count::Estimated).then_some(threshold);
        query.planned_count = Some(PlannedCount { sql, above });
    }
}

fn mutate_query(query: &mut MainQuery, plan: &MutatePlan, level: Option<&Level>, format: &BodyFormat) {
    let sql = &mut query.sql;
    sql.push("WITH ").identifier(read::STATEMENT_ROWS).push(" AS (");
    mutate::statement(sql, plan);
    sql.push(") ");
    query.has_location = !plan.location.is_empty();
    query.has_inserted = plan.counts_inserted();
    let affected = "(SELECT count(*) FROM pgrst_source)";
    let extra = |sql: &mut Sql| {
        if query.has_location {
            sql.push(", (SELECT ARRAY[").list(", ", &plan.location, |sql, column| {
                sql.identifier(column).push("::text");
            });
            sql.push("] FROM pgrst_source LIMIT 1)");
        } else if query.has_inserted {
            sql.push(", NULL::text[]");
        }
        if query.has_inserted {
            sql.push(", nullif(current_setting('").push(mutate::INSERTED_SETTING).push("', true), '')");
        }
    };
    let no_total = |sql: &mut Sql| {
        sql.push("NULL::bigint");
    };
    match level {
        Some(level) => result_row_with(sql, format, no_total, affected, false, extra, |sql| read::select(sql, level)),
        None => {
            sql.push("SELECT NULL::text, ").push(affected).push(", NULL::bigint");
            response_settings(sql);
            // Counting reads all rows, so that settings made by triggers are there to be seen.
            extra(sql);
        }
    }
}

fn call_query(
    query: &mut MainQuery,
    plan: &StatementPlan,
    call: &super::plan::call::CallPlan,
    level: Option<&Level>,
    format: &BodyFormat,
) {
    let sql = &mut query.sql;
    sql.push("WITH ").identifier(read::STATEMENT_ROWS);
    // A scalar nobody looks at must still be computed.
    sql.push(if returns_rows(&call.function) { " AS (" } else { " AS MATERIALIZED (" });
    call::statement(sql, call);
    sql.push(") ");
    let single = !call.function.returns_set;
    match (&call.function.returns, level) {
        (Returns::Void, _) => {
            sql.push("SELECT NULL::text, count(*), NULL::bigint");
            response_settings(sql);
            sql.push(" FROM ").identifier(read::STATEMENT_ROWS);
        }
        (_, Some(level)) => {
            let total = |sql: &mut Sql| match plan.count {
                None => {
                    sql.push("NULL::bigint");
                }
                Some(_) => {
                    sql.push("(");
                    read::count(sql, level);
                    sql.push(")");
                }
            };
            result_row(sql, format, total, "count(*)", single, |sql| read::select(sql, level));
        }
        (_, None) => {
            sql.push("SELECT ");
            scalar_body(sql, format, single);
            sql.push(", count(*), ").push(if plan.count.is_some() { "count(*)" } else { "NULL::bigint" });
            response_settings(sql);
            sql.push(" FROM ").identifier(read::STATEMENT_ROWS);
        }
    }
}

/// `SELECT body, rows, total, headers, status FROM (rows) AS pgrst_row`
fn result_row(
    sql: &mut Sql,
    format: &BodyFormat,
    total: impl FnOnce(&mut Sql),
    rows_counted: &str,
    single: bool,
    rows: impl Fn(&mut Sql),
) {
    result_row_with(sql, format, total, rows_counted, single, |_| {}, rows);
}

fn result_row_with(
    sql: &mut Sql,
    format: &BodyFormat,
    total: impl FnOnce(&mut Sql),
    rows_counted: &str,
    single: bool,
    extra: impl FnOnce(&mut Sql),
    rows: impl Fn(&mut Sql),
) {
    sql.push("SELECT ");
    row_body(sql, format, single, &rows);
    sql.push(", ").push(rows_counted).push(", ");
    total(sql);
    response_settings(sql);
    extra(sql);
    sql.push(" FROM (");
    rows(sql);
    sql.push(") AS pgrst_row");
}

fn response_settings(sql: &mut Sql) {
    sql.push(
        ", nullif(current_setting('response.headers', true), ''), nullif(current_setting('response.status', true), '')",
    );
}

fn row_body(sql: &mut Sql, format: &BodyFormat, single: bool, rows: &impl Fn(&mut Sql)) {
    match format {
        // Of exactly one row, joining the rows' texts is that row's text; more rows are an error anyway.
        BodyFormat::Object { stripped: true } => {
            sql.push("string_agg(json_strip_nulls(row_to_json(pgrst_row.*))::text, '')");
        }
        BodyFormat::Object { stripped: false } => {
            sql.push("string_agg(row_to_json(pgrst_row.*)::text, '')");
        }
        BodyFormat::Json { stripped: true } if single => {
            sql.push("coalesce(string_agg(json_strip_nulls(row_to_json(pgrst_row.*))::text, ''), 'null')");
        }
        BodyFormat::Json { stripped: false } if single => {
            sql.push("coalesce(string_agg(row_to_json(pgrst_row.*)::text, ''), 'null')");
        }
        BodyFormat::Json { stripped: true } => {
            sql.push("coalesce(json_strip_nulls(json_agg(pgrst_row.*)), '[]')::text");
        }
        BodyFormat::Csv => csv_body(sql, rows),
        BodyFormat::GeoJson { schema } => {
            sql.push("json_build_object('type', 'FeatureCollection', 'features', coalesce(json_agg(");
            sql.identifier(schema).push(".st_asgeojson(pgrst_row.*)::json), '[]'))::text");
        }
        BodyFormat::Aggregate { function, row_type } => {
            sql.public(function).push("(pgrst_row");
            if let Some(row_type) = row_type {
                sql.push("::").public(row_type);
            }
            sql.push(")");
        }
        BodyFormat::Json { stripped: false } | BodyFormat::Value | BodyFormat::Explain { .. } | BodyFormat::OpenApi => {
            sql.push("coalesce(json_agg(pgrst_row.*), '[]')::text");
        }
    }
}

/// Header line from the keys of a row, then the rows as Postgres prints records, without the brackets.
fn csv_body(sql: &mut Sql, rows: &impl Fn(&mut Sql)) {
    sql.push("coalesce((SELECT string_agg(CASE WHEN key ~ '[\",\\n\\r]' THEN '\"' || replace(key, '\"', '\"\"') || '\"' ELSE key END, ',') FROM (SELECT json_object_keys(row_to_json(pgrst_first.*)) AS key FROM (SELECT * FROM (");
    rows(sql);
    sql.push(") AS pgrst_header LIMIT 1) AS pgrst_first) AS pgrst_keys) || E'\\n' || string_agg(substring(ROW(pgrst_row.*)::text, 2, length(ROW(pgrst_row.*)::text) - 2), E'\\n'), '')");
}

fn scalar_body(sql: &mut Sql, format: &BodyFormat, single: bool) {
    match format {
        BodyFormat::Value => {
            sql.push("(SELECT pgrst_scalar FROM pgrst_source LIMIT 1)");
        }
        BodyFormat::Csv => {
            sql.push("'pgrst_scalar' || coalesce(E'\\n' || string_agg(pgrst_scalar::text, E'\\n'), '')");
        }
        BodyFormat::Json { stripped: true } | BodyFormat::Object { stripped: true } if single => {
            sql.push("coalesce(string_agg(json_strip_nulls(to_json(pgrst_scalar))::text, ''), 'null')");
        }
        BodyFormat::Object { .. } => {
            sql.push("coalesce(string_agg(to_json(pgrst_scalar)::text, ''), 'null')");
        }
        _ if single => {
            sql.push("coalesce(string_agg(to_json(pgrst_scalar)::text, ''), 'null')");
        }
        _ => {
            sql.push("coalesce(json_agg(pgrst_scalar), '[]')::text");
        }
    }
}
