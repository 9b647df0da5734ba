//! One connection to an engine: Unix socket, TCP, TLS, or `docker system
//! dial-stdio` at the other end of ssh.

use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::Stdio;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use hyper::Uri;
use hyper::rt::ReadBufCursor;
use hyper_util::client::legacy::connect::Connected;
use hyper_util::client::legacy::connect::Connection;
use hyper_util::rt::TokioIo;
use rustix::net::sockopt;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject as _;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;
use tokio::net::TcpStream;
use tokio::net::UnixStream;
use tokio::process::Child;
use tokio::process::ChildStdin;
use tokio::process::ChildStdout;
use tokio::process::Command;
use tokio_rustls::TlsConnector;

const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Where and how to connect.
pub(super) enum Dial {
    Unix(PathBuf),
    Tcp(String, u16),
    Tls(String, u16, TlsConnector),
    Ssh(SshTarget),
}

impl Dial {
    pub(super) fn tls(host: String, port: u16, config: rustls::ClientConfig) -> Self {
        Self::Tls(host, port, TlsConnector::from(Arc::new(config)))
    }

    async fn connect(&self) -> io::Result<Wire> {
        let stream: Box<dyn Duplex> = match self {
            Self::Unix(path) => Box::new(UnixStream::connect(path).await?),
            Self::Tcp(host, port) => Box::new(tcp(host, *port).await?),
            Self::Tls(host, port, connector) => {
                let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
                let stream = connector.connect(name, tcp(host, *port).await?).await?;
                Box::new(stream)
            }
            Self::Ssh(target) => Box::new(target.connect()?),
        };
        Ok(Wire(TokioIo::new(stream)))
    }
}

async fn tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let stream = tokio::time::timeout(CONNECT_LIMIT, TcpStream::connect((host, port)))
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no answer within 10 s"))??;
    stream.set_nodelay(true)?;
    notice_silence(&stream)?;
    Ok(stream)
}

/// A network that swallows everything ends the connection after about 20 s: without
/// this a call waits for hours.
fn notice_silence(stream: &TcpStream) -> io::Result<()> {
    sockopt::set_socket_keepalive(stream, true)?;
    #[cfg(target_os = "linux")]
    {
        sockopt::set_tcp_keepidle(stream, Duration::from_secs(5))?;
        sockopt::set_tcp_keepintvl(stream, Duration::from_secs(5))?;
        sockopt::set_tcp_keepcnt(stream, 3)?;
        sockopt::set_tcp_user_timeout(stream, 20_000)?;
    }
    Ok(())
}

/// Reads `ca.pem`, `cert.pem` and `key.pem`, as the Docker CLI lays them out.
pub(super) fn tls_config(folder: &Path) -> Result<rustls::ClientConfig, String> {
    let read = |name: &str| {
        let path = folder.join(name);
        fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))
    };
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&read("ca.pem")?) {
        let certificate = certificate.map_err(|error| format!("ca.pem: {error:?}"))?;
        roots
            .add(certificate)
            .map_err(|error| format!("ca.pem: {error}"))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    if !folder.join("cert.pem").exists() {
        return Ok(builder.with_no_client_auth());
    }
    let chain = CertificateDer::pem_slice_iter(&read("cert.pem")?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("cert.pem: {error:?}"))?;
    let key = PrivateKeyDer::from_pem_slice(&read("key.pem")?)
        .map_err(|error| format!("key.pem: {error:?}"))?;
    builder
        .with_client_auth_cert(chain, key)
        .map_err(|error| error.to_string())
}

/// The far end of ssh.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SshTarget {
    user: Option<String>,
    host: String,
    port: Option<u16>,
    socket: Option<String>,
}

impl SshTarget {
    /// Parses `[user@]host[:port][/socket]`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (place, socket) = match text.find('/') {
            Some(at) => (&text[..at], Some(text[at..].to_owned())),
            None => (text, None),
        };
        let (user, place) = match place.rsplit_once('@') {
            Some((user, place)) => (Some(user.to_owned()), place),
            None => (None, place),
        };
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) if !host.ends_with(':') && !host.contains(':') => {
                (host, Some(port.parse().ok()?))
            }
            _ => (place, None),
        };
        // A name that starts with a dash would be read as an option.
        (!host.is_empty() && !host.starts_with('-')).then(|| Self {
            user,
            host: host.to_owned(),
            port,
            socket: socket.filter(|path| path.len() > 1),
        })
    }

    fn arguments(&self) -> Vec<String> {
        let mut arguments: Vec<String> = [
            ["-o", "ConnectTimeout=10"],
            ["-o", "ServerAliveInterval=5"],
            ["-o", "ServerAliveCountMax=3"],
        ]
        .concat()
        .into_iter()
        .chain(["-T"])
        .map(Into::into)
        .collect();
        if let Some(user) = &self.user {
            arguments.extend(["-l".to_owned(), user.clone()]);
        }
        if let Some(port) = self.port {
            arguments.extend(["-p".to_owned(), port.to_string()]);
        }
        arguments.extend(["--".to_owned(), self.host.clone(), "docker".to_owned()]);
        if let Some(socket) = &self.socket {
            arguments.push(format!("--host=unix://{socket}"));
        }
        arguments.extend(["system".to_owned(), "dial-stdio".to_owned()]);
        arguments
    }

    fn connect(&self) -> io::Result<SshStream> {
        let mut child = Command::new("ssh")
            .args(self.arguments())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let missing = || io::Error::other("ssh has no pipes");
        Ok(SshStream {
            input: Some(child.stdin.take().ok_or_else(missing)?),
            output: child.stdout.take().ok_or_else(missing)?,
            child,
            heard: false,
        })
    }
}

/// Standard input and output of one ssh process.
struct SshStream {
    input: Option<ChildStdin>,
    output: ChildStdout,
    child: Child,
    heard: bool,
}

impl AsyncRead for SshStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.output).poll_read(context, buffer);
        if let Poll::Ready(Ok(())) = read {
            if buffer.filled().len() > before {
                self.heard = true;
            } else if !self.heard {
                return self.complaint(context);
            }
        }
        read
    }
}

impl SshStream {
    /// An end before the first byte means that ssh failed; it says why on stderr.
    fn complaint(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut text = [0_u8; 1024];
        let mut buffer = ReadBuf::new(&mut text);
        if let Some(errors) = self.child.stderr.as_mut() {
            std::task::ready!(Pin::new(errors).poll_read(context, &mut buffer))?;
        }
        let text = String::from_utf8_lossy(buffer.filled()).trim().to_owned();
        Poll::Ready(Err(io::Error::other(format!("ssh ended: {text}"))))
    }
}

impl AsyncWrite for SshStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.input.as_mut() {
            Some(input) => Pin::new(input).poll_write(context, bytes),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.input.as_mut() {
            Some(input) => Pin::new(input).poll_flush(context),
            None => Poll::Ready(Ok(())),
        }
    }

    /// Closing the pipe is the only half-close that ssh knows.
    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.input.take();
        Poll::Ready(Ok(()))
    }
}

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A connection as hyper wants it.
pub(super) struct Wire(TokioIo<Box<dyn Duplex>>);

impl Connection for Wire {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl hyper::rt::Read for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl hyper::rt::Write for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

/// Dials for hyper's connection pool.
#[derive(Clone)]
pub(super) struct Connector(pub(super) Arc<Dial>);

impl tower_service::Service<Uri> for Connector {
    type Response = Wire;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Wire>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let dial = Arc::clone(&self.0);
        Box::pin(async move { dial.connect().await })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ssh_targets_keep_user_port_and_socket() {
        let found = SshTarget::parse("ana@shop.example:2222/run/docker.sock").unwrap();
        assert_eq!(
            found.arguments().join(" "),
            "-o ConnectTimeout=10 -o ServerAliveInterval=5 -o ServerAliveCountMax=3 -T -l ana -p 2222 -- shop.example docker \
             --host=unix:///run/docker.sock system dial-stdio"
        );
        let plain = SshTarget::parse("shop").unwrap();
        assert_eq!(
            plain.arguments().join(" "),
            "-o ConnectTimeout=10 -o ServerAliveInterval=5 -o ServerAliveCountMax=3 -T -- shop docker system dial-stdio"
        );
    }

    #[test]
    fn ssh_targets_that_are_options_or_have_no_port_number_are_refused() {
        assert_eq!(SshTarget::parse("-oProxyCommand=x"), None);
        assert_eq!(SshTarget::parse("host:x"), None);
        assert_eq!(SshTarget::parse("ana@"), None);
    }
}
