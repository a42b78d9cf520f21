//! What a signed-in user does with his own account (contract 06 §11, §11.1): shared by the forms of the hosted pages
//! and by the API that functions call with the visitor's token.

use serde_json::json;
use uuid::Uuid;

use super::{
    accounts::HOSTED_MINIMUM,
    caller::UserCaller,
    error::AuthError,
    passwords,
    service::Auth,
    store,
    tenants::TENANT_PREFIX,
    types::{Session, User},
};
use crate::{common::ApiResult, features::projects::Project};

impl Auth {
    /// A password from the account page: the current one where it was given, else the fresh sign-in is enough.
    ///
    /// # Errors
    /// 400 for the new password, 401 `R402_AUTH_INVALID_CREDENTIALS`, 403 `PASSWORD_SET_DISABLED`, 429.
    pub(super) async fn change_hosted_password(
        &self,
        project: &Project,
        user: &User,
        session: &Session,
        new: &str,
        current: Option<&str>,
    ) -> ApiResult<()> {
        passwords::check_new("new_password", new, HOSTED_MINIMUM)?;
        self.may_set_password(user).await?;
        self.check_current(project, user, current).await?;
        self.replace_password(user, session, new).await
    }

    /// The password functions set for their visitor: a fresh sign-in is the proof.
    ///
    /// # Errors
    /// 400 for the password, 403 `PASSWORD_SET_DISABLED`.
    pub(super) async fn set_account_password(&self, caller: &UserCaller, new: &str) -> ApiResult<()> {
        passwords::check_new("new_password", new, HOSTED_MINIMUM)?;
        self.may_set_password(&caller.user).await?;
        self.replace_password(&caller.user, &caller.session, new).await
    }

    /// Whether a user without a password may set one.
    ///
    /// # Errors
    /// 403 `PASSWORD_SET_DISABLED`
    pub(super) async fn may_set_password(&self, user: &User) -> ApiResult<()> {
        if user.password_hash.is_some() || self.pool_settings(&user.project).await?.allow_password_set {
            Ok(())
        } else {
            Err(AuthError::PasswordSetDisabled.into())
        }
    }

    /// Ends every session of the user; answers how many were live.
    pub(super) async fn sign_out_everywhere(&self, user: &User) -> ApiResult<u64> {
        let now = self.clock.now();
        let mut connection = self.connection().await?;
        let tx = connection.transaction().await?;
        let revoked = store::sessions::revoke_others(&*tx, user.id, None, now).await?;
        let details = json!({"revoked_sessions": revoked});
        store::users::audit(&*tx, &user.project, Some(user.id), "signed_out_everywhere", &details, now).await?;
        tx.commit().await?;
        Ok(revoked)
    }

    /// # Errors
    /// 404 for a foreign, ended or missing session.
    pub(super) async fn revoke_session_of(&self, user: &User, session: &str) -> ApiResult<()> {
        let id = Uuid::try_parse(session).map_err(|_| AuthError::NotFound)?;
        let connection = self.connection().await?;
        if !store::sessions::revoke_of(&**connection, user.id, id, self.clock.now()).await? {
            return Err(AuthError::NotFound.into());
        }
        Ok(())
    }

    /// Takes an identity away, unless it is the only way in.
    ///
    /// # Errors
    /// 404, 409 `LAST_SIGN_IN_METHOD`.
    pub(super) async fn unlink_identity(&self, user: &User, provider: &str, subject: &str) -> ApiResult<()> {
        let now = self.clock.now();
        if provider.contains('\0') || subject.contains('\0') {
            return Err(AuthError::NotFound.into());
        }
        let mut connection = self.connection().await?;
        let tx = connection.transaction().await?;
        // Held, so that two unlinks at the same time cannot each leave the other's identity as the last.
        let user = store::users::held(&*tx, user.id).await?.ok_or(AuthError::NotFound)?;
        if !store::oauth::unlink_identity(&*tx, user.id, provider, subject).await? {
            return Err(AuthError::NotFound.into());
        }
        let identities = store::users::identities(&*tx, user.id).await?;
        let passkeys = store::passkeys::of_user(&*tx, user.id).await?;
        // Mail to a proved address is a way in as well.
        let by_mail = user.email_verified_at.is_some() && self.mailer.is_ready();
        let has_way_in = user.password_hash.is_some()
            || !passkeys.is_empty()
            || by_mail
            || identities.iter().any(|one| !one.provider.starts_with(TENANT_PREFIX));
        if !has_way_in {
            return Err(AuthError::LastSignInMethod.into());
        }
        let details = json!({"provider": provider});
        store::users::audit(&*tx, &user.project, Some(user.id), "identity_unlinked", &details, now).await?;
        tx.commit().await?;
        Ok(())
    }
}
