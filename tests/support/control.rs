//! The control database behind the box's back: for travelling in time and for checking what is really stored.

use std::path::Path;

use tokio_postgres::{Client, Config, NoTls, types::ToSql};

use super::Appliance;

/// The platform's superuser over the unix socket, in the named database.
pub async fn connect(appliance: &Appliance, database: &str) -> Client {
    connect_in(appliance.data_dir(), database).await
}

pub async fn connect_in(data_dir: &Path, database: &str) -> Client {
    let (client, connection) = Config::new()
        .host_path(data_dir.join("run"))
        .user("postgres")
        .dbname(database)
        .connect(NoTls)
        .await
        .expect("the control database accepts its superuser over the socket");
    tokio::spawn(connection);
    client
}

pub async fn control(appliance: &Appliance) -> Client {
    connect(appliance, "run402").await
}

/// Moves an organisation's lease so that it ended this many days ago.
pub async fn expire_lease(appliance: &Appliance, organisation: &str, days_ago: i32) {
    let changed = control(appliance)
        .await
        .execute(
            "update organisations
                set lease_started_at = now() - make_interval(days => $2 + 7),
                    lease_expires_at = now() - make_interval(days => $2)
              where id = $1::text::uuid",
            &[&organisation, &days_ago],
        )
        .await
        .expect("the lease can be moved");
    assert_eq!(changed, 1, "no organisation {organisation}");
}

/// Statements without parameters.
pub async fn sql(appliance: &Appliance, statements: &str) {
    control(appliance).await.batch_execute(statements).await.expect("the statements run");
}

/// The only value of the only row, which is text.
pub async fn value(appliance: &Appliance, query: &str) -> String {
    control(appliance).await.query_one(query, &[]).await.expect("one row").get(0)
}

/// Moves time in the control database: one statement that changes a stored moment.
pub async fn move_time(appliance: &Appliance, statement: &str, operands: &[&(dyn ToSql + Sync)]) {
    control(appliance).await.execute(statement, operands).await.expect("time can be moved");
}
