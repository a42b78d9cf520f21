//! A manifest rebuilt from live grants and policies, for a project in which none is stored (contract 02 §6.3).

use serde_json::{Value, json};

use crate::{engines::postgres::quote_identifier as quote, features::sql::Lexer};

use super::{
    plan::trigger_name,
    types::{Catalog, Grant, LivePolicy, LiveTable, LiveView},
    words::Cursor,
};

/// The manifest that would give about what is there.
pub fn introspect(catalog: &Catalog) -> Value {
    let rpcs = catalog.functions.iter().filter(|function| !function.grants.is_empty()).map(|function| {
        let mut roles: Vec<&str> = function.grants.iter().map(|(role, _)| role.as_str()).collect();
        roles.dedup();
        json!({"name": function.name, "signature": format!("({})", function.signature), "grant_to": roles})
    });
    json!({
        "version": "1",
        "tables": catalog.tables.iter().map(table).collect::<Vec<_>>(),
        "views": catalog.views.iter().filter_map(view).collect::<Vec<_>>(),
        "rpcs": rpcs.collect::<Vec<_>>(),
    })
}

fn table(table: &LiveTable) -> Value {
    if table.grants.is_empty() {
        return json!({"name": table.name, "expose": false});
    }
    template(table).unwrap_or_else(|| {
        let policies: Vec<String> = table.policies.iter().map(|policy| statement(&table.name, policy)).collect();
        json!({"name": table.name, "expose": true, "policy": "custom", "custom_sql": policies.join(";\n")})
    })
}

/// The table's entry if its policies and grants are those of a template.
fn template(table: &LiveTable) -> Option<Value> {
    if !table.rls {
        return None;
    }
    let is_true = Some("true");
    let anyone = ["anon", "authenticated"];
    match table.policies.as_slice() {
        [all] if is(all, "ALL", &anyone, is_true, is_true) && grants(&table.grants, 4, 4) => Some(json!({
            "name": table.name, "expose": true, "policy": "public_read_write_UNRESTRICTED",
            "i_understand_this_is_unrestricted": true,
        })),
        [a, b] => {
            let shapes = |read: &LivePolicy, write: &LivePolicy| {
                is(read, "SELECT", &anyone, is_true, None) && is(write, "ALL", &["authenticated"], is_true, is_true)
            };
            ((shapes(a, b) || shapes(b, a)) && grants(&table.grants, 1, 4))
                .then(|| json!({"name": table.name, "expose": true, "policy": "public_read_authenticated_write"}))
        }
        [own] if grants(&table.grants, 0, 4) => {
            let column = table.columns.iter().find(|column| {
                own_rows(&column.name)
                    .iter()
                    .any(|shape| is(own, "ALL", &["authenticated"], Some(shape.as_str()), Some(shape.as_str())))
            })?;
            let mut entry = json!({
                "name": table.name, "expose": true, "policy": "user_owns_rows", "owner_column": column.name,
            });
            if table.triggers.iter().any(|trigger| trigger.name == trigger_name(&table.name)) {
                entry["force_owner_on_insert"] = true.into();
            }
            Some(entry)
        }
        _ => None,
    }
}

fn is(policy: &LivePolicy, command: &str, roles: &[&str], using: Option<&str>, check: Option<&str>) -> bool {
    policy.permissive
        && policy.command == command
        && policy.roles == roles
        && policy.using.as_deref() == using
        && policy.check.as_deref() == check
}

/// Do these roles hold so many of the four privileges, and `project_admin` none of its own?
fn grants(live: &[Grant], anon: usize, authenticated: usize) -> bool {
    let of = |role: &str| live.iter().filter(|(granted, _)| granted == role).count();
    of("anon") == anon && of("authenticated") == authenticated && of("project_admin") == 0
}

/// How Postgres prints the owner comparison, by the column's type and whether its name needs quotes.
fn own_rows(column: &str) -> Vec<String> {
    [column.to_owned(), quote(column)]
        .iter()
        .flat_map(|name| {
            [
                format!("({name} = ( SELECT auth.uid() AS uid))"),
                format!("({name} = (( SELECT auth.uid() AS uid))::text)"),
                format!("(({name})::text = (( SELECT auth.uid() AS uid))::text)"),
            ]
        })
        .collect()
}

fn statement(table: &str, policy: &LivePolicy) -> String {
    let kind = if policy.permissive { "PERMISSIVE" } else { "RESTRICTIVE" };
    let role = |role: &String| if role == "public" { "public".to_owned() } else { quote(role) };
    let roles: Vec<String> = policy.roles.iter().map(role).collect();
    let mut sql = format!(
        "CREATE POLICY {} ON public.{} AS {kind} FOR {} TO {}",
        quote(&policy.name),
        quote(table),
        policy.command,
        roles.join(", ")
    );
    if let Some(using) = &policy.using {
        sql.push_str(&format!(" USING ({using})"));
    }
    if let Some(check) = &policy.check {
        sql.push_str(&format!(" WITH CHECK ({check})"));
    }
    sql
}

/// A granted view that reads plain columns of one table, with or without a filter. Others have no form in a manifest.
fn view(view: &LiveView) -> Option<Value> {
    if view.grants.is_empty() {
        return None;
    }
    let mut cursor = Cursor::new(&view.definition);
    if !cursor.take("select") {
        return None;
    }
    let mut select = Vec::new();
    loop {
        select.push(cursor.take_name()?);
        if !cursor.take_symbol(',') {
            break;
        }
    }
    if !cursor.take("from") {
        return None;
    }
    let base = cursor.take_public_name()?;
    let mut entry = json!({"name": view.name, "base": base, "select": select});
    if cursor.take("where") {
        let filter = cursor.rest().trim_end().trim_end_matches(';').trim_end();
        // What can follow a condition would not be part of a filter.
        let after = ["group", "having", "window", "union", "intersect", "except", "order", "limit", "offset", "fetch"];
        if Lexer::new(filter).any(|token| after.iter().any(|word| token.is_word(filter, word))) {
            return None;
        }
        entry["filter"] = filter.into();
    } else if !(cursor.at_end() || cursor.take_symbol(';')) {
        return None;
    }
    Some(entry)
}
