//! Magic links (contract 06 §6.5): asked for, mailed, and exchanged once.

use jiff::SignedDuration;
use serde_json::Value;
use tokio_postgres::Transaction;
use url::Url;

use super::{
    email::EmailAddress,
    error::{AuthError, bad_field},
    limits::{self, Rule, network},
    mail::{self, Locale},
    redirects::with_query,
    secret,
    service::Auth,
    store::{self, links::MagicLink, users::NewUser},
    tokens::Occasion,
    types::{Client, MagicLinkView, PoolSettings, Proof, PublicSignup, SessionResult, User, method},
};
use crate::{
    common::{ApiError, ApiResult, ProjectId},
    features::projects::Project,
};

const LIFE: SignedDuration = SignedDuration::from_mins(15);
const HOUR: SignedDuration = SignedDuration::from_hours(1);
const PER_EMAIL_AND_HOUR: u32 = 5;
/// Longest `client_state`, in bytes.
const MAX_STATE: usize = 2048;
const INTENTS: [&str; 4] = ["signin", "invite", "claim", "recovery"];

/// A link that somebody asks for.
pub(super) struct LinkRequest<'a> {
    pub email: &'a EmailAddress,
    /// Where the link leads; the token is added to its query.
    pub redirect_url: &'a Url,
    pub intent: &'a str,
    pub client_state: Option<String>,
    /// Asked for with the service key.
    pub trusted: bool,
    /// The host of the hosted page that asks.
    pub host: Option<&'a str>,
    pub locale: Locale,
}

/// A link that was exchanged.
pub(super) struct Exchanged {
    /// The account was made just now: announce it after the commit.
    pub is_new: bool,
    pub user: User,
    pub view: MagicLinkView,
}

impl Auth {
    /// Sends a link if the address may have one; the caller cannot tell.
    ///
    /// # Errors
    /// 429.
    pub(super) async fn request_link(
        &self,
        project: &Project,
        request: &LinkRequest<'_>,
        client: &Client,
    ) -> ApiResult<()> {
        if !request.trusted {
            self.limits.take(Rule::MagicLinksPerIp, &[&network(client.ip)])?;
        }
        let settings = self.pool_settings(&project.id).await?;
        let mut connection = self.connection().await?;
        let tx = connection.transaction().await?;
        self.send_link(&tx, project, request, &settings).await?;
        tx.commit().await?;
        Ok(())
    }

    /// As [`Auth::request_link`], inside a transaction.
    pub(super) async fn send_link(
        &self,
        tx: &Transaction<'_>,
        project: &Project,
        request: &LinkRequest<'_>,
        settings: &PoolSettings,
    ) -> ApiResult<()> {
        let now = self.clock.now();
        let email = request.email.as_str();
        let (of_email, of_project, oldest) =
            store::links::count_recent(tx, &project.id, email, now.minus(HOUR)).await?;
        if self.limits.enabled() {
            if of_email >= i64::from(self.limits.scaled(PER_EMAIL_AND_HOUR)) {
                let wait = oldest.map_or(3600, |oldest| oldest.plus(HOUR).since(now).as_secs() + 1);
                return Err(limits::limited(wait, "email"));
            }
            if of_project >= i64::from(self.limits.scaled(self.links_per_hour(tx, project).await?)) {
                return Err(limits::limited(3600, "project"));
            }
        }
        let known = store::users::by_email(tx, &project.id, email).await?.is_some();
        let suppressed = !known && !request.trusted && settings.public_signup != PublicSignup::Open;
        let token = secret::generate();
        let link = MagicLink {
            email: email.to_owned(),
            intent: request.intent.to_owned(),
            client_state: request.client_state.clone(),
            state_source: if request.trusted { "service_key" } else { "anonymous" }.to_owned(),
            redirect_url: request.redirect_url.to_string(),
            host: request.host.map(str::to_owned),
            expires_at: now.plus(LIFE),
            used_at: None,
            superseded_at: None,
        };
        store::links::insert(tx, &project.id, &secret::digest(&token), &link, now).await?;
        let url = with_query(request.redirect_url.clone(), "token", &token);
        let occasion =
            if request.intent == "invite" { mail::Occasion::Invite(&url) } else { mail::Occasion::SignIn(&url) };
        self.send_mail(tx, &project.id, email, request.locale, &occasion, suppressed).await
    }

    /// Hands a message over inside the transaction of its cause.
    pub(super) async fn send_mail(
        &self,
        tx: &Transaction<'_>,
        project: &ProjectId,
        to: &str,
        locale: Locale,
        occasion: &mail::Occasion<'_>,
        suppressed: bool,
    ) -> ApiResult<()> {
        let name = store::users::project_facts(tx, project).await?.name;
        let sender = self.settings.mail_sender.clone().unwrap_or_else(|| format!("noreply@mail.{}", self.domain));
        let mail = mail::compose(&sender, to, &name, locale, occasion).map_err(ApiError::internal)?;
        self.mailer.hand_over(tx, project, mail, suppressed).await?;
        Ok(())
    }

    /// Uses a link up and finds or makes its user. The caller commits together with what he makes of it.
    ///
    /// # Errors
    /// 401 `R402_AUTH_MAGIC_LINK_INVALID`, one answer for every reason.
    pub(super) async fn exchange_link(
        &self,
        tx: &Transaction<'_>,
        project: &Project,
        token: &str,
        host: Option<&str>,
    ) -> ApiResult<Exchanged> {
        let now = self.clock.now();
        let hash = secret::digest(token);
        let link = store::links::find(tx, &project.id, &hash, true).await?;
        let link = link
            .filter(|link| link.is_usable(now) && link.host.as_deref() == host)
            .ok_or(AuthError::MagicLinkInvalid)?;
        if host.is_none() {
            // The name may have changed hands since the link was sent.
            self.allowed_redirect(&project.id, &link.redirect_url)?;
        }
        store::links::consume(tx, &hash, now).await?;
        let trusted = link.state_source == "service_key";
        let found = store::users::by_email(tx, &project.id, &link.email).await?;
        let is_new = found.is_none();
        let user = match found {
            Some(user) => user,
            None => {
                let signup = store::settings::read(tx, &project.id).await?.public_signup;
                if signup != PublicSignup::Open && !trusted {
                    return Err(AuthError::MagicLinkInvalid.into());
                }
                let new = NewUser {
                    project: &project.id,
                    email: Some(&link.email),
                    password_hash: None,
                    verified: true,
                    is_admin: false,
                    display_name: None,
                    avatar_url: None,
                };
                let made = store::users::insert(tx, &new, now).await?;
                // Made by another request this very moment: that one wins, ours asks again.
                made.ok_or(AuthError::MagicLinkInvalid)?
            }
        };
        let user =
            if user.email_verified_at.is_none() { store::users::verify_email(tx, user.id, now).await? } else { user };
        let view = MagicLinkView {
            intent: link.intent,
            client_state: link.client_state,
            state_source: link.state_source,
            state_trusted: trusted,
        };
        Ok(Exchanged { user, view, is_new })
    }

    /// `grant_type=magic_link`
    ///
    /// # Errors
    /// 401 `R402_AUTH_MAGIC_LINK_INVALID`.
    pub(super) async fn magic_link_grant(
        &self,
        project: &Project,
        token: &str,
        client: &Client,
    ) -> ApiResult<SessionResult> {
        self.prepare_keys(&project.id).await?;
        let settings = self.pool_settings(&project.id).await?;
        let mut connection = self.connection().await?;
        let tx = connection.transaction().await?;
        let exchanged = self.exchange_link(&tx, project, token, None).await?;
        let occasion = Occasion { provider: None, magic_link: Some(exchanged.view) };
        let proof = Proof::by(method::MAGIC_LINK);
        let result = self.sign_in(&tx, &exchanged.user, &proof, &settings, client, occasion).await?;
        tx.commit().await?;
        if exchanged.is_new {
            self.announce(&exchanged.user);
        }
        Ok(result)
    }

    /// Links a project may send in an hour: what the operator says, else by tier (06 §6.5).
    async fn links_per_hour(&self, tx: &Transaction<'_>, project: &Project) -> ApiResult<u32> {
        if let Some(limit) = self.settings.magic_links_per_hour {
            return Ok(limit);
        }
        Ok(match store::users::project_facts(tx, &project.id).await?.tier.as_deref() {
            Some("team") => 1000,
            Some("hobby") => 200,
            _ => 50,
        })
    }
}

/// # Errors
/// 400 `BAD_REQUEST` for a word that is no intent.
pub(super) fn intent(text: Option<&str>) -> ApiResult<&'static str> {
    let text = text.unwrap_or("signin");
    INTENTS
        .into_iter()
        .find(|one| *one == text)
        .ok_or_else(|| bad_field("intent", "intent must be signin, invite, claim or recovery."))
}

/// `client_state` as it is stored: text as it is, JSON as its text.
///
/// # Errors
/// 400 `BAD_REQUEST` over 2048 bytes or with a NUL, which no text of ours may hold.
pub(super) fn client_state(value: Option<&Value>) -> ApiResult<Option<String>> {
    let text = match value {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    if text.len() > MAX_STATE || text.contains('\0') {
        return Err(bad_field("client_state", "client_state must have at most 2048 bytes and no NUL."));
    }
    Ok(Some(text))
}
