//! Limits, ranges and counts (contract 02 §7.8, check 17).

use super::*;

static PROJECT: OnceCell<Project> = OnceCell::const_new();

async fn fixture() -> Fixture {
    Fixture::shared(&PROJECT).await
}

#[tokio::test]
async fn the_table_of_ranges() {
    let fixture = fixture().await;
    fixture.project.sql("analyze forty").await.is(200);
    let mut cases = Vec::new();
    for (query, range, count, status, expected) in [
        ("", "", "", 200, "0-41/*"),
        ("limit=10", "", "", 200, "0-9/*"),
        ("limit=10&limit=5", "", "", 200, "0-4/*"),
        ("limit=10&offset=5", "", "", 200, "5-14/*"),
        ("limit=100", "", "", 200, "0-41/*"),
        ("limit=10", "", "exact", 206, "0-9/42"),
        ("limit=42", "", "exact", 200, "0-41/42"),
        ("offset=5", "", "exact", 206, "5-41/42"),
        ("", "", "exact", 200, "0-41/42"),
        ("offset=42", "", "exact", 206, "*/42"),
        ("limit=0", "", "exact", 206, "*/42"),
        ("limit=0", "", "", 200, "*/*"),
        ("offset=42", "", "", 200, "*/*"),
        ("offset=50", "", "", 200, "*/*"),
        ("id=gt.40", "", "exact", 200, "0-1/2"),
        ("id=gt.40", "", "", 200, "0-1/*"),
        ("id=gt.99", "", "exact", 200, "*/0"),
        ("id=gt.99", "", "", 200, "*/*"),
        ("limit=10", "", "planned", 206, "0-9/42"),
        ("limit=10", "", "estimated", 206, "0-9/42"),
        ("limit=abc", "", "", 200, "0-41/*"),
        ("offset=abc", "", "", 200, "0-41/*"),
        ("", "0-9", "", 200, "0-9/*"),
        ("", "0-9", "exact", 206, "0-9/42"),
        ("", "40-49", "exact", 206, "40-41/42"),
        ("", "40-", "", 200, "40-41/*"),
        ("", "items=0-4", "", 200, "0-4/*"),
        ("", "0-0", "", 200, "0-0/*"),
        ("", "bytes=1-2", "", 200, "0-41/*"),
        ("", "nonsense", "", 200, "0-41/*"),
        ("limit=5", "3-20", "", 200, "3-4/*"),
    ] {
        for method in ["GET", "HEAD"] {
            if method == "HEAD" && !range.is_empty() {
                continue;
            }
            let mut case = both(&format!("{method} /forty?order=id&{query}")).status(status).with("content-range", expected);
            if !range.is_empty() {
                case = case.header("range", range);
            }
            if !count.is_empty() {
                case = case.prefer(&format!("count={count}"));
            }
            if method == "HEAD" {
                case = case.text("");
            }
            cases.push(case);
        }
    }
    // A range is a matter of GET only.
    cases.push(both("HEAD /forty").header("range", "0-4").with("content-range", "0-41/*").without("content-length"));
    cases.push(both("GET /nothing_in").gives(json!([])).with("content-range", "*/*"));
    cases.push(both("GET /nothing_in").prefer("count=exact").gives(json!([])).with("content-range", "*/0"));
    cases.push(both("GET /nothing_in?limit=0").prefer("count=exact").gives(json!([])).with("content-range", "*/0"));
    cases.push(both("GET /forty").header("range-unit", "stones").header("range", "0-1").with("content-range", "0-1/*"));
    fixture.check(cases).await;
}

#[tokio::test]
async fn ranges_that_cannot_be_are_416() {
    let beyond = || both("GET /forty?offset=50").prefer("count=exact").native(416, "PGRST103");
    fixture()
        .await
        .check(vec![
            beyond().with("content-range", "*/42"),
            beyond()
                .saying("Requested range not satisfiable")
                .member("details", "An offset of 50 was requested, but there are only 42 rows."),
            both("HEAD /forty?offset=50").prefer("count=exact").status(416).with("content-range", "*/42").text(""),
            both("GET /forty?limit=-1")
                .native(416, "PGRST103")
                .member("details", "Limit should be greater than or equal to zero."),
            both("GET /forty?offset=-1").native(416, "PGRST103"),
            both("GET /forty").header("range", "9-0").native(416, "PGRST103").member(
                "details",
                "The lower boundary must be lower than or equal to the upper boundary in the Range header.",
            ),
            both("GET /nothing_in?offset=1").prefer("count=exact").native(416, "PGRST103").with("content-range", "*/0"),
            both("GET /forty?limit=99999999999999999999").status(200).with("content-range", "0-41/*"),
        ])
        .await;
}
