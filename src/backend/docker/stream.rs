//! The engine's stream of events about a stack's containers, taken up again where it was
//! cut.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::fmt::Write as _;
use std::time::Duration;

use bollard::errors::Error;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::mpsc;

use super::Docker;
use super::raw::escape;
use crate::backend::BackendError;
use crate::state::names;

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Nanoseconds in a second: the engine counts in both.
pub(super) const NANOS: i128 = 1_000_000_000;

/// What the engine says of a container.
#[derive(Deserialize)]
pub(super) struct Event {
    /// `die`, or with a detail `health_status: healthy`.
    #[serde(rename = "Action", default)]
    pub(super) action: String,
    /// The container.
    #[serde(rename = "Actor")]
    pub(super) actor: Actor,
    /// When, in nanoseconds since the epoch.
    #[serde(rename = "timeNano", default)]
    pub(super) time_nano: i64,
}

/// A container as its events name it.
#[derive(Deserialize)]
pub(super) struct Actor {
    #[serde(rename = "ID")]
    pub(super) id: String,
    /// Its name and labels, and what there is to say of the action.
    #[serde(rename = "Attributes", default)]
    pub(super) attributes: BTreeMap<String, String>,
}

/// Which events are asked for.
struct Wanted {
    stack: String,
    /// Later than that, in nanoseconds since the epoch: the newest that was given out.
    after: i128,
    /// Until then, in seconds since the epoch.
    until: Option<i64>,
}

/// The events of a stack.
pub(super) struct Stream {
    docker: Docker,
    wanted: Wanted,
    body: Incoming,
    parser: Parser,
    ready: VecDeque<Event>,
}

impl Docker {
    /// The engine's clock, in nanoseconds since the epoch.
    pub(super) async fn engine_time(&self) -> Result<i128, BackendError> {
        #[derive(Deserialize)]
        struct Info {
            #[serde(rename = "SystemTime")]
            system_time: String,
        }
        let info: Info = self
            .get_json("/info")
            .await
            .map_err(|error| self.fault("describe", "the engine", error))?;
        let time = OffsetDateTime::parse(&info.system_time, &Rfc3339).map_err(|source| {
            BackendError::Other {
                doing: "read the engine's clock".to_owned(),
                source: Box::new(source),
            }
        })?;
        Ok(time.unix_timestamp_nanos())
    }

    /// The events of a stack's containers that are later than a time in nanoseconds.
    pub(super) async fn stream(
        &self,
        stack: &str,
        after: i128,
        until: Option<i64>,
    ) -> Result<Stream, BackendError> {
        let wanted = Wanted {
            stack: stack.to_owned(),
            after,
            until,
        };
        let opened = self.get_stream(&wanted.path()).await;
        let fault = |error: Error| self.fault("watch", &format!("stack {stack}"), error);
        Ok(Stream {
            docker: self.clone(),
            body: opened.map_err(fault)?,
            wanted,
            parser: Parser::default(),
            ready: VecDeque::new(),
        })
    }
}

impl Stream {
    /// The next one; `None` when all that was asked for was told.
    pub(super) async fn next(&mut self) -> Option<Event> {
        loop {
            while let Some(event) = self.ready.pop_front() {
                let at = i128::from(event.time_nano);
                // A new stream repeats the event that it starts from.
                if at > self.wanted.after {
                    self.wanted.after = at;
                    return Some(event);
                }
            }
            if let Some(Ok(frame)) = self.body.frame().await {
                if let Ok(bytes) = frame.into_data() {
                    self.ready.extend(self.parser.push(&bytes));
                }
                continue;
            }
            self.parser.forget_partial();
            if self.is_over().await {
                return None;
            }
            self.body = self.open().await;
        }
    }

    /// Passes on what is made of the events, until all was told or nobody listens.
    pub(super) async fn pass_on<T>(
        mut self,
        sender: mpsc::Sender<T>,
        mut make: impl FnMut(Event) -> Option<T>,
    ) {
        loop {
            let event = tokio::select! {
                event = self.next() => event,
                () = sender.closed() => return,
            };
            let Some(event) = event else {
                return;
            };
            if let Some(made) = make(event)
                && sender.send(made).await.is_err()
            {
                return;
            }
        }
    }

    /// Whether the engine ended the stream because its time had come.
    async fn is_over(&self) -> bool {
        let Some(until) = self.wanted.until else {
            return false;
        };
        let now = self.docker.engine_time().await;
        now.is_ok_and(|now| now >= i128::from(until) * NANOS)
    }

    /// Opens it again, from where the last one ended.
    async fn open(&self) -> Incoming {
        let mut pause = FIRST_PAUSE;
        loop {
            if let Ok(body) = self.docker.get_stream(&self.wanted.path()).await {
                return body;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

impl Wanted {
    fn path(&self) -> String {
        let filters = json!({
            "type": ["container"],
            "label": [format!("{}={}", names::COMPOSE_PROJECT, self.stack)],
        });
        let since = self.after.max(0);
        let (secs, nanos) = (since / NANOS, since % NANOS);
        let mut path = format!("/events?since={secs}.{nanos:09}");
        if let Some(until) = self.until {
            // Writing to a string cannot fail.
            let _ = write!(path, "&until={until}");
        }
        let _ = write!(path, "&filters={}", escape(&filters.to_string()));
        path
    }
}

/// Takes bytes as they come and gives events.
#[derive(Default)]
pub(super) struct Parser {
    buffer: Vec<u8>,
}

impl Parser {
    pub(super) fn push(&mut self, bytes: &[u8]) -> Vec<Event> {
        self.buffer.extend_from_slice(bytes);
        let mut found = Vec::new();
        while let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.buffer.drain(..=end).collect();
            found.extend(serde_json::from_slice::<Event>(&line));
        }
        found
    }

    fn forget_partial(&mut self) {
        self.buffer.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_says_what_is_wanted() {
        let mut wanted = Wanted {
            stack: "shop".to_owned(),
            after: 5_000_000_007,
            until: None,
        };
        let filters = "&filters=%7B%22label%22%3A%5B%22com.docker.compose.project%3Dshop%22%5D%2C%22type%22%3A%5B%22container%22%5D%7D";
        assert_eq!(wanted.path(), format!("/events?since=5.000000007{filters}"));
        (wanted.after, wanted.until) = (-1, Some(9));
        assert_eq!(
            wanted.path(),
            format!("/events?since=0.000000000&until=9{filters}")
        );
    }
}
