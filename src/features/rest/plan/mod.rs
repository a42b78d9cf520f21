//! Second stage: what a well-formed request means for this schema (contract 02 §7.6-7.12).
//!
//! Names are resolved against the [`SchemaCache`]: embeds find their relationship, writes their columns,
//! calls their overload, `Accept` its handler. Whatever cannot be resolved ends here, with the candidates or
//! the nearest name in the error. A plan holds no SQL text; rendering it cannot fail.

pub mod call;
pub mod embed;
pub mod mutate;
pub mod negotiate;
pub mod read;

use std::{borrow::Cow, collections::BTreeSet, sync::Arc};

use axum::http::StatusCode;

use self::negotiate::{BodyFormat, Negotiated};
use super::{
    error::NativeError,
    request::{
        Action, ApiRequest, Target,
        filter::{Condition, Connective},
        grammar::JsonStep,
        preferences::Count,
        range::Limits,
        select::{Aggregate, Direction, Nulls},
    },
    schema_cache::{ColumnPairs, Function, Relation, SchemaCache, Volatility},
};

/// What the instance allows (operator settings).
#[derive(Clone, Copy, Debug)]
pub struct PlanSettings {
    pub aggregates: bool,
    /// Most rows one read returns at its top level.
    pub max_rows: Option<i64>,
    /// `application/vnd.pgrst.plan` is answered: on the admin path only.
    pub explain: bool,
}

/// A column or a value inside one, with what its type demands.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedField {
    pub name: String,
    pub path: Vec<JsonStep>,
    /// A path on a value that is not JSON: turn it into jsonb first.
    pub to_jsonb: bool,
    /// Text search on a value that is not a tsvector: turn it into one first.
    pub to_tsvector: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Predicate {
    Compare {
        field: PlannedField,
        condition: Condition,
    },
    /// Has the parent row embedded rows? Index into the level's embeds.
    HasRows {
        embed: usize,
        wanted: bool,
    },
    Node {
        negated: bool,
        connective: Connective,
        children: Vec<Predicate>,
    },
}

/// A value lifted out of a spread embed.
#[derive(Clone, Debug, PartialEq)]
pub struct SpreadColumn {
    /// Column of the embed's own result.
    pub source: String,
    /// Key in the parent.
    pub name: String,
    pub aggregate: Option<(Aggregate, Option<String>)>,
}

/// One thing a level selects, in the order of the request.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    Star,
    Column {
        /// None is `count()`.
        field: Option<PlannedField>,
        cast: Option<String>,
        aggregate: Option<(Aggregate, Option<String>)>,
        name: String,
    },
    /// The embed's rows as JSON under its name.
    Embed(usize),
    Spread {
        embed: usize,
        columns: Vec<SpreadColumn>,
    },
}

impl Item {
    pub fn is_aggregate(&self) -> bool {
        match self {
            Self::Column { aggregate, .. } => aggregate.is_some(),
            Self::Spread { columns, .. } => columns.iter().any(|column| column.aggregate.is_some()),
            Self::Star | Self::Embed(_) => false,
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum OrderKey {
    Field(PlannedField),
    /// A column of a to-one embed: (embed, index into its [`Embed::order_keys`]).
    Related {
        embed: usize,
        key: usize,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub struct OrderBy {
    pub key: OrderKey,
    pub direction: Option<Direction>,
    pub nulls: Option<Nulls>,
}

/// Where the rows of a level come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    Relation(String),
    /// The rows a write returned, or the result of a function call.
    Statement,
    /// A computed relationship: the function, called with the parent's row.
    Computed {
        function: String,
        origin: String,
    },
}

/// One SELECT.
#[derive(Clone, Debug, PartialEq)]
pub struct Level {
    pub source: Source,
    /// Unique in the statement; the root's is the relation's own name, as Postgres' messages show it.
    pub alias: String,
    /// None for the result of a function that returns no known row type.
    pub relation: Option<Arc<Relation>>,
    pub items: Vec<Item>,
    pub predicates: Vec<Predicate>,
    pub order: Vec<OrderBy>,
    pub limits: Limits,
    pub embeds: Vec<Embed>,
}

impl Level {
    fn runs_user_code(&self) -> bool {
        let own = self.relation.as_ref().is_none_or(|relation| relation.user_code.on_read);
        own || self.embeds.iter().any(|embed| embed.is_opaque() || embed.level.runs_user_code())
    }

    fn looks_beyond_caller(&self) -> bool {
        let own = self.relation.as_ref().is_none_or(|relation| relation.looks_beyond_caller.on_read);
        own || self.embeds.iter().any(|embed| embed.is_opaque() || embed.level.looks_beyond_caller())
    }

    pub fn is_grouped(&self) -> bool {
        self.items.iter().any(Item::is_aggregate)
    }
}

/// How an embed's rows belong to a row of its parent.
#[derive(Clone, Debug, PartialEq)]
pub enum Join {
    /// (column of the parent, column of the embed)
    Columns(ColumnPairs),
    Junction {
        relation: String,
        alias: String,
        /// (column of the parent, column of the junction)
        parent: ColumnPairs,
        /// (column of the junction, column of the embed)
        child: ColumnPairs,
    },
    /// The source is a function of the parent's row.
    Computed,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Embed {
    /// Key in the parent and prefix of the embed's parameters.
    pub name: String,
    /// Alias of the lateral subquery.
    pub alias: String,
    pub join: Join,
    pub to_one: bool,
    pub inner: bool,
    pub spread: bool,
    /// Fields by which the parent is ordered.
    pub order_keys: Vec<PlannedField>,
    pub level: Level,
}

impl Embed {
    /// What its join brings along is not known here: of a junction only the name is.
    fn is_opaque(&self) -> bool {
        !matches!(self.join, Join::Columns(_))
    }
}

/// What is done before rows are shaped.
#[derive(Clone, Debug, PartialEq)]
pub enum Operation {
    Read,
    Mutate(mutate::MutatePlan),
    Call(call::CallPlan),
}

/// A plan for one main statement.
#[derive(Clone, Debug, PartialEq)]
pub struct StatementPlan {
    pub operation: Operation,
    /// Shape of the result rows; None when nothing of them is shown.
    pub read: Option<Level>,
    pub format: Negotiated,
    pub count: Option<Count>,
    pub max_rows: Option<i64>,
}

impl StatementPlan {
    /// May the transaction be read only? (02 §7.13)
    pub fn is_read_only(&self, http_reads: bool) -> bool {
        match &self.operation {
            Operation::Read => true,
            Operation::Mutate(_) => false,
            Operation::Call(call) => http_reads || call.function.volatility != Volatility::Volatile,
        }
    }

    /// May functions of the project run? They can leave settings, locks and temporary tables in the session.
    pub fn runs_user_code(&self) -> bool {
        let operation = match &self.operation {
            Operation::Read => false,
            Operation::Mutate(mutation) => mutation.relation.user_code.on_write,
            Operation::Call(_) => true,
        };
        operation
            || self.read.as_ref().is_some_and(Level::runs_user_code)
            || matches!(self.format.format, BodyFormat::Aggregate { .. })
    }

    /// Whether anything that runs may look at more of the request than who calls.
    pub fn looks_beyond_caller(&self) -> bool {
        let written = match &self.operation {
            Operation::Mutate(mutation) => mutation.relation.looks_beyond_caller.on_write,
            Operation::Read | Operation::Call(_) => false,
        };
        written || self.runs_user_code() || self.read.as_ref().is_some_and(Level::looks_beyond_caller)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum Plan {
    Statement(Box<StatementPlan>),
    Root(Negotiated),
    /// `Allow` of an OPTIONS request.
    Describe(Cow<'static, str>),
}

/// # Errors
/// PGRST105, 107, 108, 114, 115, 118, 120, 122, 123, 127, 128, 200-205.
pub fn plan(request: &ApiRequest, cache: &SchemaCache, settings: PlanSettings) -> Result<Plan, NativeError> {
    request.preferences.check()?;
    match &request.action {
        Action::ReadRoot => negotiate::root(&request.accept).map(Plan::Root),
        Action::Describe(target) => describe(target, cache).map(Plan::Describe),
        Action::Read { relation } => {
            let relation = find_relation(cache, relation)?;
            let format = negotiate::relation(&request.accept, cache, &relation.name, is_default(request), settings)?;
            let read = read::plan_read(request, cache, settings, relation)?;
            Ok(statement(Operation::Read, Some(read), format, request, settings))
        }
        Action::Mutate { relation, mutation } => {
            let relation = find_relation(cache, relation)?;
            let format = negotiate::relation(&request.accept, cache, &relation.name, is_default(request), settings)?;
            let (mutation, read) = mutate::plan_mutation(request, cache, settings, relation, mutation)?;
            Ok(statement(Operation::Mutate(mutation), read, format, request, settings))
        }
        Action::Call { function, input } => {
            let call = call::resolve(cache, function, input)?;
            if request.preferences.enforced_max_affected().is_some() && !call.function.returns_set {
                return Err(NativeError::bad_request(
                    "PGRST128",
                    "Function must return SETOF or TABLE when max-affected preference is used with handling=strict",
                ));
            }
            let format = negotiate::function(&request.accept, cache, &call.function, is_default(request), settings)?;
            let read = call::plan_result(request, cache, settings, &call.function)?;
            Ok(statement(Operation::Call(call), read, format, request, settings))
        }
    }
}

fn statement(
    operation: Operation,
    read: Option<Level>,
    format: Negotiated,
    request: &ApiRequest,
    settings: PlanSettings,
) -> Plan {
    let count = request.preferences.count;
    Plan::Statement(Box::new(StatementPlan { operation, read, format, count, max_rows: settings.max_rows }))
}

fn is_default(request: &ApiRequest) -> bool {
    request
        .query
        .select
        .as_ref()
        .is_none_or(|items| items.is_empty() || *items == [super::request::select::SelectItem::Star])
}

/// # Errors
/// 404 PGRST205 with the nearest name as hint.
pub fn find_relation<'a>(cache: &'a SchemaCache, name: &str) -> Result<&'a Arc<Relation>, NativeError> {
    cache.relation(name).ok_or_else(|| {
        NativeError::new(
            StatusCode::NOT_FOUND,
            "PGRST205",
            format!("Could not find the table 'public.{name}' in the schema cache"),
        )
        .maybe_hint(cache.similar_relation(name).map(|near| format!("Perhaps you meant the table 'public.{near}'")))
    })
}

/// The value of `Allow` (02 §7.3).
fn describe(target: &Target, cache: &SchemaCache) -> Result<Cow<'static, str>, NativeError> {
    match target {
        Target::Root => Ok("OPTIONS,GET,HEAD".into()),
        Target::Relation(name) => {
            let relation = find_relation(cache, name)?;
            let upsertable = relation.insertable && relation.updatable && !relation.primary_key.is_empty();
            let mut allowed = vec!["OPTIONS", "GET", "HEAD"];
            allowed.extend(relation.insertable.then_some("POST"));
            allowed.extend(upsertable.then_some("PUT"));
            allowed.extend(relation.updatable.then_some("PATCH"));
            allowed.extend(relation.deletable.then_some("DELETE"));
            Ok(allowed.join(",").into())
        }
        Target::Function(name) => match cache.functions(name) {
            [] => Err(call::not_found(cache, name, &BTreeSet::new(), false)),
            overloads if overloads.iter().all(|one| one.volatility == Volatility::Volatile) => {
                Ok("OPTIONS,POST".into())
            }
            _ => Ok("OPTIONS,GET,HEAD,POST".into()),
        },
    }
}

/// Is the result of this function shown as rows that can be shaped?
pub fn returns_rows(function: &Function) -> bool {
    matches!(function.returns, super::schema_cache::Returns::Row { .. })
}
