//! Processes inside containers: a session that stays open, and commands at a
//! terminal.

use std::io;

use bollard::exec::ResizeExecOptions;
use bollard::models::ExecConfig;
use serde_json::json;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt as _;
use tokio::io::WriteHalf;
use tokio::task::AbortHandle;

use super::Docker;
use super::frames::Frames;
use super::frames::StdoutOnly;
use super::raw::Hijacked;
use crate::backend::BackendError;
use crate::backend::Exec;
use crate::backend::ExecRequest;
use crate::backend::Pending;
use crate::backend::Session;

type Reader = Box<dyn AsyncRead + Send + Unpin>;
type Writer = Box<dyn AsyncWrite + Send + Unpin>;

impl Exec for Docker {
    fn session<'a>(&'a self, container: &'a str, command: &'a [String]) -> Pending<'a, Session> {
        Box::pin(async move {
            let request = ExecRequest {
                container: container.to_owned(),
                command: command.to_vec(),
                stdin: true,
                ..ExecRequest::default()
            };
            let (_, stream) = self.start_exec(&request).await?;
            let (output, input) = tokio::io::split(stream);
            Ok(Session {
                output: Box::new(StdoutOnly::new(output)),
                input: Box::new(input),
            })
        })
    }

    fn exec<'a>(
        &'a self,
        request: &'a ExecRequest,
        stdin: Option<Reader>,
        stdout: Writer,
        stderr: Writer,
    ) -> Pending<'a, i64> {
        Box::pin(async move {
            let (id, stream) = self.start_exec(request).await?;
            let (output, input) = tokio::io::split(stream);
            let feeder = stdin.map(|stdin| Feeder::start(stdin, input));
            let moved = if request.tty {
                raw(output, stdout).await
            } else {
                demultiplex(output, stdout, stderr).await
            };
            drop(feeder);
            moved.map_err(|source| BackendError::Other {
                doing: format!("pass on the output of container {}", request.container),
                source: Box::new(source),
            })?;
            self.exit_code(&request.container, &id).await
        })
    }
}

impl Docker {
    async fn start_exec(&self, request: &ExecRequest) -> Result<(String, Hijacked), BackendError> {
        let subject = format!(
            "`{}` in container {}",
            request.command.first().map_or("", String::as_str),
            request.container
        );
        let config = ExecConfig {
            attach_stdin: Some(request.stdin),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            tty: Some(request.tty),
            cmd: Some(request.command.clone()),
            user: request.user.clone(),
            working_dir: request.working_dir.clone(),
            env: (!request.environment.is_empty()).then(|| request.environment.clone()),
            ..ExecConfig::default()
        };
        let made = self
            .api()
            .create_exec(&request.container, config)
            .await
            .map_err(|error| self.fault("run", &subject, error))?;
        let start = json!({ "Detach": false, "Tty": request.tty });
        let stream = self
            .hijack(&format!("/exec/{}/start", made.id), &start)
            .await
            .map_err(|error| self.fault("run", &subject, error))?;
        if let Some((height, width)) = request.size.filter(|_| request.tty) {
            let size = ResizeExecOptions { height, width };
            // A command that ended at once has no terminal any more.
            let _ = self.api().resize_exec(&made.id, size).await;
        }
        Ok((made.id, stream))
    }

    async fn exit_code(&self, container: &str, id: &str) -> Result<i64, BackendError> {
        let found =
            self.api().inspect_exec(id).await.map_err(|error| {
                self.fault("inspect", &format!("a command in {container}"), error)
            })?;
        Ok(found.exit_code.unwrap_or_default())
    }
}

/// Copies standard input until it ends; ends with the command, since a read from a
/// terminal would otherwise go on.
struct Feeder(AbortHandle);

impl Feeder {
    fn start(mut stdin: Reader, mut input: WriteHalf<Hijacked>) -> Self {
        let task = tokio::spawn(async move {
            // The command may end first; what it did not read is its business.
            let _ = tokio::io::copy(&mut stdin, &mut input).await;
            let _ = input.shutdown().await;
        });
        Self(task.abort_handle())
    }
}

impl Drop for Feeder {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn raw(mut output: impl AsyncRead + Unpin, mut stdout: Writer) -> io::Result<()> {
    let mut chunk = [0_u8; 8192];
    loop {
        let count = output.read(&mut chunk).await?;
        if count == 0 {
            return Ok(());
        }
        stdout.write_all(&chunk[..count]).await?;
        stdout.flush().await?;
    }
}

async fn demultiplex(
    mut output: impl AsyncRead + Unpin,
    mut stdout: Writer,
    mut stderr: Writer,
) -> io::Result<()> {
    let mut frames = Frames::default();
    let mut chunk = [0_u8; 8192];
    loop {
        let count = output.read(&mut chunk).await?;
        if count == 0 {
            return Ok(());
        }
        frames.push(&chunk[..count]);
        while let Some(frame) = frames.next() {
            let writer = if frame.stderr {
                &mut stderr
            } else {
                &mut stdout
            };
            writer.write_all(&frame.bytes).await?;
            writer.flush().await?;
        }
    }
}
