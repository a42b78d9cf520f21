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
        ("import 'https://example.com/x.mjs'; export default () => 1", 422, "R402_BUNDLE_UNRESOLVED_IMPORT", "example.com"),
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
