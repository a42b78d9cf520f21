//! Mail of this feature (contract 06 §15): what is said, in which language, and who takes it over.
//!
//! A message is handed over inside the transaction of its cause, so neither exists without the other. Everything that
//! comes from outside (project names, addresses) is stripped of control characters before it nears a header, and
//! escaped by the templates.

mod words;

use std::future::Future;

use askama::Template;
use futures_util::future::BoxFuture;
use tokio_postgres::Transaction;
use url::Url;
use uuid::Uuid;

use super::store::{self, mail::CapturedMail};
use crate::{
    common::{Clock, ProjectId},
    engines::postgres::DatabaseError,
};
pub(super) use words::Locale;

/// A finished message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    pub from: String,
    pub to: String,
    /// `magic_link`, `project_invite` or `notification`.
    pub template: &'static str,
    pub locale: &'static str,
    pub subject: String,
    pub text: String,
    pub html: String,
}

/// Takes mail over.
pub trait Mailer: Send + Sync {
    /// Inside the transaction of the cause. With `suppressed` nothing is sent, in the same time.
    fn hand_over<'a>(
        &'a self,
        tx: &'a Transaction<'_>,
        project: &'a ProjectId,
        mail: Outgoing,
        suppressed: bool,
    ) -> BoxFuture<'a, Result<(), DatabaseError>>;

    /// Whether messages can be taken over at all.
    fn is_ready(&self) -> bool;
}

/// Keeps every message on the box, for its operator (07 §A6, mode `capture`).
pub struct CaptureMailer {
    clock: Clock,
}

impl CaptureMailer {
    pub fn new(clock: Clock) -> Self {
        Self { clock }
    }

    fn keep<'a>(
        &self,
        tx: &'a Transaction<'_>,
        project: &'a ProjectId,
        mail: Outgoing,
        suppressed: bool,
    ) -> impl Future<Output = Result<(), DatabaseError>> + use<'a> {
        let now = self.clock.now();
        async move {
            let row = CapturedMail {
                id: Uuid::now_v7(),
                project_id: Some(project.to_string()),
                from: mail.from,
                to: mail.to,
                template: mail.template.to_owned(),
                locale: mail.locale.to_owned(),
                subject: mail.subject,
                text: mail.text,
                html: mail.html,
                created_at: now,
            };
            store::mail::insert(tx, project, &row, suppressed).await
        }
    }
}

impl Mailer for CaptureMailer {
    fn hand_over<'a>(
        &'a self,
        tx: &'a Transaction<'_>,
        project: &'a ProjectId,
        mail: Outgoing,
        suppressed: bool,
    ) -> BoxFuture<'a, Result<(), DatabaseError>> {
        Box::pin(self.keep(tx, project, mail, suppressed))
    }

    fn is_ready(&self) -> bool {
        true
    }
}

/// What a message is about.
pub(super) enum Occasion<'a> {
    SignIn(&'a Url),
    Invite(&'a Url),
    /// Somebody tried to sign up with an address that has an account; the link leads to the sign-in page.
    SignupRefused(Option<&'a Url>),
}

struct Action {
    url: String,
    label: &'static str,
}

#[derive(Template)]
#[template(path = "mail/message.html")]
struct Html<'a> {
    locale: &'static str,
    subject: &'a str,
    heading: &'a str,
    body: &'a str,
    action: Option<&'a Action>,
    footer: &'a [&'static str],
}

#[derive(Template)]
#[template(path = "mail/message.txt")]
struct Text<'a> {
    heading: &'a str,
    body: &'a str,
    action: Option<&'a Action>,
    footer: &'a [&'static str],
}

/// Writes a message.
///
/// # Errors
/// When a template fails, which none of ours does.
pub(super) fn compose(
    from: &str,
    to: &str,
    project_name: &str,
    locale: Locale,
    occasion: &Occasion<'_>,
) -> Result<Outgoing, askama::Error> {
    let name = one_line(project_name);
    let words = locale.words();
    let (template, heading, body, action, footer) = match occasion {
        Occasion::SignIn(url) => (
            "magic_link",
            words.sign_in_subject,
            words.sign_in_body,
            Some(Action { url: url.to_string(), label: words.sign_in_button }),
            vec![words.expiry, words.ignore],
        ),
        Occasion::Invite(url) => (
            "project_invite",
            words.invite_subject,
            words.invite_body,
            Some(Action { url: url.to_string(), label: words.invite_button }),
            vec![words.expiry, words.ignore],
        ),
        Occasion::SignupRefused(url) => (
            "notification",
            words.notice_subject,
            words.notice_body,
            url.map(|url| Action { url: url.to_string(), label: words.sign_in_button }),
            vec![words.ignore],
        ),
    };
    let fill = |text: &str| text.replace("{project}", &name);
    let (heading, body) = (fill(heading), fill(body));
    let html = Html {
        locale: locale.tag(),
        subject: &heading,
        heading: &heading,
        body: &body,
        action: action.as_ref(),
        footer: &footer,
    };
    let text = Text { heading: &heading, body: &body, action: action.as_ref(), footer: &footer };
    Ok(Outgoing {
        from: one_line(from),
        to: one_line(to),
        template,
        locale: locale.tag(),
        text: text.render()?,
        html: html.render()?,
        subject: heading,
    })
}

/// Without line breaks and other control characters: fit for a header.
fn one_line(text: &str) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    line.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_outside_reaches_a_header_or_becomes_markup() {
        let url = Url::parse("https://a.example/cb?x=%22%3E&token=t").unwrap();
        let name = "Shop\r\nBcc: all@example.com <b>";
        let mail = compose("n@x.y", "a@b.c", name, Locale::of("en"), &Occasion::SignIn(&url)).unwrap();
        assert!(!mail.subject.contains(['\r', '\n']), "{}", mail.subject);
        assert!(!mail.html.contains("<b>") && mail.html.contains("&#60;b&#62;"), "{}", mail.html);
        assert!(mail.html.contains("token=t"));
        assert!(mail.text.contains(url.as_str()), "{}", mail.text);
        assert!(mail.text.contains("Shop"));
    }

    #[test]
    fn each_occasion_has_its_template() {
        let url = Url::parse("https://a.example/").unwrap();
        for (occasion, template) in [
            (Occasion::SignIn(&url), "magic_link"),
            (Occasion::Invite(&url), "project_invite"),
            (Occasion::SignupRefused(None), "notification"),
        ] {
            for locale in Locale::all() {
                let mail = compose("n@x.y", "a@b.c", "Shop", locale, &occasion).unwrap();
                assert_eq!(mail.template, template);
                assert!(mail.subject.contains("Shop"), "{}: {}", mail.locale, mail.subject);
                assert!(!mail.text.contains("{project}") && !mail.html.contains("{project}"));
            }
        }
    }
}
