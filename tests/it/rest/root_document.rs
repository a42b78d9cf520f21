//! The root document (contract 02 §7.15, check 25).

use super::*;

static PROJECT: OnceCell<Project> = OnceCell::const_new();

async fn documents() -> (Value, Value) {
    let fixture = Fixture::shared(&PROJECT).await;
    let mut found = Vec::new();
    for door in [Door::Public, Door::Admin] {
        let answer = fixture.send(door, &both("GET /")).await;
        assert_eq!(answer.status, 200, "{answer}");
        assert_eq!(answer.header("content-type"), Some("application/openapi+json; charset=utf-8"));
        found.push(serde_json::from_slice::<Value>(&answer.body).expect("JSON"));
    }
    let admin = found.pop().expect("two");
    (found.pop().expect("one"), admin)
}

#[tokio::test]
async fn it_lists_what_the_role_may_use() {
    let (anon, admin) = documents().await;
    for name in ["dark", "dark_child", "dark_view"] {
        assert!(anon["definitions"].get(name).is_none(), "{name} is shown to anon");
        assert!(anon["paths"].get(format!("/{name}")).is_none(), "{name} is shown to anon");
        assert!(admin["definitions"].get(name).is_some(), "{name} is hidden from the service key");
    }
    for name in ["labels", "books", "book_view"] {
        assert!(anon["definitions"].get(name).is_some() && admin["definitions"].get(name).is_some(), "{name}");
    }
    assert!(anon["paths"].get("/rpc/dark_function").is_none() && admin["paths"].get("/rpc/dark_function").is_some());
    assert!(anon["paths"].get("/rpc/add").is_some());
    assert!(!anon.to_string().contains("dark_"), "a dark name is somewhere in the document");
}

#[tokio::test]
async fn it_is_swagger() {
    let (_, document) = documents().await;
    assert_eq!(document["swagger"], "2.0");
    for member in ["title", "description", "version"] {
        assert!(document["info"][member].is_string(), "{member}");
    }
    assert!(document["host"].is_string() && document["basePath"].is_string());
    assert!(document["schemes"].as_array().is_some_and(|schemes| schemes[0] == "http" || schemes[0] == "https"));
    for list in ["consumes", "produces"] {
        let kinds = document[list].as_array().expect("a list");
        for kind in ["application/json", OBJECT, "text/csv"] {
            assert!(kinds.contains(&json!(kind)), "{kind} in {list}");
        }
    }
    assert!(document["paths"]["/"]["get"].is_object());
    let labels = &document["paths"]["/labels"];
    for method in ["get", "post", "patch", "delete"] {
        assert_eq!(labels[method]["tags"], json!(["labels"]), "{method}");
        let parameters = labels[method]["parameters"].as_array().expect("parameters");
        assert!(parameters.iter().all(|each| each["$ref"].as_str().is_some_and(|it| it.starts_with("#/parameters/"))));
        for each in parameters {
            let name = each["$ref"].as_str().and_then(|it| it.strip_prefix("#/parameters/")).expect("a name");
            assert!(document["parameters"].get(name).is_some(), "{name} leads nowhere");
        }
    }
    assert_eq!(labels["get"]["summary"], "Coloured labels");
    let view: Vec<&String> = document["paths"]["/author_books"].as_object().expect("a path").keys().collect();
    assert_eq!(view, ["get"], "a view that cannot be written");
    let methods = |path: &str| -> Vec<String> {
        let mut keys: Vec<String> = document["paths"][path].as_object().expect("a path").keys().cloned().collect();
        keys.sort();
        keys
    };
    assert_eq!(methods("/rpc/add"), ["get", "post"]);
    assert_eq!(methods("/rpc/writes"), ["post"]);
    assert_eq!(document["paths"]["/rpc/add"]["post"]["tags"], json!(["(rpc) add"]));
    for name in ["select", "order", "range", "rangeUnit", "offset", "limit", "on_conflict", "preferReturn", "preferCount", "preferPost",
                 "preferParams", "rowFilter.labels.id", "body.labels"] {
        assert!(document["parameters"].get(name).is_some(), "{name}");
    }
}

#[tokio::test]
async fn definitions_describe_columns() {
    let (_, document) = documents().await;
    let books = &document["definitions"]["books"];
    assert_eq!(books["type"], "object");
    assert_eq!(books["required"], json!(["id", "title"]));
    let column = |name: &str| &books["properties"][name];
    for (name, kind, format) in [
        ("id", json!("integer"), "integer"),
        ("title", json!("string"), "text"),
        ("tags", json!("array"), "text[]"),
        ("price", json!("number"), "numeric"),
        ("made", json!("string"), "timestamp with time zone"),
        ("big", json!("integer"), "bigint"),
        ("data", Value::Null, "jsonb"),
    ] {
        assert_eq!(column(name)["type"], kind, "{name}: {}", column(name));
        assert!(column(name)["format"].as_str().is_some_and(|it| it.contains(format)), "{name}: {}", column(name));
    }
    let told = |name: &str| column(name)["description"].as_str().unwrap_or_default().to_owned();
    assert!(told("id").contains("<pk/>"), "{}", told("id"));
    assert!(told("author_id").contains("<fk table='authors' column='id'/>"), "{}", told("author_id"));
    assert_eq!(column("mood")["enum"], json!(["sad", "happy"]));
    assert!(!column("price")["default"].is_null(), "{}", column("price"));
    assert_eq!(document["definitions"]["labels"]["properties"]["label"]["description"], "What it says");
    let view = &document["definitions"]["book_view"];
    assert!(view["required"].as_array().is_none_or(Vec::is_empty), "a view's columns are nullable: {view}");
}

#[tokio::test]
async fn it_is_negotiated() {
    let openapi = "application/openapi+json";
    Fixture::shared(&PROJECT)
        .await
        .check(vec![
            both("GET /").accept("*/*").member("swagger", "2.0"),
            both("GET /").accept(openapi).member("swagger", "2.0"),
            both("GET /").accept("application/json").member("swagger", "2.0"),
            both("GET ").member("swagger", "2.0"),
            both("HEAD /").text("").with("content-type", "application/openapi+json; charset=utf-8"),
            both("GET /").accept("text/csv").native(406, "PGRST107"),
            both("GET /").accept("image/png").native(406, "PGRST107"),
            both("GET /labels").accept(openapi).native(406, "PGRST107"),
        ])
        .await;
}
