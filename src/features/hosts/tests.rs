//! The directory as a value, and the claims against a real server.

use std::sync::Arc;

use url::Url;

use super::{
    Bound, Claim, HostNames, Hostname, Hosts, SubdomainSettings,
    directory::{Directory, Fixed, Site},
};
use crate::{
    common::{Clock, OrganisationId, ProjectId, Timestamp},
    engines::postgres::{
        Cluster, Database, Login, migrate,
        test_support::{TestBox, as_ordinary_user},
    },
};

mod control_migrations {
    refinery::embed_migrations!("migrations/control");
}

fn at(text: &str) -> Timestamp {
    Timestamp(text.parse().unwrap())
}

fn project(id: &str) -> ProjectId {
    id.parse().unwrap()
}

fn claim(name: &str, owner: &str) -> Claim {
    let time = at("2026-06-01T00:00:00Z");
    Claim { name: name.into(), project: project(owner), pin: None, claimed_at: time, updated_at: time }
}

fn site() -> Site {
    Site {
        base: "localhost".into(),
        scheme: "http://".into(),
        port: ":4020".into(),
        api_hosts: vec!["box.example".into()],
    }
}

#[test]
fn hosts_are_placed_in_the_order_of_the_contract() {
    let mut directory = Directory::default();
    directory.put(&site(), &project("prj_a"), "aaa", vec![claim("alpha", "prj_a")]);
    let fixed = Fixed::default();
    let find = |host: &str| (*directory.find(&site(), &fixed, &Hostname::parse(host).unwrap())).clone();
    for host in ["localhost", "api.localhost:4020", "127.0.0.1", "[::1]:4020", "box.example", "LOCALHOST."] {
        assert_eq!(find(host), Bound::Api, "{host}");
    }
    assert_eq!(find("pr-aaa.localhost"), Bound::Project(project("prj_a")));
    assert_eq!(find("dpl-x-1a.sites.localhost"), Bound::Deployment("dpl_x_1a".parse().unwrap()));
    let alpha = Bound::Subdomain { name: "alpha".into(), project: project("prj_a"), pin: None };
    assert_eq!(find("ALPHA.localhost.:9999"), alpha);
    for host in ["nope.localhost", "pr-zzz.localhost", "a.alpha.localhost", "dpl-x.sites.localhost", "sites.localhost"]
    {
        assert_eq!(find(host), Bound::UnknownManaged, "{host}");
    }
    for host in ["example.org", "alphalocalhost", "localhost.example.org"] {
        assert_eq!(find(host), Bound::Foreign, "{host}");
    }
}

#[test]
fn urls_carry_scheme_and_port_of_the_box() {
    let mut directory = Directory::default();
    directory.put(&site(), &project("prj_a"), "aaa", vec![claim("old", "prj_a"), claim("new", "prj_a")]);
    directory.put(&site(), &project("prj_b"), "bbb", Vec::new());
    let a = directory.project(&project("prj_a")).unwrap();
    assert_eq!(a.urls.public, "http://pr-aaa.localhost:4020");
    assert_eq!(a.urls.preferred(), "http://old.localhost:4020");
    assert_eq!(directory.project(&project("prj_b")).unwrap().urls.preferred(), "http://pr-bbb.localhost:4020");
    assert_eq!(site().deployment_url(&"dpl_x_1a".parse().unwrap()), "http://dpl-x-1a.sites.localhost:4020");
}

#[test]
fn a_name_that_moved_survives_the_end_of_its_former_owner() {
    let mut directory = Directory::default();
    directory.put(&site(), &project("prj_a"), "aaa", vec![claim("alpha", "prj_a")]);
    directory.put(&site(), &project("prj_b"), "bbb", vec![claim("alpha", "prj_b")]);
    directory.remove(&project("prj_a"));
    let found = directory.find(&site(), &Fixed::default(), &Hostname::parse("alpha.localhost").unwrap());
    assert!(matches!(&*found, Bound::Subdomain { project: owner, .. } if *owner == project("prj_b")));
}

/// A control database with three projects: `prj_a` and `prj_c` of one organisation, `prj_b` of another.
async fn control(cluster: &Cluster) -> Database {
    cluster.create_database_from("template0", "control").await.unwrap();
    let login = Login::new("control", "postgres");
    migrate(cluster, &login, control_migrations::migrations::runner()).await.unwrap();
    let database = cluster.database(login);
    let connection = database.get().await.unwrap();
    let (one, two) = (OrganisationId::generate(), OrganisationId::generate());
    for organisation in [one, two] {
        connection
            .execute("insert into organisations (id, usage_period_start) values ($1, now())", &[&organisation.0])
            .await
            .unwrap();
    }
    for (number, (id, public_id, organisation)) in
        [("prj_a", "aaa", one), ("prj_b", "bbb", two), ("prj_c", "ccc", one)].into_iter().enumerate()
    {
        let slot = format!("p{:04}", number + 1);
        connection
            .execute(
                "insert into projects (id, public_id, organisation_id, name, slot, platform_secret,
                                       bootstrap_version, usage_period_start)
                 values ($1, $2, $3, 'test', $4, '', 1, now())",
                &[&id, &public_id, &organisation.0, &slot],
            )
            .await
            .unwrap();
    }
    drop(connection);
    database
}

fn hosts(database: &Database, clock: &Clock) -> Arc<Hosts> {
    let names = HostNames {
        base: "localhost".into(),
        public_url: Url::parse("http://localhost:4020").unwrap(),
        api_hosts: Vec::new(),
    };
    Arc::new(Hosts::new(database.clone(), clock.clone(), names, SubdomainSettings::default()))
}

/// Claims exactly these names and tells memory.
async fn bind(hosts: &Hosts, database: &Database, id: &str, names: &[&str]) -> Result<(), String> {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut connection = database.get().await.unwrap();
    let client: &mut tokio_postgres::Client = &mut connection;
    let tx = client.transaction().await.unwrap();
    hosts.bind(&tx, &project(id), &names).await.map_err(|error| format!("{} {}", error.status(), error.code()))?;
    tx.commit().await.unwrap();
    drop(connection);
    hosts.refresh(&project(id)).await.unwrap();
    Ok(())
}

#[test]
fn names_have_one_owner_and_are_held_for_a_purged_one() {
    as_ordinary_user(|| async {
        let test_box = TestBox::new();
        let cluster = test_box.start().await;
        let database = control(&cluster).await;
        let clock = Clock::fixed(at("2026-06-01T00:00:00Z"));
        let hosts = hosts(&database, &clock);
        hosts.start().await.unwrap();

        bind(&hosts, &database, "prj_a", &["alpha"]).await.unwrap();
        assert_eq!(hosts.urls(&project("prj_a")).unwrap().preferred(), "http://alpha.localhost:4020");
        let taken = Err("409 Conflict SUBDOMAIN_TAKEN".to_owned());
        assert_eq!(bind(&hosts, &database, "prj_b", &["alpha"]).await, taken);
        assert_eq!(bind(&hosts, &database, "prj_c", &["alpha"]).await, taken, "even of the same organisation");
        let reserved = Err("400 Bad Request SUBDOMAIN_RESERVED".to_owned());
        assert_eq!(bind(&hosts, &database, "prj_b", &["pr-x"]).await, reserved);
        assert!(hosts.check(&project("prj_b"), &["alpha".into()]).await.is_err());
        assert!(hosts.check(&project("prj_a"), &["alpha".into(), "beta".into()]).await.is_ok());

        // Exactly these: the others are free at once.
        bind(&hosts, &database, "prj_a", &["beta"]).await.unwrap();
        assert_eq!(hosts.names(&project("prj_a")), ["beta"]);
        bind(&hosts, &database, "prj_b", &["alpha"]).await.unwrap();

        // What is in memory is what a restart reads.
        let again = self::hosts(&database, &clock);
        again.start().await.unwrap();
        for host in ["alpha.localhost", "beta.localhost", "pr-ccc.localhost", "nope.localhost"] {
            assert_eq!(again.resolve(host).unwrap(), hosts.resolve(host).unwrap(), "{host}");
        }

        // Purged: unknown at once, held for the organisation, free for all after the grace.
        database
            .get()
            .await
            .unwrap()
            .execute("update projects set status = 'purged', deleted_at = $1 where id = 'prj_a'", &[&clock.now()])
            .await
            .unwrap();
        hosts.end(&project("prj_a"));
        assert_eq!(hosts.resolve("beta.localhost").unwrap(), Bound::UnknownManaged);
        assert_eq!(hosts.resolve("pr-aaa.localhost").unwrap(), Bound::UnknownManaged);
        let held = Err("409 Conflict SUBDOMAIN_RESERVED".to_owned());
        assert_eq!(bind(&hosts, &database, "prj_b", &["alpha", "beta"]).await, held);
        hosts.refresh(&project("prj_a")).await.unwrap();
        assert_eq!(hosts.resolve("beta.localhost").unwrap(), Bound::UnknownManaged, "it stays away");
        bind(&hosts, &database, "prj_c", &["beta"]).await.unwrap();
        bind(&hosts, &database, "prj_c", &[]).await.unwrap();
        assert!(bind(&hosts, &database, "prj_b", &["alpha", "beta"]).await.is_ok());
        cluster.stop().await;
    });
}

#[test]
fn a_pin_lasts_until_the_next_activation() {
    as_ordinary_user(|| async {
        let test_box = TestBox::new();
        let cluster = test_box.start().await;
        let database = control(&cluster).await;
        let clock = Clock::fixed(at("2026-06-01T00:00:00Z"));
        let hosts = hosts(&database, &clock);
        hosts.start().await.unwrap();
        let deployment = "dpl_1_a".parse().unwrap();
        {
            let mut connection = database.get().await.unwrap();
            let client: &mut tokio_postgres::Client = &mut connection;
            let tx = client.transaction().await.unwrap();
            hosts.pin(&tx, &project("prj_a"), "alpha", Some(&deployment)).await.unwrap();
            tx.commit().await.unwrap();
        }
        hosts.refresh(&project("prj_a")).await.unwrap();
        assert_eq!(hosts.claim_of("alpha").unwrap().pin, Some(deployment));
        clock.advance(jiff::SignedDuration::from_secs(60));
        bind(&hosts, &database, "prj_a", &["alpha"]).await.unwrap();
        let claim = hosts.claim_of("alpha").unwrap();
        assert_eq!(claim.pin, None);
        assert_eq!((claim.claimed_at, claim.updated_at), (at("2026-06-01T00:00:00Z"), at("2026-06-01T00:01:00Z")));
        cluster.stop().await;
    });
}
