//! A statement being written: text, and the operands that stand outside it.
//!
//! The only ways to put something of a request into the text are [`Sql::identifier`] (quoted) and
//! [`Sql::operand`] (a parameter). Operands have no declared type: Postgres infers it from where they stand
//! and reads them in their text form, so `id=eq.abc` is its own 22P02 and not ours. Equal requests but for
//! operands have equal texts, which is what makes the prepared statement cache hit.

use std::error::Error;

use tokio_postgres::types::{Format, IsNull, ToSql, Type, private::BytesMut};

use crate::{
    engines::postgres::quote_identifier,
    features::rest::request::grammar::{Arrow, JsonOperand, JsonStep},
};

/// An operand in text form, for a parameter of any type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operand(String);

impl Operand {
    /// Postgres knows no NUL in text; what follows one is cut (02 §7.17).
    pub fn new(text: impl Into<String>) -> Self {
        let mut text = text.into();
        if let Some(end) = text.find('\0') {
            text.truncate(end);
        }
        Self(text)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl ToSql for Operand {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.extend_from_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    tokio_postgres::types::to_sql_checked!();
}

/// Text and operands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sql {
    pub text: String,
    pub operands: Vec<Operand>,
    /// JSON keys already among the operands: `GROUP BY` has to repeat an expression exactly.
    keys: Vec<(String, usize)>,
}

impl Sql {
    pub fn new() -> Self {
        Self::default()
    }

    /// Fixed text of this layer; never anything from a request.
    pub fn push(&mut self, text: &str) -> &mut Self {
        self.text.push_str(text);
        self
    }

    pub fn identifier(&mut self, name: &str) -> &mut Self {
        self.text.push_str(&quote_identifier(&name.replace('\0', "")));
        self
    }

    /// `"public"."name"`
    pub fn public(&mut self, name: &str) -> &mut Self {
        self.push("\"public\".").identifier(name)
    }

    /// `"alias"."column"`
    pub fn column(&mut self, alias: &str, column: &str) -> &mut Self {
        self.identifier(alias).push(".").identifier(column)
    }

    pub fn operand(&mut self, text: impl Into<String>) -> &mut Self {
        self.operands.push(Operand::new(text));
        let number = self.operands.len();
        self.parameter(number)
    }

    fn parameter(&mut self, number: usize) -> &mut Self {
        self.text.push('$');
        self.text.push_str(&number.to_string());
        self
    }

    /// A type name: from the catalog, or of the cast alphabet, which has no quotes or brackets.
    pub fn type_name(&mut self, name: &str) -> &mut Self {
        self.push(name)
    }

    pub fn json_path(&mut self, path: &[JsonStep]) -> &mut Self {
        for step in path {
            self.push(match step.arrow {
                Arrow::Json => "->",
                Arrow::Text => "->>",
            });
            match &step.operand {
                JsonOperand::Index(index) => {
                    // Parenthesised: `->-1` would be read as another operator.
                    self.push("(").push(&index.to_string()).push(")");
                }
                JsonOperand::Key(key) => {
                    let known = self.keys.iter().find(|(known, _)| known == key).map(|(_, number)| *number);
                    let number = known.unwrap_or_else(|| {
                        self.operands.push(Operand::new(key.as_str()));
                        self.keys.push((key.clone(), self.operands.len()));
                        self.operands.len()
                    });
                    self.parameter(number).push("::text");
                }
            }
        }
        self
    }

    /// Writes `items` with `separator` between them.
    pub fn list<T>(
        &mut self,
        separator: &str,
        items: impl IntoIterator<Item = T>,
        mut write: impl FnMut(&mut Self, T),
    ) -> &mut Self {
        for (index, item) in items.into_iter().enumerate() {
            if index > 0 {
                self.push(separator);
            }
            write(self, item);
        }
        self
    }
}

/// An array literal in text form, every element quoted.
pub fn array_literal<'a>(elements: impl IntoIterator<Item = &'a String>) -> String {
    let quoted: Vec<String> = elements
        .into_iter()
        .map(|element| format!("\"{}\"", element.replace('\\', "\\\\").replace('"', "\\\"")))
        .collect();
    format!("{{{}}}", quoted.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_and_values_stay_outside_the_text() {
        let mut sql = Sql::new();
        sql.column("t\"; drop", "c\0d").push(" = ").operand("x'; --\0y");
        assert_eq!(sql.text, "\"t\"\"; drop\".\"cd\" = $1");
        assert_eq!(sql.operands[0].as_str(), "x'; --");
    }

    #[test]
    fn equal_json_keys_share_a_parameter() {
        let step = |key: &str| JsonStep { arrow: Arrow::Json, operand: JsonOperand::Key(key.into()) };
        let mut sql = Sql::new();
        sql.json_path(&[step("a"), step("b")]).push(",").json_path(&[step("a")]);
        assert_eq!(sql.text, "->$1::text->$2::text,->$1::text");
    }

    #[test]
    fn array_elements_are_quoted() {
        let elements = ["a".to_owned(), "b,\"c\"".into(), "\\".into(), "NULL".into(), String::new()];
        assert_eq!(array_literal(&elements), r#"{"a","b,\"c\"","\\","NULL",""}"#);
        assert_eq!(array_literal(&[]), "{}");
    }
}
