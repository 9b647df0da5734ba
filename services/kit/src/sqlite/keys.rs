//! Keyed requests, remembered: a retry gets the stored answer, or takes over what was left half-done.
//!
//! A request that needs one transaction uses [`find`] and [`conclude`]. A request of several steps calls [`begin`] first,
//! which fixes the id of the resource before the first step, so that whoever repeats the request (the same client, at
//! another replica) repeats every step with the same id. All steps must therefore be idempotent by that id.

use sqlx::SqliteConnection;

use super::Write;
use crate::key::Key;
use crate::problem::{Kind, Problem};
use crate::reply::Reply;

/// What is known of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// Begun for this resource, and not finished.
    Begun {
        /// The id of the resource.
        resource: String,
        /// When it was begun.
        started_at: i64,
    },
    /// Finished with this answer.
    Done(Reply),
}

/// Looks a key up; the same key with another body is refused.
pub async fn find(
    db: &mut SqliteConnection,
    key: &Key,
    fingerprint: &str,
) -> Result<Option<Known>, Problem> {
    type Row = (String, String, Option<i64>, Option<String>, i64);
    let row: Option<Row> = sqlx::query_as(
        "SELECT fingerprint, resource, status, body, started_at FROM keys WHERE scope = ? AND value = ?",
    )
    .bind(&key.scope)
    .bind(&key.value)
    .fetch_optional(db)
    .await?;
    let Some((stored, resource, status, body, started_at)) = row else {
        return Ok(None);
    };
    if stored != fingerprint {
        return Err(Problem::new(
            Kind::IdempotencyKeyReused,
            "use a new key for another body",
        ));
    }
    Ok(Some(
        match (status.and_then(|status| u16::try_from(status).ok()), body) {
            (Some(status), Some(body)) => Known::Done(Reply { status, body }),
            _ => Known::Begun {
                resource,
                started_at,
            },
        },
    ))
}

/// Notes that a request of several steps begins, and which id its resource will have.
pub async fn begin(
    db: &mut SqliteConnection,
    key: &Key,
    fingerprint: &str,
    resource: &str,
    now: i64,
) -> Result<(), Problem> {
    sqlx::query(
        "INSERT INTO keys (scope, value, fingerprint, resource, started_at) VALUES (?, ?, ?, ?, ?)",
    )
    .bind(&key.scope)
    .bind(&key.value)
    .bind(fingerprint)
    .bind(resource)
    .bind(now)
    .execute(db)
    .await?;
    Ok(())
}

/// Stores the answer, in the transaction that makes it true.
pub async fn finish(
    db: &mut SqliteConnection,
    key: &Key,
    fingerprint: &str,
    reply: &Reply,
    now: i64,
) -> Result<(), Problem> {
    sqlx::query(
        "INSERT INTO keys (scope, value, fingerprint, resource, status, body, started_at) VALUES (?, ?, ?, '', ?, ?, ?)
         ON CONFLICT (scope, value) DO UPDATE SET status = excluded.status, body = excluded.body",
    )
    .bind(&key.scope)
    .bind(&key.value)
    .bind(fingerprint)
    .bind(i64::from(reply.status))
    .bind(&reply.body)
    .bind(now)
    .execute(db)
    .await?;
    Ok(())
}

/// Stores the answer for whichever key was begun for a resource, if one was.
pub async fn finish_resource(
    db: &mut SqliteConnection,
    resource: &str,
    reply: &Reply,
) -> Result<(), Problem> {
    sqlx::query("UPDATE keys SET status = ?, body = ? WHERE resource = ? AND status IS NULL")
        .bind(i64::from(reply.status))
        .bind(&reply.body)
        .bind(resource)
        .execute(db)
        .await?;
    Ok(())
}

/// Lists resources of a scope that were begun before `before` and never finished.
pub async fn abandoned(
    db: &mut SqliteConnection,
    scope: &str,
    before: i64,
) -> Result<Vec<String>, Problem> {
    let query = "SELECT resource FROM keys WHERE status IS NULL AND scope = ? AND started_at < ? ORDER BY started_at LIMIT 50";
    Ok(sqlx::query_scalar(query)
        .bind(scope)
        .bind(before)
        .fetch_all(db)
        .await?)
}

/// Forgets what was begun for a resource and never finished: a later retry begins anew.
pub async fn abandon(db: &mut SqliteConnection, resource: &str) -> Result<(), Problem> {
    sqlx::query("DELETE FROM keys WHERE resource = ? AND status IS NULL")
        .bind(resource)
        .execute(db)
        .await?;
    Ok(())
}

/// Stores the outcome of a request that needed only this transaction, and commits. A refusal is stored like a success, so
/// the work must decide on it before its first write; a failure is not stored, and everything is rolled back.
pub async fn conclude(
    mut tx: Write,
    key: &Key,
    fingerprint: &str,
    outcome: Result<Reply, Problem>,
    now: i64,
) -> Result<Reply, Problem> {
    let reply = match outcome {
        Err(problem) if problem.is_transient() => return Err(problem),
        Err(problem) => Reply::from(&problem),
        Ok(reply) => reply,
    };
    finish(&mut tx, key, fingerprint, &reply, now).await?;
    tx.commit().await?;
    Ok(reply)
}

/// Tells whether a finished key is older than `before`.
pub async fn any_before(db: &mut SqliteConnection, before: i64) -> Result<bool, Problem> {
    let old = "SELECT EXISTS (SELECT 1 FROM keys WHERE started_at < ? AND status IS NOT NULL)";
    Ok(sqlx::query_scalar(old).bind(before).fetch_one(db).await?)
}

/// Forgets keys that were begun before `before` and are finished.
pub async fn forget(db: &mut SqliteConnection, before: i64) -> Result<u64, Problem> {
    let gone = sqlx::query("DELETE FROM keys WHERE started_at < ? AND status IS NOT NULL")
        .bind(before)
        .execute(db)
        .await?;
    Ok(gone.rows_affected())
}
