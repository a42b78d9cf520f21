//! INSERT, UPDATE and DELETE as the common table expression the result is read from (contract 02 §7.9).

use super::{predicates, sql::Sql};
use crate::features::rest::{
    plan::{
        Predicate,
        mutate::{Change, Conflict, MutatePlan, Payload, Returning, WrittenColumn},
    },
    request::{body::Shape, preferences::Resolution},
};

/// Alias of the rows of the request's body.
const BODY: &str = "pgrst_body";

/// Counts an upsert's new rows: every row adds one, every conflict takes one away again. A setting of the
/// transaction, because views and partitioned tables have no system column that would tell.
pub const INSERTED_SETTING: &str = "run402.inserted_rows";

/// The write with its RETURNING.
pub fn statement(sql: &mut Sql, plan: &MutatePlan) {
    match &plan.change {
        Change::Insert { payload, conflict, body_must_match } => {
            insert(sql, plan, payload, conflict.as_ref(), body_must_match);
        }
        Change::Update { payload } => update(sql, plan, payload),
        Change::NoUpdate => nothing(sql, plan),
        Change::Delete => {
            sql.push("DELETE FROM ").public(&plan.relation.name);
            filters(sql, plan);
            returning(sql, plan);
        }
    }
}

fn insert(
    sql: &mut Sql,
    plan: &MutatePlan,
    payload: &Payload,
    conflict: Option<&Conflict>,
    body_must_match: &[Predicate],
) {
    if payload.shape == (Shape::Array { length: 0 }) {
        return nothing(sql, plan);
    }
    sql.push("INSERT INTO ").public(&plan.relation.name);
    if payload.columns.is_empty() {
        default_rows(sql, plan, payload.shape);
        if let Some(conflict) = conflict {
            on_conflict(sql, &conflict.columns);
            sql.push(" DO NOTHING");
        }
        return returning(sql, plan);
    }
    sql.push("(").list(", ", &payload.columns, |sql, column| {
        sql.identifier(&column.name);
    });
    sql.push(") SELECT ").list(", ", &payload.columns, |sql, column| {
        sql.column(BODY, &column.name);
    });
    sql.push(" FROM ");
    body_rows(sql, payload);
    sql.push(" WHERE TRUE");
    if !body_must_match.is_empty() {
        sql.push(" AND ");
        where_all(sql, BODY, body_must_match);
    }
    match conflict {
        None => {}
        Some(Conflict { columns, resolution: Resolution::IgnoreDuplicates }) => {
            on_conflict(sql, columns);
            sql.push(" DO NOTHING");
        }
        Some(Conflict { columns, resolution: Resolution::MergeDuplicates }) => {
            sql.push(" AND ");
            count_inserted(sql, "+");
            on_conflict(sql, columns);
            sql.push(" DO UPDATE SET ").list(", ", &payload.columns, |sql, column| {
                sql.identifier(&column.name).push(" = ").column("excluded", &column.name);
            });
            sql.push(" WHERE ");
            count_inserted(sql, "-");
        }
    }
    returning(sql, plan);
}

/// One row of defaults for each object of a body without keys.
fn default_rows(sql: &mut Sql, plan: &MutatePlan, shape: Shape) {
    match (shape, plan.relation.columns.first()) {
        (Shape::Array { length }, Some(first)) if length > 1 => {
            sql.push("(").identifier(&first.name).push(") VALUES ");
            sql.list(", ", 0..length, |sql, _| {
                sql.push("(DEFAULT)");
            });
        }
        _ => {
            sql.push(" DEFAULT VALUES");
        }
    }
}

fn on_conflict(sql: &mut Sql, columns: &[String]) {
    sql.push(" ON CONFLICT (").list(", ", columns, |sql, column| {
        sql.identifier(column);
    });
    sql.push(")");
}

/// Always true; moves the counter by one.
fn count_inserted(sql: &mut Sql, sign: &str) {
    sql.push("set_config('").push(INSERTED_SETTING).push("', (coalesce(nullif(current_setting('");
    sql.push(INSERTED_SETTING).push("', true), ''), '0')::bigint ").push(sign);
    sql.push(" 1)::text, true) IS NOT NULL");
}

fn update(sql: &mut Sql, plan: &MutatePlan, payload: &Payload) {
    sql.push("UPDATE ").public(&plan.relation.name).push(" SET ");
    sql.list(", ", &payload.columns, |sql, column| {
        sql.identifier(&column.name).push(" = ").column(BODY, &column.name);
    });
    sql.push(" FROM (SELECT * FROM ");
    body_rows(sql, payload);
    // Of an array only the first element can be meant.
    sql.push(" LIMIT 1) AS ").identifier(BODY);
    filters(sql, plan);
    returning(sql, plan);
}

/// The same columns as the write would return, and no rows.
fn nothing(sql: &mut Sql, plan: &MutatePlan) {
    sql.push("SELECT ");
    returned_columns(sql, plan);
    let Returning { everything, columns } = &plan.returning;
    if *everything || !columns.is_empty() {
        sql.push(" FROM ").public(&plan.relation.name);
    }
    sql.push(" WHERE FALSE");
}

/// The body as rows of the written columns' types.
fn body_rows(sql: &mut Sql, payload: &Payload) {
    let has_defaults = payload.columns.iter().any(|column| column.default.is_some());
    let json = &payload.json;
    match (has_defaults, payload.shape) {
        (false, Shape::Object) => {
            sql.push("json_to_record(").operand(json).push("::json)");
        }
        (false, Shape::Array { .. }) => {
            sql.push("json_to_recordset(").operand(json).push("::json)");
        }
        (true, Shape::Object) => {
            sql.push("jsonb_to_record(");
            defaults(sql, &payload.columns);
            sql.push(" || ").operand(json).push("::jsonb)");
        }
        (true, Shape::Array { .. }) => {
            sql.push("jsonb_array_elements(").operand(json);
            sql.push("::jsonb) AS pgrst_element, LATERAL jsonb_to_record(");
            defaults(sql, &payload.columns);
            sql.push(" || pgrst_element)");
        }
    }
    sql.push(" AS ").identifier(BODY).push("(").list(", ", &payload.columns, |sql, column| {
        sql.identifier(&column.name).push(" ").type_name(&column.type_name);
    });
    sql.push(")");
}

/// An object of default expressions, over which the element's own keys are laid.
fn defaults(sql: &mut Sql, columns: &[WrittenColumn]) {
    sql.push("jsonb_build_object(");
    let with_default = columns.iter().filter_map(|column| Some((&column.name, column.default.as_deref()?)));
    sql.list(", ", with_default, |sql, (name, default)| {
        sql.operand(name).push("::text, ").push(default);
    });
    sql.push(")");
}

fn filters(sql: &mut Sql, plan: &MutatePlan) {
    if !plan.filters.is_empty() {
        sql.push(" WHERE ");
        where_all(sql, &plan.relation.name, &plan.filters);
    }
}

/// Filters of a write never speak of embeds: [`plain_predicate`] makes none.
///
/// [`plain_predicate`]: crate::features::rest::plan::read::plain_predicate
fn where_all(sql: &mut Sql, alias: &str, list: &[Predicate]) {
    predicates::all(sql, alias, list, &|sql, _, _| {
        sql.push("TRUE");
    });
}

fn returning(sql: &mut Sql, plan: &MutatePlan) {
    sql.push(" RETURNING ");
    returned_columns(sql, plan);
}

fn returned_columns(sql: &mut Sql, plan: &MutatePlan) {
    let Returning { everything, columns } = &plan.returning;
    let table = &plan.relation.name;
    if *everything {
        sql.identifier(table).push(".*");
    }
    for (index, column) in columns.iter().enumerate() {
        sql.push(if *everything || index > 0 { ", " } else { "" }).column(table, column);
    }
    if !everything && columns.is_empty() {
        sql.push("1");
    }
}
