//! The data API over HTTP against the real binary (contract 02 §6.4, §7): one row of a table is one exchange.
//!
//! Grants are made by the platform's superuser behind the box's back, as a manifest would make them; what an
//! anon key may see without them is the subject of `dark`.

mod auth;
mod dark;
mod embedding;
mod errors;
mod filters;
mod hostile;
mod negotiation;
mod preferences;
mod ranges;
mod root_document;
mod rpc;
mod select;
mod users;
mod writes;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::support::{Answer, Api, Appliance, Project, control};

const SCHEMA: &str = include_str!("fixture.sql");
const ROWS: &str = "return=representation";
const OBJECT: &str = "application/vnd.pgrst.object+json";

/// What a manifest would open of `fixture.sql`: all but what is called dark.
const GRANTS: &str = "
    grant select on authors, books, labels, book_labels, details, people, matches, forty, nothing_in, \"odd name\",
        defaults, pairs, nokey, notes, book_view, author_books to anon, authenticated;
    grant select, insert, update, delete on guarded, nokey to anon;
    grant select (id, open) on half_dark to anon;
    grant insert (id, open) on half_dark to anon;
    grant execute on all functions in schema public to anon, authenticated;
    revoke execute on function dark_function(), dark_rows() from anon, authenticated, public;";

/// The two ways in, each with the key that belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Door {
    /// `/rest/v1` with the anon key.
    Public,
    /// `/admin/v1/rest` with the service key.
    Admin,
}

impl Door {
    fn prefix(self) -> &'static str {
        match self {
            Self::Public => "/rest/v1",
            Self::Admin => "/admin/v1/rest",
        }
    }
}

/// A project with the fixture's schema.
struct Fixture {
    api: Api,
    project: Project,
}

impl Fixture {
    /// The project that the tests of one module share; for tests that change nothing.
    async fn shared(cell: &'static OnceCell<Project>) -> Self {
        let api = Appliance::shared().api();
        let project = cell.get_or_init(|| async { Self::new().await.project }).await.through(&api);
        Self { api, project }
    }

    /// A project of one test's own.
    async fn new() -> Self {
        let fixture = Self::bare().await;
        fixture.project.sql(SCHEMA).await.is(200);
        fixture.as_platform(GRANTS).await;
        fixture
    }

    /// A project without anything in it.
    async fn bare() -> Self {
        let api = Appliance::shared().api();
        let project = api.provision().await;
        Self { api, project }
    }

    /// As the platform's superuser in the project's database.
    async fn as_platform(&self, sql: &str) {
        let database = format!("r402_{}", self.project.slot);
        let platform = control::connect(Appliance::shared(), &database).await;
        let sql = format!("set search_path = public; {sql}");
        platform.batch_execute(&sql).await.expect("the platform may");
    }

    async fn send(&self, door: Door, case: &Case) -> Answer {
        let (method, path) = case.line.split_once(' ').expect("METHOD /path");
        let method: Method = method.parse().expect("a method");
        let mut call = self.api.call(method, &format!("{}{path}", door.prefix()));
        call = match door {
            Door::Public => call.api_key(&self.project.anon_key),
            Door::Admin => call.bearer(&self.project.service_key),
        };
        if let Some((content_type, bytes)) = &case.body {
            call = call.body(content_type, bytes.clone());
        }
        for (name, value) in &case.headers {
            call = call.header(name, value);
        }
        call.send().await
    }

    /// Sends every case, in order, and reports all that is wrong with the answers at once.
    async fn check(&self, cases: Vec<Case>) {
        let mut wrong = Vec::new();
        for case in &cases {
            for door in case.doors {
                let answer = self.send(*door, case).await;
                for complaint in case.complaints(&answer) {
                    wrong.push(format!("{door:?} {}\n    {complaint}\n    {answer}", case.line));
                }
                if let Some((query, expected)) = &case.stored {
                    let found = self.project.value(query).await;
                    if found != *expected {
                        wrong.push(format!("{door:?} {}\n    {query}: {found}, not {expected}", case.line));
                    }
                }
            }
        }
        assert!(wrong.is_empty(), "{} of {} cases\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    }
}

/// One exchange: what is asked, and what of the answer matters.
struct Case {
    doors: &'static [Door],
    line: String,
    headers: Vec<(&'static str, String)>,
    body: Option<(&'static str, Vec<u8>)>,
    status: u16,
    rows: Option<Value>,
    ids: Option<Vec<i64>>,
    text: Option<String>,
    answer_headers: Vec<(&'static str, Option<String>)>,
    members: Vec<(&'static str, Value)>,
    refusal: Option<(Dialect, String)>,
    stored: Option<(&'static str, Value)>,
}

/// Contract 02 §1.1
#[derive(Clone, Copy)]
enum Dialect {
    Native,
    Envelope,
}

fn case(doors: &'static [Door], line: &str) -> Case {
    Case {
        doors,
        line: line.to_owned(),
        headers: Vec::new(),
        body: None,
        status: 200,
        rows: None,
        ids: None,
        text: None,
        answer_headers: Vec::new(),
        members: Vec::new(),
        refusal: None,
        stored: None,
    }
}

/// Asked at both doors, which must answer alike.
fn both(line: &str) -> Case {
    case(&[Door::Public, Door::Admin], line)
}

fn anon(line: &str) -> Case {
    case(&[Door::Public], line)
}

fn admin(line: &str) -> Case {
    case(&[Door::Admin], line)
}

impl Case {
    fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    fn prefer(self, value: &str) -> Self {
        self.header("prefer", value)
    }

    fn accept(self, value: &str) -> Self {
        self.header("accept", value)
    }

    fn json(self, body: &Value) -> Self {
        self.body("application/json", &body.to_string())
    }

    fn body(mut self, content_type: &'static str, body: &str) -> Self {
        self.body = Some((content_type, body.as_bytes().to_vec()));
        self
    }

    fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// The body is exactly this JSON.
    fn gives(mut self, rows: Value) -> Self {
        self.rows = Some(rows);
        self
    }

    /// The body is a list of rows with these ids, in this order.
    fn ids(mut self, ids: &[i64]) -> Self {
        self.ids = Some(ids.to_vec());
        self
    }

    fn text(mut self, text: &str) -> Self {
        self.text = Some(text.to_owned());
        self
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.answer_headers.push((name, Some(value.to_owned())));
        self
    }

    fn without(mut self, name: &'static str) -> Self {
        self.answer_headers.push((name, None));
        self
    }

    /// A refusal of PostgREST or Postgres.
    fn native(mut self, status: u16, code: &str) -> Self {
        self.status = status;
        self.refusal = Some((Dialect::Native, code.to_owned()));
        self
    }

    /// A refusal of the gateway.
    fn envelope(mut self, status: u16, code: &str) -> Self {
        self.status = status;
        self.refusal = Some((Dialect::Envelope, code.to_owned()));
        self
    }

    /// This member of the body, for instance `message`.
    fn member(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.members.push((name, value.into()));
        self
    }

    fn saying(self, message: &str) -> Self {
        self.member("message", message)
    }

    /// What the database holds afterwards.
    fn stored(mut self, query: &'static str, value: impl Into<Value>) -> Self {
        self.stored = Some((query, value.into()));
        self
    }

    fn complaints(&self, answer: &Answer) -> Vec<String> {
        let mut found = Vec::new();
        let mut must = |right: bool, what: String| {
            if !right {
                found.push(what);
            }
        };
        let body: Value = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
        must(answer.status == self.status, format!("status {} was expected", self.status));
        if let Some(rows) = &self.rows {
            must(body == *rows, format!("body {rows} was expected"));
        }
        if let Some(ids) = &self.ids {
            let rows = body.as_array().map(Vec::as_slice).unwrap_or_default();
            let got: Vec<i64> = rows.iter().filter_map(|row| row["id"].as_i64()).collect();
            must(body.is_array() && got == *ids, format!("ids {ids:?} were expected"));
        }
        if let Some(text) = &self.text {
            must(answer.body == text.as_bytes(), format!("text {text:?} was expected"));
        }
        for (name, value) in &self.answer_headers {
            let got = answer.header(name);
            must(got == value.as_deref(), format!("header {name} is {got:?}, not {value:?}"));
        }
        for (name, value) in &self.members {
            must(body[name] == *value, format!("{name} is {}, not {value}", body[name]));
        }
        if let Some((dialect, code)) = &self.refusal {
            must(body["code"] == code.as_str(), format!("code {code} was expected"));
            must(body["message"].as_str().is_some_and(|text| !text.is_empty()), "a message was expected".to_owned());
            let json = answer.header("content-type").is_some_and(|kind| kind.starts_with("application/json"));
            must(json, "a refusal is JSON".to_owned());
            let traced = body["trace_id"].is_string();
            match dialect {
                Dialect::Native => {
                    let mut keys: Vec<&String> = body.as_object().map(|it| it.keys().collect()).unwrap_or_default();
                    keys.sort();
                    must(
                        keys == ["code", "details", "hint", "message"],
                        format!("members of a native error: {keys:?}"),
                    );
                    let proxy = format!("PostgREST; error={code}");
                    must(answer.header("proxy-status") == Some(&proxy), "Proxy-Status was expected".to_owned());
                    let challenged = answer.header("www-authenticate").is_some_and(|it| it.starts_with("Bearer"));
                    must(self.status != 401 || challenged, "WWW-Authenticate was expected".to_owned());
                }
                Dialect::Envelope => must(traced, "an envelope has a trace id".to_owned()),
            }
        }
        found
    }
}

/// Every id of a small table of cases: `(query, ids)` against one relation.
fn lists(relation: &str, cases: &[(&str, &[i64])]) -> Vec<Case> {
    cases.iter().map(|(query, ids)| both(&format!("GET /{relation}?{query}")).ids(ids)).collect()
}

/// `(line, JSON)` of successful reads at both doors.
fn reads(cases: Vec<(&str, Value)>) -> Vec<Case> {
    cases.into_iter().map(|(line, rows)| both(&format!("GET {line}")).gives(rows)).collect()
}

/// `(line, status, code)` of native refusals at both doors.
fn refusals(cases: &[(&str, u16, &str)]) -> Vec<Case> {
    cases.iter().map(|(line, status, code)| both(line).native(*status, code)).collect()
}
