//! Every way to an engine: TCP, TLS with both sides proved, and ssh.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::server::WebPkiClientVerifier;
use shopctl::backend::BackendError;
use shopctl::backend::docker::Docker;
use shopctl::backend::docker::Settings;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::net::TcpListener;
use tokio::net::UnixStream;
use tokio_rustls::TlsAcceptor;

use crate::containers::output;
use crate::world::World;

const CERTIFICATES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tls");
const SSH_CHILD: &str = "SHOPCTL_TEST_SSH";

async fn relay(mut client: impl AsyncRead + AsyncWrite + Unpin) {
    let mut engine = UnixStream::connect("/var/run/docker.sock").await.unwrap();
    let _ = tokio::io::copy_bidirectional(&mut client, &mut engine).await;
}

/// A port that leads to the engine's socket.
async fn listen(tls: Option<TlsAcceptor>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let tls = tls.clone();
            tokio::spawn(async move {
                match tls {
                    None => relay(client).await,
                    Some(tls) => {
                        if let Ok(client) = tls.accept(client).await {
                            relay(client).await;
                        }
                    }
                }
            });
        }
    });
    port
}

fn acceptor() -> TlsAcceptor {
    let read = |name: &str| fs::read(Path::new(CERTIFICATES).join(name)).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(&read("ca.pem")).unwrap())
        .unwrap();
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .unwrap();
    let chain = vec![CertificateDer::from_pem_slice(&read("server.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(&read("server-key.pem")).unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// A look, and a stream in both directions.
async fn works(world: World) {
    let name = world.run(world.instance("order", &[], &["keep"])).await;
    assert!(world.find(&name).await.is_some());
    assert_eq!(output(&world, &name, &["print", "out", "err"]).await, "out");
}

#[tokio::test]
#[ignore = "engine"]
async fn over_tcp() {
    let port = listen(None).await;
    works(World::at(Some(format!("tcp://127.0.0.1:{port}"))).await).await;
}

#[tokio::test]
#[ignore = "engine"]
async fn over_tls_with_both_sides_proved() {
    let port = listen(Some(acceptor())).await;
    let mut settings = Settings {
        host: Some(format!("tcp://127.0.0.1:{port}")),
        tls_verify: true,
        cert_path: Some(Path::new(CERTIFICATES).join("client")),
        ..Settings::default()
    };
    works(World::with(&settings).await).await;
    let reason = async |settings: &Settings| {
        let error = Docker::connect(settings).await.unwrap_err();
        assert!(matches!(error, BackendError::Unreachable { .. }), "{error}");
        std::error::Error::source(&error).unwrap().to_string()
    };
    // The same port without TLS: the hint names the setting.
    settings.tls_verify = false;
    let found = reason(&settings).await;
    assert!(found.contains("DOCKER_TLS_VERIFY"), "{found}");
    // A client without a certificate, and one that trusts nobody.
    let folder = tempfile::tempdir().unwrap();
    settings.tls_verify = true;
    settings.cert_path = Some(folder.path().to_owned());
    let found = reason(&settings).await;
    assert!(found.contains("ca.pem"), "{found}");
    let ca = Path::new(CERTIFICATES).join("ca.pem");
    fs::copy(ca, folder.path().join("ca.pem")).unwrap();
    let found = reason(&settings).await;
    assert!(!found.is_empty());
}

/// Runs a test of this binary with a program of ours called `ssh` on the path.
fn with_ssh(script: &str, child: &str) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("ssh");
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", child, "--nocapture"])
        .env("PATH", format!("{}:{path}", folder.path().display()))
        .env(SSH_CHILD, "1")
        .output()
        .unwrap();
    if !output.status.success() {
        println!("{}", String::from_utf8_lossy(&output.stderr));
    }
    output.status.success()
}

#[tokio::test]
#[ignore = "engine"]
async fn over_ssh() {
    // What the far end would do.
    let script = "#!/bin/sh\nexec docker system dial-stdio\n";
    assert!(with_ssh(script, "connect::child_over_ssh"));
}

#[tokio::test]
#[ignore = "engine"]
async fn what_ssh_complains_of_is_passed_on() {
    let script = "#!/bin/sh\necho 'Permission denied (publickey).' >&2\nexit 255\n";
    assert!(with_ssh(script, "connect::child_without_ssh"));
}

/// Does nothing when it is run as a test.
#[tokio::test]
#[ignore = "engine"]
async fn child_over_ssh() {
    if std::env::var(SSH_CHILD).is_ok() {
        works(World::at(Some("ssh://ana@far:2222".to_owned())).await).await;
    }
}

/// Does nothing when it is run as a test.
#[tokio::test]
#[ignore = "engine"]
async fn child_without_ssh() {
    if std::env::var(SSH_CHILD).is_ok() {
        let settings = Settings {
            host: Some("ssh://far".to_owned()),
            ..Settings::default()
        };
        let error = Docker::connect(&settings).await.unwrap_err();
        let found = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(found, "ssh ended: Permission denied (publickey).");
    }
}
