//! `logs`: the logs of several replicas in one stream, each line with its origin.
//!
//! Without `-f` the lines are merged by the engine's timestamps, one line of each
//! replica in memory at a time; with `-f` they come as they come, and replicas
//! that start later join.

use std::collections::BTreeSet;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use futures_util::stream::SelectAll;
use futures_util::stream::unfold;
use tokio::sync::mpsc;

use super::args::LogsArgs;
use super::desk::Desk;
use super::error::CliError;
use super::exit::Exit;
use super::signals::Signals;
use crate::backend::Backend;
use crate::backend::LogLine;
use crate::backend::LogQuery;
use crate::backend::Query;
use crate::report::console::Console;
use crate::report::console::Paint;
use crate::state::observed::Instance;
use crate::state::observed::Role;

/// Prints them.
pub(super) async fn run<B: Backend>(
    desk: &Desk<'_>,
    backend: &B,
    args: &LogsArgs,
) -> Result<Exit, CliError> {
    let loaded = desk.load(&args.services)?;
    let query = Query {
        stack: loaded.stack.name.clone(),
        ..Query::default()
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let reader = Reader {
        backend,
        console: desk.console,
        services: &args.services,
        query: &query,
        log: LogQuery {
            follow: args.follow,
            tail: args.tail.0,
            since: args
                .since
                .map(|since| since.seconds(now.unwrap_or_default())),
            until: None,
            timestamps: !args.follow,
        },
    };
    let mut signals = Signals::new();
    let work = async {
        if args.follow {
            reader.follow().await
        } else {
            reader.merge().await
        }
    };
    tokio::select! {
        done = work => done.map(|()| Exit::Done),
        exit = signals.next() => Ok(exit),
    }
}

struct Reader<'a, B> {
    backend: &'a B,
    console: &'a Console,
    services: &'a [String],
    query: &'a Query,
    log: LogQuery,
}

type Lines = BoxStream<'static, (String, LogLine)>;

impl<B: Backend> Reader<'_, B> {
    /// The replicas that are asked for.
    async fn replicas(&self) -> Result<Vec<Instance>, CliError> {
        let mut replicas = self.backend.observe(self.query).await?.instances;
        replicas.retain(|one| {
            one.role == Role::Service
                && (self.services.is_empty() || self.services.contains(&one.service))
        });
        Ok(replicas)
    }

    async fn merge(&self) -> Result<(), CliError> {
        let replicas = self.replicas().await?;
        let width = width(&replicas);
        let mut sources = Vec::new();
        for replica in &replicas {
            let lines = self.backend.logs(&replica.name, &self.log).await?;
            sources.push((origin(replica), lines, None::<LogLine>));
        }
        loop {
            for (_, lines, head) in &mut sources {
                if head.is_none() {
                    *head = lines.recv().await;
                }
            }
            sources.retain(|(_, _, head)| head.is_some());
            let next = sources
                .iter_mut()
                .min_by(|one, other| stamp(one.2.as_ref()).cmp(stamp(other.2.as_ref())));
            let Some((origin, _, head)) = next else {
                return Ok(());
            };
            if let Some(line) = head.take() {
                let text = match split_stamp(&line.text) {
                    Some((_, text)) => text.to_owned(),
                    None => line.text,
                };
                self.print(origin, width, &text)?;
            }
        }
    }

    async fn follow(&self) -> Result<(), CliError> {
        let mut changes = self.backend.watch(&self.query.stack).await?;
        let mut known = BTreeSet::new();
        let mut lines: SelectAll<Lines> = SelectAll::new();
        let mut width = 0;
        let mut log = self.log.clone();
        self.join(&mut known, &mut lines, &mut width, &log).await?;
        // Who joins later has no line that was asked to be left out.
        log.tail = None;
        loop {
            tokio::select! {
                Some((origin, line)) = lines.next(), if !lines.is_empty() => {
                    self.print(&origin, width, &line.text)?;
                }
                change = changes.recv() => match change {
                    Some(change) if !known.contains(&change.container) => {
                        self.join(&mut known, &mut lines, &mut width, &log).await?;
                    }
                    Some(_) => {}
                    None => return Ok(()),
                },
            }
        }
    }

    /// Adds the replicas that are not known yet.
    async fn join(
        &self,
        known: &mut BTreeSet<String>,
        lines: &mut SelectAll<Lines>,
        width: &mut usize,
        log: &LogQuery,
    ) -> Result<(), CliError> {
        let replicas = self.replicas().await?;
        *width = self::width(&replicas).max(*width);
        for replica in replicas {
            if known.insert(replica.name.clone()) {
                let source = self.backend.logs(&replica.name, log).await?;
                lines.push(stream(origin(&replica), source));
            }
        }
        Ok(())
    }

    fn print(&self, origin: &str, width: usize, text: &str) -> Result<(), CliError> {
        let prefix = self
            .console
            .paint_out(Paint::Cyan, &format!("{origin:width$} |"));
        self.console.out(&format!("{prefix} {text}\n"))?;
        Ok(())
    }
}

fn stream(origin: String, lines: mpsc::Receiver<LogLine>) -> Lines {
    unfold((origin, lines), |(origin, mut lines)| async move {
        let line = lines.recv().await?;
        Some(((origin.clone(), line), (origin, lines)))
    })
    .boxed()
}

fn origin(replica: &Instance) -> String {
    format!("{}-{}", replica.service, replica.slot)
}

fn width(replicas: &[Instance]) -> usize {
    replicas
        .iter()
        .map(|replica| origin(replica).len())
        .max()
        .unwrap_or(0)
}

/// The engine's timestamp in front of a line; its form sorts as text.
fn stamp(line: Option<&LogLine>) -> &str {
    line.and_then(|line| split_stamp(&line.text))
        .map_or("", |(stamp, _)| stamp)
}

fn split_stamp(text: &str) -> Option<(&str, &str)> {
    let (stamp, rest) = text.split_once(' ').unwrap_or((text, ""));
    let looks =
        stamp.len() >= 20 && stamp.ends_with('Z') && stamp.as_bytes().get(10) == Some(&b'T');
    looks.then_some((stamp, rest))
}
