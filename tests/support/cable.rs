//! A network between a client and the engine that can be cut: nothing is refused and
//! nothing comes back, as when a laptop leaves the room.

use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::net::UnixStream;
use tokio::sync::watch;

const ENGINE: &str = "/var/run/docker.sock";

/// A TCP port that leads to the engine; it ends with the runtime it was laid on.
pub struct Cable {
    port: u16,
    cut: watch::Sender<bool>,
}

impl Cable {
    /// Lays it.
    pub async fn lay() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (cut, is_cut) = watch::channel(false);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(engine) = UnixStream::connect(ENGINE).await else {
                    continue;
                };
                let (client_reader, client_writer) = client.into_split();
                let (engine_reader, engine_writer) = engine.into_split();
                tokio::spawn(carry(client_reader, engine_writer, is_cut.clone()));
                tokio::spawn(carry(engine_reader, client_writer, is_cut.clone()));
            }
        });
        Self { port, cut }
    }

    /// For `DOCKER_HOST`.
    pub fn host(&self) -> String {
        format!("tcp://127.0.0.1:{}", self.port)
    }

    /// From here on nothing comes through, neither way.
    pub fn cut(&self) {
        self.cut.send_replace(true);
    }
}

async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut cut: watch::Receiver<bool>,
) {
    let mut chunk = vec![0; 1 << 16];
    loop {
        let read = tokio::select! {
            biased;
            () = async { drop(cut.wait_for(|cut| *cut).await) } => None,
            read = from.read(&mut chunk) => Some(read),
        };
        let Some(read) = read else {
            return std::future::pending().await;
        };
        match read {
            Ok(count @ 1..) if to.write_all(&chunk[..count]).await.is_ok() => {}
            _ => break,
        }
    }
    let _ = to.shutdown().await;
}
