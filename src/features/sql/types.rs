//! Wire types of the SQL and schema endpoints (contract 02 §4.1, §4.2, §5), and their settings.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// Limits of raw SQL (contract 02 §4.3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SqlSettings {
    /// Wall clock of one call, in seconds. The query is cancelled then, and its session ended 5 s later.
    pub timeout_seconds: u64,
    /// Most rows of one result.
    pub max_rows: u64,
    /// Most bytes of one result, as JSON.
    pub max_result_bytes: usize,
    /// Most bytes of one request body.
    pub max_body_bytes: usize,
}

impl Default for SqlSettings {
    fn default() -> Self {
        Self {
            timeout_seconds: 60,
            max_rows: 10_000,
            max_result_bytes: 16 * 1024 * 1024,
            max_body_bytes: 10 * 1024 * 1024,
        }
    }
}

impl SqlSettings {
    /// Wall clock of one call.
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout_seconds)
    }
}

/// One call: a text of one or more statements, or one statement with parameters.
#[derive(Clone, Debug, PartialEq, ToSchema)]
pub struct SqlRequest {
    pub sql: String,
    /// Values of `$1…$n`. Empty means that there are none.
    pub params: Vec<Value>,
}

/// A column of a result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Field {
    pub name: String,
    /// Short catalog name: `int4`, `text`, `timestamptz`, `_text`, the name of a row type.
    #[serde(rename = "type")]
    pub kind: String,
}

/// The answer of a call. Kept as JSON text where it can be large.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlAnswer {
    /// Label of the project's schema, e.g. `p0001`.
    pub schema: String,
    /// A JSON array of objects.
    pub rows: String,
    pub row_count: Option<u64>,
    pub fields: Vec<Field>,
}

impl SqlAnswer {
    /// The body: `{status, schema, rows, row_count, fields}` (contract 02 §4.2).
    pub fn into_json(self) -> String {
        let schema = Value::from(self.schema);
        let row_count = Value::from(self.row_count);
        // Two strings per field: this cannot fail.
        let fields = serde_json::to_string(&self.fields).unwrap_or_else(|_| "[]".into());
        let rows = self.rows;
        format!(r#"{{"status":"ok","schema":{schema},"rows":{rows},"row_count":{row_count},"fields":{fields}}}"#)
    }
}

/// The shape of [`SqlAnswer`] on the wire, for the API description.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only describes the JSON that SqlAnswer::into_json writes")]
pub struct SqlResponse {
    /// Always `ok`.
    status: String,
    schema: String,
    /// Rows of the last statement.
    rows: Vec<Value>,
    /// Rows returned or affected; null for statements that do neither.
    row_count: Option<u64>,
    fields: Vec<Field>,
}

/// The tables of a project (contract 02 §5).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SchemaDocument {
    /// Label of the project's schema, e.g. `p0001`.
    pub schema: String,
    /// Sorted by name.
    pub tables: Vec<Table>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Table {
    pub name: String,
    /// In column order.
    pub columns: Vec<Column>,
    pub constraints: Vec<Constraint>,
    pub rls_enabled: bool,
    /// The planner's estimate; null if the table was never analysed.
    pub row_estimate: Option<i64>,
    pub policies: Vec<Policy>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Column {
    pub name: String,
    /// Spelled-out SQL type: `integer`, `character varying(40)`, `text[]`.
    #[serde(rename = "type")]
    pub kind: String,
    pub nullable: bool,
    /// Expression of the default or of a generated column, or `generated … as identity`.
    pub default_value: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Constraint {
    pub name: String,
    /// `PRIMARY KEY`, `FOREIGN KEY`, `UNIQUE`, `CHECK` or `EXCLUDE`.
    #[serde(rename = "type")]
    pub kind: String,
    /// As Postgres prints it.
    pub definition: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Policy {
    pub name: String,
    /// `ALL`, `SELECT`, `INSERT`, `UPDATE` or `DELETE`.
    pub command: String,
    pub using_expression: Option<String>,
    pub check_expression: Option<String>,
    /// `public` means every role.
    pub roles: Vec<String>,
    pub permissive: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_the_envelope_of_the_contract() {
        let answer = SqlAnswer {
            schema: "p0001".into(),
            rows: r#"[{"a":1}]"#.into(),
            row_count: Some(1),
            fields: vec![Field { name: "a\"".into(), kind: "int4".into() }],
        };
        assert_eq!(
            answer.into_json(),
            r#"{"status":"ok","schema":"p0001","rows":[{"a":1}],"row_count":1,"fields":[{"name":"a\"","type":"int4"}]}"#
        );
    }
}
