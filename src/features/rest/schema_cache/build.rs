//! From catalog rows to the snapshot: traces views to their base tables and fills in what follows from that.

use std::collections::{BTreeSet, HashMap};

use super::{
    Column, Function, Link, MediaAggregate, Parameter, Relation, Relationship, Returns, SchemaCache, Volatility,
    relationships::{self, ForeignKey},
    store::{Catalog, ConstraintRow, FunctionRow, RelationRow},
    view_origin,
};

/// Bits of `pg_relation_is_updatable`: 1 shifted by the command's number in Postgres.
const CAN_UPDATE: i32 = 1 << 2;
const CAN_INSERT: i32 = 1 << 3;
const CAN_DELETE: i32 = 1 << 4;

/// Views of views are followed this far.
const MAX_VIEW_DEPTH: usize = 16;

/// A column of a base table.
type BaseColumn = (u32, i16);

pub fn build(catalog: Catalog) -> SchemaCache {
    let origins = base_columns(&catalog);
    let keys = Keys::collect(&catalog.constraints);
    let mut relations: HashMap<u32, Relation> = HashMap::new();
    for row in &catalog.relations {
        relations.insert(row.oid, relation(row, &keys, &origins));
    }
    fill_view_defaults(&mut relations, &catalog, &origins);
    let names: HashMap<u32, &str> = catalog.relations.iter().map(|row| (row.oid, row.name.as_str())).collect();
    let partitions: BTreeSet<u32> =
        catalog.relations.iter().filter(|row| row.is_partition).map(|row| row.oid).collect();
    let foreign_keys = foreign_keys(&catalog, &keys, &origins, &partitions);
    let primary_keys: HashMap<&str, &[String]> =
        relations.values().map(|relation| (relation.name.as_str(), relation.primary_key.as_slice())).collect();
    let mut links = relationships::derive(&foreign_keys, &primary_keys);
    links.extend(catalog.functions.iter().filter_map(|row| computed_relationship(row, &names)));
    let functions = catalog.functions.iter().filter(|row| !row.is_aggregate).map(|row| function(row, &names)).collect();
    let media_aggregates = catalog.functions.iter().filter_map(|row| media_aggregate(row, &names)).collect();
    let mut cache = SchemaCache::new(relations.into_values().collect(), links, functions);
    cache.media_aggregates = media_aggregates;
    cache.postgis_schema = catalog.postgis_schema;
    cache.comment = catalog.comment;
    cache
}

/// For each view, the base table column behind each of its columns.
type ViewColumns = HashMap<u32, Vec<(i16, BaseColumn)>>;

fn base_columns(catalog: &Catalog) -> ViewColumns {
    let direct: HashMap<u32, HashMap<i16, BaseColumn>> = catalog
        .views
        .iter()
        .map(|view| {
            let columns = view_origin::origins(&view.rule);
            (view.oid, columns.into_iter().map(|(position, table, column)| (position, (table, column))).collect())
        })
        .collect();
    let trace = |start: BaseColumn| -> Option<BaseColumn> {
        let mut at = start;
        for _ in 0..MAX_VIEW_DEPTH {
            match direct.get(&at.0) {
                None => return Some(at),
                Some(columns) => at = *columns.get(&at.1)?,
            }
        }
        None
    };
    direct
        .iter()
        .map(|(view, columns)| {
            let mut traced: Vec<_> =
                columns.iter().filter_map(|(position, origin)| Some((*position, trace(*origin)?))).collect();
            traced.sort_unstable();
            (*view, traced)
        })
        .collect()
}

/// Primary and unique keys by table.
struct Keys {
    primary: HashMap<u32, Vec<i16>>,
    unique: HashMap<u32, Vec<BTreeSet<i16>>>,
}

impl Keys {
    fn collect(constraints: &[ConstraintRow]) -> Self {
        let mut keys = Self { primary: HashMap::new(), unique: HashMap::new() };
        for row in constraints {
            if row.kind == "p" {
                keys.primary.insert(row.relation, row.columns.clone());
            }
            if row.kind == "p" || row.kind == "u" {
                keys.unique.entry(row.relation).or_default().push(row.columns.iter().copied().collect());
            }
        }
        keys
    }

    fn is_unique(&self, table: u32, columns: &[i16]) -> bool {
        let columns: BTreeSet<i16> = columns.iter().copied().collect();
        self.unique.get(&table).is_some_and(|keys| keys.contains(&columns))
    }
}

fn relation(row: &RelationRow, keys: &Keys, origins: &ViewColumns) -> Relation {
    let name_of =
        |position: i16| row.columns.iter().find(|column| column.position == position).map(|column| column.name.clone());
    let primary_key: Vec<String> = match origins.get(&row.oid) {
        None => keys.primary.get(&row.oid).into_iter().flatten().filter_map(|position| name_of(*position)).collect(),
        Some(columns) => view_primary_key(columns, keys).into_iter().filter_map(name_of).collect(),
    };
    let is_view = row.kind == "v" || row.kind == "m";
    Relation {
        name: row.name.clone(),
        is_view,
        primary_key,
        insertable: row.writable & CAN_INSERT != 0,
        updatable: row.writable & CAN_UPDATE != 0,
        deletable: row.writable & CAN_DELETE != 0,
        user_code: row.user_code,
        looks_beyond_caller: row.looks_beyond_caller,
        comment: row.comment.clone(),
        columns: row
            .columns
            .iter()
            .map(|column| Column {
                name: column.name.clone(),
                type_name: column.type_name.clone(),
                base_type: column.base_type.clone(),
                shape: column.shape,
                nullable: column.nullable,
                default: column.default.clone(),
                always_generated: column.always_generated,
                max_length: column.max_length,
                enum_labels: column.enum_labels.clone().unwrap_or_default(),
                comment: column.comment.clone(),
            })
            .collect(),
    }
}

/// The positions in the view of the first base table's key that is there whole.
fn view_primary_key(columns: &[(i16, BaseColumn)], keys: &Keys) -> Vec<i16> {
    let mut tried = Vec::new();
    for (_, (table, _)) in columns {
        if tried.contains(table) {
            continue;
        }
        tried.push(*table);
        if let Some(key) = keys.primary.get(table).and_then(|key| positions_in_view(columns, *table, key)) {
            return key;
        }
    }
    Vec::new()
}

/// Where the view shows these columns of a base table; None unless it shows them all.
fn positions_in_view(columns: &[(i16, BaseColumn)], table: u32, wanted: &[i16]) -> Option<Vec<i16>> {
    wanted
        .iter()
        .map(|column| columns.iter().find(|(_, base)| *base == (table, *column)).map(|(position, _)| *position))
        .collect()
}

/// A view column without a default of its own gets its base column's, for `missing=default`.
fn fill_view_defaults(relations: &mut HashMap<u32, Relation>, catalog: &Catalog, origins: &ViewColumns) {
    let defaults: HashMap<BaseColumn, &str> = catalog
        .relations
        .iter()
        .flat_map(|row| {
            row.columns.iter().filter_map(|column| Some(((row.oid, column.position), column.default.as_deref()?)))
        })
        .collect();
    for row in &catalog.relations {
        let (Some(columns), Some(relation)) = (origins.get(&row.oid), relations.get_mut(&row.oid)) else { continue };
        for (position, base) in columns {
            let Some(index) = row.columns.iter().position(|column| column.position == *position) else { continue };
            if relation.columns[index].default.is_none() {
                relation.columns[index].default = defaults.get(base).map(|&text| text.to_owned());
            }
        }
    }
}

/// Every foreign key with names instead of numbers, and once more for every view that can stand for either
/// of its ends.
fn foreign_keys(catalog: &Catalog, keys: &Keys, origins: &ViewColumns, partitions: &BTreeSet<u32>) -> Vec<ForeignKey> {
    let rows: HashMap<u32, &RelationRow> = catalog.relations.iter().map(|row| (row.oid, row)).collect();
    let names = |oid: u32, positions: &[i16]| -> Option<(String, Vec<String>)> {
        let row = rows.get(&oid)?;
        let columns = positions
            .iter()
            .map(|position| row.columns.iter().find(|column| column.position == *position).map(|c| c.name.clone()))
            .collect::<Option<Vec<_>>>()?;
        Some((row.name.clone(), columns))
    };
    // A base table and all views that show the wanted columns.
    let stand_ins = |table: u32, positions: &[i16]| -> Vec<(String, Vec<String>, bool)> {
        let itself = names(table, positions).map(|(name, columns)| (name, columns, false));
        let mut views: Vec<_> = origins
            .iter()
            .filter_map(|(view, columns)| {
                let (name, columns) = names(*view, &positions_in_view(columns, table, positions)?)?;
                Some((name, columns, true))
            })
            .collect();
        views.sort();
        itself.into_iter().chain(views).collect()
    };
    let mut found = Vec::new();
    for row in catalog.constraints.iter().filter(|row| row.kind == "f") {
        let Some(target_columns) = &row.target_columns else { continue };
        if partitions.contains(&row.relation) || partitions.contains(&row.target) {
            continue;
        }
        let unique = keys.is_unique(row.relation, &row.columns);
        for (origin, origin_columns, origin_view) in stand_ins(row.relation, &row.columns) {
            for (target, target_columns, target_view) in stand_ins(row.target, target_columns) {
                found.push(ForeignKey {
                    constraint: row.name.clone(),
                    origin: origin.clone(),
                    target,
                    columns: origin_columns.iter().cloned().zip(target_columns).collect(),
                    unique,
                    through_view: origin_view || target_view,
                });
            }
        }
    }
    found
}

fn computed_relationship(row: &FunctionRow, names: &HashMap<u32, &str>) -> Option<Relationship> {
    let [parameter] = row.parameters.as_slice() else { return None };
    if row.is_aggregate || parameter.variadic {
        return None;
    }
    let origin = *names.get(&parameter.relation)?;
    let target = *names.get(&row.result_relation)?;
    let single = !row.returns_set || (row.estimated_rows - 1.0).abs() < f64::EPSILON;
    Some(Relationship {
        origin: origin.to_owned(),
        target: target.to_owned(),
        through_view: false,
        link: Link::Computed { function: row.name.clone(), single },
    })
}

fn function(row: &FunctionRow, names: &HashMap<u32, &str>) -> Function {
    let first_default = row.parameters.len().saturating_sub(row.default_count);
    Function {
        name: row.name.clone(),
        parameters: row
            .parameters
            .iter()
            .enumerate()
            .map(|(index, parameter)| Parameter {
                name: parameter.name.clone().unwrap_or_default(),
                type_name: parameter.type_name.clone(),
                required: index < first_default && !parameter.variadic,
                variadic: parameter.variadic,
            })
            .collect(),
        returns: if row.returns_void {
            Returns::Void
        } else if row.returns_row {
            Returns::Row { relation: names.get(&row.result_relation).map(|&name| name.to_owned()) }
        } else {
            Returns::Scalar
        },
        returns_set: row.returns_set,
        volatility: match row.volatility.as_str() {
            "i" => Volatility::Immutable,
            "s" => Volatility::Stable,
            _ => Volatility::Volatile,
        },
        media_type: row.media_type.clone(),
        comment: row.comment.clone(),
    }
}

fn media_aggregate(row: &FunctionRow, names: &HashMap<u32, &str>) -> Option<MediaAggregate> {
    let [parameter] = row.parameters.as_slice() else { return None };
    let relation = names.get(&parameter.relation).map(|&name| name.to_owned());
    if !row.is_aggregate || (relation.is_none() && !parameter.is_anyelement) {
        return None;
    }
    Some(MediaAggregate { function: row.name.clone(), media_type: row.media_type.clone()?, relation })
}
