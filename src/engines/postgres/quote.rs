/// Double-quotes an identifier. The only place where SQL text is built from a name.
pub fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::quote_identifier;

    #[test]
    fn a_quoted_name_cannot_end_its_quotes() {
        for (name, quoted) in [
            ("orders", r#""orders""#),
            ("Mixed Case", r#""Mixed Case""#),
            (r#"a"b"#, r#""a""b""#),
            (r#"x"; drop table y; --"#, r#""x""; drop table y; --""#),
            ("", r#""""#),
        ] {
            assert_eq!(quote_identifier(name), quoted);
        }
    }
}
