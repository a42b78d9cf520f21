//! Preferences (contract 02 §7.11, check 20).

use super::*;

static PROJECT: OnceCell<Project> = OnceCell::const_new();

#[tokio::test]
async fn what_was_honoured_is_named() {
    let mut cases = Vec::new();
    for (line, prefer, applied) in [
        ("GET /labels", "count=exact", "count=exact"),
        ("GET /labels", "count=planned", "count=planned"),
        ("GET /labels", "count=estimated", "count=estimated"),
        ("GET /labels", "count=exact, count=planned", "count=exact"),
        ("GET /labels", "return=representation, count=exact", "count=exact"),
        ("GET /labels", "count=exact,handling=lenient", "count=exact, handling=lenient"),
        ("GET /labels", "handling=strict", "handling=strict"),
        ("GET /labels", "timezone=UTC", "timezone=UTC"),
        ("GET /labels", "timezone=Europe/Paris,handling=strict,count=exact", "count=exact, handling=strict, timezone=Europe/Paris"),
        ("HEAD /labels", "count=exact", "count=exact"),
        ("DELETE /nothing_in", "return=minimal", "return=minimal"),
        ("DELETE /nothing_in", "missing=default,return=representation", "return=representation"),
        ("DELETE /nothing_in", "count=exact,return=representation", "return=representation, count=exact"),
    ] {
        cases.push(admin(line).prefer(prefer).status(if prefer.contains("return=minimal") { 204 } else { 200 }).with("preference-applied", applied));
    }
    for prefer in [
        "return=representation",
        "return=minimal",
        "resolution=merge-duplicates",
        "missing=default",
        "count=guessed",
        "timezone=Mars/Olympus",
        "tx=rollback",
        "tx=commit",
        "params=single-object",
        "foo=bar",
        "max-affected=1",
        "",
        ",,;=",
    ] {
        cases.push(both("GET /labels").prefer(prefer).status(200).without("preference-applied"));
    }
    let fixture = Fixture::shared(&PROJECT).await;
    fixture.project.sql("analyze labels").await.is(200);
    fixture.check(cases).await;
}

#[tokio::test]
async fn strict_handling_refuses_what_it_does_not_know() {
    let mut cases = Vec::new();
    for (prefer, details) in [
        ("handling=strict, foo=bar", "Invalid preferences: foo=bar"),
        ("handling=strict, foo=bar, count=guessed", "Invalid preferences: foo=bar, count=guessed"),
        ("handling=strict,timezone=Mars/Olympus", "Invalid preferences: timezone=Mars/Olympus"),
        ("foo=bar,handling=strict", "Invalid preferences: foo=bar"),
    ] {
        let case = both("GET /labels").prefer(prefer).native(400, "PGRST122");
        cases.push(case.saying("Invalid preferences given with handling=strict").member("details", details));
    }
    cases.push(both("GET /labels").prefer("foo=bar").status(200));
    cases.push(both("GET /labels").prefer("handling=lenient, foo=bar").status(200));
    Fixture::shared(&PROJECT).await.check(cases).await;
}

#[tokio::test]
async fn most_affected_rows_are_kept_to() {
    let fixture = Fixture::new().await;
    let strict = "handling=strict, max-affected=1";
    fixture
        .check(vec![
            admin("DELETE /book_labels?book_id=eq.1").prefer(strict).native(400, "PGRST124")
                .saying("Query result exceeds max-affected preference constraint")
                .member("details", "The query affects 2 rows")
                .stored("select count(*)::int from book_labels where book_id = 1", 2),
            admin("PATCH /labels").prefer(strict).json(&json!({"label": "x"})).native(400, "PGRST124")
                .stored("select count(*)::int from labels where label = 'x'", 0),
            admin("DELETE /book_labels?book_id=eq.2").prefer(strict).status(204).with("preference-applied", strict),
            admin("DELETE /book_labels?book_id=eq.99").prefer(strict).status(204),
            // Only strict handling makes it a limit.
            admin("PATCH /labels").prefer("max-affected=1").json(&json!({"label": "y"})).status(204)
                .stored("select count(*)::int from labels where label = 'y'", 3),
            admin("PATCH /labels?id=eq.1").prefer("tx=rollback").json(&json!({"label": "kept"})).status(204)
                .without("preference-applied")
                .stored("select label from labels where id = 1", "kept"),
        ])
        .await;
}

#[tokio::test]
async fn writes_echo_their_preferences_in_order() {
    let fixture = Fixture::new().await;
    let all = "timezone=UTC,handling=lenient,count=exact,return=representation,missing=default,resolution=merge-duplicates";
    fixture
        .check(vec![
            admin("POST /labels?columns=id").prefer(all).json(&json!({"id": 1})).status(200).with(
                "preference-applied",
                "resolution=merge-duplicates, missing=default, return=representation, count=exact, handling=lenient, timezone=UTC",
            ),
            admin("POST /labels").prefer("return=headers-only").json(&json!({"id": 80})).status(201)
                .with("preference-applied", "return=headers-only"),
            admin("PATCH /labels?id=eq.1").prefer("return=representation").json(&json!({"label": "z"})).status(200)
                .with("preference-applied", "return=representation"),
            admin("PUT /labels?id=eq.1").prefer("missing=default,return=representation").json(&json!({"id": 1})).status(200)
                .with("preference-applied", "return=representation"),
        ])
        .await;
}
