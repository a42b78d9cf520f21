//! The tiny page a browser gets instead of the JSON of an error. Pure.

use axum::http::{HeaderMap, StatusCode};

use super::accept::prefers_html;

const TEMPLATE: &str = include_str!("../../../web/error/index.html");

/// An HTML page for an error, when the client ranks HTML above JSON. It has no script, and but one style of its own.
pub fn error_page(asked: &HeaderMap, status: StatusCode, code: &str, message: &str) -> Option<String> {
    if !prefers_html(asked) {
        return None;
    }
    let title = format!("{} {}", status.as_u16(), status.canonical_reason().unwrap_or("Error"));
    // The message last: what it holds is never looked at again.
    let gaps = [("{{title}}", title.as_str()), ("{{code}}", code), ("{{message}}", message)];
    Some(gaps.into_iter().fold(TEMPLATE.to_owned(), |page, (gap, text)| page.replace(gap, &escape(text))))
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderValue, header::ACCEPT};

    use super::*;

    #[test]
    fn browsers_get_a_page_without_foreign_markup() {
        let browser = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("text/html,*/*;q=0.8"))]);
        let page = error_page(&browser, StatusCode::NOT_FOUND, "STATIC_NOT_FOUND", "no <b>\"x\" & 'y'").unwrap();
        assert!(page.contains("<h1>404 Not Found</h1>") && page.contains("STATIC_NOT_FOUND"));
        assert!(page.contains("no &lt;b&gt;&quot;x&quot; &amp; &#39;y&#39;") && !page.contains("{{"));
        let script = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("*/*"))]);
        assert!(error_page(&script, StatusCode::NOT_FOUND, "X", "x").is_none());
    }
}
