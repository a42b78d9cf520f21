//! Every refusal of this feature that has a code of its own (contract 06 §12), and how it looks on the wire.

use axum::http::StatusCode;
use serde_json::json;

use crate::common::{ApiError, Category, NextAction};

/// A refusal. The documentation of a variant is its HTTP status and code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// 401 `UNAUTHORIZED`: no project can be told from the request.
    #[error("Send the project's anon key in the apikey header.")]
    NoProject,
    /// 401 `UNAUTHORIZED`: a credential was sent and is not valid.
    #[error("This credential is not valid for app users: it is unknown, malformed or expired. Get a fresh one.")]
    BadCredential,
    /// 401 `UNAUTHORIZED`: the route is for a signed-in user.
    #[error("Send a user's access token as Authorization: Bearer.")]
    UserRequired,
    /// 403 `FORBIDDEN`
    #[error("Authorization and apikey name different projects.")]
    TwoProjects,
    /// 403 `FORBIDDEN`: service key required.
    #[error("This route needs the project's service key: send it as Authorization: Bearer.")]
    ServiceKeyRequired,
    /// 403 `SIGNUP_DISABLED`
    #[error("This project does not accept new accounts this way. Ask its owner for an invitation.")]
    SignupDisabled,
    /// 409 `USER_ALREADY_EXISTS`
    #[error("An account with this e-mail address exists already. Sign in instead.")]
    UserAlreadyExists,
    /// 400 `UNSUPPORTED_GRANT_TYPE`
    #[error("grant_type must be password, refresh_token, magic_link or authorization_code.")]
    UnsupportedGrantType,
    /// 401 `R402_AUTH_REQUIRED`
    #[error("Sign in first.")]
    Required,
    /// 401 `R402_AUTH_INVALID_CREDENTIALS`
    #[error("The e-mail address or the password is wrong.")]
    InvalidCredentials,
    /// 401 `R402_AUTH_INVALID_CREDENTIALS`, the deliberate hint of 06 §4.
    #[error("This account has no password. Use a social sign-in or a magic link.")]
    NoPassword,
    /// 401 `R402_AUTH_INVALID_CREDENTIALS`
    #[error("The passkey is not known here.")]
    UnknownPasskey,
    /// 401 `R402_AUTH_SESSION_INVALID`
    #[error("This session is not valid any more. Sign in again.")]
    SessionInvalid,
    /// 401 `R402_AUTH_SESSION_EXPIRED`
    #[error("This session has expired. Sign in again.")]
    SessionExpired,
    /// 401 `R402_AUTH_MAGIC_LINK_INVALID`; 400 or 410 on hosted pages.
    #[error("This link is not valid: it was used, replaced by a newer one, or has expired. Ask for a new one.")]
    MagicLinkInvalid,
    /// 401 `R402_AUTH_OAUTH_HANDOFF_INVALID`; 400 on hosted pages.
    #[error("Invalid, expired, or already used authorization code.")]
    OauthHandoffInvalid,
    /// 403 `R402_AUTH_DOMAIN_NOT_ALLOWED`
    #[error("Accounts of this e-mail domain may not sign in here.")]
    DomainNotAllowed,
    /// 401 `R402_AUTH_FRESHNESS_REQUIRED`, wanting a sign-in within so many minutes.
    #[error("Sign in again: this needs a recent sign-in.")]
    FreshnessRequired { minutes: u8 },
    /// 403 `PASSWORD_SET_DISABLED`
    #[error("This project does not let users set a password.")]
    PasswordSetDisabled,
    /// 404 `NOT_FOUND`
    #[error("User not found.")]
    UserNotFound,
    /// 404 `NOT_FOUND`: foreign and missing ids alike.
    #[error("There is nothing of this id.")]
    NotFound,
    /// 400 `REDIRECT_NOT_ALLOWED`
    #[error("This URL is not allowed: use localhost, a subdomain of the project or one of its active domains.")]
    RedirectNotAllowed,
    /// 503 `OAUTH_PROVIDER_NOT_CONFIGURED`
    #[error("Google OAuth is not configured.")]
    OauthNotConfigured,
    /// 400 `R402_AUTH_PASSKEY_CHALLENGE_INVALID`
    #[error("The passkey could not be verified: its challenge is unknown, used or expired, or the response is wrong.")]
    PasskeyChallengeInvalid,
    /// 409 `PASSKEY_ALREADY_REGISTERED`
    #[error("This passkey is registered already.")]
    PasskeyAlreadyRegistered,
    /// 403 `R402_AUTH_CSRF_ORIGIN_MISMATCH`
    #[error("This request comes from another site and was refused.")]
    CsrfOriginMismatch,
    /// 403 `R402_AUTH_CSRF_TOKEN_MISMATCH`
    #[error("The form's token does not belong to this session. Load the page again.")]
    CsrfTokenMismatch,
    /// 400 `R402_AUTH_BEARER_COOKIE_MISMATCH`
    #[error("The cookie and the Authorization header belong to different users.")]
    BearerCookieMismatch,
    /// 401 `R402_AUTH_INVALID_BEARER`
    #[error("The Authorization header next to the session cookie is not valid.")]
    InvalidBearer,
    /// 400 `R402_AUTH_RETURN_TO_INVALID`
    #[error("returnTo must be a path of this site.")]
    ReturnToInvalid,
    /// 403 `R402_AUTH_TENANT_SUFFIX_REQUIRED`
    #[error("Browser sessions exist on the hosts of projects only. Use the project's own address.")]
    TenantSuffixRequired,
    /// 400 `R402_AUTH_TENANT_SUBJECT_INVALID`
    #[error("The asserted user is not valid: tenant and user.id are required, and user.id must not be the address.")]
    TenantSubjectInvalid,
    /// 403 `R402_AUTH_UNTRUSTED_CONTEXT`
    #[error("A function may not claim ways of signing in that only this box can verify.")]
    UntrustedMethod,
    /// 400 `R402_AUTH_RESERVED_EMAIL_DOMAIN`
    #[error("Addresses of this domain belong to the platform. Use another one.")]
    ReservedEmailDomain,
    /// 401 `R402_AUTH_SESSION_BRIDGE_UNVERIFIED`
    #[error(
        "The proof of identity could not be verified: it is missing, wrong, used or expired, or nobody verifies it here."
    )]
    SessionBridgeUnverified,
    /// 401 `R402_AUTH_UNKNOWN_IDENTITY`
    #[error("No account has this identity. Send createUser to make one.")]
    UnknownIdentity,
    /// 409 `R402_AUTH_IDENTITY_LINK_CONFLICT`
    #[error("This identity belongs to another account. Sign out first to use that one.")]
    IdentityLinkConflict,
    /// 500 `R402_AUTH_COOKIE_ATTRIBUTES_INVALID`
    #[error("A session cookie would have been sent with unsafe attributes.")]
    CookieAttributesInvalid,
    /// 409 `LAST_SIGN_IN_METHOD`
    #[error("This is the only way into the account. Add another one first.")]
    LastSignInMethod,
    /// 403 `HTTPS_REQUIRED`
    #[error("Sign-in pages need HTTPS on this host. Open the site over https.")]
    HttpsRequired,
}

impl AuthError {
    pub fn status(self) -> StatusCode {
        self.facts().0
    }

    pub fn code(self) -> &'static str {
        self.facts().1
    }

    /// As an answer with another status than its own: several codes differ between pages and the machine API.
    pub fn at(self, status: StatusCode) -> ApiError {
        ApiError::new(status, self.code(), self.to_string()).category(Category::Auth)
    }

    fn facts(self) -> (StatusCode, &'static str) {
        const BAD: StatusCode = StatusCode::BAD_REQUEST;
        const UNAUTHORIZED: StatusCode = StatusCode::UNAUTHORIZED;
        const FORBIDDEN: StatusCode = StatusCode::FORBIDDEN;
        const CONFLICT: StatusCode = StatusCode::CONFLICT;
        match self {
            Self::NoProject | Self::BadCredential | Self::UserRequired => (UNAUTHORIZED, "UNAUTHORIZED"),
            Self::TwoProjects | Self::ServiceKeyRequired => (FORBIDDEN, "FORBIDDEN"),
            Self::SignupDisabled => (FORBIDDEN, "SIGNUP_DISABLED"),
            Self::UserAlreadyExists => (CONFLICT, "USER_ALREADY_EXISTS"),
            Self::UnsupportedGrantType => (BAD, "UNSUPPORTED_GRANT_TYPE"),
            Self::Required => (UNAUTHORIZED, "R402_AUTH_REQUIRED"),
            Self::InvalidCredentials | Self::NoPassword | Self::UnknownPasskey => {
                (UNAUTHORIZED, "R402_AUTH_INVALID_CREDENTIALS")
            }
            Self::SessionInvalid => (UNAUTHORIZED, "R402_AUTH_SESSION_INVALID"),
            Self::SessionExpired => (UNAUTHORIZED, "R402_AUTH_SESSION_EXPIRED"),
            Self::MagicLinkInvalid => (UNAUTHORIZED, "R402_AUTH_MAGIC_LINK_INVALID"),
            Self::OauthHandoffInvalid => (UNAUTHORIZED, "R402_AUTH_OAUTH_HANDOFF_INVALID"),
            Self::DomainNotAllowed => (FORBIDDEN, "R402_AUTH_DOMAIN_NOT_ALLOWED"),
            Self::FreshnessRequired { .. } => (UNAUTHORIZED, "R402_AUTH_FRESHNESS_REQUIRED"),
            Self::PasswordSetDisabled => (FORBIDDEN, "PASSWORD_SET_DISABLED"),
            Self::UserNotFound | Self::NotFound => (StatusCode::NOT_FOUND, "NOT_FOUND"),
            Self::RedirectNotAllowed => (BAD, "REDIRECT_NOT_ALLOWED"),
            Self::OauthNotConfigured => (StatusCode::SERVICE_UNAVAILABLE, "OAUTH_PROVIDER_NOT_CONFIGURED"),
            Self::PasskeyChallengeInvalid => (BAD, "R402_AUTH_PASSKEY_CHALLENGE_INVALID"),
            Self::PasskeyAlreadyRegistered => (CONFLICT, "PASSKEY_ALREADY_REGISTERED"),
            Self::CsrfOriginMismatch => (FORBIDDEN, "R402_AUTH_CSRF_ORIGIN_MISMATCH"),
            Self::CsrfTokenMismatch => (FORBIDDEN, "R402_AUTH_CSRF_TOKEN_MISMATCH"),
            Self::BearerCookieMismatch => (BAD, "R402_AUTH_BEARER_COOKIE_MISMATCH"),
            Self::InvalidBearer => (UNAUTHORIZED, "R402_AUTH_INVALID_BEARER"),
            Self::ReturnToInvalid => (BAD, "R402_AUTH_RETURN_TO_INVALID"),
            Self::TenantSuffixRequired => (FORBIDDEN, "R402_AUTH_TENANT_SUFFIX_REQUIRED"),
            Self::TenantSubjectInvalid => (BAD, "R402_AUTH_TENANT_SUBJECT_INVALID"),
            Self::UntrustedMethod => (FORBIDDEN, "R402_AUTH_UNTRUSTED_CONTEXT"),
            Self::ReservedEmailDomain => (BAD, "R402_AUTH_RESERVED_EMAIL_DOMAIN"),
            Self::SessionBridgeUnverified => (UNAUTHORIZED, "R402_AUTH_SESSION_BRIDGE_UNVERIFIED"),
            Self::UnknownIdentity => (UNAUTHORIZED, "R402_AUTH_UNKNOWN_IDENTITY"),
            Self::IdentityLinkConflict => (CONFLICT, "R402_AUTH_IDENTITY_LINK_CONFLICT"),
            Self::CookieAttributesInvalid => (StatusCode::INTERNAL_SERVER_ERROR, "R402_AUTH_COOKIE_ATTRIBUTES_INVALID"),
            Self::LastSignInMethod => (CONFLICT, "LAST_SIGN_IN_METHOD"),
            Self::HttpsRequired => (FORBIDDEN, "HTTPS_REQUIRED"),
        }
    }
}

impl From<AuthError> for ApiError {
    fn from(error: AuthError) -> Self {
        let api = Self::new(error.status(), error.code(), error.to_string()).category(Category::Auth);
        match error {
            AuthError::NoProject | AuthError::BadCredential | AuthError::UserRequired => {
                api.next_action(NextAction::new("request_fresh_credential", "Sign in again or refresh the token."))
            }
            AuthError::FreshnessRequired { minutes } => {
                api.detail("max_age", format!("{minutes}m")).detail("amr", json!([]))
            }
            AuthError::OauthNotConfigured => api.retryable(false),
            _ => api,
        }
    }
}

/// 400 `BAD_REQUEST` naming a field.
pub(super) fn bad_field(field: &str, message: impl Into<std::borrow::Cow<'static, str>>) -> ApiError {
    ApiError::bad_request("BAD_REQUEST", message).category(Category::Auth).detail("field", field)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_documented_with_its_status() {
        let document = include_str!("../../../docs/auth-errors.md");
        for error in [
            AuthError::NoProject,
            AuthError::TwoProjects,
            AuthError::SignupDisabled,
            AuthError::UserAlreadyExists,
            AuthError::UnsupportedGrantType,
            AuthError::Required,
            AuthError::InvalidCredentials,
            AuthError::SessionInvalid,
            AuthError::SessionExpired,
            AuthError::MagicLinkInvalid,
            AuthError::OauthHandoffInvalid,
            AuthError::DomainNotAllowed,
            AuthError::FreshnessRequired { minutes: 5 },
            AuthError::PasswordSetDisabled,
            AuthError::NotFound,
            AuthError::RedirectNotAllowed,
            AuthError::OauthNotConfigured,
            AuthError::PasskeyChallengeInvalid,
            AuthError::PasskeyAlreadyRegistered,
            AuthError::CsrfOriginMismatch,
            AuthError::CsrfTokenMismatch,
            AuthError::BearerCookieMismatch,
            AuthError::InvalidBearer,
            AuthError::ReturnToInvalid,
            AuthError::TenantSuffixRequired,
            AuthError::TenantSubjectInvalid,
            AuthError::UntrustedMethod,
            AuthError::ReservedEmailDomain,
            AuthError::SessionBridgeUnverified,
            AuthError::UnknownIdentity,
            AuthError::IdentityLinkConflict,
            AuthError::CookieAttributesInvalid,
            AuthError::LastSignInMethod,
            AuthError::HttpsRequired,
        ] {
            let row = format!("| `{}` | {} |", error.code(), error.status().as_u16());
            assert!(document.contains(&row), "docs/auth-errors.md lacks {row}");
        }
    }
}
