//! An agent of its own for a key file: OpenSSH's, which reads every kind of key.
//!
//! It runs as the parent of a program that ends when its standard input does, so it
//! goes with us however we end, and takes its socket along.

use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::process::Stdio;

use tokio::io::AsyncBufReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::io::BufReader;
use tokio::process::Child;
use tokio::process::Command;

/// Says where the agent listens, and stays until it is told to go.
const STAY: &str = r#"echo "$SSH_AUTH_SOCK"; exec cat"#;

/// An agent that holds one key; gone when dropped.
pub(super) struct KeyAgent {
    socket: PathBuf,
    /// Its standard input keeps the agent.
    _process: Child,
}

impl KeyAgent {
    /// Starts one with the key of a file.
    pub(super) async fn holding(key: &Path) -> io::Result<Self> {
        let content = tokio::fs::read(key).await?;
        let absent = |error: io::Error| io::Error::other(format!("ssh-agent: {error}"));
        let mut process = Command::new("ssh-agent")
            .args(["sh", "-c", STAY])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(absent)?;
        let mut socket = String::new();
        if let Some(output) = process.stdout.take() {
            BufReader::new(output).read_line(&mut socket).await?;
        }
        let agent = Self {
            socket: PathBuf::from(socket.trim_end()),
            _process: process,
        };
        agent.add(key, &content).await?;
        Ok(agent)
    }

    /// Where it listens.
    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    /// By standard input, since `ssh-add` refuses files that others may read, and nobody
    /// is asked for a passphrase.
    async fn add(&self, key: &Path, content: &[u8]) -> io::Result<()> {
        let mut adder = Command::new("ssh-add")
            .args(["-q", "-"])
            .env("SSH_AUTH_SOCK", &self.socket)
            .env("SSH_ASKPASS", "false")
            .env("SSH_ASKPASS_REQUIRE", "force")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        if let Some(mut input) = adder.stdin.take() {
            input.write_all(content).await?;
        }
        let ended = adder.wait_with_output().await?;
        if ended.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&ended.stderr).trim().to_owned();
        let why = if said.is_empty() {
            "it has a passphrase"
        } else {
            &said
        };
        Err(io::Error::other(format!(
            "the key {} cannot be used: {why}",
            key.display()
        )))
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn key(folder: &Path, passphrase: &str) -> PathBuf {
        let path = folder.join("key");
        let status = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", passphrase, "-f"])
            .arg(&path)
            .status();
        assert!(status.expect("ssh-keygen runs").success());
        path
    }

    #[tokio::test]
    async fn it_holds_the_key_and_goes_with_us() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = key(folder.path(), "");
        let agent = KeyAgent::holding(&path).await.expect("an agent");
        let list = Command::new("ssh-add")
            .arg("-L")
            .env("SSH_AUTH_SOCK", agent.socket())
            .output()
            .expect("ssh-add runs");
        let public = std::fs::read_to_string(path.with_extension("pub")).expect("a file");
        let held = String::from_utf8_lossy(&list.stdout).into_owned();
        let start = public.rsplit_once(' ').expect("a comment").0;
        assert!(held.starts_with(start), "{held}");
        let socket = agent.socket().to_owned();
        drop(agent);
        let limit = std::time::Instant::now() + std::time::Duration::from_secs(25);
        while socket.exists() {
            assert!(std::time::Instant::now() < limit, "the agent stays");
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    }

    #[tokio::test]
    async fn a_key_that_cannot_be_used_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = key(folder.path(), "open sesame");
        let Err(error) = KeyAgent::holding(&path).await else {
            panic!("it has a passphrase")
        };
        let wanted = format!(
            "the key {} cannot be used: it has a passphrase",
            path.display()
        );
        assert_eq!(error.to_string(), wanted);
        std::fs::write(&path, "no key").expect("a file");
        let Err(error) = KeyAgent::holding(&path).await else {
            panic!("it is no key")
        };
        assert!(
            error
                .to_string()
                .contains("cannot be used: Error loading key")
        );
    }
}
