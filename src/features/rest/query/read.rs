//! One SELECT per level, embeds as lateral subqueries (contract 02 §7.7, §7.17).
//!
//! An embed `authors(name)` of `books` becomes
//!
//! ```sql
//! SELECT "books"."id", "e"."value" AS "authors" FROM "public"."books"
//! LEFT JOIN LATERAL (SELECT row_to_json("v".*) AS "value" FROM (
//!     SELECT "authors_1"."name" AS "name" FROM "public"."authors" AS "authors_1"
//!     WHERE "authors_1"."id" = "books"."author_id") AS "v") AS "e" ON TRUE
//! ```
//!
//! and `json_agg` in place of `row_to_json` when it is to-many. A spread yields its columns instead of
//! `value`, and `pgrst_present` to tell whether there was a row.

use super::{predicates, sql::Sql};
use crate::features::rest::{
    plan::{Embed, Item, Join, Level, OrderKey, PlannedField, Source, SpreadColumn},
    request::select::Aggregate,
    schema_cache::ColumnPairs,
};

/// Name of the common table expression that writes and calls put their rows in.
pub const STATEMENT_ROWS: &str = "pgrst_source";

/// Alias of a level's rows inside the lateral subquery that turns them into JSON.
const ROWS: &str = "pgrst_rows";
/// The JSON of an embed.
const VALUE: &str = "pgrst_value";
/// True when a spread embed had a row.
const PRESENT: &str = "pgrst_present";

/// The level with its order and limits.
pub fn select(sql: &mut Sql, level: &Level) {
    body(sql, level, None);
    order(sql, level);
    predicates::limits(sql, level.limits);
}

/// How many rows the level has without its limits.
pub fn count(sql: &mut Sql, level: &Level) {
    sql.push("SELECT count(*) FROM ");
    if level.is_grouped() {
        sql.push("(");
        body(sql, level, None);
        sql.push(") AS ").identifier(ROWS);
        return;
    }
    countable(sql, level);
}

/// At most `most` rows of the level, for counts that need not be exact above it.
pub fn bounded_count(sql: &mut Sql, level: &Level, most: i64) {
    sql.push("SELECT count(*) FROM (SELECT 1 FROM ");
    countable(sql, level);
    sql.push(" LIMIT ").push(&most.to_string()).push(") AS ").identifier(ROWS);
}

/// For EXPLAIN: the planner's idea of the level's rows.
pub fn countable_rows(sql: &mut Sql, level: &Level) {
    sql.push("SELECT 1 FROM ");
    countable(sql, level);
}

/// FROM and WHERE of a level, its embeds reduced to the tests that decide which rows count.
fn countable(sql: &mut Sql, level: &Level) {
    source(sql, level, None);
    restrict(sql, level, &[]);
}

fn restrict(sql: &mut Sql, level: &Level, first: &[&dyn Fn(&mut Sql)]) {
    let exists = |sql: &mut Sql, index: usize, wanted: bool| exists(sql, level, &level.embeds[index], wanted);
    let inner: Vec<usize> =
        level.embeds.iter().enumerate().filter(|(_, embed)| embed.inner).map(|(index, _)| index).collect();
    if first.is_empty() && inner.is_empty() && level.predicates.is_empty() {
        return;
    }
    sql.push(" WHERE TRUE");
    for condition in first {
        sql.push(" AND ");
        condition(sql);
    }
    for index in inner {
        sql.push(" AND ");
        exists(sql, index, true);
    }
    if !level.predicates.is_empty() {
        sql.push(" AND ");
        predicates::all(sql, &level.alias, &level.predicates, &exists);
    }
}

fn exists(sql: &mut Sql, parent: &Level, embed: &Embed, wanted: bool) {
    sql.push(if wanted { "EXISTS (SELECT 1 FROM " } else { "NOT EXISTS (SELECT 1 FROM " });
    source(sql, &embed.level, Some(parent));
    junction_source(sql, &embed.join);
    let joined = |sql: &mut Sql| join_condition(sql, embed, parent);
    if embed.join == Join::Computed {
        restrict(sql, &embed.level, &[]);
    } else {
        restrict(sql, &embed.level, &[&joined]);
    }
    sql.push(")");
}

/// SELECT, FROM, joins, WHERE, GROUP BY. With `embedded` the level belongs to a row of that parent.
fn body(sql: &mut Sql, level: &Level, embedded: Option<(&Embed, &Level)>) {
    sql.push("SELECT ");
    let mut grouped = Vec::new();
    let mut position = 0_usize;
    let mut separate = |sql: &mut Sql| {
        position += 1;
        if position > 1 {
            sql.push(", ");
        }
        position
    };
    let cast_embeds = level.is_grouped();
    for item in &level.items {
        match item {
            Item::Star => {
                separate(sql);
                sql.identifier(&level.alias).push(".*");
            }
            Item::Column { field, cast, aggregate, name } => {
                let at = separate(sql);
                if aggregate.is_none() {
                    grouped.push(at);
                }
                column(sql, &level.alias, field.as_ref(), cast.as_deref(), aggregate.as_ref());
                sql.push(" AS ").identifier(name);
            }
            Item::Embed(index) => {
                grouped.push(separate(sql));
                embed_value(sql, &level.embeds[*index]);
                // json has no equality, so it cannot be grouped by.
                sql.push(if cast_embeds { "::jsonb AS " } else { " AS " }).identifier(&level.embeds[*index].name);
            }
            Item::Spread { embed, columns } => {
                for lifted in columns {
                    let at = separate(sql);
                    if lifted.aggregate.is_none() {
                        grouped.push(at);
                    }
                    spread_column(sql, &level.embeds[*embed], lifted, cast_embeds);
                    sql.push(" AS ").identifier(&lifted.name);
                }
            }
        }
    }
    if let Some((embed, _)) = embedded {
        for (index, field) in embed.order_keys.iter().enumerate() {
            separate(sql);
            predicates::field(sql, &level.alias, field);
            sql.push(" AS ").identifier(&order_key_name(index));
        }
        if embed.spread && embed.to_one {
            separate(sql);
            sql.push("TRUE AS ").identifier(PRESENT);
        }
    }
    sql.push(" FROM ");
    source(sql, level, embedded.map(|(_, parent)| parent));
    if let Some((embed, _)) = embedded {
        junction_source(sql, &embed.join);
    }
    for embed in &level.embeds {
        lateral(sql, embed, level);
    }
    conditions(sql, level, embedded);
    if level.is_grouped() && !grouped.is_empty() {
        sql.push(" GROUP BY ").list(", ", grouped, |sql, at| {
            sql.push(&at.to_string());
        });
    }
}

fn conditions(sql: &mut Sql, level: &Level, embedded: Option<(&Embed, &Level)>) {
    let joined = embedded.filter(|(embed, _)| embed.join != Join::Computed);
    if joined.is_none() && level.predicates.is_empty() {
        return;
    }
    sql.push(" WHERE ");
    if let Some((embed, parent)) = joined {
        join_condition(sql, embed, parent);
        if !level.predicates.is_empty() {
            sql.push(" AND ");
        }
    }
    predicates::all(sql, &level.alias, &level.predicates, &|sql, index, wanted| {
        presence(sql, &level.embeds[index]);
        sql.push(if wanted { " IS NOT NULL" } else { " IS NULL" });
    });
}

fn order(sql: &mut Sql, level: &Level) {
    if level.order.is_empty() {
        return;
    }
    sql.push(" ORDER BY ").list(", ", &level.order, |sql, by| {
        match &by.key {
            OrderKey::Field(field) => predicates::field(sql, &level.alias, field),
            OrderKey::Related { embed, key } => {
                sql.column(&level.embeds[*embed].alias, &order_key_name(*key));
            }
        }
        predicates::direction(sql, by.direction, by.nulls);
    });
}

fn order_key_name(index: usize) -> String {
    format!("pgrst_order_{index}")
}

fn column(
    sql: &mut Sql,
    alias: &str,
    field: Option<&PlannedField>,
    cast: Option<&str>,
    aggregate: Option<&(Aggregate, Option<String>)>,
) {
    aggregated(sql, aggregate, |sql| match field {
        None => {
            sql.push("*");
        }
        Some(field) => {
            sql.push(if cast.is_some() { "CAST(" } else { "" });
            predicates::field(sql, alias, field);
            if let Some(cast) = cast {
                sql.push(" AS ").type_name(cast).push(")");
            }
        }
    });
}

fn aggregated(sql: &mut Sql, aggregate: Option<&(Aggregate, Option<String>)>, write: impl FnOnce(&mut Sql)) {
    let Some((aggregate, cast)) = aggregate else { return write(sql) };
    sql.push(if cast.is_some() { "CAST(" } else { "" });
    sql.push(aggregate.name()).push("(");
    write(sql);
    sql.push(")");
    if let Some(cast) = cast {
        sql.push(" AS ").type_name(cast).push(")");
    }
}

fn embed_value(sql: &mut Sql, embed: &Embed) {
    if embed.to_one {
        sql.column(&embed.alias, VALUE);
    } else {
        sql.push("coalesce(").column(&embed.alias, VALUE).push(", '[]')");
    }
}

fn spread_column(sql: &mut Sql, embed: &Embed, lifted: &SpreadColumn, as_jsonb: bool) {
    aggregated(sql, lifted.aggregate.as_ref(), |sql| {
        if embed.to_one {
            sql.column(&embed.alias, &lifted.source);
        } else {
            sql.push("coalesce(").column(&embed.alias, &lifted.source).push(", '[]')");
            sql.push(if as_jsonb { "::jsonb" } else { "" });
        }
    });
}

/// Not null exactly when the embed has rows.
fn presence(sql: &mut Sql, embed: &Embed) {
    sql.column(&embed.alias, if embed.spread { PRESENT } else { VALUE });
}

fn lateral(sql: &mut Sql, embed: &Embed, parent: &Level) {
    sql.push(if embed.inner { " INNER JOIN LATERAL (" } else { " LEFT JOIN LATERAL (" });
    if embed.spread && embed.to_one {
        rows(sql, embed, parent);
    } else {
        sql.push("SELECT ");
        match (embed.spread, embed.to_one) {
            (true, _) => spread_arrays(sql, embed),
            (false, true) => single_value(sql, embed),
            (false, false) if embed.level.items.is_empty() => {
                sql.push("json_agg(TRUE) AS ").identifier(VALUE);
            }
            (false, false) => {
                sql.push("json_agg(").identifier(ROWS).push(".*) AS ").identifier(VALUE);
            }
        }
        sql.push(" FROM (");
        rows(sql, embed, parent);
        sql.push(") AS ").identifier(ROWS);
    }
    sql.push(") AS ").identifier(&embed.alias).push(" ON ");
    // An aggregated subquery always has a row; it is the value in it that may be missing.
    if embed.inner && !embed.to_one {
        presence(sql, embed);
        sql.push(" IS NOT NULL");
    } else {
        sql.push("TRUE");
    }
}

fn rows(sql: &mut Sql, embed: &Embed, parent: &Level) {
    body(sql, &embed.level, Some((embed, parent)));
    order(sql, &embed.level);
    predicates::limits(sql, embed.level.limits);
}

fn single_value(sql: &mut Sql, embed: &Embed) {
    if embed.level.items.is_empty() {
        sql.push("to_json(TRUE) AS ").identifier(VALUE);
    } else if embed.order_keys.is_empty() {
        sql.push("row_to_json(").identifier(ROWS).push(".*) AS ").identifier(VALUE);
    } else {
        // Columns the parent is ordered by must not show in the object.
        sql.push("(SELECT row_to_json(visible.*) FROM (SELECT ");
        sql.list(", ", visible_names(&embed.level), |sql, name| {
            sql.column(ROWS, &name);
        });
        sql.push(") AS visible) AS ").identifier(VALUE);
    }
    for index in 0..embed.order_keys.len() {
        sql.push(", ").column(ROWS, &order_key_name(index));
    }
}

fn spread_arrays(sql: &mut Sql, embed: &Embed) {
    for name in visible_names(&embed.level) {
        sql.push("json_agg(").column(ROWS, &name).push(") AS ").identifier(&name).push(", ");
    }
    sql.push("bool_or(TRUE) AS ").identifier(PRESENT);
}

/// The keys of a level's rows, in order.
fn visible_names(level: &Level) -> Vec<String> {
    level
        .items
        .iter()
        .flat_map(|item| match item {
            Item::Star => level
                .relation
                .iter()
                .flat_map(|relation| relation.columns.iter().map(|column| column.name.clone()))
                .collect(),
            Item::Column { name, .. } => vec![name.clone()],
            Item::Embed(index) => vec![level.embeds[*index].name.clone()],
            Item::Spread { columns, .. } => columns.iter().map(|column| column.name.clone()).collect(),
        })
        .collect()
}

fn source(sql: &mut Sql, level: &Level, parent: Option<&Level>) {
    match &level.source {
        Source::Relation(name) => {
            sql.public(name);
        }
        Source::Statement => {
            sql.identifier(STATEMENT_ROWS);
        }
        Source::Computed { function, origin } => {
            sql.public(function).push("(");
            if let Some(parent) = parent {
                sql.identifier(&parent.alias);
                // Rows of a write or a call have lost their type.
                if parent.source == Source::Statement {
                    sql.push("::").public(origin);
                }
            }
            sql.push(")");
        }
    }
    let is_named_already = matches!(&level.source, Source::Relation(name) if *name == level.alias);
    if !is_named_already {
        sql.push(" AS ").identifier(&level.alias);
    }
}

fn junction_source(sql: &mut Sql, join: &Join) {
    if let Join::Junction { relation, alias, .. } = join {
        sql.push(" INNER JOIN ").public(relation).push(" AS ").identifier(alias).push(" ON TRUE");
    }
}

fn join_condition(sql: &mut Sql, embed: &Embed, parent: &Level) {
    let child = &embed.level.alias;
    let equal = |sql: &mut Sql, left: &str, right: &str, pairs: &ColumnPairs| {
        sql.list(" AND ", pairs, |sql, (near, far)| {
            sql.column(right, far).push(" = ").column(left, near);
        });
    };
    match &embed.join {
        Join::Columns(pairs) => equal(sql, &parent.alias, child, pairs),
        Join::Junction { alias, parent: near, child: far, .. } => {
            equal(sql, &parent.alias, alias, near);
            sql.push(" AND ");
            equal(sql, alias, child, far);
        }
        Join::Computed => {
            sql.push("TRUE");
        }
    }
}
