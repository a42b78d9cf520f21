//! Filters, order and limits as SQL (contract 02 §7.5, §7.8).

use super::sql::{Sql, array_literal};
use crate::features::rest::{
    plan::{PlannedField, Predicate},
    request::{
        filter::{
            Condition, Connective, IsValue, Operation, QuantifiableOperator, Quantifier, SimpleOperator, TextSearch,
        },
        range::Limits,
        select::{Direction, Nulls},
    },
};

/// A column or a value inside one.
pub fn field(sql: &mut Sql, alias: &str, field: &PlannedField) {
    if field.path.is_empty() {
        sql.column(alias, &field.name);
        return;
    }
    sql.push("(");
    if field.to_jsonb {
        sql.push("to_jsonb(").column(alias, &field.name).push(")");
    } else {
        sql.column(alias, &field.name);
    }
    sql.json_path(&field.path).push(")");
}

/// `a AND b AND …`; `has_rows` renders the test for embedded rows, which only the caller can.
pub fn all(sql: &mut Sql, alias: &str, predicates: &[Predicate], has_rows: &dyn Fn(&mut Sql, usize, bool)) {
    sql.list(" AND ", predicates, |sql, one| predicate(sql, alias, one, has_rows));
}

fn predicate(sql: &mut Sql, alias: &str, one: &Predicate, has_rows: &dyn Fn(&mut Sql, usize, bool)) {
    match one {
        Predicate::Compare { field, condition } => compare(sql, alias, field, condition),
        Predicate::HasRows { embed, wanted } => has_rows(sql, *embed, *wanted),
        Predicate::Node { negated, connective, children } => {
            sql.push(if *negated { "NOT (" } else { "(" });
            let separator = match connective {
                Connective::And => " AND ",
                Connective::Or => " OR ",
            };
            sql.list(separator, children, |sql, child| predicate(sql, alias, child, has_rows)).push(")");
        }
    }
}

fn compare(sql: &mut Sql, alias: &str, column: &PlannedField, condition: &Condition) {
    if condition.negated {
        sql.push("NOT (");
    }
    match &condition.operation {
        Operation::Simple(operator, operand) => {
            field(sql, alias, column);
            sql.push(simple(*operator)).operand(operand);
        }
        Operation::Quantifiable(operator, quantifier, operand) => {
            field(sql, alias, column);
            let operand = match operator {
                QuantifiableOperator::Like | QuantifiableOperator::ILike => operand.replace('*', "%"),
                _ => operand.clone(),
            };
            sql.push(quantifiable(*operator));
            match quantifier {
                None => sql.operand(operand),
                Some(Quantifier::Any) => sql.push("ANY (").operand(operand).push(")"),
                Some(Quantifier::All) => sql.push("ALL (").operand(operand).push(")"),
            };
        }
        Operation::In(elements) => {
            field(sql, alias, column);
            sql.push(" = ANY (").operand(array_literal(elements)).push(")");
        }
        Operation::Is(value) => {
            field(sql, alias, column);
            sql.push(match value {
                IsValue::Null => " IS NULL",
                IsValue::NotNull => " IS NOT NULL",
                IsValue::True => " IS TRUE",
                IsValue::False => " IS FALSE",
                IsValue::Unknown => " IS UNKNOWN",
            });
        }
        Operation::Search { kind, language, query } => search(sql, alias, column, *kind, language.as_deref(), query),
    }
    if condition.negated {
        sql.push(")");
    }
}

fn search(sql: &mut Sql, alias: &str, column: &PlannedField, kind: TextSearch, language: Option<&str>, query: &str) {
    let configuration = |sql: &mut Sql| {
        if let Some(language) = language {
            sql.operand(language).push("::regconfig, ");
        }
    };
    if column.to_tsvector {
        sql.push("to_tsvector(");
        configuration(sql);
        field(sql, alias, column);
        sql.push(")");
    } else {
        field(sql, alias, column);
    }
    sql.push(match kind {
        TextSearch::Raw => " @@ to_tsquery(",
        TextSearch::Plain => " @@ plainto_tsquery(",
        TextSearch::Phrase => " @@ phraseto_tsquery(",
        TextSearch::WebSearch => " @@ websearch_to_tsquery(",
    });
    configuration(sql);
    sql.operand(query).push(")");
}

fn simple(operator: SimpleOperator) -> &'static str {
    match operator {
        SimpleOperator::NotEqual => " <> ",
        SimpleOperator::Contains => " @> ",
        SimpleOperator::ContainedIn => " <@ ",
        SimpleOperator::Overlap => " && ",
        SimpleOperator::StrictlyLeft => " << ",
        SimpleOperator::StrictlyRight => " >> ",
        SimpleOperator::NotExtendsRight => " &< ",
        SimpleOperator::NotExtendsLeft => " &> ",
        SimpleOperator::Adjacent => " -|- ",
        SimpleOperator::IsDistinctFrom => " IS DISTINCT FROM ",
    }
}

fn quantifiable(operator: QuantifiableOperator) -> &'static str {
    match operator {
        QuantifiableOperator::Equal => " = ",
        QuantifiableOperator::GreaterOrEqual => " >= ",
        QuantifiableOperator::Greater => " > ",
        QuantifiableOperator::LessOrEqual => " <= ",
        QuantifiableOperator::Less => " < ",
        QuantifiableOperator::Like => " LIKE ",
        QuantifiableOperator::ILike => " ILIKE ",
        QuantifiableOperator::Match => " ~ ",
        QuantifiableOperator::IMatch => " ~* ",
    }
}

pub fn direction(sql: &mut Sql, direction: Option<Direction>, nulls: Option<Nulls>) {
    match direction {
        Some(Direction::Ascending) => sql.push(" ASC"),
        Some(Direction::Descending) => sql.push(" DESC"),
        None => sql,
    };
    match nulls {
        Some(Nulls::First) => sql.push(" NULLS FIRST"),
        Some(Nulls::Last) => sql.push(" NULLS LAST"),
        None => sql,
    };
}

pub fn limits(sql: &mut Sql, limits: Limits) {
    if let Some(limit) = limits.limit {
        // Not an operand: without the number Postgres expects a tenth of the table, and so never keeps a plan.
        sql.push(" LIMIT ").push(&limit.to_string());
    }
    if limits.offset > 0 {
        sql.push(" OFFSET ").operand(limits.offset.to_string());
    }
}
