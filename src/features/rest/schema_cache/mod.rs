//! The catalog of one project's `public` schema, as an immutable snapshot (contract 02 §7.7, §7.17).
//!
//! Second of the ingredients of a plan: which relations, columns, keys, relationships and functions exist.
//! Privileges are not in it: Postgres checks those when the statement runs, under the role of the request,
//! so a dark table and a visible one look the same here.

pub mod build;
pub mod cache;
pub mod relationships;
pub mod store;
pub mod suggest;
pub mod view_origin;

use std::{collections::HashMap, sync::Arc};

/// What a column's type can do, as far as planning cares. Domains count as their base type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TypeShape {
    Json,
    Jsonb,
    Array,
    Composite,
    TsVector,
    Other,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    pub name: String,
    /// Full SQL type, schema-qualified where needed, with length or precision.
    pub type_name: String,
    /// The type under any domain, without length: what the root document classifies.
    pub base_type: String,
    pub shape: TypeShape,
    pub nullable: bool,
    /// SQL expression; for identity columns, the next value of their sequence.
    pub default: Option<String>,
    /// Generated or `GENERATED ALWAYS AS IDENTITY`: Postgres refuses values for it.
    pub always_generated: bool,
    pub max_length: Option<i32>,
    pub enum_labels: Vec<String>,
    pub comment: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Relation {
    pub name: String,
    pub is_view: bool,
    pub columns: Vec<Column>,
    /// Of the table itself, or for a view the key columns of a base table that it selects whole.
    pub primary_key: Vec<String>,
    pub insertable: bool,
    pub updatable: bool,
    pub deletable: bool,
    /// Reading or writing it may run functions of the project.
    pub user_code: Uses,
    /// Policies, defaults and checks may look at more than who calls: method, path, headers, cookies.
    pub looks_beyond_caller: Uses,
    pub comment: Option<String>,
}

/// When a relation uses what its policies, views, defaults, triggers and the like may hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
pub struct Uses {
    pub on_read: bool,
    pub on_write: bool,
}

impl Relation {
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }
}

/// Pairs of (column of the origin, column of the target).
pub type ColumnPairs = Vec<(String, String)>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Junction {
    pub relation: String,
    /// Constraint that points from the junction to the origin, and the one that points to the target.
    pub constraints: (String, String),
    /// (column of the origin, column of the junction)
    pub origin_columns: ColumnPairs,
    /// (column of the junction, column of the target)
    pub target_columns: ColumnPairs,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Link {
    /// The foreign key is on the origin.
    ManyToOne {
        constraint: String,
        columns: ColumnPairs,
    },
    /// The foreign key is on the target.
    OneToMany {
        constraint: String,
        columns: ColumnPairs,
    },
    /// A unique foreign key; `from_origin` tells on which side it is.
    OneToOne {
        constraint: String,
        columns: ColumnPairs,
        from_origin: bool,
    },
    ManyToMany(Junction),
    /// A function of the origin's row type.
    Computed {
        function: String,
        single: bool,
    },
}

/// One way to get from a relation to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relationship {
    pub origin: String,
    pub target: String,
    /// A view stands at either end, so that column names do not name the relationship.
    pub through_view: bool,
    pub link: Link,
}

impl Relationship {
    pub fn is_to_one(&self) -> bool {
        match &self.link {
            Link::ManyToOne { .. } | Link::OneToOne { .. } => true,
            Link::OneToMany { .. } | Link::ManyToMany(_) => false,
            Link::Computed { single, .. } => *single,
        }
    }

    pub fn is_self(&self) -> bool {
        self.origin == self.target
    }

    pub fn is_computed(&self) -> bool {
        matches!(self.link, Link::Computed { .. })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Volatility {
    Immutable,
    Stable,
    Volatile,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Empty for an unnamed one.
    pub name: String,
    pub type_name: String,
    pub required: bool,
    pub variadic: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Returns {
    Void,
    Scalar,
    /// Rows; of a known relation when the result is its row type.
    Row {
        relation: Option<String>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    pub name: String,
    pub parameters: Vec<Parameter>,
    pub returns: Returns,
    pub returns_set: bool,
    pub volatility: Volatility,
    /// The result is a domain named like a media type.
    pub media_type: Option<String>,
    pub comment: Option<String>,
}

impl Function {
    pub fn parameter(&self, name: &str) -> Option<&Parameter> {
        self.parameters.iter().find(|parameter| !parameter.name.is_empty() && parameter.name == name)
    }

    /// The type of the single unnamed parameter, if that is all it has.
    pub fn unnamed_parameter_type(&self) -> Option<&str> {
        match self.parameters.as_slice() {
            [only] if only.name.is_empty() => Some(&only.type_name),
            _ => None,
        }
    }

    /// `public.f(a => integer, b => text)`
    pub fn signature(&self) -> String {
        let parameters: Vec<_> = self
            .parameters
            .iter()
            .map(|parameter| match parameter.name.as_str() {
                "" => parameter.type_name.clone(),
                name => format!("{name} => {}", parameter.type_name),
            })
            .collect();
        format!("public.{}({})", self.name, parameters.join(", "))
    }
}

/// An aggregate that turns rows into a media type of the user's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaAggregate {
    pub function: String,
    pub media_type: String,
    /// None: it takes rows of any relation.
    pub relation: Option<String>,
}

/// The snapshot.
#[derive(Clone, Debug, Default)]
pub struct SchemaCache {
    relations: HashMap<String, Arc<Relation>>,
    /// By origin.
    relationships: HashMap<String, Vec<Arc<Relationship>>>,
    /// By name: overloads together.
    functions: HashMap<String, Vec<Arc<Function>>>,
    pub media_aggregates: Vec<MediaAggregate>,
    /// The schema in which PostGIS lives, when it is installed.
    pub postgis_schema: Option<String>,
    pub comment: Option<String>,
}

impl SchemaCache {
    pub fn new(relations: Vec<Relation>, relationships: Vec<Relationship>, functions: Vec<Function>) -> Self {
        let relations = relations.into_iter().map(|relation| (relation.name.clone(), Arc::new(relation))).collect();
        let mut cache = Self { relations, ..Self::default() };
        for relationship in relationships {
            cache.relationships.entry(relationship.origin.clone()).or_default().push(Arc::new(relationship));
        }
        for function in functions {
            cache.functions.entry(function.name.clone()).or_default().push(Arc::new(function));
        }
        cache
    }

    pub fn relation(&self, name: &str) -> Option<&Arc<Relation>> {
        self.relations.get(name)
    }

    pub fn functions(&self, name: &str) -> &[Arc<Function>] {
        self.functions.get(name).map_or(&[], Vec::as_slice)
    }

    pub fn relationships_from(&self, origin: &str) -> &[Arc<Relationship>] {
        self.relationships.get(origin).map_or(&[], Vec::as_slice)
    }

    /// Sorted by name, for the root document.
    pub fn all_relations(&self) -> Vec<&Arc<Relation>> {
        let mut all: Vec<_> = self.relations.values().collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// Sorted by name, for the root document.
    pub fn all_functions(&self) -> Vec<&Arc<Function>> {
        let mut all: Vec<_> = self.functions.values().flatten().collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    pub fn similar_relation(&self, name: &str) -> Option<&str> {
        suggest::nearest(name, self.relations.keys().map(String::as_str))
    }

    pub fn similar_function(&self, name: &str) -> Option<&str> {
        suggest::nearest(name, self.functions.keys().map(String::as_str))
    }
}
