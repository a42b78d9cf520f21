//! Paths of URLs.

/// Whether a path is `prefix` or lies below it: `/a` and `/a/b` are at `/a`, `/ab` is not.
pub fn is_at(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_where_a_segment_does() {
        for (path, expected) in [("/a", true), ("/a/", true), ("/a/b", true), ("/ab", false), ("/", false), ("", false)]
        {
            assert_eq!(is_at(path, "/a"), expected, "{path}");
        }
    }
}
