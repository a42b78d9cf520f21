//! A function call as the common table expression the result is read from (contract 02 §7.10).

use super::sql::{Sql, array_literal};
use crate::features::rest::{
    plan::{
        call::{ArgumentValue, Arguments, CallPlan, RawArgument},
        returns_rows,
    },
    schema_cache::Parameter,
};

/// Column of a scalar result.
pub const SCALAR: &str = "pgrst_scalar";

const ARGUMENTS: &str = "pgrst_arguments";
const RESULT: &str = "pgrst_result";

/// SELECT of the function's rows, or of one column [`SCALAR`].
pub fn statement(sql: &mut Sql, plan: &CallPlan) {
    let rows = returns_rows(&plan.function);
    if rows {
        sql.push("SELECT ").identifier(RESULT).push(".*");
    } else {
        sql.push("SELECT ");
        invocation(sql, plan);
        sql.push(" AS ").identifier(SCALAR);
    }
    if let Arguments::Json { json, parameters } = &plan.arguments {
        sql.push(" FROM json_to_record(").operand(json).push("::json) AS ").identifier(ARGUMENTS).push("(");
        sql.list(", ", parameters, |sql, parameter| {
            sql.identifier(&parameter.name).push(" ").type_name(&parameter.type_name);
        });
        sql.push(")").push(if rows { ", LATERAL " } else { "" });
    } else if rows {
        sql.push(" FROM ");
    }
    if rows {
        invocation(sql, plan);
        sql.push(" AS ").identifier(RESULT);
    }
}

fn invocation(sql: &mut Sql, plan: &CallPlan) {
    sql.public(&plan.function.name).push("(");
    match &plan.arguments {
        Arguments::None => {}
        Arguments::Json { parameters, .. } => {
            sql.list(", ", parameters, |sql, parameter| {
                named(sql, parameter);
                sql.column(ARGUMENTS, &parameter.name);
            });
        }
        Arguments::Texts(values) => {
            sql.list(", ", values, |sql, (parameter, value)| {
                named(sql, parameter);
                match value {
                    ArgumentValue::One(text) => sql.operand(text),
                    ArgumentValue::Many(texts) => sql.operand(array_literal(texts)),
                };
                // The type decides between overloads of one name and set of parameters.
                sql.push("::").type_name(&parameter.type_name);
            });
        }
        Arguments::Unnamed { value, type_name } => {
            match value {
                RawArgument::Text(text) => sql.operand(text),
                RawArgument::Binary(bytes) => sql.operand(format!("\\x{}", hex::encode(bytes))),
            };
            sql.push("::").type_name(type_name);
        }
    }
    sql.push(")");
}

fn named(sql: &mut Sql, parameter: &Parameter) {
    sql.push(if parameter.variadic { "VARIADIC " } else { "" }).identifier(&parameter.name).push(" := ");
}
