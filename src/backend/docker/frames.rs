//! The engine's framing of output without a terminal: one byte for the stream,
//! three of padding, four of length, then that much of output.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;

use bytes::Buf as _;
use bytes::Bytes;
use bytes::BytesMut;
use tokio::io::AsyncRead;
use tokio::io::ReadBuf;

/// Takes bytes as they come and gives frames.
#[derive(Default)]
pub(super) struct Frames {
    buffer: BytesMut,
}

/// A piece of output.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) stderr: bool,
    pub(super) bytes: Bytes,
}

impl Frames {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame.
    pub(super) fn next(&mut self) -> Option<Frame> {
        let header = self.buffer.get(..8)?;
        let length = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
        let length = usize::try_from(length).ok()?;
        let stderr = header[0] == 2;
        if self.buffer.len() < 8 + length {
            return None;
        }
        self.buffer.advance(8);
        let bytes = self.buffer.split_to(length).freeze();
        Some(Frame { stderr, bytes })
    }
}

/// Standard output alone, out of a framed stream.
pub(super) struct StdoutOnly<R> {
    inner: R,
    frames: Frames,
    ready: VecDeque<Bytes>,
}

impl<R> StdoutOnly<R> {
    pub(super) fn new(inner: R) -> Self {
        Self {
            inner,
            frames: Frames::default(),
            ready: VecDeque::new(),
        }
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for StdoutOnly<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            if let Some(bytes) = self.ready.front_mut() {
                let length = bytes.len().min(buffer.remaining());
                buffer.put_slice(&bytes.split_to(length));
                if bytes.is_empty() {
                    self.ready.pop_front();
                }
                return Poll::Ready(Ok(()));
            }
            let mut chunk = [0_u8; 8192];
            let mut read = ReadBuf::new(&mut chunk);
            std::task::ready!(Pin::new(&mut self.inner).poll_read(context, &mut read))?;
            if read.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            self.frames.push(read.filled());
            while let Some(frame) = self.frames.next() {
                if !frame.stderr && !frame.bytes.is_empty() {
                    self.ready.push_back(frame.bytes);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    fn frame(stream: u8, text: &str) -> Vec<u8> {
        let length = u32::try_from(text.len()).unwrap().to_be_bytes();
        let mut bytes = vec![stream, 0, 0, 0];
        bytes.extend(length);
        bytes.extend(text.as_bytes());
        bytes
    }

    #[test]
    fn frames_survive_any_cut() {
        let whole = [frame(1, "out"), frame(2, ""), frame(2, "error")].concat();
        for cut in 0..whole.len() {
            let mut frames = Frames::default();
            let mut found = Vec::new();
            for part in [&whole[..cut], &whole[cut..]] {
                frames.push(part);
                while let Some(frame) = frames.next() {
                    found.push((frame.stderr, frame.bytes.to_vec()));
                }
            }
            let want = [(false, &b"out"[..]), (true, b""), (true, b"error")];
            assert_eq!(found, want.map(|(stderr, text)| (stderr, text.to_vec())));
        }
    }

    #[tokio::test]
    async fn only_stdout_is_read() {
        let whole = [frame(1, "a"), frame(2, "no"), frame(1, "b")].concat();
        let mut text = String::new();
        StdoutOnly::new(&whole[..])
            .read_to_string(&mut text)
            .await
            .unwrap();
        assert_eq!(text, "ab");
    }
}
