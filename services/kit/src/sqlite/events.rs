//! The transactional outbox: an event is written in the transaction that makes it true, and posted to subscribers later.
//!
//! The table is a log; each subscriber has a mark in it. Write transactions follow one another, so the numbers are given in
//! the order of the commits and a mark never passes an event that is still to come. Delivery is in order and at least
//! once: a subscriber drops what it has seen by the event's `id`.

use axum::http::Method;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::SqliteConnection;
use utoipa::ToSchema;
use uuid::Uuid;

use super::Db;
use crate::client::{Call, Client, Limits};
use crate::clock;
use crate::env::BadSetting;
use crate::problem::Problem;

const BATCH: i64 = 100;

/// An event as it is listed and posted: a `CloudEvent` in JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// The version of the `CloudEvents` specification.
    pub specversion: String,
    /// Unique for each event.
    pub id: String,
    /// The service.
    pub source: String,
    /// What happened, such as `order.paid`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it happened to: the id of the order, or the SKU.
    pub subject: String,
    /// When, RFC 3339.
    pub time: String,
    /// The particulars.
    pub data: Value,
}

/// Writes an event into the log, in the caller's transaction.
pub async fn append(
    db: &mut SqliteConnection,
    kind: &str,
    subject: &str,
    data: &Value,
    now: i64,
) -> Result<(), Problem> {
    sqlx::query("INSERT INTO events (id, type, subject, at, data) VALUES (?, ?, ?, ?, ?)")
        .bind(Uuid::now_v7().to_string())
        .bind(kind)
        .bind(subject)
        .bind(now)
        .bind(data.to_string())
        .execute(db)
        .await?;
    Ok(())
}

/// Tells whether an event happened before `before`.
pub async fn any_before(db: &mut SqliteConnection, before: i64) -> Result<bool, Problem> {
    // The numbers follow the clock, so the oldest event is the first.
    let first: Option<i64> = sqlx::query_scalar("SELECT at FROM events ORDER BY seq LIMIT 1")
        .fetch_optional(db)
        .await?;
    Ok(first.is_some_and(|at| at < before))
}

/// Forgets events that happened before `before`.
pub async fn forget(db: &mut SqliteConnection, before: i64) -> Result<u64, Problem> {
    let gone = sqlx::query("DELETE FROM events WHERE at < ?")
        .bind(before)
        .execute(db)
        .await?;
    Ok(gone.rows_affected())
}

#[derive(sqlx::FromRow)]
struct Row {
    seq: i64,
    id: String,
    r#type: String,
    subject: String,
    at: i64,
    data: String,
}

impl Row {
    fn event(self, source: &str) -> Event {
        Event {
            specversion: "1.0".to_owned(),
            id: self.id,
            source: source.to_owned(),
            kind: self.r#type,
            subject: self.subject,
            time: clock::rfc3339(self.at),
            data: serde_json::from_str(&self.data).unwrap_or_default(),
        }
    }
}

/// Lists what happened to one subject, oldest first.
pub async fn of_subject(
    db: &mut SqliteConnection,
    source: &str,
    subject: &str,
) -> Result<Vec<Event>, Problem> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT seq, id, type, subject, at, data FROM events WHERE subject = ? ORDER BY seq",
    )
    .bind(subject)
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|row| row.event(source)).collect())
}

/// Posts events to the subscribers. One replica at a time should: see [`super::duty`].
#[derive(Debug)]
pub struct Outbox {
    source: &'static str,
    subscribers: Vec<(String, Client)>,
}

impl Outbox {
    /// Takes the URLs that events are posted to, whole: `http://host:port/path`.
    pub fn new(source: &'static str, setting: &str, urls: Vec<String>) -> Result<Self, BadSetting> {
        let client =
            |url: String| Ok((url.clone(), Client::new(setting, &url, Limits::default())?));
        Ok(Self {
            source,
            subscribers: urls.into_iter().map(client).collect::<Result<_, _>>()?,
        })
    }

    /// Tells whether nobody listens.
    pub fn is_empty(&self) -> bool {
        self.subscribers.is_empty()
    }

    /// Posts what each subscriber has not seen; one that fails is tried again at the next call, and holds up no other.
    pub async fn deliver(&self, db: &Db) -> Result<(), Problem> {
        for (url, client) in &self.subscribers {
            while self.deliver_batch(db, url, client).await? {}
        }
        Ok(())
    }

    /// Returns whether there may be more to deliver at once.
    async fn deliver_batch(&self, db: &Db, url: &str, client: &Client) -> Result<bool, Problem> {
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT seq, id, type, subject, at, data FROM events
             WHERE seq > coalesce((SELECT delivered FROM subscribers WHERE url = ?), 0) ORDER BY seq LIMIT ?",
        )
        .bind(url)
        .bind(BATCH)
        .fetch_all(&mut *db.read().await?)
        .await?;
        let full = i64::try_from(rows.len()).is_ok_and(|rows| rows == BATCH);
        let mut delivered = None;
        let mut failed = false;
        for row in rows {
            let seq = row.seq;
            if !post(client, &row.event(self.source)).await {
                failed = true;
                break;
            }
            delivered = Some(seq);
        }
        if let Some(seq) = delivered {
            let mut tx = db.write().await?;
            sqlx::query(
                "INSERT INTO subscribers (url, delivered) VALUES (?, ?)
                 ON CONFLICT (url) DO UPDATE SET delivered = max(delivered, excluded.delivered)",
            )
            .bind(url)
            .bind(seq)
            .execute(&mut *tx)
            .await?;
            tx.commit().await?;
        }
        Ok(full && !failed)
    }
}

async fn post(client: &Client, event: &Event) -> bool {
    let Ok(call) = Call::new(Method::POST, "").json(event) else {
        return false;
    };
    let call = call.content_type("application/cloudevents+json");
    match client.send(&call).await {
        Ok(answer) if answer.status.is_success() => true,
        Ok(answer) => {
            tracing::warn!(
                event = event.id,
                status = answer.status.as_u16(),
                "a subscriber refused an event"
            );
            false
        }
        Err(error) => {
            tracing::warn!(event = event.id, %error, "a subscriber cannot be reached");
            false
        }
    }
}
