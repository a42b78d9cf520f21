//! Plans of writes: columns, conflicts, what has to be returned (contract 02 §7.9).

use std::{collections::BTreeSet, sync::Arc};

use axum::http::StatusCode;

use super::{
    Item, Join, Level, OrderKey, PlanSettings, Predicate, Source,
    read::{Planner, RootParameters, plain_predicate},
};
use crate::features::rest::{
    error::NativeError,
    request::{
        ApiRequest, Mutation,
        body::{Rows, Shape},
        filter::{Condition, LogicTree, Operation, QuantifiableOperator},
        preferences::{Missing, Resolution, Return},
    },
    schema_cache::{Column, Relation, SchemaCache},
};

/// A column that is written.
#[derive(Clone, Debug, PartialEq)]
pub struct WrittenColumn {
    pub name: String,
    pub type_name: String,
    /// Takes the place of a key that is absent (`Prefer: missing=default`).
    pub default: Option<String>,
}

impl WrittenColumn {
    fn new(column: &Column, with_default: bool) -> Self {
        Self {
            name: column.name.clone(),
            type_name: column.type_name.clone(),
            default: column.default.clone().filter(|_| with_default),
        }
    }
}

/// The rows of the body and what of them is written.
#[derive(Clone, Debug, PartialEq)]
pub struct Payload {
    pub json: String,
    pub shape: Shape,
    pub columns: Vec<WrittenColumn>,
}

/// What an insert does about rows that exist.
#[derive(Clone, Debug, PartialEq)]
pub struct Conflict {
    pub columns: Vec<String>,
    pub resolution: Resolution,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// `body_must_match`: PUT, whose key in the body has to be the one in the URL.
    Insert {
        payload: Payload,
        conflict: Option<Conflict>,
        body_must_match: Vec<Predicate>,
    },
    Update {
        payload: Payload,
    },
    /// An update of no columns: nothing is written, nothing returned.
    NoUpdate,
    Delete,
}

/// Which columns the write hands to the shaping query.
#[derive(Clone, Debug, PartialEq)]
pub struct Returning {
    pub everything: bool,
    /// In addition, when everything is wanted: computed fields.
    pub columns: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct MutatePlan {
    pub relation: Arc<Relation>,
    pub change: Change,
    pub filters: Vec<Predicate>,
    pub returning: Returning,
    /// Key columns for the `Location` header.
    pub location: Vec<String>,
    /// PUT instead of POST.
    pub is_put: bool,
}

impl MutatePlan {
    /// Rows that were there before have to be told from new ones.
    pub fn counts_inserted(&self) -> bool {
        matches!(&self.change, Change::Insert { conflict: Some(conflict), .. }
            if conflict.resolution == Resolution::MergeDuplicates)
    }
}

/// The write, and the shape of what it returns when a representation is wanted.
pub fn plan_mutation(
    request: &ApiRequest,
    cache: &SchemaCache,
    settings: PlanSettings,
    relation: &Arc<Relation>,
    mutation: &Mutation,
) -> Result<(MutatePlan, Option<Level>), NativeError> {
    // Planned in any case, so that a wrong select is an error under every preference.
    let mut planner = Planner::new(cache, settings, &relation.name);
    let mut read = planner.root(&request.query, Source::Statement, &relation.name, Some(relation))?;
    planner.apply(&mut read, &request.query, RootParameters::OrderOnly)?;
    let mut filters = root_filters(request, relation);
    let is_put = matches!(mutation, Mutation::SingleUpsert(_));
    let change = match mutation {
        Mutation::Insert(rows) => {
            filters.clear();
            Change::Insert {
                payload: payload(request, relation, rows)?,
                conflict: conflict(request, relation),
                body_must_match: Vec::new(),
            }
        }
        Mutation::Update(rows) => {
            let payload = payload(request, relation, rows)?;
            if payload.columns.is_empty() || rows.is_empty() { Change::NoUpdate } else { Change::Update { payload } }
        }
        Mutation::SingleUpsert(rows) => {
            check_put(request, relation, rows)?;
            let key = relation.primary_key.clone();
            Change::Insert {
                payload: payload(request, relation, rows)?,
                conflict: Some(Conflict { columns: key, resolution: Resolution::MergeDuplicates }),
                body_must_match: std::mem::take(&mut filters),
            }
        }
        Mutation::Delete => Change::Delete,
    };
    let wants_location =
        request.preferences.returning == Some(Return::HeadersOnly) && matches!(mutation, Mutation::Insert(_));
    let location = if wants_location { relation.primary_key.clone() } else { Vec::new() };
    let representation = request.preferences.wants_representation();
    let returning = returning(&read, representation, &location);
    let plan = MutatePlan { relation: Arc::clone(relation), change, filters, returning, location, is_put };
    Ok((plan, representation.then_some(read)))
}

/// Filters on the target itself; those on embeds went into the read.
fn root_filters(request: &ApiRequest, relation: &Relation) -> Vec<Predicate> {
    request
        .query
        .filters
        .iter()
        .filter(|(path, _)| path.is_empty())
        .map(|(_, tree)| plain_predicate(tree, relation))
        .collect()
}

fn payload(request: &ApiRequest, relation: &Relation, rows: &Rows) -> Result<Payload, NativeError> {
    let with_defaults = request.query.columns.is_some() && request.preferences.missing == Some(Missing::Default);
    let columns = request
        .written_columns(rows)
        .iter()
        .map(|name| {
            let column = relation.column(name).ok_or_else(|| unknown_column(name, relation))?;
            Ok(WrittenColumn::new(column, with_defaults))
        })
        .collect::<Result<Vec<_>, NativeError>>()?;
    Ok(Payload { json: rows.json.clone(), shape: rows.shape, columns })
}

fn unknown_column(name: &str, relation: &Relation) -> NativeError {
    NativeError::bad_request(
        "PGRST204",
        format!("Could not find the '{name}' column of '{}' in the schema cache", relation.name),
    )
}

fn conflict(request: &ApiRequest, relation: &Relation) -> Option<Conflict> {
    let resolution = request.preferences.resolution?;
    let columns = match request.query.on_conflict.as_deref() {
        None | Some([]) => relation.primary_key.clone(),
        Some(columns) => columns.to_vec(),
    };
    if columns.is_empty() { None } else { Some(Conflict { columns, resolution }) }
}

fn check_put(request: &ApiRequest, relation: &Relation, rows: &Rows) -> Result<(), NativeError> {
    if !request.query.root_limits().is_everything() {
        return Err(NativeError::bad_request(
            "PGRST114",
            "limit/offset querystring parameters are not allowed for PUT",
        ));
    }
    let filtered: Option<Vec<&str>> = request.query.filters.iter().map(|(path, tree)| key_filter(path, tree)).collect();
    let key: BTreeSet<&str> = relation.primary_key.iter().map(String::as_str).collect();
    let exact = filtered.is_some_and(|columns| {
        columns.len() == key.len() && !key.is_empty() && columns.into_iter().collect::<BTreeSet<_>>() == key
    });
    if !exact {
        return Err(NativeError::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "PGRST105",
            "Filters must include all and only primary key columns with 'eq' operators",
        ));
    }
    let one_row = matches!(rows.shape, Shape::Object | Shape::Array { length: 1 });
    let has_key = key.iter().all(|column| request.written_columns(rows).contains(*column));
    if one_row && has_key { Ok(()) } else { Err(put_mismatch()) }
}

/// PGRST115: the body of a PUT is not the row its URL names.
pub fn put_mismatch() -> NativeError {
    NativeError::bad_request("PGRST115", "Payload values do not match URL in primary key column(s)")
}

fn key_filter<'t>(path: &[String], tree: &'t LogicTree) -> Option<&'t str> {
    match tree {
        LogicTree::Leaf(filter) if path.is_empty() && filter.field.path.is_empty() => match &filter.condition {
            Condition { negated: false, operation: Operation::Quantifiable(QuantifiableOperator::Equal, None, _) } => {
                Some(&filter.field.name)
            }
            _ => None,
        },
        _ => None,
    }
}

/// Everything the shaping query reads: selected columns, order, and the near ends of embeds' joins.
fn returning(read: &Level, representation: bool, location: &[String]) -> Returning {
    let mut names = BTreeSet::new();
    names.extend(location.iter().cloned());
    let mut everything = false;
    if representation {
        for item in &read.items {
            match item {
                Item::Star => everything = true,
                Item::Column { field: Some(field), .. } => {
                    names.insert(field.name.clone());
                }
                Item::Column { field: None, .. } | Item::Embed(_) | Item::Spread { .. } => {}
            }
        }
        for order in &read.order {
            if let OrderKey::Field(field) = &order.key {
                names.insert(field.name.clone());
            }
        }
        for embed in &read.embeds {
            match &embed.join {
                Join::Columns(pairs) | Join::Junction { parent: pairs, .. } => {
                    names.extend(pairs.iter().map(|(near, _)| near.clone()));
                }
                // The function takes the whole row.
                Join::Computed => everything = true,
            }
        }
    }
    if everything && let Some(relation) = &read.relation {
        names.retain(|name| relation.column(name).is_none());
    }
    Returning { everything, columns: names.into_iter().collect() }
}
