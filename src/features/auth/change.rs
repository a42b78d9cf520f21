//! The one door to changes of what a session means.
//!
//! Sessions of routed requests are kept in memory ([`known`](super::known)). What the store writes of users, sessions
//! and settings therefore takes a [`ChangeTx`], which only a [`Change`] begins; and a `Change` outdates what is kept of
//! its project when it is dropped, which the borrow of its transaction puts after the commit and the handler's scope
//! before the answer. An error, a panic or a caller who leaves drops it as well.

use std::{ops::Deref, sync::Arc};

use deadpool_postgres::ClientWrapper;
use tokio_postgres::{Client, Transaction};

use super::{known::KnownSessions, service::Auth};
use crate::{
    common::ProjectId,
    engines::postgres::{Connection, DatabaseError},
};

/// A connection for a change to users, sessions or settings of one project.
pub(super) struct Change {
    connection: Connection,
    _outdates: Outdates,
}

/// Outdates what is kept of the project, on drop.
struct Outdates {
    known: Arc<KnownSessions>,
    project: ProjectId,
}

impl Drop for Outdates {
    fn drop(&mut self) {
        self.known.outdate(&self.project);
    }
}

/// A transaction of a [`Change`].
pub(super) struct ChangeTx<'a>(deadpool_postgres::Transaction<'a>);

impl Auth {
    /// A connection for changes to what sessions of the project mean.
    pub(super) async fn change(&self, project: &ProjectId) -> Result<Change, DatabaseError> {
        let outdates = Outdates { known: Arc::clone(&self.known), project: project.clone() };
        Ok(Change { connection: self.connection().await?, _outdates: outdates })
    }
}

impl Change {
    pub(super) async fn begin(&mut self) -> Result<ChangeTx<'_>, DatabaseError> {
        let client: &mut ClientWrapper = &mut self.connection;
        Ok(ChangeTx(client.transaction().await?))
    }
}

/// For what is read or used up before the transaction.
impl Deref for Change {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.connection
    }
}

impl ChangeTx<'_> {
    pub(super) async fn commit(self) -> Result<(), DatabaseError> {
        Ok(self.0.commit().await?)
    }
}

impl<'a> Deref for ChangeTx<'a> {
    type Target = Transaction<'a>;

    fn deref(&self) -> &Transaction<'a> {
        &self.0
    }
}
