//! Events as plain lines: one line each, no control characters, for logs of
//! pipelines and for pipes.

use super::tables::plural;
use crate::event::Event;
use crate::event::EventKind;
use crate::plan::action::Cause;

/// The lines of an event: one, and one for each line of output it carries.
pub fn lines(event: &Event, verbose: bool) -> Vec<String> {
    let lines = match &event.kind {
        EventKind::Planned { steps, changes } => {
            let head = format!(
                "plan: {} in {}",
                plural(changes.len(), "change"),
                plural(*steps, "step")
            );
            let mut lines = vec![head];
            if verbose {
                lines.extend(changes.iter().map(|change| format!("plan: {change}")));
            }
            lines
        }
        EventKind::LockWaiting { holder } => vec![format!("waiting for the lock held by {holder}")],
        EventKind::PrepareStarted { service, command } => {
            vec![about(service, &format!("prepare: {command}"))]
        }
        EventKind::PrepareFinished {
            service, skipped, ..
        } if *skipped => vec![about(service, "prepare: skipped, its inputs are unchanged")],
        EventKind::PrepareFinished {
            service,
            elapsed_ms,
            ..
        } => vec![about(
            service,
            &format!("prepare: done in {}", seconds(*elapsed_ms)),
        )],
        EventKind::StepStarted {
            service,
            what,
            cause: why,
            ..
        } => vec![about(service, &format!("{what} ({})", cause(why)))],
        EventKind::StepProgress { service, text, .. } => {
            vec![about(service, text)]
        }
        EventKind::StepFinished {
            service,
            what,
            elapsed_ms,
            ..
        } => vec![about(
            service,
            &format!("{what}: done in {}", seconds(*elapsed_ms)),
        )],
        EventKind::StepFailed {
            service,
            what,
            error,
            output,
            ..
        } => {
            let mut lines = vec![about(service, &format!("{what}: failed: {error}"))];
            lines.extend(
                output
                    .iter()
                    .map(|line| about(service, &format!("  {line}"))),
            );
            lines
        }
        EventKind::RollbackStarted { to, reason } => {
            vec![format!("going back to release {to}: {reason}")]
        }
        EventKind::Retrying { reason, for_ms } => {
            vec![format!(
                "{reason}; trying again for up to {}",
                seconds(*for_ms)
            )]
        }
        EventKind::Warning { message } => vec![format!("warning: {message}")],
        // The error itself follows, with more words.
        EventKind::Finished { exit_code, .. } if *exit_code != 0 => Vec::new(),
        EventKind::Finished {
            outcome, detail, ..
        } => vec![finished(outcome, detail)],
    };
    lines.iter().map(|line| clean(line)).collect()
}

/// The last line of a run.
pub fn finished(outcome: &str, detail: &str) -> String {
    let outcome = outcome.replace('_', " ");
    if detail.is_empty() {
        outcome
    } else {
        format!("{outcome}: {detail}")
    }
}

fn about(service: &str, text: &str) -> String {
    if service.is_empty() {
        text.to_owned()
    } else {
        format!("{service}: {text}")
    }
}

/// A cause in a few words.
pub fn cause(cause: &Cause) -> String {
    match cause {
        Cause::Missing => "missing".to_owned(),
        Cause::Changed(what) => what.join(", "),
        Cause::ImageChanged => "image changed".to_owned(),
        Cause::ScaleUp => "more replicas wanted".to_owned(),
        Cause::ScaleDown => "fewer replicas wanted".to_owned(),
        Cause::NotRunning(how) => how.clone(),
        Cause::Unhealthy => "unhealthy".to_owned(),
        Cause::LeftOver => "left over from an unfinished run".to_owned(),
        Cause::Replaced => "replaced".to_owned(),
        Cause::NotInFile => "not in the file any more".to_owned(),
        Cause::Asked => "asked for".to_owned(),
        Cause::NeededBy(what) => format!("needed by {what}"),
        Cause::RoutesChanged => "routes changed".to_owned(),
    }
}

/// Milliseconds as `0.3 s` or `2 min 5 s`.
pub fn seconds(milliseconds: u64) -> String {
    let whole = milliseconds / 1000;
    if whole >= 60 {
        return format!("{} min {} s", whole / 60, whole % 60);
    }
    format!("{whole}.{} s", milliseconds % 1000 / 100)
}

/// The text without escape sequences and control characters; tabs become spaces.
pub fn clean(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\u{1b}' if characters.peek() == Some(&'[') => {
                characters.next();
                // A control sequence ends with its first letter-like byte.
                for next in characters.by_ref() {
                    if ('\u{40}'..='\u{7e}').contains(&next) {
                        break;
                    }
                }
            }
            '\t' => kept.push(' '),
            other if other.is_control() => {}
            other => kept.push(other),
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_never_reach_a_log() {
        assert_eq!(clean("\u{1b}[32mok\u{1b}[0m\r\tdone\u{7}\u{9b}"), "ok done");
        assert_eq!(clean("\u{1b}[38;5;1mred"), "red");
        assert_eq!(clean("ends in the middle \u{1b}[3"), "ends in the middle ");
    }

    #[test]
    fn times_read_well() {
        assert_eq!(seconds(0), "0.0 s");
        assert_eq!(seconds(59_999), "59.9 s");
        assert_eq!(seconds(125_000), "2 min 5 s");
    }
}
