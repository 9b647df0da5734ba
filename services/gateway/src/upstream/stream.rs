//! A TCP stream that can be looked at while somebody else reads it.
//!
//! The pool asks an idle connection whether the other side closed it, while
//! the HTTP machinery owns the reading. Test: here.

use std::io;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use socket2::SockRef;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::Interest;
use tokio::io::ReadBuf;
use tokio::net::TcpStream;

/// The two ends share one socket; reading is for one of them.
#[derive(Debug, Clone)]
pub(crate) struct SharedStream(Arc<TcpStream>);

impl SharedStream {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self(Arc::new(stream))
    }

    /// Asks the kernel: open, with nothing to read. An idle HTTP connection on
    /// which something can be read is at its end, or out of step.
    pub(crate) fn is_quiet(&self) -> bool {
        let mut byte = [MaybeUninit::uninit()];
        match SockRef::from(&*self.0).peek(&mut byte) {
            Ok(_) => false,
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        }
    }
}

impl AsyncRead for SharedStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let room = buffer.remaining();
        loop {
            ready!(self.0.poll_read_ready(cx))?;
            match self.0.try_read_buf(buffer) {
                Ok(read) => {
                    // A short read emptied the socket: forget its readiness, which
                    // saves the read that would only say so.
                    if 0 < read && read < room {
                        let _ = self.0.try_io(Interest::READABLE, || -> io::Result<()> {
                            Err(io::ErrorKind::WouldBlock.into())
                        });
                    }
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl SharedStream {
    fn poll_try_write(
        &self,
        cx: &mut Context<'_>,
        write: impl Fn(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_write_ready(cx))?;
            match write(&self.0) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
        }
    }
}

impl AsyncWrite for SharedStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_try_write(cx, |stream| stream.try_write(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_try_write(cx, |stream| stream.try_write_vectored(parts))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match SockRef::from(&*self.0).shutdown(Shutdown::Write) {
            Err(error) if error.kind() != io::ErrorKind::NotConnected => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(())),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (SharedStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = listener.local_addr().expect("an address");
        let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
        (
            SharedStream::new(near.expect("connected")),
            far.expect("accepted").0,
        )
    }

    #[tokio::test]
    async fn carries_more_than_any_buffer_both_ways() {
        let (near, mut far) = pair().await;
        let sent: Vec<u8> = (0..8_000_000_u32).map(|n| (n % 251) as u8).collect();
        let echo = tokio::spawn(async move {
            let (mut reader, mut writer) = far.split();
            tokio::io::copy(&mut reader, &mut writer).await
        });
        let (mut reader, mut writer) = (near.clone(), near);
        let write = async {
            writer.write_all(&sent).await.expect("written");
            writer.shutdown().await.expect("shut down");
        };
        let mut received = Vec::new();
        let read = async { reader.read_to_end(&mut received).await.expect("read") };
        tokio::join!(write, read);
        assert!(received == sent);
        echo.await.expect("joined").expect("echoed");
    }

    #[tokio::test]
    async fn is_quiet_until_the_other_side_speaks_or_closes() {
        for close in [false, true] {
            let (near, mut far) = pair().await;
            assert!(near.is_quiet());
            if close {
                drop(far);
            } else {
                far.write_all(b"x").await.expect("written");
            }
            // Loopback delivers before the call returns, as far as Linux goes.
            near.0.readable().await.expect("readable");
            assert!(!near.is_quiet());
        }
    }
}
