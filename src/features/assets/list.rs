//! The query of the listing (contract 04 §6.7). Pure.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp as Instant;
use serde::{Deserialize, Serialize};

use super::store::Stored;
use crate::common::{ApiError, ApiResult, Timestamp, exact_limit};

const DEFAULT_LIMIT: i64 = 100;
const MAX_LIMIT: i64 = 1000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    Key,
    OldestFirst,
    NewestFirst,
}

impl Sort {
    fn as_str(self) -> &'static str {
        match self {
            Self::Key => "key:asc",
            Self::OldestFirst => "createdAt:asc",
            Self::NewestFirst => "createdAt:desc",
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Filter {
    pub uploaded_by: Option<String>,
    pub tag: Option<String>,
    pub format: Option<String>,
    pub is_image: Option<bool>,
    pub min_width: Option<i32>,
    pub max_width: Option<i32>,
    pub min_height: Option<i32>,
    pub max_height: Option<i32>,
}

/// After which row a page begins. By age, the date too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct After {
    pub key: String,
    pub created_at: Option<Timestamp>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ListQuery {
    pub prefix: String,
    pub limit: i64,
    pub sort: Sort,
    pub after: Option<After>,
    pub filter: Filter,
}

/// A cursor of a listing by age.
#[derive(Serialize, Deserialize)]
struct AgeCursor {
    s: String,
    /// Microseconds of the Unix epoch.
    ts: i64,
    key: String,
}

impl ListQuery {
    /// # Errors
    /// 400 with the code of what is wrong.
    pub fn parse(query: &str) -> ApiResult<Self> {
        let (mut prefix, mut limit, mut sort, mut cursor) = (String::new(), DEFAULT_LIMIT, Sort::Key, None);
        let mut filter = Filter::default();
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            if value.contains('\0') {
                return Err(ApiError::bad_request("INVALID_FILTER_VALUE", "The query may not contain NUL characters."));
            }
            match &*name {
                "prefix" => prefix = value.into_owned(),
                "limit" => limit = exact_limit("limit", Some(&value), DEFAULT_LIMIT, MAX_LIMIT)?,
                "sort" => sort = parse_sort(&value)?,
                "cursor" => cursor = Some(value.into_owned()),
                _ => {
                    if let Some(key) = filter_key(&name) {
                        filter.set(key, &value)?;
                    }
                }
            }
        }
        let after = cursor.map(|cursor| parse_cursor(&cursor, sort)).transpose()?;
        Ok(Self { prefix, limit, sort, after, filter })
    }

    /// The cursor of the page after this row.
    pub fn cursor(&self, last: &Stored) -> String {
        match self.sort {
            Sort::Key => last.key.clone(),
            sort => {
                let cursor = AgeCursor {
                    s: sort.as_str().into(),
                    ts: last.created_at.0.as_microsecond(),
                    key: last.key.clone(),
                };
                URL_SAFE_NO_PAD.encode(serde_json::to_vec(&cursor).unwrap_or_default())
            }
        }
    }
}

fn parse_sort(text: &str) -> ApiResult<Sort> {
    [Sort::Key, Sort::OldestFirst, Sort::NewestFirst]
        .into_iter()
        .find(|sort| sort.as_str() == text)
        .ok_or_else(|| ApiError::bad_request("INVALID_SORT", "sort must be key:asc, createdAt:asc or createdAt:desc."))
}

fn parse_cursor(cursor: &str, sort: Sort) -> ApiResult<After> {
    let age = URL_SAFE_NO_PAD.decode(cursor).ok().and_then(|bytes| serde_json::from_slice::<AgeCursor>(&bytes).ok());
    let wrong = || {
        ApiError::bad_request(
            "INVALID_CURSOR_FOR_SORT",
            "The cursor is not one this listing gave out with this sort. Start without it.",
        )
    };
    match (sort, age) {
        (Sort::Key, None) => Ok(After { key: cursor.to_owned(), created_at: None }),
        (Sort::OldestFirst | Sort::NewestFirst, Some(age)) if age.s == sort.as_str() && !age.key.contains('\0') => {
            let at = Instant::from_microsecond(age.ts).map_err(|_| wrong())?;
            Ok(After { key: age.key, created_at: Some(Timestamp(at)) })
        }
        _ => Err(wrong()),
    }
}

/// The key of `filter[<key>]` and `filter.<key>`.
fn filter_key(name: &str) -> Option<&str> {
    let rest = name.strip_prefix("filter")?;
    rest.strip_prefix('.').or_else(|| rest.strip_prefix('[')?.strip_suffix(']'))
}

impl Filter {
    fn set(&mut self, key: &str, value: &str) -> ApiResult<()> {
        let invalid =
            || ApiError::bad_request("INVALID_FILTER_VALUE", format!("filter[{key}] does not have a valid value."));
        let pixels = || value.parse::<i32>().ok().filter(|pixels| *pixels >= 0).ok_or_else(invalid);
        match key {
            "uploaded_by" => self.uploaded_by = Some(value.to_owned()),
            "tag" => self.tag = Some(value.to_owned()),
            "format" => self.format = Some(value.to_owned()),
            "is_image" => self.is_image = Some(value.parse().map_err(|_| invalid())?),
            "min_width" => self.min_width = Some(pixels()?),
            "max_width" => self.max_width = Some(pixels()?),
            "min_height" => self.min_height = Some(pixels()?),
            "max_height" => self.max_height = Some(pixels()?),
            _ => {
                return Err(ApiError::bad_request(
                    "INVALID_FILTER_KEY",
                    "Filters are uploaded_by, tag, format, is_image, min_width, max_width, min_height and max_height.",
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_of_filters_are_one() {
        for query in [
            "filter[is_image]=true&filter[min_width]=5",
            "filter.is_image=true&filter.min_width=5",
            "filter%5Bis_image%5D=true&filter%5Bmin_width%5D=5",
        ] {
            let parsed = ListQuery::parse(query).unwrap();
            assert_eq!((parsed.filter.is_image, parsed.filter.min_width), (Some(true), Some(5)), "{query}");
        }
    }

    #[test]
    fn each_mistake_has_its_code() {
        for (query, code) in [
            ("limit=0", "INVALID_LIMIT"),
            ("limit=1001", "INVALID_LIMIT"),
            ("limit=x", "INVALID_LIMIT"),
            ("sort=size", "INVALID_SORT"),
            ("filter[color]=red", "INVALID_FILTER_KEY"),
            ("filter.=red", "INVALID_FILTER_KEY"),
            ("filter[is_image]=maybe", "INVALID_FILTER_VALUE"),
            ("filter[min_width]=-1", "INVALID_FILTER_VALUE"),
            ("filter[tag]=%00", "INVALID_FILTER_VALUE"),
            ("sort=createdAt:desc&cursor=a.txt", "INVALID_CURSOR_FOR_SORT"),
            ("sort=createdAt:asc&cursor=e30", "INVALID_CURSOR_FOR_SORT"),
        ] {
            assert_eq!(ListQuery::parse(query).unwrap_err().code(), code, "{query}");
        }
    }

    #[test]
    fn a_cursor_belongs_to_its_sort() {
        let cursor = URL_SAFE_NO_PAD.encode(r#"{"s":"createdAt:asc","ts":1500000,"key":"a"}"#);
        let parse = |sort: &str| ListQuery::parse(&format!("sort={sort}&cursor={cursor}"));
        let after = parse("createdAt:asc").unwrap().after.unwrap();
        assert_eq!((after.key.as_str(), after.created_at.unwrap().as_millis()), ("a", 1500));
        assert!(parse("createdAt:desc").is_err());
        assert!(parse("key:asc").is_err());
        assert_eq!(ListQuery::parse("cursor=a%2Fb").unwrap().after.unwrap().key, "a/b");
    }
}
