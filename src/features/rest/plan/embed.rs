//! Finds the relationship an embed means (contract 02 §7.7).

use std::sync::Arc;

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::features::rest::{
    error::NativeError,
    request::select::SelectEmbed,
    schema_cache::{ColumnPairs, Link, Relationship, SchemaCache, suggest},
};

/// # Errors
/// 400 PGRST200 when there is no relationship, 300 PGRST201 when there are several.
pub fn find(cache: &SchemaCache, origin: &str, embed: &SelectEmbed) -> Result<Arc<Relationship>, NativeError> {
    let all = cache.relationships_from(origin);
    // A computed relationship overrides detected ones of its name.
    let computed =
        |one: &&Arc<Relationship>| matches!(&one.link, Link::Computed { function, .. } if *function == embed.target);
    if let Some(found) = all.iter().find(computed) {
        return Ok(Arc::clone(found));
    }
    let matching: Vec<_> =
        all.iter().filter(|one| !one.is_computed() && matches(one, &embed.target, embed.hint.as_deref())).collect();
    // A constraint or column names the same relationship again for every view over either end; the tables' own
    // is meant.
    let named_by_key = matching.iter().any(|one| one.target != embed.target);
    let direct: Vec<_> = matching.iter().copied().filter(|one| named_by_key && !one.through_view).collect();
    match if direct.is_empty() { matching.as_slice() } else { direct.as_slice() } {
        [] => Err(none_found(cache, origin, embed)),
        [only] => Ok(Arc::clone(only)),
        several => Err(ambiguous(origin, &embed.target, several)),
    }
}

fn matches(one: &Relationship, target: &str, hint: Option<&str>) -> bool {
    match (one.is_self(), hint) {
        // One foreign key gives two relationships between the same relation and itself. The table's name
        // means its children, the key's column means the parent.
        (true, None) => {
            (one.target == target && !one.is_to_one()) || (one.is_to_one() && is_foreign_key_column(one, target))
        }
        (true, Some(hint)) => {
            one.target == target
                && match &one.link {
                    Link::ManyToOne { .. } | Link::OneToOne { from_origin: true, .. } => {
                        is_foreign_key_column(one, hint)
                    }
                    Link::OneToMany { columns, .. } | Link::OneToOne { columns, .. } => {
                        is_constraint(one, hint)
                            || matches!(columns.as_slice(), [(referenced, _)] if referenced == hint)
                    }
                    Link::ManyToMany(_) => is_junction(one, hint),
                    Link::Computed { .. } => false,
                }
        }
        (false, None) => {
            one.target == target
                || is_constraint(one, target)
                || (one.is_to_one() && is_foreign_key_column(one, target))
        }
        (false, Some(hint)) => {
            (one.target == target && is_hinted(one, hint))
                || (is_foreign_key_column(one, target) && is_hinted(one, hint))
        }
    }
}

fn is_hinted(one: &Relationship, hint: &str) -> bool {
    is_constraint(one, hint) || is_column(one, hint) || is_junction(one, hint)
}

fn is_constraint(one: &Relationship, name: &str) -> bool {
    match &one.link {
        Link::ManyToOne { constraint, .. } | Link::OneToMany { constraint, .. } | Link::OneToOne { constraint, .. } => {
            constraint == name
        }
        Link::ManyToMany(_) | Link::Computed { .. } => false,
    }
}

fn is_junction(one: &Relationship, name: &str) -> bool {
    matches!(&one.link, Link::ManyToMany(junction)
        if junction.relation == name || junction.constraints.0 == name || junction.constraints.1 == name)
}

/// The single column of the foreign key on the origin's side; not through views, whose columns are renamed.
fn is_foreign_key_column(one: &Relationship, name: &str) -> bool {
    match &one.link {
        Link::ManyToOne { columns, .. } | Link::OneToOne { columns, from_origin: true, .. } => {
            !one.through_view && matches!(columns.as_slice(), [(column, _)] if column == name)
        }
        _ => false,
    }
}

/// Either end of a single-column key.
fn is_column(one: &Relationship, name: &str) -> bool {
    let single = |columns: &ColumnPairs| matches!(columns.as_slice(), [(a, b)] if a == name || b == name);
    match &one.link {
        Link::ManyToOne { columns, .. } | Link::OneToMany { columns, .. } | Link::OneToOne { columns, .. } => {
            single(columns)
        }
        Link::ManyToMany(_) | Link::Computed { .. } => false,
    }
}

fn none_found(cache: &SchemaCache, origin: &str, embed: &SelectEmbed) -> NativeError {
    let target = &embed.target;
    let using = embed.hint.as_ref().map(|hint| format!(" using the hint '{hint}'")).unwrap_or_default();
    let reachable = cache.relationships_from(origin).iter().map(|one| one.target.as_str());
    let near = suggest::nearest(target, reachable).filter(|near| near != target);
    NativeError::bad_request(
        "PGRST200",
        format!("Could not find a relationship between '{origin}' and '{target}' in the schema cache"),
    )
    .details(format!(
        "Searched for a foreign key relationship between '{origin}' and '{target}'{using} in the schema 'public', but no matches were found."
    ))
    .maybe_hint(near.map(|near| format!("Perhaps you meant '{near}' instead of '{target}'.")))
}

fn ambiguous(origin: &str, target: &str, several: &[&Arc<Relationship>]) -> NativeError {
    let details: Vec<Value> = several.iter().map(|one| describe(one)).collect();
    let choices: Vec<String> =
        several.iter().filter_map(|one| Some(format!("'{target}!{}'", distinguishing_name(one)?))).collect();
    NativeError::new(
        StatusCode::MULTIPLE_CHOICES,
        "PGRST201",
        format!("Could not embed because more than one relationship was found for '{origin}' and '{target}'"),
    )
    .details(details)
    .hint(format!(
        "Try changing '{target}' to one of the following: {}. Find the desired relationship in the 'details' key.",
        choices.join(", ")
    ))
}

fn distinguishing_name(one: &Relationship) -> Option<&str> {
    match &one.link {
        Link::ManyToOne { constraint, .. } | Link::OneToMany { constraint, .. } | Link::OneToOne { constraint, .. } => {
            Some(constraint)
        }
        Link::ManyToMany(junction) => Some(&junction.relation),
        Link::Computed { .. } => None,
    }
}

fn describe(one: &Relationship) -> Value {
    let (origin, target) = (&one.origin, &one.target);
    let by_key = |constraint: &str, columns: &ColumnPairs| {
        let (left, right) = sides(columns);
        format!("{constraint} using {origin}({left}) and {target}({right})")
    };
    let (cardinality, relationship) = match &one.link {
        Link::ManyToOne { constraint, columns } => ("many-to-one", by_key(constraint, columns)),
        Link::OneToMany { constraint, columns } => ("one-to-many", by_key(constraint, columns)),
        Link::OneToOne { constraint, columns, .. } => ("one-to-one", by_key(constraint, columns)),
        Link::ManyToMany(junction) => {
            let (_, near) = sides(&junction.origin_columns);
            let (far, _) = sides(&junction.target_columns);
            let (first, second) = &junction.constraints;
            ("many-to-many", format!("{} using {first}({near}) and {second}({far})", junction.relation))
        }
        Link::Computed { function, .. } => ("computed", function.clone()),
    };
    json!({
        "cardinality": cardinality,
        "embedding": format!("{origin} with {target}"),
        "relationship": relationship,
    })
}

fn sides(columns: &ColumnPairs) -> (String, String) {
    let (left, right): (Vec<&str>, Vec<&str>) = columns.iter().map(|(a, b)| (a.as_str(), b.as_str())).unzip();
    (left.join(", "), right.join(", "))
}
