//! Logs of pods.
//!
//! A cluster gives one stream of lines, and may cut it at any time. Each line is asked for
//! with its timestamp, by which a stream that was cut is taken up where it ended.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::time::Duration;

use futures_util::AsyncBufRead;
use futures_util::AsyncBufReadExt as _;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::LogParams;
use tokio::sync::mpsc;

use super::Cluster;
use super::connect::is_missing;
use super::pods;
use super::retry::patiently;
use crate::backend::LogLine;
use crate::backend::LogQuery;
use crate::backend::Logs;
use crate::backend::Pending;

/// Lines that may be waiting for a slow reader.
const BUFFERED_LINES: usize = 256;
/// A longer line is passed on in parts.
const LONGEST: usize = 256 << 10;
/// First pause before a stream is taken up again.
const SHORTEST_PAUSE: Duration = Duration::from_millis(250);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// So often in a row a server may fail to give the stream.
const FAILURES: u32 = 10;

impl Logs for Cluster {
    fn logs<'a>(
        &'a self,
        container: &'a str,
        query: &'a LogQuery,
    ) -> Pending<'a, mpsc::Receiver<LogLine>> {
        Box::pin(async move {
            let pod = self.pod(container).await?;
            let own = pods::main_container(&pod).map(|it| it.name.clone());
            let (sender, receiver) = mpsc::channel(BUFFERED_LINES);
            let reading = Reading {
                api: Api::namespaced(self.client(), &self.namespace()),
                pod: container.to_owned(),
                container: own,
                query: query.clone(),
                sender,
                last: None,
                kept: VecDeque::new(),
            };
            // The pod is there: what is not found is its node, and the server says so.
            let failed = |error| self.failed(format!("read the log of pod {container}"), error);
            match reading.open().await {
                Ok(stream) => {
                    tokio::spawn(reading.run(Some(stream)));
                }
                // Before it has begun there is no log, and that is no error.
                Err(kube::Error::Api(status)) if status.code == 400 && !pods::has_begun(&pod) => {
                    if query.follow {
                        tokio::spawn(reading.run(None));
                    }
                }
                Err(error) => return Err(failed(error)),
            }
            Ok(receiver)
        })
    }
}

type Stream = Pin<Box<dyn AsyncBufRead + Send>>;

struct Reading {
    api: Api<Pod>,
    pod: String,
    container: Option<String>,
    query: LogQuery,
    sender: mpsc::Sender<LogLine>,
    /// When the last line was written, and how many of that moment were seen.
    last: Option<(Timestamp, usize)>,
    /// The last lines, where the server cannot tell which these are.
    kept: VecDeque<LogLine>,
}

/// Why there is nothing more to read from a stream.
enum Stopped {
    /// It has ended.
    Ended,
    /// It was cut.
    Cut,
    /// The server gave none.
    Absent,
    /// All that was asked for was read, or nobody listens.
    Done,
}

impl Reading {
    /// Until the log has ended, or nobody listens.
    async fn run(mut self, stream: Option<Stream>) {
        let sender = self.sender.clone();
        tokio::select! {
            () = self.read_on(stream) => {}
            () = sender.closed() => {}
        }
    }

    async fn read_on(&mut self, mut stream: Option<Stream>) {
        let mut failures = 0;
        let mut pause = SHORTEST_PAUSE;
        loop {
            let before = self.last;
            let stopped = match stream.take() {
                Some(mut stream) => self.read(&mut stream).await,
                None => Stopped::Absent,
            };
            if self.last != before {
                (failures, pause) = (0, SHORTEST_PAUSE);
            }
            let over = match stopped {
                Stopped::Done => true,
                Stopped::Ended => !self.query.follow || !self.goes_on().await,
                Stopped::Absent => failures > FAILURES || !self.goes_on().await,
                Stopped::Cut => {
                    failures += 1;
                    failures > FAILURES
                }
            };
            if over {
                break;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            stream = match self.open().await {
                Ok(stream) => Some(stream),
                Err(error) => {
                    // One that has not begun has no log yet, and is waited for.
                    let waits = matches!(&error, kube::Error::Api(status) if status.code == 400);
                    failures += u32::from(!(waits && self.query.follow));
                    None
                }
            };
        }
        for line in std::mem::take(&mut self.kept) {
            if self.sender.send(line).await.is_err() {
                return;
            }
        }
    }

    /// Whether only the server can tell which lines are the last.
    fn keeps(&self) -> Option<usize> {
        let tail = self.query.tail.filter(|_| self.query.until.is_some())?;
        (!self.query.follow).then(|| usize::try_from(tail).unwrap_or(usize::MAX))
    }

    /// The stream from where it was left.
    async fn open(&self) -> Result<Stream, kube::Error> {
        let since = self
            .query
            .since
            .and_then(|at| Timestamp::from_second(at).ok());
        let params = LogParams {
            container: self.container.clone(),
            follow: self.query.follow,
            since_time: self.last.map(|(at, _)| at).or(since),
            tail_lines: match (self.last, self.keeps()) {
                (None, None) => self
                    .query
                    .tail
                    .map(|it| i64::try_from(it).unwrap_or(i64::MAX)),
                _ => None,
            },
            timestamps: true,
            ..LogParams::default()
        };
        let stream = patiently(|| self.api.log_stream(&self.pod, &params)).await?;
        Ok(Box::pin(stream))
    }

    /// Whether there is more to come, or may be.
    async fn goes_on(&self) -> bool {
        match self.api.get(&self.pod).await {
            Ok(pod) => !pods::has_ended(&pod),
            Err(error) => !is_missing(&error),
        }
    }

    async fn read(&mut self, stream: &mut Stream) -> Stopped {
        let mut again = self.last;
        let mut line = Vec::new();
        // What is left of a line that was too long.
        let mut part: Option<Option<Timestamp>> = None;
        loop {
            line.clear();
            let Ok(ended) = next_line(stream, &mut line).await else {
                return Stopped::Cut;
            };
            if ended == Ended::Stream && line.is_empty() {
                return Stopped::Ended;
            }
            let text = String::from_utf8_lossy(&line);
            let (stamp, text) = match part {
                Some(stamp) => (stamp, text.as_ref()),
                None => split(&text),
            };
            let seen = part.is_none() && self.is_seen(stamp, &mut again);
            part = (ended == Ended::Full).then_some(stamp);
            if seen || stamp.is_some_and(|at| self.is_too_early(at)) {
                continue;
            }
            if stamp.is_some_and(|at| self.is_too_late(at)) {
                return Stopped::Done;
            }
            let line = self.line(stamp, text);
            if let Some(keeps) = self.keeps() {
                self.kept.push_back(line);
                while self.kept.len() > keeps {
                    self.kept.pop_front();
                }
            } else if self.sender.send(line).await.is_err() {
                return Stopped::Done;
            }
        }
    }

    /// Whether a line was read already, before the stream was cut; counts it else.
    fn is_seen(
        &mut self,
        stamp: Option<Timestamp>,
        again: &mut Option<(Timestamp, usize)>,
    ) -> bool {
        let Some(at) = stamp else {
            return false;
        };
        match again {
            Some((last, _)) if at < *last => return true,
            // Lines of one moment are told apart by their number alone.
            Some((last, count)) if at == *last && *count > 0 => {
                *count -= 1;
                return true;
            }
            _ => {}
        }
        self.last = match self.last {
            Some((last, count)) if last == at => Some((last, count + 1)),
            _ => Some((at, 1)),
        };
        false
    }

    fn is_too_early(&self, at: Timestamp) -> bool {
        self.query.since.is_some_and(|since| at.as_second() < since)
    }

    fn is_too_late(&self, at: Timestamp) -> bool {
        let until = self
            .query
            .until
            .and_then(|at| Timestamp::from_second(at).ok());
        until.is_some_and(|until| at > until)
    }

    fn line(&self, stamp: Option<Timestamp>, text: &str) -> LogLine {
        let text = text.strip_suffix('\r').unwrap_or(text);
        LogLine {
            container: self.pod.clone(),
            // A cluster does not tell the two apart.
            stderr: false,
            text: match stamp.filter(|_| self.query.timestamps) {
                // All of one length, so that they can be compared as texts.
                Some(at) => format!("{at:.9} {text}"),
                None => text.to_owned(),
            },
        }
    }
}

/// A line of a cluster: when it was written, and what.
fn split(line: &str) -> (Option<Timestamp>, &str) {
    // An empty line may be its timestamp alone.
    let (stamp, text) = line.split_once(' ').unwrap_or((line, ""));
    match stamp.parse() {
        Ok(at) => (Some(at), text),
        Err(_) => (None, line),
    }
}

/// What ended a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    Newline,
    /// It goes on, and is too long to be kept whole.
    Full,
    Stream,
}

async fn next_line(stream: &mut Stream, line: &mut Vec<u8>) -> io::Result<Ended> {
    loop {
        let chunk = stream.fill_buf().await?;
        if chunk.is_empty() {
            return Ok(Ended::Stream);
        }
        let room = &chunk[..chunk.len().min(LONGEST - line.len())];
        let newline = room.iter().position(|byte| *byte == b'\n');
        line.extend_from_slice(&room[..newline.unwrap_or(room.len())]);
        let used = newline.map_or(room.len(), |end| end + 1);
        let ended = match newline {
            Some(_) => Some(Ended::Newline),
            None => (line.len() >= LONGEST).then_some(Ended::Full),
        };
        stream.consume_unpin(used);
        if let Some(ended) = ended {
            return Ok(ended);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_its_timestamp_and_its_text() {
        let at = |text: &str| Some(text.parse::<Timestamp>().unwrap());
        for (line, stamp, text) in [
            (
                "2026-01-02T03:04:05.1Z a b",
                at("2026-01-02T03:04:05.1Z"),
                "a b",
            ),
            (
                "2026-01-02T11:04:05+08:00  a",
                at("2026-01-02T03:04:05Z"),
                " a",
            ),
            ("2026-01-02T03:04:05Z ", at("2026-01-02T03:04:05Z"), ""),
            ("2026-01-02T03:04:05Z", at("2026-01-02T03:04:05Z"), ""),
            ("no stamp", None, "no stamp"),
            ("", None, ""),
        ] {
            assert_eq!(split(line), (stamp, text), "{line}");
        }
    }

    #[tokio::test]
    async fn a_line_without_end_comes_in_parts() {
        let text = [vec![b'a'; LONGEST + 3], b"\nb".to_vec()].concat();
        let mut stream: Stream = Box::pin(futures_util::io::Cursor::new(text));
        let mut found = Vec::new();
        loop {
            let mut line = Vec::new();
            let ended = next_line(&mut stream, &mut line).await.unwrap();
            found.push((line.len(), ended));
            if ended == Ended::Stream {
                break;
            }
        }
        let want = [
            (LONGEST, Ended::Full),
            (3, Ended::Newline),
            (1, Ended::Stream),
        ];
        assert_eq!(found, want);
    }
}
