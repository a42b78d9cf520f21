//! SKELETON. Function secrets: sealed values by project and key (contract 05, 03 §4.3).

use tokio_postgres::Transaction;

use crate::{
    common::{ApiResult, ProjectId},
    engines::postgres::DatabaseError,
};

pub struct Secrets {}

impl Secrets {
    /// Names with a stored value, sorted.
    pub async fn names(&self, project: &ProjectId) -> ApiResult<Vec<String>> {
        let _ = project;
        Ok(Vec::new())
    }

    /// Inside the activation transaction: removes these values.
    pub async fn delete(
        &self,
        tx: &Transaction<'_>,
        project: &ProjectId,
        keys: &[String],
    ) -> Result<u64, DatabaseError> {
        let _ = (tx, project, keys);
        Ok(0)
    }
}
