//! The terminal at which a command in a container runs.

use std::io;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;

use rustix::termios;
use rustix::termios::OptionalActions;
use rustix::termios::Termios;
use tokio::io::AsyncWrite;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;
use tokio::sync::watch;

use crate::report::console::Console;

/// The size of the terminal as rows and columns, now and after each change; `None`
/// where there is no terminal.
pub(super) fn sizes() -> Option<watch::Receiver<(u16, u16)>> {
    let (sender, sizes) = watch::channel(size()?);
    let mut changed = signal(SignalKind::window_change()).ok()?;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                changed = changed.recv() => {
                    if changed.is_none() {
                        return;
                    }
                    if let Some(size) = size() {
                        sender.send_replace(size);
                    }
                }
                () = sender.closed() => return,
            }
        }
    });
    Some(sizes)
}

fn size() -> Option<(u16, u16)> {
    let size = termios::tcgetwinsize(io::stdout()).ok()?;
    Some((size.ws_row, size.ws_col))
}

/// The terminal passes every key on, until this is dropped.
pub(super) struct RawTerminal(Termios);

impl RawTerminal {
    /// Enters; `None` where there is no terminal.
    pub(super) fn enter() -> Option<Self> {
        let before = termios::tcgetattr(io::stdin()).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        termios::tcsetattr(io::stdin(), OptionalActions::Now, &raw).ok()?;
        Some(Self(before))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        // The user sees it when the terminal stays raw; there is no more to do.
        let _ = termios::tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}

/// One of the console's streams as a sink for bytes.
pub(super) struct ConsoleWriter {
    console: Console,
    out: bool,
}

impl ConsoleWriter {
    /// Standard output.
    pub(super) fn out(console: &Console) -> Self {
        Self {
            console: console.clone(),
            out: true,
        }
    }

    /// Standard error.
    pub(super) fn err(console: &Console) -> Self {
        Self {
            console: console.clone(),
            out: false,
        }
    }
}

impl AsyncWrite for ConsoleWriter {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = if self.out {
            self.console.raw_out(bytes)
        } else {
            self.console.raw_err(bytes)
        };
        Poll::Ready(written.map(|()| bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
