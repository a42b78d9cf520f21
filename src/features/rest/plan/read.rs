//! Builds the tree of SELECT levels: items, embeds, filters, order, limits (contract 02 §7.5-7.8).

use std::sync::Arc;

use super::{
    Embed, Item, Join, Level, OrderBy, OrderKey, PlanSettings, PlannedField, Predicate, Source, SpreadColumn, embed,
};
use crate::features::rest::{
    error::NativeError,
    request::{
        ApiRequest,
        filter::{Filter, IsValue, LogicTree, Operation},
        grammar::Field,
        query_string::QueryParameters,
        range::Limits,
        select::{JoinKind, OrderTerm, SelectEmbed, SelectField, SelectItem},
    },
    schema_cache::{Link, Relation, SchemaCache, TypeShape},
};

/// Which of the request's root parameters shape the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RootParameters {
    /// Filters, order and limits: reads and function results.
    All,
    /// Order only: of a write, filters choose what is written and limits have no meaning.
    OrderOnly,
}

/// # Errors
/// PGRST108, 118, 120, 123, 127, 200, 201.
pub fn plan_read(
    request: &ApiRequest,
    cache: &SchemaCache,
    settings: PlanSettings,
    relation: &Arc<Relation>,
) -> Result<Level, NativeError> {
    let mut planner = Planner::new(cache, settings, &relation.name);
    let source = Source::Relation(relation.name.clone());
    let mut level = planner.root(&request.query, source, &relation.name, Some(relation))?;
    planner.apply(&mut level, &request.query, RootParameters::All)?;
    level.limits = request.range.capped(settings.max_rows);
    Ok(level)
}

/// Gives out aliases and looks things up while a tree is built.
pub struct Planner<'a> {
    cache: &'a SchemaCache,
    settings: PlanSettings,
    root_name: String,
    next_alias: usize,
}

impl<'a> Planner<'a> {
    pub fn new(cache: &'a SchemaCache, settings: PlanSettings, root_name: &str) -> Self {
        Self { cache, settings, root_name: root_name.to_owned(), next_alias: 0 }
    }

    pub fn root(
        &mut self,
        query: &QueryParameters,
        source: Source,
        name: &str,
        relation: Option<&Arc<Relation>>,
    ) -> Result<Level, NativeError> {
        let everything = [SelectItem::Star];
        let items = match query.select.as_deref() {
            None | Some([]) => &everything[..],
            Some(items) => items,
        };
        self.level(source, name.to_owned(), name, relation, items)
    }

    /// A readable alias that no other relation of the statement has. Postgres cuts names at 63 bytes.
    fn alias(&mut self, name: &str) -> String {
        let stem = &name[..name.floor_char_boundary(50)];
        loop {
            self.next_alias += 1;
            let alias = format!("{stem}_{}", self.next_alias);
            if alias != self.root_name {
                return alias;
            }
        }
    }

    fn level(
        &mut self,
        source: Source,
        alias: String,
        name: &str,
        relation: Option<&Arc<Relation>>,
        selected: &[SelectItem],
    ) -> Result<Level, NativeError> {
        let mut level = Level {
            source,
            alias,
            relation: relation.cloned(),
            items: Vec::with_capacity(selected.len()),
            predicates: Vec::new(),
            order: Vec::new(),
            limits: Limits::default(),
            embeds: Vec::new(),
        };
        for item in selected {
            match item {
                SelectItem::Star => level.items.push(Item::Star),
                SelectItem::Field(field) => level.items.push(self.column(field, relation.map(AsRef::as_ref))?),
                SelectItem::Embed(selected) => {
                    let mut embed = self.embed(name, selected)?;
                    let index = level.embeds.len();
                    if selected.spread {
                        let columns = lift(&mut embed)?;
                        level.items.push(Item::Spread { embed: index, columns });
                    } else if !selected.items.is_empty() {
                        level.items.push(Item::Embed(index));
                    }
                    level.embeds.push(embed);
                }
            }
        }
        if level.is_grouped() {
            expand_star(&mut level);
        }
        Ok(level)
    }

    fn column(&self, selected: &SelectField, relation: Option<&Relation>) -> Result<Item, NativeError> {
        if selected.aggregate.is_some() && !self.settings.aggregates {
            return Err(NativeError::bad_request("PGRST123", "Use of aggregate functions is not allowed"));
        }
        let default_name = match (&selected.aggregate, &selected.field) {
            (Some(aggregate), _) => aggregate.name(),
            (None, Some(field)) => field.output_name(),
            (None, None) => "count",
        };
        Ok(Item::Column {
            name: selected.alias.as_deref().unwrap_or(default_name).to_owned(),
            field: selected.field.as_ref().map(|field| resolve(field, relation, Use::Value)),
            cast: selected.cast.clone(),
            aggregate: selected.aggregate.map(|aggregate| (aggregate, selected.aggregate_cast.clone())),
        })
    }

    fn embed(&mut self, origin: &str, selected: &SelectEmbed) -> Result<Embed, NativeError> {
        let relationship = embed::find(self.cache, origin, selected)?;
        let target = self.cache.relation(&relationship.target);
        let table_alias = self.alias(&relationship.target);
        let (source, join) = match &relationship.link {
            Link::ManyToOne { columns, .. } | Link::OneToMany { columns, .. } | Link::OneToOne { columns, .. } => {
                (Source::Relation(relationship.target.clone()), Join::Columns(columns.clone()))
            }
            Link::ManyToMany(junction) => (
                Source::Relation(relationship.target.clone()),
                Join::Junction {
                    relation: junction.relation.clone(),
                    alias: self.alias(&junction.relation),
                    parent: junction.origin_columns.clone(),
                    child: junction.target_columns.clone(),
                },
            ),
            Link::Computed { function, .. } => {
                (Source::Computed { function: function.clone(), origin: relationship.origin.clone() }, Join::Computed)
            }
        };
        let alias = self.alias("pgrst_embed");
        let level = self.level(source, table_alias, &relationship.target, target, &selected.items)?;
        Ok(Embed {
            name: selected.name().to_owned(),
            alias,
            join,
            to_one: relationship.is_to_one(),
            inner: selected.join == Some(JoinKind::Inner),
            spread: selected.spread,
            order_keys: Vec::new(),
            level,
        })
    }

    /// Puts filters, order and limits where their paths say.
    pub fn apply(&self, root: &mut Level, query: &QueryParameters, wanted: RootParameters) -> Result<(), NativeError> {
        for (path, tree) in &query.filters {
            if path.is_empty() && wanted == RootParameters::OrderOnly {
                continue;
            }
            let level = descend(root, path)?;
            let predicate = predicate(level, tree)?;
            level.predicates.push(predicate);
        }
        for (path, terms) in &query.order {
            let level = descend(root, path)?;
            for term in terms {
                let order = order_by(level, term)?;
                level.order.push(order);
            }
        }
        for (path, limits) in &query.limits {
            if !path.is_empty() {
                descend(root, path)?.limits = *limits;
            }
        }
        Ok(())
    }
}

/// The level a path of embed names leads to.
fn descend<'l>(root: &'l mut Level, path: &[String]) -> Result<&'l mut Level, NativeError> {
    let mut level = root;
    for name in path {
        level = level
            .embeds
            .iter_mut()
            .find(|embed| embed.name == *name)
            .map(|embed| &mut embed.level)
            .ok_or_else(|| not_embedded(name))?;
    }
    Ok(level)
}

fn not_embedded(name: &str) -> NativeError {
    NativeError::bad_request("PGRST108", format!("'{name}' is not an embedded resource in this request"))
        .hint(format!("Verify that '{name}' is included in the 'select' query parameter."))
}

/// A filter without regard to embeds, for the WHERE of a write.
pub fn plain_predicate(tree: &LogicTree, relation: &Relation) -> Predicate {
    match tree {
        LogicTree::Leaf(filter) => compare(filter, Some(relation)),
        LogicTree::Node { negated, connective, children } => Predicate::Node {
            negated: *negated,
            connective: *connective,
            children: children.iter().map(|child| plain_predicate(child, relation)).collect(),
        },
    }
}

fn predicate(level: &Level, tree: &LogicTree) -> Result<Predicate, NativeError> {
    match tree {
        LogicTree::Node { negated, connective, children } => Ok(Predicate::Node {
            negated: *negated,
            connective: *connective,
            children: children.iter().map(|child| predicate(level, child)).collect::<Result<_, _>>()?,
        }),
        LogicTree::Leaf(filter) => {
            let relation = level.relation.as_deref();
            let embed = level.embeds.iter().position(|embed| embed.name == filter.field.name);
            let Some(embed) = embed.filter(|_| filter.field.path.is_empty()) else {
                return Ok(compare(filter, relation));
            };
            let wanted = match &filter.condition.operation {
                Operation::Is(IsValue::Null) => filter.condition.negated,
                Operation::Is(IsValue::NotNull) => !filter.condition.negated,
                // `author_id(*)` embeds by a column's name; the column can still be compared.
                _ if relation.is_some_and(|relation| relation.column(&filter.field.name).is_some()) => {
                    return Ok(compare(filter, relation));
                }
                _ => {
                    let name = &filter.field.name;
                    return Err(NativeError::bad_request(
                        "PGRST120",
                        format!("Bad operator on the '{name}' embedded resource"),
                    )
                    .details("Only is null or not is null filters are allowed on embedded resources"));
                }
            };
            Ok(Predicate::HasRows { embed, wanted })
        }
    }
}

fn compare(filter: &Filter, relation: Option<&Relation>) -> Predicate {
    let usage = match &filter.condition.operation {
        Operation::Search { .. } => Use::TextSearch,
        _ => Use::Comparison,
    };
    Predicate::Compare { field: resolve(&filter.field, relation, usage), condition: filter.condition.clone() }
}

fn order_by(level: &mut Level, term: &OrderTerm) -> Result<OrderBy, NativeError> {
    let key = match &term.relation {
        None => OrderKey::Field(resolve(&term.field, level.relation.as_deref(), Use::Comparison)),
        Some(name) => {
            let parent = level.relation.as_ref().map_or(level.alias.clone(), |relation| relation.name.clone());
            let index = level.embeds.iter().position(|embed| embed.name == *name).ok_or_else(|| not_embedded(name))?;
            let embed = &mut level.embeds[index];
            if !embed.to_one {
                return Err(NativeError::bad_request(
                    "PGRST118",
                    format!("A related order on '{name}' is not possible"),
                )
                .details(format!("'{parent}' and '{name}' do not form a many-to-one or one-to-one relationship")));
            }
            embed.order_keys.push(resolve(&term.field, embed.level.relation.as_deref(), Use::Comparison));
            OrderKey::Related { embed: index, key: embed.order_keys.len() - 1 }
        }
    };
    Ok(OrderBy { key, direction: term.direction, nulls: term.nulls })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Value,
    Comparison,
    TextSearch,
}

/// What the column's type demands. A name that is no column may be a computed field: it is left to Postgres.
fn resolve(field: &Field, relation: Option<&Relation>, usage: Use) -> PlannedField {
    let shape = relation.and_then(|relation| relation.column(&field.name)).map(|column| column.shape);
    let has_path = !field.path.is_empty();
    let to_jsonb = has_path
        && match shape {
            // json has no comparison operators.
            Some(TypeShape::Json) => usage != Use::Value,
            Some(TypeShape::Jsonb) | None => false,
            Some(_) => true,
        };
    let to_tsvector = usage == Use::TextSearch && (has_path || shape.is_some_and(|shape| shape != TypeShape::TsVector));
    PlannedField { name: field.name.clone(), path: field.path.clone(), to_jsonb, to_tsvector }
}

/// Writes `*` out as columns, where the names have to be known.
fn expand_star(level: &mut Level) {
    let Some(relation) = level.relation.clone() else { return };
    let items = std::mem::take(&mut level.items);
    for item in items {
        if item == Item::Star {
            level.items.extend(relation.columns.iter().map(|column| Item::Column {
                field: Some(resolve(&Field::column(&column.name), Some(&relation), Use::Value)),
                cast: None,
                aggregate: None,
                name: column.name.clone(),
            }));
        } else {
            level.items.push(item);
        }
    }
}

/// The columns a spread gives its parent. Aggregates of a to-one spread move up: the embed yields the plain
/// values and the parent aggregates them over its own groups.
fn lift(embed: &mut Embed) -> Result<Vec<SpreadColumn>, NativeError> {
    if !embed.to_one && embed.level.is_grouped() {
        return Err(NativeError::bad_request("PGRST127", "Feature not implemented")
            .details("Aggregates are not implemented for one-to-many or many-to-many spreads."));
    }
    expand_star(&mut embed.level);
    let names: Vec<String> = embed.level.embeds.iter().map(|embed| embed.name.clone()).collect();
    let mut lifted = Vec::new();
    for (index, item) in embed.level.items.iter_mut().enumerate() {
        match item {
            Item::Column { aggregate, name, .. } => {
                let output = name.clone();
                let hoisted = aggregate.take();
                if hoisted.is_some() {
                    *name = format!("pgrst_hoisted_{index}");
                }
                lifted.push(SpreadColumn { source: name.clone(), name: output, aggregate: hoisted });
            }
            Item::Embed(nested) => {
                let name = &names[*nested];
                lifted.push(SpreadColumn { source: name.clone(), name: name.clone(), aggregate: None });
            }
            Item::Spread { columns, .. } => {
                for (inner, column) in columns.iter_mut().enumerate() {
                    let output = column.name.clone();
                    let hoisted = column.aggregate.take();
                    if hoisted.is_some() {
                        column.name = format!("pgrst_hoisted_{index}_{inner}");
                    }
                    lifted.push(SpreadColumn { source: column.name.clone(), name: output, aggregate: hoisted });
                }
            }
            Item::Star => {}
        }
    }
    Ok(lifted)
}
