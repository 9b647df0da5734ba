//! Requests over kept connections, as a client that neither repeats nor repairs.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::io::AsyncBufReadExt as _;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::io::BufReader;
use tokio::net::TcpStream;
use tokio::time::Instant;

/// Connections are not used after this long without a request: the server may close
/// them just then, which would be no loss of the server's.
const IDLE: Duration = Duration::from_secs(5);

type Idle = VecDeque<(BufReader<TcpStream>, Instant)>;

/// Connections to the shop.
#[derive(Clone)]
pub(crate) struct Pool {
    port: u16,
    idle: Arc<Mutex<Idle>>,
    body: Arc<[u8]>,
}

impl Pool {
    pub(crate) fn new(port: u16) -> Self {
        Self {
            port,
            idle: Arc::default(),
            body: vec![b'x'; 1 << 20].into(),
        }
    }

    /// One request; fine is only a 200 that came whole.
    pub(crate) async fn ask(
        &self,
        method: &str,
        path: &str,
        id: &str,
        size: usize,
    ) -> Result<(), String> {
        let mut stream = match self.take() {
            Some(stream) => stream,
            None => connect(self.port).await?,
        };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: shop\r\nX-Id: {id}\r\nContent-Length: {size}\r\n\r\n"
        );
        let sent = async {
            stream.get_mut().write_all(head.as_bytes()).await?;
            stream.get_mut().write_all(&self.body[..size]).await
        };
        sent.await.map_err(|error| format!("send: {error}"))?;
        let answer = head_of(&mut stream).await?;
        let length = answer.length.ok_or("no length in the answer")?;
        let mut body = vec![0; length];
        let read = stream.read_exact(&mut body).await;
        read.map_err(|error| format!("body: {error}"))?;
        if answer.status != 200 {
            let body = String::from_utf8_lossy(&body);
            return Err(format!("{} {body}", answer.status));
        }
        if !answer.closes {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.push_back((stream, Instant::now()));
        }
        Ok(())
    }

    /// The connection that rested longest, so that none rests too long.
    fn take(&self) -> Option<BufReader<TcpStream>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some((stream, since)) = idle.pop_front() {
            if since.elapsed() < IDLE {
                return Some(stream);
            }
        }
        None
    }
}

pub(crate) async fn connect(port: u16) -> Result<BufReader<TcpStream>, String> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await;
    let stream = stream.map_err(|error| format!("connect: {error}"))?;
    let _ = stream.set_nodelay(true);
    Ok(BufReader::new(stream))
}

/// The head of an answer.
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) length: Option<usize>,
    pub(crate) closes: bool,
}

pub(crate) async fn head_of(stream: &mut BufReader<TcpStream>) -> Result<Head, String> {
    let first = line(stream).await?;
    let status = first.split_whitespace().nth(1);
    let status = status.and_then(|word| word.parse().ok());
    let mut head = Head {
        status: status.ok_or_else(|| format!("not an answer: {first}"))?,
        length: None,
        closes: false,
    };
    loop {
        let header = line(stream).await?.to_ascii_lowercase();
        match header
            .split_once(':')
            .map(|(name, value)| (name, value.trim()))
        {
            Some(("content-length", value)) => head.length = value.parse().ok(),
            Some(("connection", "close")) => head.closes = true,
            None => return Ok(head),
            _ => {}
        }
    }
}

/// A line without its end.
pub(crate) async fn line(stream: &mut BufReader<TcpStream>) -> Result<String, String> {
    let mut line = String::new();
    match stream.read_line(&mut line).await {
        Ok(0) => Err("the connection ended".to_owned()),
        Ok(_) => Ok(line.trim_end().to_owned()),
        Err(error) => Err(format!("read: {error}")),
    }
}
