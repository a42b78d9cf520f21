//! The users of the projects' apps (contract 06): sign-up, tokens, passwords, magic links, administration.
//!
//! One project is one pool of users. Pools live in the control database (`migrations/control/V11__app_users.sql` says
//! why); SQL in the project sees a user through the claims of the token alone.
//!
//! | room | what is there |
//! |---|---|
//! | [`caller`] | from the two headers to a project and a privilege |
//! | [`accounts`], [`passwords`] | sign-up, sign-in, argon2id |
//! | [`tokens`] | sessions, access tokens, rotation of refresh tokens |
//! | [`passkeys`] | WebAuthn |
//! | [`google`], [`oidc`] | sign-in with Google, and what OpenID providers say |
//! | [`proofs`] | browser sessions from a wallet's message or an id token |
//! | [`magic_links`], [`mail`] | links by mail, and the mail |
//! | [`hosted`] | browser sessions, pages, forgery |
//! | [`routed`], [`actor`] | visitors of routed functions, and what those are told |
//! | [`tenants`] | sessions of users whom a project's own function vouches for |
//! | [`account`] | what users do with their own accounts |
//! | [`administration`] | what the service key does |
//! | [`redirects`] | where an app may be sent back to |
//! | [`limits`] | rate limits |
//! | [`error`] | every refusal with its code |
//! | [`store`] | all SQL |
//!
//! Invariants:
//! - No secret is stored: refresh tokens and links as SHA-256, passwords as argon2id with bounded concurrency.
//! - One-time things are used up in the transaction of their effect, under a row lock: of two requests with the same
//!   secret one comes second.
//! - Nothing but the deliberate exceptions of 06 §16 tells whether an address has an account: not words, status,
//!   limits or time.
//! - A revoked session is dead at once on every route that asks for a session; nothing is cached.
//! - Mail is handed over in the transaction of its cause.

mod account;
mod accounts;
mod actor;
mod administration;
mod caller;
mod development;
mod email;
mod error;
mod google;
mod hosted;
mod limits;
mod magic_links;
mod mail;
mod oidc;
mod passkeys;
mod passwords;
mod proofs;
mod redirects;
mod routed;
mod routes;
mod secret;
mod service;
mod store;
mod tenants;
mod tokens;
mod types;

pub use error::AuthError;
pub use google::GoogleSettings;
pub use hosted::{is_cookie_path, is_hosted_path};
pub use mail::{CaptureMailer, Mailer, Outgoing};
pub use oidc::OidcIssuer;
pub use routed::{Minted, RoutedActor, RoutedRequest, RoutedVisitor};
pub use routes::router;
pub use service::{Auth, AuthSettings, Dependencies, SignupHook};
