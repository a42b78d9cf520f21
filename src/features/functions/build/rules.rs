//! Rules of the platform about source that would build (contract 05 §2.4, §15).

use std::collections::HashMap;

use oxc_ast::{Comment, ast::*};
use oxc_ast_visit::{Visit, walk};
use oxc_span::Span;

use super::{
    modules::PLATFORM,
    problem::{Notice, Problem},
    text::Text,
};

/// What becomes of a filter by the signed-in user on rows that are the user's anyway.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UserFilter {
    #[default]
    Refuse,
    Warn,
}

const ALLOW: &str = "run402-allow-user-filter:";
const REDUNDANT_FILTER: &str = "R402_AUTH_REDUNDANT_USER_FILTER";

/// Names of earlier versions of the platform's module, which throw when they are called (05 §10.7).
const LEGACY: [&str; 7] =
    ["currentUser", "getCurrentUser", "getRole", "getServerSession", "getSession", "getUser", "getUserId"];

/// Checks a file that uses the platform's module.
pub(super) fn check(
    file: &str,
    text: Text<'_>,
    program: &Program<'_>,
    user_filter: UserFilter,
) -> Result<Vec<Notice>, Problem> {
    let mut notices = Vec::new();
    let mut imported = HashMap::new();
    for statement in &program.body {
        let Statement::ImportDeclaration(import) = statement else { continue };
        if import.source.value != PLATFORM {
            continue;
        }
        for specifier in import.specifiers.iter().flatten() {
            let ImportDeclarationSpecifier::ImportSpecifier(specifier) = specifier else { continue };
            let name = specifier.imported.name();
            if LEGACY.contains(&name.as_str()) {
                notices.push(Notice {
                    code: "R402_AUTH_UNKNOWN_EXPORT".into(),
                    message: format!(
                        "{name} of {PLATFORM} throws when it is called: use auth.user(), auth.requireUser() or \
                         auth.role() instead."
                    ),
                    file: file.to_owned(),
                    line: Some(text.line(specifier.span.start)),
                });
            }
            imported.insert(specifier.local.name.as_str(), name.as_str().to_owned());
        }
    }
    if !imported.values().any(|name| name == "db" || name == "adminDb") {
        return Ok(notices);
    }
    let mut filters = Filters { imported: &imported, comments: &program.comments, text, found: Vec::new() };
    filters.visit_program(program);
    for (line, certain) in filters.found {
        if certain && user_filter == UserFilter::Refuse {
            return Err(Problem::RedundantUserFilter { file: file.to_owned(), line });
        }
        let message = if certain {
            Problem::RedundantUserFilter { file: file.to_owned(), line }.to_string()
        } else {
            format!(
                "{file}:{line}: if this query comes from db(), the filter by user_id is redundant: row level security \
                 already shows only the rows of the signed-in user."
            )
        };
        notices.push(Notice { code: REDUNDANT_FILTER.into(), message, file: file.to_owned(), line: Some(line) });
    }
    Ok(notices)
}

/// Where a chain of calls begins.
enum Root {
    Db,
    /// `adminDb()`: sees every row, so a filter is no ornament.
    Admin,
    Unknown,
}

struct Filters<'i, 'a> {
    imported: &'i HashMap<&'a str, String>,
    comments: &'i [Comment],
    text: Text<'a>,
    /// Lines, and whether the query is certainly one of `db()`.
    found: Vec<(u32, bool)>,
}

impl<'a> Filters<'_, 'a> {
    fn root(&self, expression: &Expression<'a>) -> Root {
        let mut at = expression;
        loop {
            at = match at {
                Expression::StaticMemberExpression(it) => &it.object,
                Expression::ComputedMemberExpression(it) => &it.object,
                Expression::ParenthesizedExpression(it) => &it.expression,
                Expression::TSNonNullExpression(it) => &it.expression,
                Expression::TSAsExpression(it) => &it.expression,
                Expression::CallExpression(it) => match &it.callee {
                    Expression::Identifier(name) => {
                        return match self.imported.get(name.name.as_str()).map(String::as_str) {
                            Some("db") => Root::Db,
                            Some("adminDb") => Root::Admin,
                            _ => Root::Unknown,
                        };
                    }
                    callee => callee,
                },
                _ => return Root::Unknown,
            };
        }
    }

    fn is_user_filter(call: &CallExpression<'a>) -> bool {
        let [Argument::StringLiteral(column), value] = call.arguments.as_slice() else { return false };
        column.value == "user_id" && value.as_expression().is_some_and(is_id_of_something)
    }

    /// A comment on a line of the chain, or on the line before it, says why the filter stands there.
    fn is_allowed(&self, chain: Span) -> bool {
        let (first, last) = (self.text.line(chain.start).saturating_sub(1), self.text.line(chain.end));
        self.comments.iter().any(|comment| {
            let content = self.text.slice(comment.span.start, comment.span.end);
            let content = content.trim_start_matches(['/', '*', ' ', '\t']);
            content.starts_with(ALLOW) && (first..=last).contains(&self.text.line(comment.span.start))
        })
    }
}

/// `user.id`, `user!.id`, `user?.id`
fn is_id_of_something(expression: &Expression<'_>) -> bool {
    match expression {
        Expression::StaticMemberExpression(it) => {
            let object = match &it.object {
                Expression::TSNonNullExpression(inner) => &inner.expression,
                other => other,
            };
            it.property.name == "id" && matches!(object, Expression::Identifier(_))
        }
        Expression::ChainExpression(it) => match &it.expression {
            ChainElement::StaticMemberExpression(it) => {
                it.property.name == "id" && matches!(it.object, Expression::Identifier(_))
            }
            _ => false,
        },
        Expression::TSNonNullExpression(it) => is_id_of_something(&it.expression),
        Expression::TSAsExpression(it) => is_id_of_something(&it.expression),
        _ => false,
    }
}

impl<'a> Visit<'a> for Filters<'_, 'a> {
    fn visit_call_expression(&mut self, it: &CallExpression<'a>) {
        if let Expression::StaticMemberExpression(callee) = &it.callee
            && callee.property.name == "eq"
            && Self::is_user_filter(it)
            && !self.is_allowed(it.span)
        {
            let line = self.text.line(callee.property.span.start);
            match self.root(&callee.object) {
                Root::Db => self.found.push((line, true)),
                Root::Unknown => self.found.push((line, false)),
                Root::Admin => {}
            }
        }
        walk::walk_call_expression(self, it);
    }
}
