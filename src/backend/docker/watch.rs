//! Changes of a stack's containers, from the engine's event stream.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::Duration;

use bollard::errors::Error;
use bollard::models::HealthcheckResult;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::mpsc;

use super::Docker;
use super::instance;
use super::instance::plain_name;
use super::raw::escape;
use crate::backend::BackendError;
use crate::backend::Change;
use crate::backend::Pending;
use crate::backend::Rollouts;
use crate::backend::Watch;
use crate::state::names;
use crate::state::observed::Health;
use crate::state::observed::InstanceState;

/// So many lines of a check tell why it failed.
const CHECK_LINES: usize = 10;
const BUFFERED_CHANGES: usize = 1024;
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

impl Rollouts for Docker {}

impl Watch for Docker {
    fn watch<'a>(&'a self, stack: &'a str) -> Pending<'a, mpsc::Receiver<Change>> {
        Box::pin(async move {
            // The engine answers before it subscribes; starting from its own time
            // leaves no gap.
            let since = self.engine_time().await?;
            let body = self
                .events(stack, since)
                .await
                .map_err(|error| self.fault("watch", &format!("stack {stack}"), error))?;
            let (sender, receiver) = mpsc::channel(BUFFERED_CHANGES);
            let reader = Reader {
                docker: self.clone(),
                stack: stack.to_owned(),
                since,
                parser: Parser::default(),
            };
            tokio::spawn(reader.run(body, sender));
            Ok(receiver)
        })
    }

    fn state<'a>(&'a self, container: &'a str) -> Pending<'a, Change> {
        Box::pin(async move {
            let found = self
                .inspect(container)
                .await?
                .ok_or_else(|| BackendError::NotFound {
                    what: format!("container {container}"),
                })?;
            let state = found.state.unwrap_or_default();
            Ok(Change {
                container: plain_name(found.name.as_deref()),
                state: instance::state(&state),
                health: instance::health(&state),
            })
        })
    }

    fn check_log<'a>(&'a self, container: &'a str) -> Pending<'a, Vec<String>> {
        Box::pin(async move {
            let found = self.inspect(container).await?;
            let health = found.and_then(|found| found.state?.health);
            let checks = health.and_then(|health| health.log).unwrap_or_default();
            Ok(checks.last().map(check_lines).unwrap_or_default())
        })
    }
}

/// How a check ended, and the end of what it said.
fn check_lines(check: &HealthcheckResult) -> Vec<String> {
    let code = check.exit_code.unwrap_or_default();
    let output = check.output.as_deref().unwrap_or_default();
    let said: Vec<&str> = output.lines().collect();
    let last = said.iter().skip(said.len().saturating_sub(CHECK_LINES));
    // The engine has no code for one that it had to end.
    let ended = match code {
        -1 => "health check: did not end in time".to_owned(),
        code => format!("health check: exit code {code}"),
    };
    std::iter::once(ended)
        .chain(last.map(|line| format!("health check: {line}")))
        .collect()
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

    async fn events(&self, stack: &str, since: i128) -> Result<Incoming, Error> {
        let filters = json!({
            "type": ["container"],
            "label": [format!("{}={stack}", names::COMPOSE_PROJECT)],
        });
        let filters = escape(&filters.to_string());
        let (secs, nanos) = (since / 1_000_000_000, since % 1_000_000_000);
        self.get_stream(&format!(
            "/events?since={secs}.{nanos:09}&filters={filters}"
        ))
        .await
    }
}

/// Reads one stream after another until nobody listens.
struct Reader {
    docker: Docker,
    stack: String,
    /// Time of the newest event that was passed on.
    since: i128,
    parser: Parser,
}

impl Reader {
    async fn run(mut self, mut body: Incoming, sender: mpsc::Sender<Change>) {
        loop {
            tokio::select! {
                listened = self.pump(&mut body, &sender) => if !listened {
                    return;
                },
                () = sender.closed() => return,
            }
            self.parser.forget_partial();
            tokio::select! {
                opened = self.open() => body = opened,
                () = sender.closed() => return,
            }
        }
    }

    /// Passes changes on until the stream ends; false when nobody listens.
    async fn pump(&mut self, body: &mut Incoming, sender: &mpsc::Sender<Change>) -> bool {
        while let Some(Ok(frame)) = body.frame().await {
            let Ok(bytes) = frame.into_data() else {
                continue;
            };
            for (at, change) in self.parser.push(&bytes) {
                // A new stream repeats the event that it starts from.
                if at <= self.since {
                    continue;
                }
                self.since = at;
                if sender.send(change).await.is_err() {
                    return false;
                }
            }
        }
        true
    }

    /// Opens the stream again, from where the last one ended.
    async fn open(&self) -> Incoming {
        let mut pause = FIRST_PAUSE;
        loop {
            if let Ok(body) = self.docker.events(&self.stack, self.since).await {
                return body;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "Action", default)]
    action: String,
    #[serde(rename = "Actor")]
    actor: Actor,
    #[serde(rename = "timeNano", default)]
    time_nano: i64,
}

#[derive(Deserialize)]
struct Actor {
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "Attributes", default)]
    attributes: BTreeMap<String, String>,
}

/// Takes bytes as they come and gives changes with their times.
#[derive(Default)]
struct Parser {
    buffer: Vec<u8>,
    /// Containers that ran out of memory: the engine says so before it says that
    /// they died.
    oom: BTreeSet<String>,
}

impl Parser {
    fn push(&mut self, bytes: &[u8]) -> Vec<(i128, Change)> {
        self.buffer.extend_from_slice(bytes);
        let mut found = Vec::new();
        while let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.buffer.drain(..=end).collect();
            let Ok(event) = serde_json::from_slice::<Event>(&line) else {
                continue;
            };
            let at = i128::from(event.time_nano);
            found.extend(self.change(event).map(|change| (at, change)));
        }
        found
    }

    fn forget_partial(&mut self) {
        self.buffer.clear();
    }

    fn change(&mut self, event: Event) -> Option<Change> {
        let Actor { id, attributes } = event.actor;
        let (action, detail) = match event.action.split_once(": ") {
            Some((action, detail)) => (action, detail),
            None => (event.action.as_str(), ""),
        };
        let (state, health) = match action {
            "oom" => {
                self.oom.insert(id);
                return None;
            }
            "die" => {
                let code = attributes
                    .get("exitCode")
                    .and_then(|code| code.parse().ok());
                let state = InstanceState::Exited {
                    code: code.unwrap_or_default(),
                    oom: self.oom.remove(&id),
                };
                (state, None)
            }
            "start" | "unpause" => (InstanceState::Running, None),
            "pause" => (InstanceState::Paused, None),
            "destroy" => (InstanceState::Dead, None),
            "health_status" => {
                let health = match detail {
                    "healthy" => Health::Healthy,
                    "unhealthy" => Health::Unhealthy,
                    _ => Health::Starting,
                };
                (InstanceState::Running, Some(health))
            }
            _ => return None,
        };
        Some(Change {
            container: attributes.get("name").cloned().unwrap_or_default(),
            state,
            health,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_says_how_it_ended_and_its_last_lines() {
        let check = |exit_code, output: &str| HealthcheckResult {
            exit_code: Some(exit_code),
            output: Some(output.to_owned()),
            ..HealthcheckResult::default()
        };
        let lines = check_lines(&check(7, "connecting\nrefused\n"));
        let wanted = ["exit code 7", "connecting", "refused"];
        assert_eq!(lines, wanted.map(|line| format!("health check: {line}")));
        let long: Vec<String> = (0..100).map(|number| number.to_string()).collect();
        let long = long.join("\n");
        let lines = check_lines(&check(1, &long));
        assert_eq!(lines.len(), 1 + CHECK_LINES);
        assert_eq!(lines.last().map(String::as_str), Some("health check: 99"));
        let slow = check_lines(&check(-1, ""));
        assert_eq!(slow, ["health check: did not end in time"]);
    }

    fn line(action: &str, attributes: &str, at: i64) -> String {
        format!(
            r#"{{"Type":"container","Action":"{action}","Actor":{{"ID":"1","Attributes":{{"name":"x"{attributes}}}}},"timeNano":{at}}}"#
        ) + "\n"
    }

    #[test]
    fn events_become_changes_at_any_cut() {
        let all = [
            line("create", "", 1),
            line("start", "", 2),
            line("health_status: healthy", "", 3),
            line("oom", "", 4),
            line("die", r#","exitCode":"137""#, 5),
            line("start", "", 6),
            line("die", r#","exitCode":"3""#, 7),
            line("destroy", "", 8),
        ]
        .concat();
        for cut in 0..all.len() {
            let mut parser = Parser::default();
            let mut found = parser.push(&all.as_bytes()[..cut]);
            found.extend(parser.push(&all.as_bytes()[cut..]));
            let exited = |code, oom| InstanceState::Exited { code, oom };
            let want = [
                (2, InstanceState::Running, None),
                (3, InstanceState::Running, Some(Health::Healthy)),
                (5, exited(137, true), None),
                (6, InstanceState::Running, None),
                (7, exited(3, false), None),
                (8, InstanceState::Dead, None),
            ];
            let found: Vec<_> = found
                .into_iter()
                .map(|(at, change)| (at, change.state, change.health))
                .collect();
            assert_eq!(found, want);
        }
    }
}
