//! What a deploy checks of functions before anything goes live (contract 05 §2.4, §12.4; checks 26, 28, 29).

use serde_json::json;

use super::{ECHO, api, deploy, refused, with};

#[tokio::test]
async fn code_that_cannot_run_never_goes_live() {
    let project = with(&[("good", ECHO)]).await;
    let release = project.live().await["release_id"].clone();
    for (code, status, expected, word) in [
        ("export default (", 422, "FUNCTION_BUILD_FAILED", "bad"),
        ("   \n", 422, "FUNCTION_BUILD_FAILED", "bad"),
        ("export const other = 1", 422, "FUNCTION_BUILD_FAILED", "export default"),
        ("import 'node:cluster'; export default () => 1", 422, "FUNCTION_BUILD_FAILED", "node:cluster"),
        ("import { nope } from 'node:path'; export default () => nope", 422, "FUNCTION_BUILD_FAILED", "nope"),
        ("import x from 'left-pad'; export default () => x", 422, "R402_BUNDLE_UNRESOLVED_IMPORT", "left-pad"),
        ("import './no.mjs'; export default () => 1", 422, "R402_BUNDLE_UNRESOLVED_IMPORT", "./no.mjs"),
        (
            "import 'https://example.com/x.mjs'; export default () => 1",
            422,
            "R402_BUNDLE_UNRESOLVED_IMPORT",
            "example.com",
        ),
    ] {
        let body = refused(&project, "bad", code, &json!({})).await.refused(status, expected);
        assert!(body["message"].as_str().is_some_and(|text| text.contains(word)), "{code}: {body}");
        assert_eq!((&body["phase"], &body["resource"]), (&json!("stage"), &json!("functions.bad")), "{code}");
        assert_eq!((&body["retryable"], &body["details"]["function"]), (&json!(false), &json!("bad")), "{code}");
        assert!(body["details"]["reason"].is_string(), "{body}");
    }
    assert_eq!(project.live().await["release_id"], release, "nothing went live");
    project.invoke("good").send().await.is(200);
    let syntax = refused(&project, "bad", "const a = 1;\nconst b = ;\n", &json!({})).await.json();
    assert_eq!((&syntax["details"]["reason"], &syntax["details"]["line"]), (&json!("syntax_error"), &json!(2)));
}

#[tokio::test]
async fn what_is_never_reached_does_not_matter() {
    let project = api().provision().await;
    let code = "function f() { return require('node:cluster') }
                export default () => typeof f;
                export const lazy = () => import('nowhere')";
    deploy(&project, &[("f", code, json!({}))]).await;
    assert_eq!(project.invoke("f").send().await.is(200), "function");
}

#[tokio::test]
async fn nothing_runs_while_it_is_deployed() {
    let project = api().provision().await;
    deploy(&project, &[("f", "for (;;) {} export default () => 1", json!({"config": {"timeout_seconds": 1}}))]).await;
    project.invoke("f").send().await.refused(504, "FUNCTION_TIMEOUT");
}

#[tokio::test]
async fn typescript_is_taken_whatever_it_is_called() {
    let typed = "type T = {a: number}; enum Level { Low = 1, High }
      export default async (req: Request): Promise<Response> => { const t: T = { a: Level.High }; return Response.json(t satisfies T) }";
    let with_types = "import { db, User } from '@run402/functions';
      export default async (): Promise<Response> => new Response(typeof db satisfies string as User & string)";
    let project = with(&[("typed", typed), ("imported", with_types)]).await;
    assert_eq!(project.invoke("typed").send().await.is(200), json!({"a": 2}));
    assert_eq!(project.invoke("imported").send().await.text(), "function");
}

#[tokio::test]
async fn a_stack_of_typescript_tells_the_authors_lines() {
    let code = "enum Kind { A, B }\ninterface Thing {\n  x?: { y: number };\n}\nexport default (): number => {\n  const thing: Thing = {}; const kind: Kind = Kind.B;\n  return thing.x!.y + kind;\n};\n";
    let project = with(&[("f", code)]).await;
    project.invoke("f").send().await.refused(500, "FUNCTION_RUNTIME_ERROR");
    let console = project.console("f", "", 1).await;
    let message = console.last().expect("an entry")["message"].as_str().expect("text");
    assert!(message.contains("index.ts:7:"), "{message}");
}

#[tokio::test]
async fn a_filter_that_hides_mistakes_in_policies_is_refused() {
    let project = api().provision().await;
    let filtered = |root: &str, note: &str| {
        format!(
            "import {{ db, adminDb, auth }} from '@run402/functions';
             export default async () => {{ const user = await auth.requireUser();
               {note}
               return Response.json(await {root}().from('t').select('*').eq('user_id', user.id)) }}"
        )
    };
    let body = refused(&project, "f", &filtered("db", ""), &json!({})).await;
    let body = body.refused(400, "R402_AUTH_REDUNDANT_USER_FILTER");
    assert_eq!((&body["details"]["function"], &body["details"]["line"]), (&json!("f"), &json!(4)));
    for code in [filtered("db", "// run402-allow-user-filter: a report over all"), filtered("adminDb", "")] {
        deploy(&project, &[("f", &code, json!({}))]).await;
    }
}

#[tokio::test]
async fn dependencies_need_a_source_of_packages() {
    let project = api().provision().await;
    let deps = json!({"deps": ["lodash@^4"]});
    let body = refused(&project, "f", "import l from 'lodash'; export default () => l.VERSION", &deps).await;
    let body = body.refused(422, "FUNCTION_BUILD_FAILED");
    assert_eq!(body["details"]["reason"], "dependency_unavailable");
    let native = refused(&project, "f", "import sharp from 'sharp'; export default () => sharp", &json!({})).await;
    let native = native.refused(422, "R402_BUNDLE_NATIVE_DEP_UNSUPPORTED");
    assert!(native["message"].as_str().is_some_and(|text| text.contains("sharp")), "{native}");
}
