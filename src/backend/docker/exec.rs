//! Processes inside containers: a session that stays open, and commands at a
//! terminal.

use std::io;

use bollard::exec::ResizeExecOptions;
use bollard::models::ExecConfig;
use bollard::query_parameters::ResizeContainerTTYOptionsBuilder;
use serde_json::json;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt as _;
use tokio::io::WriteHalf;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::Docker;
use super::frames::Frames;
use super::frames::StdoutOnly;
use super::raw::Hijacked;
use crate::backend::BackendError;
use crate::backend::Exec;
use crate::backend::ExecRequest;
use crate::backend::Pending;
use crate::backend::RunRequest;
use crate::backend::Session;

/// What is read as standard input.
pub(super) type Reader = Box<dyn AsyncRead + Send + Unpin>;
/// Where output goes.
pub(super) type Writer = Box<dyn AsyncWrite + Send + Unpin>;

/// Whose terminal it is.
#[derive(Clone, Copy)]
pub(super) enum Terminal<'a> {
    /// A command in a running container, by its id.
    OfCommand(&'a str),
    /// A container, by its name.
    OfContainer(&'a str),
}

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
            let moving = async {
                if request.tty {
                    raw(output, stdout).await
                } else {
                    demultiplex(output, stdout, stderr).await
                }
            };
            let moved = tokio::select! {
                moved = moving => moved,
                () = self.follow_sizes(Terminal::OfCommand(&id), request.sizes.clone()) => Ok(()),
            };
            drop(feeder);
            moved.map_err(|source| BackendError::Other {
                doing: format!("pass on the output of container {}", request.container),
                source: Box::new(source),
            })?;
            self.exit_code(&request.container, &id).await
        })
    }

    fn run<'a>(
        &'a self,
        request: &'a RunRequest,
        stdin: Option<Reader>,
        stdout: Writer,
        stderr: Writer,
    ) -> Pending<'a, i64> {
        Box::pin(self.run_attached(request, stdin, stdout, stderr))
    }

    fn signal<'a>(&'a self, container: &'a str, name: &'a str) -> Pending<'a, ()> {
        Box::pin(self.send_signal(container, name))
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
            privileged: request.privileged.then_some(true),
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
        Ok((made.id, stream))
    }

    /// Tells the engine each size of a terminal, the present one first; never ends.
    pub(super) async fn follow_sizes(
        &self,
        terminal: Terminal<'_>,
        sizes: Option<watch::Receiver<(u16, u16)>>,
    ) {
        if let Some(mut sizes) = sizes {
            loop {
                let size = *sizes.borrow_and_update();
                self.resize(terminal, size).await;
                if sizes.changed().await.is_err() {
                    break;
                }
            }
        }
        std::future::pending::<()>().await;
    }

    /// What ended has no terminal any more, so a refusal is no matter.
    async fn resize(&self, terminal: Terminal<'_>, (height, width): (u16, u16)) {
        match terminal {
            Terminal::OfCommand(id) => {
                let size = ResizeExecOptions { height, width };
                let _ = self.api().resize_exec(id, size).await;
            }
            Terminal::OfContainer(name) => {
                let size = ResizeContainerTTYOptionsBuilder::new()
                    .h(i32::from(height))
                    .w(i32::from(width))
                    .build();
                let _ = self.api().resize_container_tty(name, size).await;
            }
        }
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
pub(super) struct Feeder(AbortHandle);

impl Feeder {
    pub(super) fn start(mut stdin: Reader, mut input: WriteHalf<Hijacked>) -> Self {
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

/// Passes on all that a terminal shows.
pub(super) async fn raw(mut output: impl AsyncRead + Unpin, mut stdout: Writer) -> io::Result<()> {
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

/// Passes on both streams of output.
pub(super) async fn demultiplex(
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
