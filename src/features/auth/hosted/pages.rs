//! The hosted pages (contract 06 §11): plain forms, no external assets, nothing kept, nothing framed.

use askama::Template;
use axum::{
    http::{
        HeaderValue, StatusCode,
        header::{
            CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
            X_FRAME_OPTIONS,
        },
    },
    response::{IntoResponse, Response},
};
use url::form_urlencoded;

use crate::{
    common::{ApiError, ApiResult},
    features::auth::secret,
};

/// What every page has.
pub struct Frame {
    /// The project's name.
    pub name: String,
    /// Of this page's style and script.
    pub nonce: String,
}

impl Frame {
    pub fn new(name: String) -> Self {
        Self { name, nonce: secret::generate() }
    }
}

#[derive(Template)]
#[template(path = "sign_in.html")]
pub struct SignIn<'a> {
    pub frame: Frame,
    pub problem: Option<&'a str>,
    pub email: &'a str,
    pub return_to: &'a str,
    pub google: Option<String>,
    pub passkey: Option<String>,
    pub sign_up: Option<String>,
    pub magic_link: bool,
}

#[derive(Template)]
#[template(path = "sign_up.html")]
pub struct SignUp<'a> {
    pub frame: Frame,
    pub problem: Option<&'a str>,
    pub email: &'a str,
    pub return_to: &'a str,
    pub sign_in: String,
}

#[derive(Template)]
#[template(path = "sign_out.html")]
pub struct SignOut<'a> {
    pub frame: Frame,
    pub csrf: Option<String>,
    pub email: &'a str,
    pub return_to: &'a str,
}

#[derive(Template)]
#[template(path = "re_auth.html")]
pub struct ReAuth<'a> {
    pub frame: Frame,
    pub problem: Option<&'a str>,
    pub email: &'a str,
    pub return_to: &'a str,
    pub csrf: String,
    pub has_password: bool,
    pub google: Option<String>,
    pub passkey: Option<String>,
    pub magic_link: bool,
}

#[derive(Template)]
#[template(path = "magic_link.html")]
pub struct MagicLink<'a> {
    pub frame: Frame,
    pub token: &'a str,
    pub return_to: &'a str,
}

#[derive(Template)]
#[template(path = "message.html")]
pub struct Message<'a> {
    pub frame: Frame,
    pub heading: &'a str,
    pub text: &'a str,
    pub link: &'a str,
    pub link_text: &'a str,
    pub code: Option<&'a str>,
}

#[derive(Template)]
#[template(path = "passkey.html")]
pub struct Passkey<'a> {
    pub frame: Frame,
    pub heading: &'a str,
    pub text: &'a str,
    pub button: &'a str,
    pub back: &'a str,
    pub registers: bool,
    /// A JSON string, safe inside a script element.
    pub return_to_json: String,
}

/// A page with its headers. `nonce` is that of its frame.
///
/// # Errors
/// When the template fails, which none of ours does.
pub fn answer(status: StatusCode, page: &impl Template, nonce: &str) -> ApiResult<Response> {
    let policy = format!(
        "default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; connect-src 'self'; \
         form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    );
    let mut response = (status, page.render().map_err(ApiError::internal)?).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_str(&policy).map_err(ApiError::internal)?);
    protect(&mut response);
    Ok(response)
}

/// 303 to a place that was checked before.
///
/// # Errors
/// When the place is no header value, which a checked one always is.
pub fn see_other(place: &str) -> ApiResult<Response> {
    let mut response = StatusCode::SEE_OTHER.into_response();
    response.headers_mut().insert(LOCATION, HeaderValue::from_str(place).map_err(ApiError::internal)?);
    protect(&mut response);
    Ok(response)
}

/// Headers of every answer of the hosted surface.
pub fn protect(response: &mut Response) {
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // Same-origin, not none: a form's Referer stands in where a browser sends no Origin.
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
}

/// A path of ours that carries the way back along.
pub fn link(path: &str, return_to: &str) -> String {
    let query = form_urlencoded::Serializer::new(String::new()).append_pair("returnTo", return_to).finish();
    format!("{path}?{query}")
}

/// Text as a JSON string that can stand in a script element.
pub fn script_string(text: &str) -> String {
    serde_json::Value::from(text)
        .to_string()
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_type_is_text_on_the_page() {
        let attack = "\"><script>alert(1)</script>";
        let page = SignIn {
            frame: Frame::new(attack.into()),
            problem: Some(attack),
            email: attack,
            return_to: attack,
            google: None,
            passkey: None,
            sign_up: None,
            magic_link: true,
        };
        let html = page.render().unwrap();
        assert!(!html.contains("<script>"), "{html}");
        assert!(html.contains("</html>"));
        assert_eq!(script_string("</script>&"), "\"\\u003c/script\\u003e\\u0026\"");
    }
}
