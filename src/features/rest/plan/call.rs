//! Chooses the overload of a function and fits the arguments to it (contract 02 §7.10).

use std::{collections::BTreeSet, sync::Arc};

use axum::http::StatusCode;
use bytes::Bytes;

use super::{
    Level, PlanSettings, Source,
    read::{Planner, RootParameters},
};
use crate::features::rest::{
    error::NativeError,
    request::{ApiRequest, CallInput, body::CallBody},
    schema_cache::{Function, Parameter, Returns, SchemaCache, suggest},
};

#[derive(Clone, Debug, PartialEq)]
pub enum ArgumentValue {
    One(String),
    /// Of a VARIADIC parameter.
    Many(Vec<String>),
}

#[derive(Clone, Debug, PartialEq)]
pub enum RawArgument {
    Text(String),
    Binary(Bytes),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Arguments {
    None,
    /// Taken out of one JSON object by Postgres.
    Json {
        json: String,
        parameters: Vec<Parameter>,
    },
    /// Each in its text form.
    Texts(Vec<(Parameter, ArgumentValue)>),
    /// The whole body as the single unnamed parameter.
    Unnamed {
        value: RawArgument,
        type_name: String,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub struct CallPlan {
    pub function: Arc<Function>,
    pub arguments: Arguments,
}

/// # Errors
/// 404 PGRST202 when no overload takes these arguments, 300 PGRST203 when several do.
pub fn resolve(cache: &SchemaCache, name: &str, input: &CallInput) -> Result<CallPlan, NativeError> {
    let overloads = cache.functions(name);
    let (names, is_post) = match input {
        CallInput::Query(pairs) => (keys_of(pairs), false),
        CallInput::Body(CallBody::Form(pairs)) => (keys_of(pairs), true),
        CallInput::Body(CallBody::Json { keys: Some(keys), .. }) => (keys.clone(), true),
        CallInput::Body(_) => (BTreeSet::new(), true),
    };
    let is_raw = matches!(
        input,
        CallInput::Body(CallBody::Json { keys: None, .. } | CallBody::Text(_) | CallBody::Xml(_) | CallBody::Binary(_))
    );
    let named: Vec<_> = overloads.iter().filter(|one| !is_raw && accepts(one, &names)).collect();
    match named.as_slice() {
        [only] => Ok(CallPlan { function: Arc::clone(only), arguments: fit(only, input) }),
        [] => match input {
            CallInput::Body(body) => resolve_unnamed(overloads, body),
            CallInput::Query(_) => Ok(None),
        }?
        .ok_or_else(|| not_found(cache, name, &names, is_post)),
        several => Err(ambiguous(several)),
    }
}

fn keys_of(pairs: &[(String, String)]) -> BTreeSet<String> {
    pairs.iter().map(|(key, _)| key.clone()).collect()
}

/// All required parameters are given and every name is a parameter.
fn accepts(function: &Function, names: &BTreeSet<String>) -> bool {
    function.parameters.iter().all(|parameter| !parameter.required || names.contains(&parameter.name))
        && names.iter().all(|name| function.parameter(name).is_some())
}

fn resolve_unnamed(overloads: &[Arc<Function>], body: &CallBody) -> Result<Option<CallPlan>, NativeError> {
    let (types, value): (&[&str], RawArgument) = match body {
        CallBody::Json { json, .. } => (&["json", "jsonb"], RawArgument::Text(json.clone())),
        CallBody::Text(text) => (&["text"], RawArgument::Text(text.clone())),
        CallBody::Xml(text) => (&["xml"], RawArgument::Text(text.clone())),
        CallBody::Binary(bytes) => (&["bytea"], RawArgument::Binary(bytes.clone())),
        CallBody::Form(_) => return Ok(None),
    };
    let fitting: Vec<_> = overloads
        .iter()
        .filter_map(|one| {
            let type_name = one.unnamed_parameter_type()?;
            types.contains(&type_name).then(|| (one, type_name.to_owned()))
        })
        .collect();
    match fitting.as_slice() {
        [] => Ok(None),
        [(function, type_name)] => Ok(Some(CallPlan {
            function: Arc::clone(function),
            arguments: Arguments::Unnamed { value, type_name: type_name.clone() },
        })),
        several => Err(ambiguous(&several.iter().map(|(function, _)| *function).collect::<Vec<_>>())),
    }
}

fn fit(function: &Function, input: &CallInput) -> Arguments {
    match input {
        CallInput::Query(pairs) | CallInput::Body(CallBody::Form(pairs)) => fit_texts(function, pairs),
        CallInput::Body(CallBody::Json { json, keys }) => {
            let parameters: Vec<_> = function
                .parameters
                .iter()
                .filter(|parameter| keys.as_ref().is_some_and(|keys| keys.contains(&parameter.name)))
                .cloned()
                .collect();
            if parameters.is_empty() { Arguments::None } else { Arguments::Json { json: json.clone(), parameters } }
        }
        CallInput::Body(_) => Arguments::None,
    }
}

/// Of a repeated argument the last counts, unless it is variadic.
fn fit_texts(function: &Function, pairs: &[(String, String)]) -> Arguments {
    let values: Vec<_> = function
        .parameters
        .iter()
        .filter_map(|parameter| {
            let mut given: Vec<String> =
                pairs.iter().filter(|(key, _)| *key == parameter.name).map(|(_, value)| value.clone()).collect();
            let value = if parameter.variadic && !given.is_empty() {
                ArgumentValue::Many(given)
            } else {
                ArgumentValue::One(given.pop()?)
            };
            Some((parameter.clone(), value))
        })
        .collect();
    if values.is_empty() { Arguments::None } else { Arguments::Texts(values) }
}

/// PGRST202.
pub fn not_found(cache: &SchemaCache, name: &str, names: &BTreeSet<String>, is_post: bool) -> NativeError {
    let listed: Vec<&str> = names.iter().map(String::as_str).collect();
    let listed = listed.join(", ");
    let (described, searched) = if names.is_empty() {
        (format!("public.{name} without parameters"), " without parameters".to_owned())
    } else {
        (format!("public.{name}({listed})"), format!(" with parameters {listed}"))
    };
    let or_unnamed = if is_post { " or with a single unnamed json/jsonb parameter" } else { "" };
    NativeError::new(
        StatusCode::NOT_FOUND,
        "PGRST202",
        format!("Could not find the function {described} in the schema cache"),
    )
    .details(format!(
        "Searched for the function public.{name}{searched}{or_unnamed}, but no matches were found in the schema cache."
    ))
    .maybe_hint(hint(cache, name, &listed))
}

fn hint(cache: &SchemaCache, name: &str, listed: &str) -> Option<String> {
    let overloads = cache.functions(name);
    let near = if overloads.is_empty() {
        let similar = cache.similar_function(name)?;
        format!("public.{similar}")
    } else {
        let signatures: Vec<String> = overloads
            .iter()
            .map(|one| one.parameters.iter().map(|parameter| parameter.name.as_str()).collect::<Vec<_>>().join(", "))
            .collect();
        let nearest = suggest::nearest(listed, signatures.iter().map(String::as_str))
            .or_else(|| signatures.first().map(String::as_str).filter(|_| signatures.len() == 1))?;
        if nearest.is_empty() { format!("public.{name}") } else { format!("public.{name}({nearest})") }
    };
    Some(format!("Perhaps you meant to call the function {near}"))
}

fn ambiguous(several: &[&Arc<Function>]) -> NativeError {
    let signatures: Vec<String> = several.iter().map(|one| one.signature()).collect();
    NativeError::new(
        StatusCode::MULTIPLE_CHOICES,
        "PGRST203",
        format!("Could not choose the best candidate function between: {}", signatures.join(", ")),
    )
    .hint("Try renaming the parameters or the function itself in the database so function overloading can be resolved")
}

/// The shape of the function's rows; None for scalars and void.
pub fn plan_result(
    request: &ApiRequest,
    cache: &SchemaCache,
    settings: PlanSettings,
    function: &Function,
) -> Result<Option<Level>, NativeError> {
    let Returns::Row { relation } = &function.returns else { return Ok(None) };
    let relation = relation.as_ref().and_then(|name| cache.relation(name));
    let name = relation.map_or(function.name.as_str(), |relation| relation.name.as_str());
    let mut planner = Planner::new(cache, settings, name);
    let mut level = planner.root(&request.query, Source::Statement, name, relation)?;
    planner.apply(&mut level, &request.query, RootParameters::All)?;
    level.limits = request.range.capped(settings.max_rows);
    Ok(Some(level))
}
