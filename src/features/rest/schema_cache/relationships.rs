//! From foreign keys to relationships in both directions (contract 02 §7.7).

use std::collections::HashMap;

use super::{ColumnPairs, Junction, Link, Relationship};

/// A foreign key, or a view's rendering of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignKey {
    pub constraint: String,
    pub origin: String,
    pub target: String,
    /// (column of the origin, column of the target)
    pub columns: ColumnPairs,
    /// The origin's columns are a primary or unique key, so at most one row points at a target.
    pub unique: bool,
    pub through_view: bool,
}

/// All relationships that follow. `primary_keys` decides which relations are junctions.
pub fn derive(foreign_keys: &[ForeignKey], primary_keys: &HashMap<&str, &[String]>) -> Vec<Relationship> {
    let mut found: Vec<Relationship> = foreign_keys.iter().flat_map(both_directions).collect();
    found.extend(through_junctions(foreign_keys, primary_keys));
    found
}

fn both_directions(key: &ForeignKey) -> [Relationship; 2] {
    let constraint = || key.constraint.clone();
    let columns = key.columns.clone();
    let reversed = reverse(&key.columns);
    let (forward, backward) = if key.unique {
        (
            Link::OneToOne { constraint: constraint(), columns, from_origin: true },
            Link::OneToOne { constraint: constraint(), columns: reversed, from_origin: false },
        )
    } else {
        (
            Link::ManyToOne { constraint: constraint(), columns },
            Link::OneToMany { constraint: constraint(), columns: reversed },
        )
    };
    let relationship = |origin: &str, target: &str, link| Relationship {
        origin: origin.to_owned(),
        target: target.to_owned(),
        through_view: key.through_view,
        link,
    };
    [relationship(&key.origin, &key.target, forward), relationship(&key.target, &key.origin, backward)]
}

/// A relation with two foreign keys whose columns together lie in its primary key joins their targets.
fn through_junctions(foreign_keys: &[ForeignKey], primary_keys: &HashMap<&str, &[String]>) -> Vec<Relationship> {
    let mut by_origin: HashMap<&str, Vec<&ForeignKey>> = HashMap::new();
    for key in foreign_keys {
        by_origin.entry(&key.origin).or_default().push(key);
    }
    let mut found = Vec::new();
    for first in foreign_keys {
        let Some(primary_key) = primary_keys.get(first.origin.as_str()) else { continue };
        let in_key = |key: &ForeignKey| key.columns.iter().all(|(column, _)| primary_key.contains(column));
        if !in_key(first) {
            continue;
        }
        for second in by_origin.get(first.origin.as_str()).into_iter().flatten() {
            if first.constraint == second.constraint || !in_key(second) {
                continue;
            }
            found.push(Relationship {
                origin: first.target.clone(),
                target: second.target.clone(),
                through_view: first.through_view || second.through_view,
                link: Link::ManyToMany(Junction {
                    relation: first.origin.clone(),
                    constraints: (first.constraint.clone(), second.constraint.clone()),
                    origin_columns: reverse(&first.columns),
                    target_columns: second.columns.clone(),
                }),
            });
        }
    }
    found
}

fn reverse(columns: &ColumnPairs) -> ColumnPairs {
    columns.iter().map(|(a, b)| (b.clone(), a.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(constraint: &str, origin: &str, column: &str, target: &str, unique: bool) -> ForeignKey {
        ForeignKey {
            constraint: constraint.into(),
            origin: origin.into(),
            target: target.into(),
            columns: vec![(column.into(), "id".into())],
            unique,
            through_view: false,
        }
    }

    #[test]
    fn every_key_works_in_both_directions() {
        let derived = derive(&[key("fk", "books", "author_id", "authors", false)], &HashMap::new());
        assert!(matches!(&derived[0], Relationship { origin, link: Link::ManyToOne { .. }, .. } if origin == "books"));
        let Link::OneToMany { columns, .. } = &derived[1].link else { panic!() };
        assert_eq!(columns[0], ("id".to_owned(), "author_id".to_owned()));
        let derived = derive(&[key("fk", "details", "book_id", "books", true)], &HashMap::new());
        assert!(derived.iter().all(Relationship::is_to_one));
    }

    #[test]
    fn a_junction_needs_both_keys_inside_its_primary_key() {
        let keys = [key("a", "book_tags", "book_id", "books", false), key("b", "book_tags", "tag_id", "tags", false)];
        let both = ["book_id".to_owned(), "tag_id".to_owned()];
        let many = |primary: &[String]| {
            derive(&keys, &HashMap::from([("book_tags", primary)]))
                .into_iter()
                .filter(|one| matches!(one.link, Link::ManyToMany(_)))
                .collect::<Vec<_>>()
        };
        let found = many(&both);
        assert_eq!(found.len(), 2);
        let Link::ManyToMany(junction) = &found[0].link else { panic!() };
        assert_eq!(junction.origin_columns[0], ("id".to_owned(), "book_id".to_owned()));
        assert_eq!(junction.target_columns[0], ("tag_id".to_owned(), "id".to_owned()));
        assert!(many(&both[..1]).is_empty());
        assert!(many(&[]).is_empty());
    }
}
