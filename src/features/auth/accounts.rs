//! Accounts by e-mail address and password: sign-up, sign-in, changing the password (contract 06 §4, §6.1-6.3, §6.10).

use jiff::SignedDuration;
use serde_json::json;
use tokio_postgres::Transaction;
use zeroize::Zeroizing;

use super::{
    caller::UserCaller,
    email::EmailAddress,
    error::AuthError,
    limits::{Rule, network},
    passwords,
    service::Auth,
    store::{self, users::NewUser},
    tokens::Occasion,
    types::{Client, Proof, PublicSignup, Session, SessionResult, User, method},
};
use crate::{
    common::{ApiResult, Timestamp},
    features::projects::Project,
};

/// Shortest password of the machine API, and of pages and account routes (06 §4).
pub(super) const MACHINE_MINIMUM: usize = 6;
pub(super) const HOSTED_MINIMUM: usize = 8;
/// Age of a sign-in that may still reset a password, in minutes (06 §6.10).
const RESET_MINUTES: u8 = 15;

/// A sign-up.
pub(super) struct Signup<'a> {
    pub email: &'a EmailAddress,
    pub password: &'a str,
    /// Honoured with the service key only.
    pub is_admin: bool,
    pub by_service: bool,
}

impl Auth {
    /// # Errors
    /// 400 for the password, 403 `SIGNUP_DISABLED`, 409 `USER_ALREADY_EXISTS`, 429.
    pub(super) async fn sign_up(
        &self,
        project: &Project,
        signup: &Signup<'_>,
        minimum: usize,
        client: &Client,
    ) -> ApiResult<User> {
        passwords::check_new("password", signup.password, minimum)?;
        if !signup.by_service {
            self.limits.take(Rule::Signup, &[&network(client.ip), project.id.as_str()])?;
            if self.pool_settings(&project.id).await?.public_signup != PublicSignup::Open {
                return Err(AuthError::SignupDisabled.into());
            }
        }
        // Hashed before anything is looked up: a taken address takes as long as a free one.
        let hash = self.passwords.hash(Zeroizing::new(signup.password.to_owned())).await?;
        let new = NewUser {
            project: &project.id,
            email: Some(signup.email.as_str()),
            password_hash: Some(&hash),
            verified: false,
            is_admin: signup.by_service && signup.is_admin,
            display_name: None,
            avatar_url: None,
        };
        let connection = self.connection().await?;
        let made = store::users::insert(&**connection, &new, self.clock.now()).await?;
        let user = made.ok_or(AuthError::UserAlreadyExists)?;
        self.announce(&user);
        Ok(user)
    }

    /// The user of an address and a password. Nothing tells an unknown address from a wrong password, in words or in
    /// time.
    ///
    /// # Errors
    /// 401 `R402_AUTH_INVALID_CREDENTIALS`, 429.
    pub(super) async fn check_password(
        &self,
        project: &Project,
        email: &str,
        password: &str,
        client: &Client,
    ) -> ApiResult<User> {
        passwords::check_length("password", password)?;
        let email = email.trim().to_lowercase();
        self.limits.take(Rule::PasswordsPerIp, &[&network(client.ip)])?;
        let counted = [project.id.as_str(), email.as_str()];
        // Taken in advance, so that guesses made at the same time do not slip through together.
        self.limits.take(Rule::PasswordFailures, &counted)?;
        // Of addresses of ours none holds a NUL, which the database refuses to look up.
        let found = if email.contains('\0') {
            None
        } else {
            store::users::by_email(&**self.connection().await?, &project.id, &email).await?
        };
        let stored = found.as_ref().and_then(|user| user.password_hash.clone());
        let verdict = self.passwords.verify(Zeroizing::new(password.to_owned()), stored).await?;
        let mut user = match found {
            Some(user) if verdict.matches => user,
            Some(user) if user.password_hash.is_none() => return Err(AuthError::NoPassword.into()),
            _ => return Err(AuthError::InvalidCredentials.into()),
        };
        self.limits.give_back(Rule::PasswordFailures, &counted);
        if verdict.outdated
            && let Some(old) = &user.password_hash
        {
            let new = self.passwords.hash(Zeroizing::new(password.to_owned())).await?;
            store::users::upgrade_hash(&**self.connection().await?, user.id, old, &new).await?;
            user.password_hash = Some(new);
        }
        Ok(user)
    }

    /// `grant_type=password`
    ///
    /// # Errors
    /// As [`Auth::check_password`].
    pub(super) async fn password_grant(
        &self,
        project: &Project,
        email: &str,
        password: &str,
        client: &Client,
    ) -> ApiResult<SessionResult> {
        let user = self.check_password(project, email, password, client).await?;
        self.prepare_keys(&project.id).await?;
        let settings = self.pool_settings(&project.id).await?;
        let mut connection = self.connection().await?;
        let tx = connection.transaction().await?;
        let user = unchanged(&tx, &user).await?;
        let proof = Proof::by(method::PASSWORD);
        let result = self.sign_in(&tx, &user, &proof, &settings, client, Occasion::default()).await?;
        tx.commit().await?;
        Ok(result)
    }

    /// Changes, resets or sets the password of the caller (06 §6.10).
    ///
    /// # Errors
    /// 400 for the new password, 401 `R402_AUTH_INVALID_CREDENTIALS`, 401 `R402_AUTH_FRESHNESS_REQUIRED`, 403
    /// `PASSWORD_SET_DISABLED`, 429.
    pub(super) async fn change_password(
        &self,
        caller: &UserCaller,
        new: &str,
        current: Option<&str>,
        minimum: usize,
    ) -> ApiResult<()> {
        passwords::check_new("new_password", new, minimum)?;
        let UserCaller { user, session, project } = caller;
        self.limits.take(Rule::AccountMutations, &[&user.id.to_string()])?;
        match (&user.password_hash, current) {
            (Some(_), Some(_)) => self.check_current(project, user, current).await?,
            (Some(_), None) => {
                let proved = [method::MAGIC_LINK, method::GOOGLE, method::PASSKEY].iter().any(|m| session.has(m));
                if !proved || !is_fresh(session, RESET_MINUTES, self.clock.now()) {
                    return Err(AuthError::FreshnessRequired { minutes: RESET_MINUTES }.into());
                }
            }
            (None, _) => self.may_set_password(user).await?,
        }
        self.replace_password(user, session, new).await
    }

    /// The user's current password, where he gives it.
    ///
    /// # Errors
    /// 401 `R402_AUTH_INVALID_CREDENTIALS`, 429.
    pub(super) async fn check_current(&self, project: &Project, user: &User, current: Option<&str>) -> ApiResult<()> {
        let (Some(hash), Some(current)) = (&user.password_hash, current) else { return Ok(()) };
        passwords::check_length("current_password", current)?;
        let counted = [project.id.as_str(), user.email.as_deref().unwrap_or_default()];
        self.limits.take(Rule::PasswordFailures, &counted)?;
        if !self.passwords.verify(Zeroizing::new(current.to_owned()), Some(hash.clone())).await?.matches {
            return Err(AuthError::InvalidCredentials.into());
        }
        self.limits.give_back(Rule::PasswordFailures, &counted);
        Ok(())
    }

    /// Stores a new password and ends the user's other sessions.
    pub(super) async fn replace_password(&self, user: &User, session: &Session, new: &str) -> ApiResult<()> {
        let hash = self.passwords.hash(Zeroizing::new(new.to_owned())).await?;
        let now = self.clock.now();
        let mut connection = self.connection().await?;
        let tx = connection.transaction().await?;
        store::users::set_password(&*tx, user.id, &hash, now).await?;
        let revoked = store::sessions::revoke_others(&*tx, user.id, Some(session.id), now).await?;
        let details = json!({"revoked_sessions": revoked});
        store::users::audit(&*tx, &user.project, Some(user.id), "password_changed", &details, now).await?;
        tx.commit().await?;
        Ok(())
    }
}

/// The account as it is now, held until the transaction ends.
///
/// # Errors
/// 401 `R402_AUTH_INVALID_CREDENTIALS` when its password was changed after it was checked.
pub(super) async fn unchanged(tx: &Transaction<'_>, user: &User) -> ApiResult<User> {
    let found = store::users::for_session(tx, &user.project, user.id).await?;
    found.filter(|now| now.password_hash == user.password_hash).ok_or_else(|| AuthError::InvalidCredentials.into())
}

/// Whether the session was proved within so many minutes.
pub(super) fn is_fresh(session: &Session, minutes: u8, now: Timestamp) -> bool {
    now.since(session.auth_time) <= SignedDuration::from_mins(i64::from(minutes))
}
