//! What a terminal shows of a run: one line per service, what it waits for, and
//! how long. Pure: events and the time go in, lines come out.

use std::collections::BTreeMap;

use super::plain;
use crate::event::Event;
use crate::event::EventKind;
use crate::plan::action::StepId;

/// The state of all lines.
#[derive(Debug, Default)]
pub struct Board {
    /// The run has ended.
    over: bool,
    rows: BTreeMap<String, Row>,
}

#[derive(Debug, Default)]
struct Row {
    /// Steps under way, with their words and start.
    running: BTreeMap<StepId, Running>,
    /// What was done last.
    last: String,
    /// Steps done.
    done: usize,
    /// A step failed.
    failed: bool,
    /// Start of the first step.
    since: u64,
    /// End of the last step.
    until: u64,
}

#[derive(Debug)]
struct Running {
    what: String,
    text: String,
    since: u64,
}

/// How a line is going.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// Something is under way.
    Working,
    /// Nothing is under way; more may come.
    Waiting,
    /// The run is over, and all went well.
    Done,
    /// Something failed.
    Failed,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// How it is going.
    pub mark: Mark,
    /// Service, or `stack`.
    pub name: String,
    /// What it waits for, or what was done.
    pub text: String,
    /// Milliseconds.
    pub elapsed_ms: u64,
}

/// Prepare commands have no step; they precede all of them.
const PREPARE: StepId = 0;

impl Board {
    /// Takes an event into account.
    pub fn update(&mut self, event: &Event) {
        let at = event.at;
        match &event.kind {
            EventKind::PrepareStarted { service, command } => {
                self.start(service, PREPARE, format!("prepare: {command}"), at);
            }
            EventKind::PrepareFinished { service, .. } => {
                self.finish(service, PREPARE, "prepared", at);
            }
            EventKind::StepStarted {
                step,
                service,
                what,
                ..
            } => self.start(service, *step, what.clone(), at),
            EventKind::StepProgress {
                step,
                service,
                text,
            } => {
                let row = self.row(service, at);
                if let Some(running) = row.running.get_mut(step) {
                    running.text = plain::clean(text);
                }
            }
            EventKind::StepFinished {
                step,
                service,
                what,
                ..
            } => self.finish(service, *step, what, at),
            EventKind::StepFailed {
                step,
                service,
                what,
                ..
            } => {
                let row = self.row(service, at);
                row.running.remove(step);
                row.failed = true;
                row.last = format!("failed: {what}");
                row.until = at;
            }
            EventKind::Finished { .. } => self.over = true,
            EventKind::Planned { .. }
            | EventKind::LockWaiting { .. }
            | EventKind::RollbackStarted { .. }
            | EventKind::Retrying { .. }
            | EventKind::Warning { .. } => {}
        }
    }

    fn row(&mut self, service: &str, at: u64) -> &mut Row {
        self.rows.entry(service.to_owned()).or_insert_with(|| Row {
            since: at,
            until: at,
            ..Row::default()
        })
    }

    fn start(&mut self, service: &str, step: StepId, what: String, at: u64) {
        let running = Running {
            what,
            text: String::new(),
            since: at,
        };
        self.row(service, at).running.insert(step, running);
    }

    fn finish(&mut self, service: &str, step: StepId, what: &str, at: u64) {
        let row = self.row(service, at);
        row.running.remove(&step);
        row.done += 1;
        what.clone_into(&mut row.last);
        row.until = at;
    }

    /// The lines at this time, the stack's own first.
    pub fn lines(&self, now: u64) -> Vec<Line> {
        self.rows
            .iter()
            .map(|(service, row)| row.line(service, now, self.over))
            .collect()
    }
}

impl Row {
    fn line(&self, service: &str, now: u64, over: bool) -> Line {
        let name = if service.is_empty() { "stack" } else { service };
        let oldest = self.running.values().min_by_key(|running| running.since);
        let (mark, text, elapsed_ms) = match oldest {
            Some(running) => {
                let more = match self.running.len() {
                    1 => String::new(),
                    count => format!(" (+{})", count - 1),
                };
                let detail = if running.text.is_empty() {
                    String::new()
                } else {
                    format!(": {}", running.text)
                };
                (
                    if self.failed {
                        Mark::Failed
                    } else {
                        Mark::Working
                    },
                    format!("{}{more}{detail}", running.what),
                    now.saturating_sub(running.since),
                )
            }
            None if self.failed => (
                Mark::Failed,
                self.last.clone(),
                self.until.saturating_sub(self.since),
            ),
            None => (
                if over { Mark::Done } else { Mark::Waiting },
                format!("{} done", super::tables::plural(self.done, "step")),
                self.until.saturating_sub(self.since),
            ),
        };
        Line {
            mark,
            name: name.to_owned(),
            text,
            elapsed_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::action::Cause;

    fn event(at: u64, kind: EventKind) -> Event {
        Event {
            version: "1".into(),
            at,
            run: "r".into(),
            kind,
        }
    }

    fn started(at: u64, step: StepId, what: &str) -> Event {
        event(
            at,
            EventKind::StepStarted {
                step,
                service: "order".into(),
                what: what.into(),
                cause: Cause::Missing,
            },
        )
    }

    #[test]
    fn a_line_says_what_is_waited_for_and_how_long() {
        let mut board = Board::default();
        board.update(&started(1000, 1, "create shop-order-1-3f9a1c"));
        board.update(&started(1200, 2, "create shop-order-2-3f9a1c"));
        board.update(&event(
            1300,
            EventKind::StepProgress {
                step: 1,
                service: "order".into(),
                text: "waits for\u{1b}[1m /readyz".into(),
            },
        ));
        let lines = board.lines(2500);
        assert_eq!(
            lines,
            [Line {
                mark: Mark::Working,
                name: "order".into(),
                text: "create shop-order-1-3f9a1c (+1): waits for /readyz".into(),
                elapsed_ms: 1500,
            }]
        );
    }

    #[test]
    fn a_service_is_done_when_the_run_is() {
        let mut board = Board::default();
        board.update(&started(0, 1, "start a"));
        board.update(&event(
            100,
            EventKind::StepFinished {
                step: 1,
                service: "order".into(),
                what: "start a".into(),
                elapsed_ms: 100,
            },
        ));
        assert_eq!(board.lines(200)[0].mark, Mark::Waiting);
        board.update(&event(
            300,
            EventKind::Finished {
                outcome: "done".into(),
                detail: String::new(),
                exit_code: 0,
            },
        ));
        let line = &board.lines(400)[0];
        assert_eq!((line.mark, line.elapsed_ms), (Mark::Done, 100));
    }

    #[test]
    fn a_failure_stays_visible() {
        let mut board = Board::default();
        board.update(&started(0, 1, "start a"));
        board.update(&started(0, 2, "start b"));
        board.update(&event(
            100,
            EventKind::StepFailed {
                step: 1,
                service: "order".into(),
                what: "start a".into(),
                error: "no".into(),
                output: Vec::new(),
            },
        ));
        assert_eq!(board.lines(150)[0].mark, Mark::Failed);
        board.update(&event(
            200,
            EventKind::StepFinished {
                step: 2,
                service: "order".into(),
                what: "start b".into(),
                elapsed_ms: 200,
            },
        ));
        assert_eq!(board.lines(300)[0].mark, Mark::Failed);
    }
}
