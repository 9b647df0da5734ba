//! Log lines of one container.

use std::fmt::Write as _;

use bollard::query_parameters::InspectContainerOptions;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::sync::mpsc;

use super::Docker;
use super::frames::Frames;
use crate::backend::LogLine;
use crate::backend::LogQuery;
use crate::backend::Logs;
use crate::backend::Pending;

const BUFFERED_LINES: usize = 256;

impl Logs for Docker {
    fn logs<'a>(
        &'a self,
        container: &'a str,
        query: &'a LogQuery,
    ) -> Pending<'a, mpsc::Receiver<LogLine>> {
        Box::pin(async move {
            let subject = format!("container {container}");
            let fault = |error| self.fault("read the log of", &subject, error);
            let found = self
                .api()
                .inspect_container(container, None::<InspectContainerOptions>)
                .await
                .map_err(fault)?;
            let terminal = found.config.and_then(|config| config.tty) == Some(true);
            let body = self
                .get_stream(&path(container, query))
                .await
                .map_err(fault)?;
            let (sender, receiver) = mpsc::channel(BUFFERED_LINES);
            let lines = Lines::new(container, terminal);
            tokio::spawn(pump(body, lines, sender));
            Ok(receiver)
        })
    }
}

fn path(container: &str, query: &LogQuery) -> String {
    let tail = query
        .tail
        .map_or_else(|| "all".to_owned(), |count| count.to_string());
    let mut path = format!(
        "/containers/{container}/logs?stdout=true&stderr=true&follow={}&timestamps={}&tail={tail}",
        query.follow, query.timestamps
    );
    for (name, time) in [("since", query.since), ("until", query.until)] {
        if let Some(time) = time {
            // Writing to a string cannot fail.
            let _ = write!(path, "&{name}={time}");
        }
    }
    path
}

/// Ends with the log, the container, or when nobody reads any more.
async fn pump(mut body: Incoming, mut lines: Lines, sender: mpsc::Sender<LogLine>) {
    loop {
        let frame = tokio::select! {
            frame = body.frame() => frame,
            () = sender.closed() => return,
        };
        let Some(Ok(frame)) = frame else {
            break;
        };
        let Ok(bytes) = frame.into_data() else {
            continue;
        };
        lines.push(&bytes);
        for line in lines.ready.drain(..) {
            if sender.send(line).await.is_err() {
                return;
            }
        }
    }
    lines.finish();
    for line in lines.ready.drain(..) {
        let _ = sender.send(line).await;
    }
}

/// Puts lines together from pieces, per stream.
struct Lines {
    container: String,
    terminal: bool,
    frames: Frames,
    partial: [Vec<u8>; 2],
    ready: Vec<LogLine>,
}

impl Lines {
    fn new(container: &str, terminal: bool) -> Self {
        Self {
            container: container.to_owned(),
            terminal,
            frames: Frames::default(),
            partial: [Vec::new(), Vec::new()],
            ready: Vec::new(),
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        if self.terminal {
            return self.text(false, bytes);
        }
        self.frames.push(bytes);
        while let Some(frame) = self.frames.next() {
            self.text(frame.stderr, &frame.bytes);
        }
    }

    fn text(&mut self, stderr: bool, mut bytes: &[u8]) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.partial[usize::from(stderr)].extend_from_slice(&bytes[..end]);
            self.line(stderr);
            bytes = &bytes[end + 1..];
        }
        self.partial[usize::from(stderr)].extend_from_slice(bytes);
    }

    fn line(&mut self, stderr: bool) {
        let bytes = std::mem::take(&mut self.partial[usize::from(stderr)]);
        let text = String::from_utf8_lossy(&bytes);
        self.ready.push(LogLine {
            container: self.container.clone(),
            stderr,
            text: text.strip_suffix('\r').unwrap_or(&text).to_owned(),
        });
    }

    /// A last line without its newline.
    fn finish(&mut self) {
        for stderr in [false, true] {
            if !self.partial[usize::from(stderr)].is_empty() {
                self.line(stderr);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(stream: u8, text: &str) -> Vec<u8> {
        let length = u8::try_from(text.len()).unwrap();
        [&[stream, 0, 0, 0, 0, 0, 0, length], text.as_bytes()].concat()
    }

    fn texts(lines: Lines) -> Vec<(bool, String)> {
        let ready = lines.ready.into_iter();
        ready.map(|line| (line.stderr, line.text)).collect()
    }

    #[test]
    fn lines_are_put_together_per_stream() {
        let mut lines = Lines::new("x", false);
        for (stream, text) in [(1, "a"), (2, "e1\ne"), (1, "b\nc"), (2, "2\n")] {
            lines.push(&frame(stream, text));
        }
        lines.finish();
        let want = [(true, "e1"), (false, "ab"), (true, "e2"), (false, "c")];
        assert_eq!(texts(lines), want.map(|(err, text)| (err, text.to_owned())));
    }

    #[test]
    fn a_terminal_has_no_frames() {
        let mut lines = Lines::new("x", true);
        lines.push(b"\x01one\r\ntwo");
        lines.finish();
        let want = [(false, "\u{1}one"), (false, "two")];
        assert_eq!(texts(lines), want.map(|(err, text)| (err, text.to_owned())));
    }

    #[test]
    fn the_query_says_what_is_wanted() {
        let query = LogQuery {
            follow: true,
            tail: Some(3),
            since: Some(7),
            ..LogQuery::default()
        };
        assert_eq!(
            path("x", &query),
            "/containers/x/logs?stdout=true&stderr=true&follow=true&timestamps=false&tail=3&since=7"
        );
    }
}
