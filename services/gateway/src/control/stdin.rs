//! Standard input that does not hold up the end of the process.
//!
//! tokio's own reads on a thread that its runtime waits for, so a process whose
//! input stays silent would never end. Here the thread is left behind.
//! Test: `tests/gateway/lock.rs`, through the program.

use std::io;
use std::io::Read;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::task::ready;
use std::thread;

use tokio::io::AsyncRead;
use tokio::io::ReadBuf;
use tokio::sync::mpsc;

const CHUNK: usize = 8 * 1024;
const STACK: usize = 64 * 1024;

/// Standard input. Only one may be open in a process.
pub(crate) struct Stdin {
    chunks: mpsc::Receiver<io::Result<Vec<u8>>>,
    /// Received, and not yet read.
    rest: io::Cursor<Vec<u8>>,
}

impl Stdin {
    pub(crate) fn open() -> io::Result<Self> {
        let (sender, chunks) = mpsc::channel(1);
        thread::Builder::new()
            .name("stdin".to_owned())
            .stack_size(STACK)
            .spawn(move || {
                let mut buffer = vec![0; CHUNK];
                loop {
                    let chunk = match io::stdin().read(&mut buffer) {
                        Ok(0) => return,
                        Ok(length) => Ok(buffer[..length].to_vec()),
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                        Err(error) => Err(error),
                    };
                    let failed = chunk.is_err();
                    if sender.blocking_send(chunk).is_err() || failed {
                        return;
                    }
                }
            })?;
        Ok(Self {
            chunks,
            rest: io::Cursor::default(),
        })
    }
}

impl AsyncRead for Stdin {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.rest.position() == self.rest.get_ref().len() as u64 {
            match ready!(self.chunks.poll_recv(cx)) {
                Some(chunk) => self.rest = io::Cursor::new(chunk?),
                None => return Poll::Ready(Ok(())),
            }
        }
        let length = self.rest.read(buffer.initialize_unfilled())?;
        buffer.advance(length);
        Poll::Ready(Ok(()))
    }
}
