//! The root document: OpenAPI (Swagger) 2.0 of what the calling role may use (contract 02 §7.15).

use std::collections::{HashMap, HashSet};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::features::rest::schema_cache::{Column, Function, Link, Relation, Returns, SchemaCache, Volatility};

/// What a role may do, as the database tells.
#[derive(Debug, Default, Deserialize)]
pub struct Privileges {
    pub relations: HashMap<String, RelationPrivileges>,
    pub functions: HashSet<String>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "four independent rights")]
pub struct RelationPrivileges {
    pub select: bool,
    pub insert: bool,
    pub update: bool,
    pub delete: bool,
}

impl RelationPrivileges {
    fn any(self) -> bool {
        self.select || self.insert || self.update || self.delete
    }
}

/// Where the document says it is served.
#[derive(Clone, Debug)]
pub struct Location {
    pub host: String,
    /// `/rest/v1/`
    pub base_path: &'static str,
    pub is_https: bool,
}

const MEDIA_TYPES: [&str; 4] = [
    "application/json",
    "application/vnd.pgrst.object+json;nulls=stripped",
    "application/vnd.pgrst.object+json",
    "text/csv",
];

pub fn document(cache: &SchemaCache, privileges: &Privileges, location: &Location) -> Value {
    let mut paths = Map::new();
    let mut definitions = Map::new();
    let mut parameters = common_parameters();
    paths.insert(
        "/".into(),
        json!({"get": {
            "tags": ["Introspection"],
            "summary": "OpenAPI description (this document)",
            "produces": ["application/openapi+json", "application/json"],
            "responses": {"200": {"description": "OK"}},
        }}),
    );
    for relation in cache.all_relations() {
        let rights = privileges.relations.get(&relation.name).copied().unwrap_or_default();
        if !rights.any() {
            continue;
        }
        definitions.insert(relation.name.clone(), definition(cache, relation));
        for column in &relation.columns {
            parameters.insert(format!("rowFilter.{}.{}", relation.name, column.name), row_filter(column));
        }
        parameters.insert(format!("body.{}", relation.name), body_parameter(&relation.name));
        paths.insert(format!("/{}", relation.name), relation_path(relation, rights));
    }
    for function in cache.all_functions() {
        if privileges.functions.contains(&function.name) {
            paths.entry(format!("/rpc/{}", function.name)).or_insert_with(|| function_path(function));
        }
    }
    let (title, description) = title(cache.comment.as_deref());
    json!({
        "swagger": "2.0",
        "info": {"title": title, "description": description, "version": env!("CARGO_PKG_VERSION")},
        "host": location.host,
        "basePath": location.base_path,
        "schemes": [if location.is_https { "https" } else { "http" }],
        "consumes": MEDIA_TYPES,
        "produces": MEDIA_TYPES,
        "paths": paths,
        "parameters": parameters,
        "definitions": definitions,
    })
}

/// First line of the schema's comment, and the rest of it.
fn title(comment: Option<&str>) -> (&str, &str) {
    let comment = comment.filter(|text| !text.trim().is_empty() && *text != "standard public schema");
    match comment {
        None => ("Data API", "Tables, views and functions of this project that the calling role may use."),
        Some(text) => text.split_once('\n').map_or((text, ""), |(first, rest)| (first.trim(), rest.trim())),
    }
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/parameters/{name}")})
}

fn references(names: &[&str]) -> Vec<Value> {
    names.iter().map(|name| reference(name)).collect()
}

fn relation_path(relation: &Relation, rights: RelationPrivileges) -> Value {
    let filters: Vec<Value> = relation
        .columns
        .iter()
        .map(|column| reference(&format!("rowFilter.{}.{}", relation.name, column.name)))
        .collect();
    let body = reference(&format!("body.{}", relation.name));
    let operation = |parameters: Vec<Value>, responses: Value| {
        let mut operation = Map::new();
        operation.insert("tags".into(), json!([relation.name]));
        if let Some(comment) = &relation.comment {
            let (summary, description) = title(Some(comment));
            operation.insert("summary".into(), json!(summary));
            if !description.is_empty() {
                operation.insert("description".into(), json!(description));
            }
        }
        operation.insert("parameters".into(), json!(parameters));
        operation.insert("responses".into(), responses);
        Value::Object(operation)
    };
    let mut path = Map::new();
    let rows = json!({"type": "array", "items": {"$ref": format!("#/definitions/{}", relation.name)}});
    let mut get = filters.clone();
    get.extend(references(&["select", "order", "range", "rangeUnit", "offset", "limit", "preferCount"]));
    path.insert(
        "get".into(),
        operation(
            get,
            json!({
                "200": {"description": "OK", "schema": rows},
                "206": {"description": "Partial Content"},
            }),
        ),
    );
    if relation.insertable && rights.insert {
        let mut post = vec![body.clone()];
        post.extend(references(&["select", "preferPost"]));
        path.insert("post".into(), operation(post, json!({"201": {"description": "Created"}})));
    }
    if relation.updatable && rights.update {
        let mut patch = filters.clone();
        patch.extend([body, reference("preferReturn")]);
        path.insert("patch".into(), operation(patch, json!({"204": {"description": "No Content"}})));
    }
    if relation.deletable && rights.delete {
        let mut delete = filters;
        delete.push(reference("preferReturn"));
        path.insert("delete".into(), operation(delete, json!({"204": {"description": "No Content"}})));
    }
    Value::Object(path)
}

fn function_path(function: &Function) -> Value {
    let mut properties = Map::new();
    for parameter in function.parameters.iter().filter(|parameter| !parameter.name.is_empty()) {
        properties.insert(parameter.name.clone(), type_of(&parameter.type_name, &parameter.type_name));
    }
    let required: Vec<&str> = function
        .parameters
        .iter()
        .filter(|parameter| parameter.required && !parameter.name.is_empty())
        .map(|parameter| parameter.name.as_str())
        .collect();
    let mut schema = json!({"type": "object", "properties": properties});
    // JSON Schema draft 4 forbids an empty `required`.
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    let responses = match function.returns {
        Returns::Void => json!({"204": {"description": "No Content"}}),
        Returns::Scalar | Returns::Row { .. } => json!({"200": {"description": "OK"}}),
    };
    let mut base = Map::new();
    base.insert("tags".into(), json!([format!("(rpc) {}", function.name)]));
    if let Some(comment) = &function.comment {
        let (summary, description) = title(Some(comment));
        base.insert("summary".into(), json!(summary));
        base.insert("description".into(), json!(description));
    }
    base.insert("responses".into(), responses);
    let mut post = base.clone();
    post.insert(
        "parameters".into(),
        json!([{"name": "args", "in": "body", "required": true, "schema": schema}, reference("preferParams")]),
    );
    let mut path = Map::new();
    path.insert("post".into(), Value::Object(post));
    if function.volatility != Volatility::Volatile {
        let arguments: Vec<Value> = function
            .parameters
            .iter()
            .filter(|parameter| !parameter.name.is_empty())
            .map(|parameter| {
                json!({
                    "name": parameter.name, "in": "query", "required": parameter.required,
                    "type": "string", "format": parameter.type_name,
                })
            })
            .collect();
        base.insert("parameters".into(), json!(arguments));
        path.insert("get".into(), Value::Object(base));
    }
    Value::Object(path)
}

fn definition(cache: &SchemaCache, relation: &Relation) -> Value {
    let mut properties = Map::new();
    for column in &relation.columns {
        let mut property = type_of(&column.base_type, &column.type_name);
        if let Some(default) = column.default.as_deref().and_then(constant_default) {
            property["default"] = default;
        }
        if !column.enum_labels.is_empty() {
            property["enum"] = json!(column.enum_labels);
        }
        if let Some(length) = column.max_length {
            property["maxLength"] = json!(length);
        }
        let notes = notes(cache, relation, column);
        if !notes.is_empty() {
            property["description"] = json!(notes);
        }
        properties.insert(column.name.clone(), property);
    }
    let required: Vec<&str> =
        relation.columns.iter().filter(|column| !column.nullable).map(|column| column.name.as_str()).collect();
    let mut definition = json!({"type": "object", "properties": properties});
    if !required.is_empty() {
        definition["required"] = json!(required);
    }
    if let Some(comment) = &relation.comment {
        definition["description"] = json!(comment);
    }
    definition
}

/// The column's comment, and what its keys are.
fn notes(cache: &SchemaCache, relation: &Relation, column: &Column) -> String {
    let mut lines: Vec<String> = column.comment.iter().cloned().collect();
    let mut keys = Vec::new();
    if relation.primary_key.contains(&column.name) {
        keys.push("This is a Primary Key.<pk/>".to_owned());
    }
    let foreign = cache.relationships_from(&relation.name).iter().find_map(|one| match &one.link {
        Link::ManyToOne { columns, .. } | Link::OneToOne { columns, from_origin: true, .. } => match columns.as_slice()
        {
            [(near, far)] if *near == column.name => Some((one.target.clone(), far.clone())),
            _ => None,
        },
        _ => None,
    });
    if let Some((table, far)) = foreign {
        keys.push(format!("This is a Foreign Key to `{table}.{far}`.<fk table='{table}' column='{far}'/>"));
    }
    if !keys.is_empty() {
        lines.push(format!("Note:\n{}", keys.join("\n")));
    }
    lines.join("\n\n")
}

fn type_of(base_type: &str, format: &str) -> Value {
    let kind = match base_type {
        "json" | "jsonb" => return json!({"format": format}),
        array if array.ends_with("[]") => {
            return json!({"type": "array", "format": format, "items": {"type": "string"}});
        }
        "smallint" | "integer" | "bigint" => "integer",
        "real" | "double precision" | "numeric" => "number",
        "boolean" => "boolean",
        _ => "string",
    };
    json!({"type": kind, "format": format})
}

/// Defaults that are literals; expressions say nothing to a client.
fn constant_default(expression: &str) -> Option<Value> {
    if let Some(rest) = expression.strip_prefix('\'') {
        let (text, cast) = rest.split_once("'::")?;
        return (!text.contains('\'') && !cast.contains('\'')).then(|| json!(text));
    }
    match expression {
        "true" => Some(json!(true)),
        "false" => Some(json!(false)),
        number => number
            .parse::<i64>()
            .map(|number| json!(number))
            .ok()
            .or_else(|| number.parse::<f64>().ok().filter(|number| number.is_finite()).map(|number| json!(number))),
    }
}

fn row_filter(column: &Column) -> Value {
    let mut parameter = json!({
        "name": column.name, "in": "query", "required": false, "type": "string", "format": column.type_name,
    });
    if let Some(comment) = &column.comment {
        parameter["description"] = json!(comment);
    }
    parameter
}

fn body_parameter(relation: &str) -> Value {
    json!({
        "name": relation, "in": "body", "description": relation, "required": false,
        "schema": {"$ref": format!("#/definitions/{relation}")},
    })
}

fn common_parameters() -> Map<String, Value> {
    let mut parameters = Map::new();
    let mut query = |key: &str, name: &str, description: &str| {
        parameters.insert(
            key.into(),
            json!({
                "name": name, "in": "query", "description": description, "required": false, "type": "string",
            }),
        );
    };
    query("select", "select", "Filtering columns");
    query("order", "order", "Ordering");
    query("limit", "limit", "Limiting and pagination");
    query("offset", "offset", "Limiting and pagination");
    query("on_conflict", "on_conflict", "Columns that decide about conflicts");
    let mut prefer = |key: &str, values: &[&str]| {
        parameters.insert(
            key.into(),
            json!({
                "name": "Prefer", "in": "header", "description": "Preference", "required": false,
                "type": "string", "enum": values,
            }),
        );
    };
    let returns = ["return=representation", "return=minimal"];
    prefer("preferReturn", &returns);
    prefer("preferCount", &["count=none", "count=exact", "count=planned", "count=estimated"]);
    prefer("preferParams", &["params=single-object"]);
    prefer(
        "preferPost",
        &[
            "return=representation",
            "return=minimal",
            "return=headers-only",
            "resolution=ignore-duplicates",
            "resolution=merge-duplicates",
        ],
    );
    parameters.insert("range".into(), json!({
        "name": "Range", "in": "header", "description": "Limiting and pagination", "required": false, "type": "string",
    }));
    parameters.insert(
        "rangeUnit".into(),
        json!({
            "name": "Range-Unit", "in": "header", "description": "Limiting and pagination", "required": false,
            "type": "string", "default": "items",
        }),
    );
    parameters
}
