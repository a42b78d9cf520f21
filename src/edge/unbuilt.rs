//! Routes of the contract that this version does not have yet.
//!
//! They answer 501 `NOT_IMPLEMENTED` (ruling 11 of contract 00), so that a client can tell "not here yet" from
//! "no such thing". A row leaves this table in the commit that builds it; README's table of limits names the
//! same features.

use axum::http::Method;

/// One family of routes: its methods, its path pattern and the name the 501 gives it.
///
/// In a pattern `*` stands for one segment and a final `**` for any number of them, none included.
struct Unbuilt(&'static str, &'static str, &'static str);

const TABLE: &[Unbuilt] = &[
    Unbuilt("*", "/admin/api/finance/**", "Finance reports"),
    Unbuilt("*", "/admin/v1/audit", "The audit log"),
    Unbuilt("*", "/admin/v1/checkouts/**", "Checkouts"),
    Unbuilt("*", "/admin/v1/messages/**", "The operator inbox"),
    Unbuilt("*", "/admin/v1/principals/**", "Principal administration"),
    Unbuilt("*", "/agent/v1/**", "Operator and agent accounts"),
    Unbuilt("*", "/ai/v1/**", "AI services"),
    Unbuilt("*", "/apps/v1/**", "The apps marketplace"),
    Unbuilt("*", "/archives/v1/**", "Project archives"),
    Unbuilt("*", "/billing/v1/**", "The legacy billing paths"),
    Unbuilt("*", "/cache/v1/**", "The SSR cache"),
    Unbuilt("*", "/checkout/*", "Checkouts"),
    Unbuilt("*", "/ci/v1/**", "CI bindings"),
    Unbuilt("*", "/contracts/v1/**", "Contract wallets"),
    Unbuilt("*", "/domains/v1/**", "Custom domains"),
    Unbuilt("*", "/email/v1/**", "E-mail domains"),
    Unbuilt("*", "/fork/v1/**", "Forking apps"),
    Unbuilt("POST", "/generate-image/v1", "Image generation"),
    Unbuilt("*", "/jobs/v1/**", "Jobs"),
    Unbuilt("*", "/mailboxes/v1/**", "Mailboxes"),
    Unbuilt("POST", "/message/v1", "Messages to the operator"),
    Unbuilt("GET POST", "/orgs/v1", "Organisation management"),
    Unbuilt("*", "/orgs/v1/email/**", "E-mail billing accounts"),
    Unbuilt("GET PATCH", "/orgs/v1/*", "Organisation management"),
    Unbuilt("PATCH", "/orgs/v1/*/billing/auto-recharge", "Auto-recharge"),
    Unbuilt("POST", "/orgs/v1/*/checkouts", "Checkouts"),
    Unbuilt("POST", "/orgs/v1/*/wallets", "Linking wallets"),
    Unbuilt("*", "/orgs/v1/*/members/**", "Organisation members"),
    Unbuilt("*", "/orgs/v1/*/invites/**", "Invitations"),
    Unbuilt("GET", "/orgs/v1/*/audit", "The audit log"),
    Unbuilt("*", "/projects/v1/*/archives/**", "Project archives"),
    Unbuilt("*", "/projects/v1/*/grants/**", "Grants"),
    Unbuilt("*", "/projects/v1/*/secrets-rotation/**", "Secret rotation"),
    Unbuilt("*", "/projects/v1/*/transfers/**", "Transfers"),
    Unbuilt("POST", "/projects/v1/*/functions/*/triggers/*/run", "Triggers of functions"),
    Unbuilt("POST", "/projects/v1/admin/*/functions/*/triggers/*/run", "Triggers of functions"),
    Unbuilt("*", "/projects/v1/admin/*/publish/**", "The apps marketplace"),
    Unbuilt("*", "/projects/v1/admin/*/versions/**", "The apps marketplace"),
    Unbuilt("*", "/wallets/v1/*/label", "Wallet labels"),
    Unbuilt("POST", "/webhooks/stripe", "Stripe"),
];

/// The feature a request would need, when it is a known one that is not built.
pub(super) fn feature(method: &Method, path: &str) -> Option<&'static str> {
    TABLE
        .iter()
        .find(|Unbuilt(methods, pattern, _)| {
            (*methods == "*" || methods.split(' ').any(|known| known == method.as_str())) && matches(pattern, path)
        })
        .map(|Unbuilt(_, _, feature)| *feature)
}

fn matches(pattern: &str, path: &str) -> bool {
    let mut segments = path.trim_end_matches('/').split('/');
    for expected in pattern.split('/') {
        if expected == "**" {
            return true;
        }
        match segments.next() {
            Some(segment) if expected == segment || (expected == "*" && !segment.is_empty()) => {}
            _ => return false,
        }
    }
    segments.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_routes_are_told_from_unknown_ones() {
        let cases = [
            (Method::POST, "/apply/v1/plans", None),
            (Method::GET, "/apply/v2", None),
            (Method::POST, "/generate-image/v1", Some("Image generation")),
            (Method::GET, "/generate-image/v1", None),
            (Method::POST, "/orgs/v1/0b/checkouts", Some("Checkouts")),
            (Method::GET, "/orgs/v1/0b/nope", None),
            (Method::GET, "/projects/v1/prj_1/grants/grt_1", Some("Grants")),
            (Method::GET, "/nope", None),
            (Method::GET, "/", None),
        ];
        for (method, path, expected) in cases {
            assert_eq!(feature(&method, path), expected, "{method} {path}");
        }
    }
}
