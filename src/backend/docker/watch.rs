//! Changes of a stack's containers, from the engine's events.

use std::collections::BTreeSet;

use bollard::models::HealthcheckResult;
use tokio::sync::mpsc;

use super::Docker;
use super::instance;
use super::instance::plain_name;
use super::stream::Actor;
use super::stream::Event;
use crate::backend::BackendError;
use crate::backend::Change;
use crate::backend::OneOffs;
use crate::backend::Pending;
use crate::backend::Rollouts;
use crate::backend::Watch;
use crate::state::observed::Health;
use crate::state::observed::InstanceState;

/// So many lines of a check tell why it failed.
const CHECK_LINES: usize = 10;
const BUFFERED_CHANGES: usize = 1024;

impl Rollouts for Docker {}

impl OneOffs for Docker {}

impl Watch for Docker {
    fn watch<'a>(&'a self, stack: &'a str) -> Pending<'a, mpsc::Receiver<Change>> {
        Box::pin(async move {
            // The engine answers before it subscribes; starting from its own time
            // leaves no gap.
            let since = self.engine_time().await?;
            let stream = self.stream(stack, since, None).await?;
            let (sender, receiver) = mpsc::channel(BUFFERED_CHANGES);
            let mut changes = Changes::default();
            tokio::spawn(stream.pass_on(sender, move |event| changes.of(event)));
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

/// Events as changes of states.
#[derive(Default)]
struct Changes {
    /// Containers that ran out of memory: the engine says so before it says that
    /// they died.
    oom: BTreeSet<String>,
}

impl Changes {
    fn of(&mut self, event: Event) -> Option<Change> {
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
    use crate::backend::docker::stream::Parser;

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
            let mut events = parser.push(&all.as_bytes()[..cut]);
            events.extend(parser.push(&all.as_bytes()[cut..]));
            let mut changes = Changes::default();
            let found = events.into_iter().filter_map(|event| {
                let at = event.time_nano;
                changes.of(event).map(|change| (at, change))
            });
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
                .map(|(at, change)| (at, change.state, change.health))
                .collect();
            assert_eq!(found, want);
        }
    }
}
