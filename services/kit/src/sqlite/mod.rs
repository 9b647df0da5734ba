//! State in one SQLite file that several replicas on one machine share.
//!
//! Writers take the write lock at the start of a transaction (`BEGIN IMMEDIATE`), so a transaction that reads and then writes
//! never fails half-way because another replica wrote. Each process has one writing connection: its own tasks queue fairly
//! for it, and only processes compete for the file. Commits are synced to disk, since an answered order must survive a
//! power cut.
//!
//! Nothing here is particular to one service; the tables it brings ([`SCHEMA`]) stand beside the service's own.

pub mod duty;
pub mod events;
pub mod keys;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sqlx::pool::PoolConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, Sqlite, SqliteConnection, SqlitePool, Transaction};

use crate::env::{BadSetting, Env};
use crate::problem::Problem;

/// The tables of the kit. A step of a schema, once released, is never edited; a change is a new step.
pub const SCHEMA: &str = "
    CREATE TABLE keys (
        scope TEXT NOT NULL, value TEXT NOT NULL, fingerprint TEXT NOT NULL, resource TEXT NOT NULL,
        status INTEGER, body TEXT, started_at INTEGER NOT NULL,
        PRIMARY KEY (scope, value)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX keys_by_age ON keys (started_at);
    CREATE INDEX keys_begun ON keys (resource) WHERE status IS NULL;
    CREATE TABLE events (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, type TEXT NOT NULL, subject TEXT NOT NULL,
        at INTEGER NOT NULL, data TEXT NOT NULL
    ) STRICT;
    CREATE INDEX events_by_subject ON events (subject, seq);
    CREATE TABLE subscribers (url TEXT PRIMARY KEY, delivered INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE leases (name TEXT PRIMARY KEY, holder TEXT NOT NULL, until INTEGER NOT NULL) STRICT, WITHOUT ROWID;
";

const BUSY: Duration = Duration::from_secs(10);
const OPEN_WITHIN: Duration = Duration::from_secs(10);
const READERS: u32 = 4;

/// Why the file could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file, its folder or its content cannot be used.
    #[error("cannot open {path}: {source}")]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: sqlx::Error,
    },
    /// A newer version of the service has changed the tables.
    #[error("{path} was written by a newer version (schema {found}, this one knows {known})")]
    Newer {
        /// The file.
        path: PathBuf,
        /// The schema of the file.
        found: i64,
        /// The newest schema known here.
        known: i64,
    },
}

/// A database; clones share its connections.
#[derive(Debug, Clone)]
pub struct Db {
    readers: SqlitePool,
    writer: SqlitePool,
}

/// A transaction that holds the write lock. Dropped without commit, it is rolled back.
pub type Write = Transaction<'static, Sqlite>;

impl Db {
    /// Opens the file that `DATABASE_URL` (`sqlite:PATH`) names, or `<DATA_DIR>/<name>.db` with `/data` as the default.
    pub fn path(env: &Env, name: &str) -> Result<PathBuf, BadSetting> {
        let Some(url) = env.get("DATABASE_URL") else {
            return Ok(Path::new(env.get_or("DATA_DIR", "/data")).join(format!("{name}.db")));
        };
        let path = url
            .strip_prefix("sqlite://")
            .or_else(|| url.strip_prefix("sqlite:"));
        match path {
            Some(path) if !path.is_empty() => Ok(PathBuf::from(path)),
            _ => Err(BadSetting::new(
                "DATABASE_URL",
                url,
                "a URL such as sqlite:/data/shop.db, the only kind known yet",
            )),
        }
    }

    /// Opens the file, makes it if it is new, and brings its tables up to date: step n of `schema` leads to version n + 1.
    pub async fn open(path: &Path, schema: &[&'static str]) -> Result<Self, OpenError> {
        let failed = |source| OpenError::Sqlite {
            path: path.to_owned(),
            source,
        };
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY)
            .foreign_keys(true)
            // The image has no folder for temporary files.
            .pragma("temp_store", "MEMORY")
            .disable_statement_logging();
        let mut connection = connect_patiently(&options).await.map_err(failed)?;
        migrate(&mut connection, path, schema).await?;
        connection.close().await.map_err(failed)?;
        let pool = || {
            SqlitePoolOptions::new()
                .acquire_timeout(BUSY)
                .idle_timeout(None)
                .max_lifetime(None)
                .test_before_acquire(false)
        };
        let writer = pool().max_connections(1).connect_lazy_with(options.clone());
        let readers = pool()
            .max_connections(READERS)
            .connect_lazy_with(options.read_only(true));
        Ok(Self { readers, writer })
    }

    /// Begins a transaction that holds the write lock.
    pub async fn write(&self) -> Result<Write, Problem> {
        Ok(self.writer.begin_with("BEGIN IMMEDIATE").await?)
    }

    /// Returns a connection that can only read.
    pub async fn read(&self) -> Result<PoolConnection<Sqlite>, Problem> {
        Ok(self.readers.acquire().await?)
    }
}

/// Connects; another replica that switches the same new file to WAL makes this fail for a moment, past the busy timeout.
async fn connect_patiently(
    options: &SqliteConnectOptions,
) -> Result<SqliteConnection, sqlx::Error> {
    let deadline = Instant::now() + OPEN_WITHIN;
    loop {
        match options.connect().await {
            Err(error) if is_busy(&error) && Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            outcome => return outcome,
        }
    }
}

async fn migrate(
    connection: &mut SqliteConnection,
    path: &Path,
    schema: &[&'static str],
) -> Result<(), OpenError> {
    let failed = |source| OpenError::Sqlite {
        path: path.to_owned(),
        source,
    };
    let known = i64::try_from(schema.len()).unwrap_or(i64::MAX);
    let read = sqlx::query_scalar::<_, i64>("PRAGMA user_version");
    let found = read.fetch_one(&mut *connection).await.map_err(failed)?;
    if found == known {
        return Ok(());
    }
    let mut tx = connection
        .begin_with("BEGIN IMMEDIATE")
        .await
        .map_err(failed)?;
    let read = sqlx::query_scalar::<_, i64>("PRAGMA user_version");
    let found = read.fetch_one(&mut *tx).await.map_err(failed)?;
    if found > known {
        return Err(OpenError::Newer {
            path: path.to_owned(),
            found,
            known,
        });
    }
    for step in &schema[usize::try_from(found).unwrap_or_default()..] {
        sqlx::raw_sql(*step)
            .execute(&mut *tx)
            .await
            .map_err(failed)?;
    }
    // A pragma takes no bound parameter; the value is a count of ours.
    let version = sqlx::AssertSqlSafe(format!("PRAGMA user_version = {known}"));
    sqlx::raw_sql(version)
        .execute(&mut *tx)
        .await
        .map_err(failed)?;
    tx.commit().await.map_err(failed)
}

fn is_busy(error: &sqlx::Error) -> bool {
    // The primary result codes 5 (busy) and 6 (locked) are the low byte of the extended ones.
    let code = error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code)
        .and_then(|code| code.parse::<u32>().ok());
    code.is_some_and(|code| matches!(code & 0xff, 5 | 6))
}

impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        if is_busy(&error) || matches!(error, sqlx::Error::PoolTimedOut) {
            tracing::warn!(%error, "the database is busy");
            return Self::unavailable("the database is busy");
        }
        Self::internal(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: &str = "CREATE TABLE t (n INTEGER NOT NULL) STRICT; INSERT INTO t VALUES (0);";

    #[tokio::test]
    async fn many_openers_of_a_new_file_and_no_lost_update() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let writers = (0..4).map(|_| {
            let path = path.clone();
            tokio::spawn(async move {
                let db = Db::open(&path, &[SCHEMA, STEP]).await.unwrap();
                for _ in 0..25 {
                    let mut tx = db.write().await.unwrap();
                    let n: i64 = sqlx::query_scalar("SELECT n FROM t")
                        .fetch_one(&mut *tx)
                        .await
                        .unwrap();
                    sqlx::query("UPDATE t SET n = ?")
                        .bind(n + 1)
                        .execute(&mut *tx)
                        .await
                        .unwrap();
                    tx.commit().await.unwrap();
                }
            })
        });
        for writer in writers.collect::<Vec<_>>() {
            writer.await.unwrap();
        }
        let db = Db::open(&path, &[SCHEMA, STEP]).await.unwrap();
        let mut reader = db.read().await.unwrap();
        let n: i64 = sqlx::query_scalar("SELECT n FROM t")
            .fetch_one(&mut *reader)
            .await
            .unwrap();
        assert_eq!(n, 100);
        assert!(
            sqlx::query("UPDATE t SET n = 0")
                .execute(&mut *reader)
                .await
                .is_err(),
            "readers must not write"
        );
    }

    #[tokio::test]
    async fn an_older_program_leaves_a_newer_file_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        Db::open(&path, &[SCHEMA, STEP]).await.unwrap();
        let error = Db::open(&path, &[SCHEMA]).await.unwrap_err();
        assert!(
            matches!(
                error,
                OpenError::Newer {
                    found: 2,
                    known: 1,
                    ..
                }
            ),
            "{error}"
        );
    }

    #[test]
    fn where_the_file_is() {
        let path = |pairs: &[(&str, &str)]| {
            Db::path(&Env::of(pairs.iter().copied()), "order").map(|p| p.display().to_string())
        };
        assert_eq!(path(&[]).unwrap(), "/data/order.db");
        assert_eq!(path(&[("DATA_DIR", "/var/x")]).unwrap(), "/var/x/order.db");
        assert_eq!(
            path(&[("DATABASE_URL", "sqlite:///tmp/a.db")]).unwrap(),
            "/tmp/a.db"
        );
        assert!(path(&[("DATABASE_URL", "postgres://db/order")]).is_err());
    }
}
