//! Reading JSON field by field: what is missing, mistyped, unknown or spelled twice is noted, and reading goes on.

use serde_json::{Map, Value};

use super::error::Violations;
use crate::engines::blobs::Sha256Digest;

/// The fields of one object; what is not taken is unknown.
pub(super) struct Fields {
    path: String,
    map: Map<String, Value>,
}

/// `parent.key`, or `key` at the top.
pub(super) fn join(parent: &str, key: &str) -> String {
    if parent.is_empty() { key.to_owned() } else { format!("{parent}.{key}") }
}

/// What a value is, for messages.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn mistyped(problems: &mut Violations, path: &str, wanted: &str, value: &Value) {
    let name = if path.is_empty() { "The spec" } else { path };
    problems.invalid(path, format!("{name} must be {wanted}, not {}.", kind(value)));
}

impl Fields {
    pub fn of(value: Value, path: impl Into<String>, problems: &mut Violations) -> Option<Self> {
        let path = path.into();
        match value {
            Value::Object(map) => Some(Self { path, map }),
            other => {
                mistyped(problems, &path, "an object", &other);
                None
            }
        }
    }

    /// The full path of one of its fields.
    pub fn at(&self, key: &str) -> String {
        join(&self.path, key)
    }

    pub fn has(&self, key: &str) -> bool {
        self.map.contains_key(key)
    }

    /// A field, null included.
    pub fn take(&mut self, key: &str) -> Option<Value> {
        self.map.remove(key)
    }

    /// A field under its wire name or an older spelling, never both.
    pub fn take_either(&mut self, key: &str, alias: &str, problems: &mut Violations) -> Option<Value> {
        match (self.map.remove(key), self.map.remove(alias)) {
            (Some(value), Some(_)) => {
                problems.invalid(self.at(key), format!("`{key}` and `{alias}` are the same field: send only `{key}`."));
                Some(value)
            }
            (value, aliased) => value.or(aliased),
        }
    }

    pub fn object(&mut self, key: &str, problems: &mut Violations) -> Option<Self> {
        let value = self.take(key)?;
        Self::of(value, self.at(key), problems)
    }

    pub fn list(&mut self, key: &str, problems: &mut Violations) -> Option<Vec<Value>> {
        let value = self.take(key)?;
        match value {
            Value::Array(items) => Some(items),
            other => {
                mistyped(problems, &self.at(key), "a list", &other);
                None
            }
        }
    }

    pub fn string(&mut self, key: &str, problems: &mut Violations) -> Option<String> {
        let value = self.take(key)?;
        string(value, &self.at(key), problems)
    }

    pub fn string_either(&mut self, key: &str, alias: &str, problems: &mut Violations) -> Option<String> {
        let value = self.take_either(key, alias, problems)?;
        string(value, &self.at(key), problems)
    }

    pub fn required_string(&mut self, key: &str, problems: &mut Violations) -> Option<String> {
        if !self.has(key) {
            problems.invalid(self.at(key), format!("{} is missing.", self.at(key)));
        }
        self.string(key, problems)
    }

    pub fn strings(&mut self, key: &str, problems: &mut Violations) -> Option<Vec<String>> {
        let items = self.list(key, problems)?;
        let path = self.at(key);
        Some(
            items
                .into_iter()
                .enumerate()
                .filter_map(|(index, item)| string(item, &format!("{path}.{index}"), problems))
                .collect(),
        )
    }

    pub fn boolean(&mut self, key: &str, problems: &mut Violations) -> Option<bool> {
        let value = self.take(key)?;
        boolean(&value, &self.at(key), problems)
    }

    pub fn boolean_either(&mut self, key: &str, alias: &str, problems: &mut Violations) -> Option<bool> {
        let value = self.take_either(key, alias, problems)?;
        boolean(&value, &self.at(key), problems)
    }

    pub fn integer(&mut self, key: &str, problems: &mut Violations) -> Option<u64> {
        let value = self.take(key)?;
        integer(&value, &self.at(key), problems)
    }

    pub fn integer_either(&mut self, key: &str, alias: &str, problems: &mut Violations) -> Option<u64> {
        let value = self.take_either(key, alias, problems)?;
        integer(&value, &self.at(key), problems)
    }

    pub fn digest(&mut self, key: &str, problems: &mut Violations) -> Option<Sha256Digest> {
        let text = self.required_string(key, problems)?;
        let parsed = text.parse();
        if parsed.is_err() {
            problems.invalid(self.at(key), format!("{} must be 64 lower-case hexadecimal digits.", self.at(key)));
        }
        parsed.ok()
    }

    /// Notes every field that nobody took.
    pub fn finish(self, problems: &mut Violations) {
        for key in self.map.keys() {
            let path = self.at(key);
            problems.invalid(path.clone(), format!("{path} is not a field of a release spec: remove it."));
        }
    }

    /// The entries of a map whose keys are the caller's.
    pub fn entries(self) -> impl Iterator<Item = (String, Value, String)> {
        let path = self.path;
        self.map.into_iter().map(move |(key, value)| {
            let at = join(&path, &key);
            (key, value, at)
        })
    }

    pub fn len(&self) -> usize {
        self.map.len()
    }
}

pub(super) fn string(value: Value, path: &str, problems: &mut Violations) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        other => {
            mistyped(problems, path, "a string", &other);
            None
        }
    }
}

fn boolean(value: &Value, path: &str, problems: &mut Violations) -> Option<bool> {
    if !value.is_boolean() {
        mistyped(problems, path, "true or false", value);
    }
    value.as_bool()
}

fn integer(value: &Value, path: &str, problems: &mut Violations) -> Option<u64> {
    let number = value.as_u64();
    if number.is_none() {
        problems.invalid(path, format!("{path} must be a whole number that is not negative."));
    }
    number
}

/// Notes each text that occurs twice and each that is also in `other`.
pub(super) fn check_names(names: &[String], path: &str, other: Option<(&[String], &str)>, problems: &mut Violations) {
    let mut seen = std::collections::HashSet::new();
    let others: std::collections::HashSet<_> = other.map(|(names, _)| names.iter().collect()).unwrap_or_default();
    for (index, name) in names.iter().enumerate() {
        if !seen.insert(name) {
            problems.invalid(format!("{path}.{index}"), format!("{path} names {name:?} twice."));
        }
        if let (true, Some((_, other))) = (others.contains(name), other) {
            problems.invalid(format!("{path}.{index}"), format!("{name:?} is in both {path} and {other}."));
        }
    }
}
