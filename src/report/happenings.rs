//! What `events` prints: one line each, for people and as JSON.

use std::fmt::Write as _;
use std::time::Duration;
use std::time::UNIX_EPOCH;

use serde::Serialize;

use super::console::Console;
use super::console::Paint;
use super::documents::VERSION;
use super::plain;
use crate::state::happening::Happening;

/// One line of `events -o json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct HappeningDocument {
    /// Version of this format.
    pub version: String,
    /// What happened.
    #[serde(flatten)]
    pub happening: Happening,
}

/// As JSON, on one line.
pub fn json(happening: Happening) -> String {
    let document = HappeningDocument {
        version: VERSION.to_owned(),
        happening,
    };
    // Documents have string keys alone, so serialising cannot fail.
    serde_json::to_string(&document).unwrap_or_default()
}

/// For people: when, whose, what about, what.
pub fn line(happening: &Happening, console: &Console) -> String {
    let at = UNIX_EPOCH + Duration::from_millis(happening.at);
    let whose = match (happening.service.as_str(), happening.replica) {
        ("", _) => "-".to_owned(),
        (service, None) => service.to_owned(),
        (service, Some(number)) => format!("{service}-{number}"),
    };
    let mut text = format!(
        "{} {} {}: ",
        humantime::format_rfc3339_millis(at),
        console.paint_out(Paint::Cyan, &whose),
        happening.object,
    );
    if happening.warning {
        text += &console.paint_out(Paint::Yellow, "Warning");
        text.push(' ');
    }
    text += &happening.action;
    let message = one_line(&happening.message);
    if !message.is_empty() {
        // Writing into a String cannot fail.
        let _ = write!(text, ": {message}");
    }
    let details = happening.details.iter();
    let details: Vec<String> = details
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    if !details.is_empty() {
        let _ = write!(text, " ({})", details.join(", "));
    }
    text
}

/// The cluster's words without what would break the line or move a terminal.
fn one_line(message: &str) -> String {
    let lines: Vec<String> = message.lines().map(plain::clean).collect();
    let lines = lines.iter().map(|line| line.trim());
    let lines: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    lines.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::console::Color;

    #[test]
    fn a_line_says_when_whose_and_what() {
        let (console, _) = Console::memory(true);
        let plain = console.clone().colored(Color::Never);
        let died = Happening {
            at: 1_767_323_045_120,
            service: "order".to_owned(),
            replica: Some(2),
            object: "shop-order-2-3f9a1c".to_owned(),
            action: "die".to_owned(),
            details: [("exit_code".to_owned(), "137".to_owned())].into(),
            ..Happening::default()
        };
        assert_eq!(
            line(&died, &plain),
            "2026-01-02T03:04:05.120Z order-2 shop-order-2-3f9a1c: die (exit_code=137)"
        );
        let failed = Happening {
            object: "Pod order-7c9-x2".to_owned(),
            replica: None,
            action: "Failed".to_owned(),
            warning: true,
            message: "Error:\n  \u{1b}[31mErrImagePull\n".to_owned(),
            details: [("count".to_owned(), "3".to_owned())].into(),
            ..died
        };
        assert_eq!(
            line(&failed, &plain),
            "2026-01-02T03:04:05.120Z order Pod order-7c9-x2: Warning Failed: Error: ErrImagePull (count=3)"
        );
        let own = Happening {
            object: "shop-gateway-1".to_owned(),
            action: "start".to_owned(),
            ..Happening::default()
        };
        assert_eq!(
            line(&own, &plain),
            "1970-01-01T00:00:00.000Z - shop-gateway-1: start"
        );
        let coloured = line(&failed, &console.colored(Color::Always));
        assert!(
            coloured.contains("\u{1b}[33mWarning\u{1b}[0m Failed"),
            "{coloured}"
        );
    }
}
