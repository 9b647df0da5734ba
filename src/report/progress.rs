//! Follows the events of a run until they end: on a terminal, as plain lines,
//! as JSON lines, or not at all.

use std::time::Duration;

use indicatif::MultiProgress;
use indicatif::ProgressBar;
use indicatif::ProgressDrawTarget;
use indicatif::ProgressStyle;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::board::Board;
use super::board::Line;
use super::board::Mark;
use super::console::Console;
use super::console::Paint;
use super::plain;
use crate::event::Event;
use crate::event::EventKind;

/// Nothing is drawn before a run took so long.
const PATIENCE: Duration = Duration::from_millis(250);
/// Lines are drawn anew so often.
const TICK: Duration = Duration::from_millis(100);

/// Form of progress on stderr.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    /// One live line per service.
    Tty,
    /// One line per event.
    #[default]
    Plain,
    /// Nothing.
    None,
}

/// What of a run is shown, and where.
#[derive(Clone)]
pub struct Progress {
    /// Where words go.
    pub console: Console,
    /// Form on stderr.
    pub mode: Mode,
    /// Each event as a line of JSON on stdout.
    pub json: bool,
    /// More lines.
    pub verbose: bool,
}

impl Progress {
    /// Shows events until the sender is gone.
    pub async fn follow(&self, mut events: mpsc::UnboundedReceiver<Event>) {
        let mut screen = (self.mode == Mode::Tty).then(Screen::new);
        let mut tick = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    Some(event) => self.show(&event, screen.as_mut()),
                    None => break,
                },
                _ = tick.tick(), if screen.is_some() => {
                    if let Some(screen) = &mut screen {
                        screen.draw();
                    }
                }
            }
        }
        if let Some(screen) = screen {
            screen.end();
        }
    }

    fn show(&self, event: &Event, screen: Option<&mut Screen>) {
        if self.json {
            // Events have string keys alone, so serialising cannot fail.
            let line = serde_json::to_string(event).unwrap_or_default();
            // A full disk behind stdout must not stop a rollout half-way.
            let _ = self.console.out(&line);
        }
        match (self.mode, screen) {
            (Mode::Tty, Some(screen)) => screen.show(event, &self.console),
            (Mode::Plain, _) => {
                for line in plain::lines(event, self.verbose) {
                    self.console.err(&line);
                }
            }
            _ => {}
        }
    }
}

/// The live lines of a terminal.
struct Screen {
    board: Board,
    bars: Vec<ProgressBar>,
    multi: MultiProgress,
    started: Instant,
    /// Time of the last event and when it came: the clock between events.
    clock: (u64, Instant),
}

impl Screen {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            board: Board::default(),
            bars: Vec::new(),
            multi: MultiProgress::with_draw_target(ProgressDrawTarget::stderr()),
            started: now,
            clock: (0, now),
        }
    }

    fn show(&mut self, event: &Event, console: &Console) {
        self.clock = (event.at, Instant::now());
        self.board.update(event);
        match &event.kind {
            EventKind::Warning { message } => {
                let label = console.paint(Paint::Yellow, "warning:");
                self.say(&format!("{label} {}", plain::clean(message)));
            }
            EventKind::LockWaiting { .. }
            | EventKind::PrepareStarted { .. }
            | EventKind::Retrying { .. } => {
                self.say_plain(event);
            }
            EventKind::StepFailed { .. } | EventKind::RollbackStarted { .. } => {
                self.say_plain(event);
                self.draw();
            }
            EventKind::Finished {
                outcome,
                detail,
                exit_code: 0,
            } => {
                self.draw();
                let words = plain::finished(outcome, detail);
                self.say(&console.paint(Paint::Green, &words));
            }
            EventKind::Finished { .. } => self.draw(),
            _ => {}
        }
    }

    fn say_plain(&self, event: &Event) {
        for line in plain::lines(event, false) {
            self.say(&line);
        }
    }

    /// Prints a line that stays, above the live ones.
    fn say(&self, line: &str) {
        let _ = self.multi.println(line);
    }

    fn draw(&mut self) {
        if self.started.elapsed() < PATIENCE {
            return;
        }
        let (at, seen) = self.clock;
        let passed = u64::try_from(seen.elapsed().as_millis()).unwrap_or(u64::MAX);
        let lines = self.board.lines(at.saturating_add(passed));
        let width = lines.iter().map(|line| line.name.len()).max().unwrap_or(0);
        for (index, line) in lines.iter().enumerate() {
            if index == self.bars.len() {
                self.bars.push(self.multi.add(bar()));
            }
            if let Some(bar) = self.bars.get(index) {
                bar.set_message(words(line, width));
                bar.tick();
            }
        }
    }

    fn end(self) {
        for bar in &self.bars {
            bar.abandon();
        }
    }
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{wide_msg}") {
        bar.set_style(style);
    }
    bar
}

fn words(line: &Line, width: usize) -> String {
    let mark = match line.mark {
        Mark::Working => "…",
        Mark::Waiting => " ",
        Mark::Done => "✓",
        Mark::Failed => "✗",
    };
    format!(
        "{mark} {:width$}  {:>7}  {}",
        line.name,
        plain::seconds(line.elapsed_ms),
        line.text
    )
}
