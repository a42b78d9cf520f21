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
use sha2::{Digest, Sha256};
use url::form_urlencoded;

use crate::{
    common::{ApiError, ApiResult, ProjectId, Timestamp},
    features::auth::{secret, types},
};

/// What every page has.
pub struct Frame {
    /// The project's name.
    pub name: String,
    /// Its first letter, for the badge.
    pub initial: String,
    /// Its colour, in degrees.
    pub hue: u16,
    /// Of this page's style and script.
    pub nonce: String,
}

/// Colour of pages that belong to no project.
const PLAIN_HUE: u16 = 262;

impl Frame {
    /// A page of a project: the same colour every time.
    pub fn of(project: &ProjectId, name: String) -> Self {
        let digest = Sha256::digest(project.as_str().as_bytes());
        Self::new(name, u16::from_be_bytes([digest[0], digest[1]]) % 360)
    }

    /// A page that cannot tell its project.
    pub fn nameless() -> Self {
        Self::new("Account".to_owned(), PLAIN_HUE)
    }

    fn new(name: String, hue: u16) -> Self {
        let initial = name.trim().chars().next().map_or_else(String::new, |first| first.to_uppercase().collect());
        Self { name, initial, hue, nonce: secret::generate() }
    }
}

/// Ways in besides the password; links carry the way back.
pub struct Offers {
    pub google: Option<String>,
    pub passkey: Option<String>,
    pub magic_link: bool,
}

impl Offers {
    pub fn is_any(&self) -> bool {
        self.google.is_some() || self.passkey.is_some() || self.magic_link
    }
}

#[derive(Template)]
#[template(path = "sign_in.html")]
pub struct SignIn<'a> {
    pub frame: Frame,
    pub problem: Option<&'a str>,
    pub email: &'a str,
    pub return_to: &'a str,
    pub offers: Offers,
    pub sign_up: Option<String>,
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
    /// The methods that were asked for; empty: any.
    pub amr: &'a str,
    pub has_password: bool,
    pub offers: Offers,
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
    /// Where to go from here, and its words.
    pub link: Option<(&'a str, &'a str)>,
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
    pub back_text: &'a str,
    pub registers: bool,
    /// A JSON string, safe inside a script element.
    pub return_to_json: String,
}

/// The account and what secures it.
#[derive(Template)]
#[template(path = "account.html")]
pub struct Account<'a> {
    pub frame: Frame,
    pub notice: Option<&'static str>,
    pub email: Option<&'a str>,
    pub verified: bool,
    /// Whether the address can be confirmed from here.
    pub confirms: bool,
    pub csrf: String,
    pub has_password: bool,
    pub may_set_password: bool,
    pub add_passkey: Option<String>,
    pub passkeys: Vec<PasskeyRow>,
    pub link_google: Option<String>,
    pub identities: Vec<IdentityRow>,
    pub sessions: Vec<SessionRow>,
}

pub struct PasskeyRow {
    pub id: String,
    pub label: String,
    pub created: String,
    pub used: Option<String>,
}

impl From<&types::Passkey> for PasskeyRow {
    fn from(passkey: &types::Passkey) -> Self {
        Self {
            id: passkey.id.to_string(),
            label: passkey.label.clone().filter(|label| !label.trim().is_empty()).unwrap_or_else(|| "Passkey".into()),
            created: day(passkey.created_at),
            used: passkey.last_used_at.map(day),
        }
    }
}

pub struct IdentityRow {
    pub provider: String,
    pub subject: String,
    /// Who vouches, as people know him.
    pub label: String,
    pub email: Option<String>,
}

impl From<&types::IdentityView> for IdentityRow {
    fn from(identity: &types::IdentityView) -> Self {
        let label = match identity.provider.as_str() {
            "google" => "Google",
            "wallet" => "Wallet",
            "oidc" => "Company account",
            other => other,
        };
        Self {
            provider: identity.provider.clone(),
            subject: identity.provider_sub.clone(),
            label: label.to_owned(),
            email: identity
                .provider_email
                .clone()
                .or_else(|| (identity.provider == "wallet").then(|| identity.provider_sub.clone())),
        }
    }
}

pub struct SessionRow {
    pub id: String,
    pub device: String,
    pub seen: String,
    pub current: bool,
}

impl SessionRow {
    pub fn of(session: &types::Session, current: uuid::Uuid) -> Self {
        Self {
            id: session.id.to_string(),
            device: device(session.user_agent.as_deref().unwrap_or_default()),
            seen: day(session.last_seen_at),
            current: session.id == current,
        }
    }
}

/// A day, as people write it.
fn day(at: Timestamp) -> String {
    at.0.strftime("%-d %B %Y").to_string()
}

/// A browser and its system, as far as a user agent tells. Pure.
fn device(user_agent: &str) -> String {
    let named = |known: &[(&str, &'static str)]| {
        known.iter().find(|(mark, _)| user_agent.contains(mark)).map(|(_, name)| *name)
    };
    // The order matters: most browsers claim to be others as well.
    let browser = named(&[
        ("Edg/", "Edge"),
        ("OPR/", "Opera"),
        ("Firefox/", "Firefox"),
        ("Chrome/", "Chrome"),
        ("Safari/", "Safari"),
        ("Mozilla/", "A browser"),
    ]);
    let system = named(&[
        ("iPhone", "iPhone"),
        ("iPad", "iPad"),
        ("Android", "Android"),
        ("Windows", "Windows"),
        ("Mac OS X", "macOS"),
        ("CrOS", "ChromeOS"),
        ("Linux", "Linux"),
    ]);
    match (browser, system) {
        (Some(browser), Some(system)) => format!("{browser} on {system}"),
        (Some(browser), None) => browser.to_owned(),
        (None, Some(system)) => format!("An app on {system}"),
        (None, None) => "An app".to_owned(),
    }
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
            frame: Frame::new(attack.into(), 0),
            problem: Some(attack),
            email: attack,
            return_to: attack,
            offers: Offers { google: Some(attack.into()), passkey: None, magic_link: true },
            sign_up: None,
        };
        let html = page.render().unwrap();
        assert!(!html.contains("<script>"), "{html}");
        assert!(html.contains("</html>"));
        assert_eq!(script_string("</script>&"), "\"\\u003c/script\\u003e\\u0026\"");
    }

    #[test]
    fn devices_are_named_as_people_know_them() {
        let chrome =
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0 Safari/537.36";
        let safari = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605 Version/18 Safari/604.1";
        for (user_agent, expected) in [
            (chrome, "Chrome on Linux"),
            (&*format!("{chrome} Edg/141.0"), "Edge on Linux"),
            (safari, "Safari on iPhone"),
            ("Mozilla/5.0 (Windows NT 10.0; rv:130.0) Gecko/20100101 Firefox/130.0", "Firefox on Windows"),
            ("okhttp/4 (Android 15)", "An app on Android"),
            ("node", "An app"),
            ("", "An app"),
        ] {
            assert_eq!(device(user_agent), expected, "{user_agent}");
        }
        assert_eq!(day(Timestamp::from_millis(1_781_863_200_000).unwrap()), "19 June 2026");
    }

    #[test]
    fn a_project_has_its_colour_and_letter() {
        let project: ProjectId = "prj_alpha".parse().unwrap();
        let frame = Frame::of(&project, " élan".into());
        assert_eq!((frame.initial.as_str(), frame.hue < 360), ("É", true));
        assert_eq!(frame.hue, Frame::of(&project, "x".into()).hue);
        assert_eq!(Frame::of(&project, String::new()).initial, "");
    }
}
