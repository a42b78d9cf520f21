//! The `i18n` slice.

use std::collections::HashSet;

use serde_json::json;

use super::{Violation, error::Violations, reader::Fields};
use crate::features::releases::types::I18n;

const MAX_LOCALES: usize = 50;
const MAX_LOCALE: usize = 64;
const MAX_DETECT: usize = 10;
const MAX_COOKIE_NAME: usize = 128;

pub(super) fn read(mut fields: Fields, problems: &mut Violations) -> Option<I18n> {
    let default_locale = default_locale(&mut fields, problems);
    if !fields.has("locales") {
        problems.invalid(fields.at("locales"), "i18n.locales is missing.");
    }
    let locales = fields.strings("locales", problems);
    if let Some(locales) = &locales {
        check_locales(locales, &fields.at("locales"), problems);
        if default_locale.as_ref().is_some_and(|locale| !locales.contains(locale)) {
            problems
                .invalid(fields.at("default_locale"), "`default_locale` must be one of `locales`, letter by letter.");
        }
    }
    let detect = fields.strings("detect", problems).unwrap_or_else(|| vec!["accept-language".into()]);
    if detect.len() > MAX_DETECT {
        problems.invalid(fields.at("detect"), "`detect` has at most 10 entries.");
    }
    for (index, rule) in detect.iter().enumerate() {
        let known = rule == "accept-language" || rule.strip_prefix("cookie:").is_some_and(is_cookie_name);
        if !known {
            problems.invalid(
                format!("{}.{index}", fields.at("detect")),
                "A detection rule is `accept-language` or `cookie:<name>`.",
            );
        }
    }
    let policy = fields.string_either("unknown_locale_policy", "unknownLocalePolicy", problems);
    let unknown_locale_policy = match policy.as_deref() {
        None | Some("reject") => "reject",
        Some("default" | "pass-through") => "default",
        Some(_) => {
            problems.invalid(fields.at("unknown_locale_policy"), "`unknown_locale_policy` is `default` or `reject`.");
            "reject"
        }
    };
    fields.finish(problems);
    Some(I18n {
        default_locale: default_locale?,
        locales: locales?,
        detect,
        unknown_locale_policy: unknown_locale_policy.into(),
    })
}

fn default_locale(fields: &mut Fields, problems: &mut Violations) -> Option<String> {
    if !fields.has("default_locale") && !fields.has("defaultLocale") {
        problems.invalid(fields.at("default_locale"), "i18n.default_locale is missing.");
    }
    fields.string_either("default_locale", "defaultLocale", problems)
}

fn check_locales(locales: &[String], path: &str, problems: &mut Violations) {
    if !(1..=MAX_LOCALES).contains(&locales.len()) {
        problems.invalid(path, "`locales` lists 1 to 50 locales.");
    }
    let mut seen = HashSet::new();
    for (index, locale) in locales.iter().enumerate() {
        let at = format!("{path}.{index}");
        if !is_locale(locale) {
            problems.invalid(at, "A locale has 1 to 64 letters, digits, `.`, `_` or `-`, the first a letter or digit.");
            continue;
        }
        if !seen.insert(locale.to_ascii_lowercase()) {
            problems.invalid(at.clone(), format!("The locale {locale:?} is listed twice."));
        }
        let canonical = canonical(locale);
        if canonical != *locale {
            problems.push(
                Violation::new(
                    "R402_LOCALE_NOT_CANONICAL",
                    at,
                    format!("Write the locale {locale:?} as {canonical:?} (RFC 5646 casing)."),
                )
                .fix(json!({ "action": "use_canonical_locale", "input": locale, "canonical": canonical }))
                .detail("input", locale.as_str())
                .detail("canonical", canonical),
            );
        }
    }
}

fn is_locale(locale: &str) -> bool {
    (1..=MAX_LOCALE).contains(&locale.len())
        && locale.starts_with(|c: char| c.is_ascii_alphanumeric())
        && locale.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// The casing of RFC 5646 §2.1.1: all lower, but two letters after the first subtag upper and four letters title, not
/// after a singleton. What is no language tag stays as it is.
fn canonical(locale: &str) -> String {
    let is_tag = locale
        .split('-')
        .all(|part| (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    if !is_tag {
        return locale.to_owned();
    }
    let mut extended = false;
    let mut parts = Vec::new();
    for (index, part) in locale.split('-').enumerate() {
        let mut part = part.to_ascii_lowercase();
        match part.len() {
            2 if index > 0 && !extended => part.make_ascii_uppercase(),
            4 if index > 0 && !extended => part[..1].make_ascii_uppercase(),
            1 => extended = true,
            _ => {}
        }
        parts.push(part);
    }
    parts.join("-")
}

/// A token of RFC 6265 (RFC 2616 §2.2).
fn is_cookie_name(name: &str) -> bool {
    (1..=MAX_COOKIE_NAME).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_graphic() && !br#"()<>@,;:\"/[]?={}"#.contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locales_have_the_casing_of_rfc_5646() {
        for (input, expected) in [
            ("en", "en"),
            ("EN", "en"),
            ("en-us", "en-US"),
            ("zh-hant-tw", "zh-Hant-TW"),
            ("ZH-HANT", "zh-Hant"),
            ("en-ca-x-CA", "en-CA-x-ca"),
            ("sgn-be-fr", "sgn-BE-FR"),
            ("az-latn-x-LATN", "az-Latn-x-latn"),
            ("es-419", "es-419"),
            ("sl-ROZAJ-biske", "sl-rozaj-biske"),
            ("en_US", "en_US"),
            ("de.formal", "de.formal"),
        ] {
            assert_eq!(canonical(input), expected, "{input}");
        }
    }
}
