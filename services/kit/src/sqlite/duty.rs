//! Work that one replica does for all: expiry, recovery, delivery of events.
//!
//! A row in the database is the lease. Who holds it does the duties every period; when its process dies, another takes over
//! as soon as the lease has run out. Two holders for a moment do no harm, since each duty guards its own transitions: the
//! lease saves work, it does not protect data.

use std::time::Duration;

use uuid::Uuid;

use super::Db;
use crate::clock::{Clock, millis};
use crate::host::Stop;
use crate::problem::Problem;

const TERM: Duration = Duration::from_secs(3);

/// Does `duties` every `period` while this replica holds the lease called `name`, until told to stop.
pub async fn run(
    db: Db,
    name: &'static str,
    period: Duration,
    mut stop: Stop,
    mut duties: impl AsyncFnMut() -> Result<(), Problem>,
) {
    let holder = Uuid::now_v7().to_string();
    // The lease is a matter between machines' processes, so it runs on real time even where a test moves the service's clock.
    let clock = Clock::system();
    while !stop.within(period).await {
        match acquire(&db, name, &holder, clock.now()).await {
            Ok(true) => {
                if let Err(problem) = duties().await {
                    tracing::warn!(
                        detail = problem.detail,
                        "duties were cut short; they are tried again"
                    );
                }
            }
            Ok(false) => {}
            Err(problem) => tracing::warn!(detail = problem.detail, "cannot ask for the lease"),
        }
    }
    if let Err(problem) = release(&db, name, &holder).await {
        tracing::warn!(
            detail = problem.detail,
            "the lease was not released; it runs out by itself"
        );
    }
}

/// Takes or renews the lease; returns whether this replica holds it. Writes only when there is something to write.
async fn acquire(db: &Db, name: &str, holder: &str, now: i64) -> Result<bool, Problem> {
    let current: Option<(String, i64)> =
        sqlx::query_as("SELECT holder, until FROM leases WHERE name = ?")
            .bind(name)
            .fetch_optional(&mut *db.read().await?)
            .await?;
    if let Some((current, until)) = current {
        let own = current == holder;
        if !own && until > now {
            return Ok(false);
        }
        if own && until - now > millis(TERM / 2) {
            return Ok(true);
        }
    }
    let mut tx = db.write().await?;
    let taken = sqlx::query(
        "INSERT INTO leases (name, holder, until) VALUES (?1, ?2, ?3)
         ON CONFLICT (name) DO UPDATE SET holder = ?2, until = ?3 WHERE holder = ?2 OR until <= ?4",
    )
    .bind(name)
    .bind(holder)
    .bind(now + millis(TERM))
    .bind(now)
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(taken.rows_affected() == 1)
}

async fn release(db: &Db, name: &str, holder: &str) -> Result<(), Problem> {
    let mut tx = db.write().await?;
    sqlx::query("DELETE FROM leases WHERE name = ? AND holder = ?")
        .bind(name)
        .bind(holder)
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::SCHEMA;

    #[tokio::test]
    async fn one_holder_until_the_term_ends_or_it_lets_go() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(&folder.path().join("a.db"), &[SCHEMA])
            .await
            .unwrap();
        let term = millis(TERM);
        assert!(acquire(&db, "n", "a", 0).await.unwrap());
        assert!(!acquire(&db, "n", "b", term - 1).await.unwrap());
        assert!(acquire(&db, "n", "a", term - 1).await.unwrap(), "renewed");
        assert!(!acquire(&db, "n", "b", term).await.unwrap());
        assert!(
            acquire(&db, "n", "b", 2 * term).await.unwrap(),
            "the holder was silent for a term"
        );
        assert!(!acquire(&db, "n", "a", 2 * term).await.unwrap());
        release(&db, "n", "b").await.unwrap();
        assert!(acquire(&db, "n", "a", 2 * term).await.unwrap());
    }
}
