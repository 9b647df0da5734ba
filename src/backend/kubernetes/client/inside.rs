//! Processes inside pods.
//!
//! A cluster starts a command as the container's own user, where the container works and
//! with its variables; whatever else is asked for is refused.

use std::io;
use std::pin::Pin;
use std::task;
use std::time::Duration;

use futures_util::SinkExt as _;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::Api;
use kube::api::AttachParams;
use kube::api::AttachedProcess;
use kube::api::TerminalSize;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt as _;
use tokio::io::ReadBuf;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::Cluster;
use super::pods;
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

/// How a command ended, once it has; `None` where the connection ended before.
pub(super) type Ended = Pin<Box<dyn Future<Output = Option<Status>> + Send>>;

/// Bytes of each stream that may be on their way.
const BUFFER: usize = 64 << 10;
/// So long what came before a connection was cut may take to be passed on.
pub(super) const REST: Duration = Duration::from_secs(1);
/// From this minor version on, a server can be told that standard input has ended. Before,
/// only the whole connection can end, and what the command says then is lost.
const ENDS_INPUT: u32 = 30;

impl Exec for Cluster {
    fn session<'a>(&'a self, container: &'a str, command: &'a [String]) -> Pending<'a, Session> {
        Box::pin(async move {
            let params = AttachParams {
                stderr: false,
                ..params(true, false)
            };
            let mut process = self.start(container, command, params).await?;
            match (process.stdout(), process.stdin()) {
                (Some(output), Some(input)) => Ok(Session {
                    output: Box::new(Output {
                        stream: output,
                        ended: process
                            .take_status()
                            .map(|status| Box::pin(status) as Ended),
                        _process: process,
                    }),
                    input: Box::new(input),
                }),
                _ => Err(refused(container, command, "it has no streams")),
            }
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
            if let Some(why) = impossible(request) {
                return Err(refused(&request.container, &request.command, why));
            }
            let stdin = stdin.filter(|_| request.stdin);
            let params = params(stdin.is_some(), request.tty);
            let process = self.start(&request.container, &request.command, params);
            let process = process.await?;
            let ends = self.ends_input();
            stay(request, process, (stdin, stdout, stderr), ends).await
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
        Box::pin(async move {
            // What it is told when its pod is removed is all that a cluster can tell it.
            let at_once = (name == "SIGKILL").then_some(0);
            let removed = self.remove_one_off(container, at_once).await;
            removed.map_err(|error| match error {
                BackendError::Conflict { .. } => BackendError::Other {
                    doing: format!("send {name} to pod {container}"),
                    source: "a cluster sends no signals to what runs in its pods".into(),
                },
                other => other,
            })
        })
    }
}

impl Cluster {
    async fn start(
        &self,
        pod: &str,
        command: &[String],
        mut params: AttachParams,
    ) -> Result<AttachedProcess, BackendError> {
        let found = self.pod(pod).await?;
        params.container = pods::main_container(&found).map(|it| it.name.clone());
        let api: Api<k8s_openapi::api::core::v1::Pod> =
            Api::namespaced(self.client(), &self.namespace());
        let started = api.exec(pod, command, &params).await;
        started.map_err(|error| match error {
            // A node that does not answer gives no words.
            kube::Error::Api(status) if status.message.trim().is_empty() => BackendError::Cluster {
                doing: doing(pod, command),
                status: status.code,
                message: format!("it answered {} {}", status.code, status.reason),
            },
            error => self.failed(doing(pod, command), error),
        })
    }

    /// Whether the server can be told that input has ended.
    pub(super) fn ends_input(&self) -> bool {
        // Of a version that cannot be read, it is taken for a new one.
        let minor = self.inner.server.minor;
        minor == 0 || minor >= ENDS_INPUT
    }
}

pub(super) fn params(stdin: bool, tty: bool) -> AttachParams {
    AttachParams {
        stdin,
        stdout: true,
        // At a terminal both are one.
        stderr: !tty,
        tty,
        max_stdin_buf_size: Some(BUFFER),
        max_stdout_buf_size: Some(BUFFER),
        max_stderr_buf_size: Some(BUFFER),
        container: None,
    }
}

/// What is asked for that a cluster cannot give to a command.
fn impossible(request: &ExecRequest) -> Option<&'static str> {
    if request.user.as_ref().is_some_and(|user| !user.is_empty()) {
        Some("a cluster runs commands as the container's own user")
    } else if request.privileged {
        Some("a cluster gives a command no more rights than its container has")
    } else if request.working_dir.is_some() {
        Some("a cluster runs commands in the container's own working directory")
    } else if !request.environment.is_empty() {
        Some(
            "a cluster runs commands with the container's own variables: `env NAME=VALUE COMMAND` sets more",
        )
    } else {
        None
    }
}

fn doing(pod: &str, command: &[String]) -> String {
    let first = command.first().map(String::as_str).unwrap_or_default();
    format!("run `{first}` in pod {pod}")
}

fn refused(pod: &str, command: &[String], why: &str) -> BackendError {
    BackendError::Other {
        doing: doing(pod, command),
        source: why.into(),
    }
}

/// Passes on what goes in and comes out, until the command has ended; its exit code.
async fn stay(
    request: &ExecRequest,
    mut process: AttachedProcess,
    (stdin, stdout, stderr): (Option<Reader>, Writer, Writer),
    ends_input: bool,
) -> Result<i64, BackendError> {
    let mut status: Ended = match process.take_status() {
        Some(status) => Box::pin(status),
        None => Box::pin(std::future::ready(None)),
    };
    let outputs = (process.stdout(), process.stderr());
    let sizes = process.terminal_size();
    let _feeder = match (stdin, process.stdin()) {
        (Some(stdin), Some(input)) => Some(Feeder::start(stdin, input, ends_input)),
        _ => None,
    };
    let moving = async {
        tokio::try_join!(pass_on(outputs.0, stdout), pass_on(outputs.1, stderr)).map(drop)
    };
    let mut moving = std::pin::pin!(moving);
    let (moved, status) = tokio::select! {
        biased;
        status = &mut status => {
            let moved = if status.is_some() {
                moving.await
            } else {
                // Streams of a connection that was cut do not end; what came is passed on.
                let rest = tokio::time::timeout(REST, moving).await;
                rest.unwrap_or(Ok(()))
            };
            (moved, status)
        }
        moved = &mut moving => {
            let status = if moved.is_ok() { status.await } else { None };
            (moved, status)
        }
        () = follow_sizes(sizes, request.sizes.clone()) => (Ok(()), None),
    };
    moved.map_err(|source| BackendError::Other {
        doing: format!("pass on the output of pod {}", request.container),
        source: source.into(),
    })?;
    let doing = doing(&request.container, &request.command);
    match status {
        Some(status) => exit_code(&status).ok_or_else(|| BackendError::Cluster {
            doing,
            status: status
                .code
                .and_then(|it| u16::try_from(it).ok())
                .unwrap_or(500),
            message: [status.message, status.reason]
                .into_iter()
                .flatten()
                .find(|words| !words.trim().is_empty())
                .unwrap_or_else(|| "it does not say why".to_owned()),
        }),
        None => Err(BackendError::Other {
            doing,
            source: match process.join().await {
                Err(error) => error.into(),
                Ok(()) => "the connection ended before the command".into(),
            },
        }),
    }
}

/// The code that a command ended with; `None` where it did not run.
fn exit_code(status: &Status) -> Option<i64> {
    if status.status.as_deref() == Some("Success") {
        return Some(0);
    }
    let causes = status.details.as_ref()?.causes.as_ref()?;
    let code = causes
        .iter()
        .find(|it| it.reason.as_deref() == Some("ExitCode"))?;
    code.message.as_deref()?.parse().ok()
}

/// Passes on output as it comes.
async fn pass_on(output: Option<impl AsyncRead + Unpin>, mut to: Writer) -> io::Result<()> {
    let Some(mut output) = output else {
        return Ok(());
    };
    let mut chunk = vec![0_u8; 8192];
    loop {
        let count = output.read(&mut chunk).await?;
        if count == 0 {
            return Ok(());
        }
        to.write_all(&chunk[..count]).await?;
        to.flush().await?;
    }
}

/// Tells the cluster each size of a terminal, the present one first; never ends.
pub(super) async fn follow_sizes(
    to: Option<impl futures_util::Sink<TerminalSize> + Unpin>,
    sizes: Option<watch::Receiver<(u16, u16)>>,
) {
    if let (Some(mut to), Some(mut sizes)) = (to, sizes) {
        loop {
            let (height, width) = *sizes.borrow_and_update();
            // What has ended has no terminal any more.
            if to.send(TerminalSize { width, height }).await.is_err()
                || sizes.changed().await.is_err()
            {
                break;
            }
        }
    }
    std::future::pending::<()>().await;
}

/// Copies standard input until it ends; ends with the command, since a read from a
/// terminal would otherwise go on.
pub(super) struct Feeder(AbortHandle);

impl Feeder {
    pub(super) fn start(
        mut stdin: Reader,
        mut input: impl AsyncWrite + Send + Unpin + 'static,
        ends_input: bool,
    ) -> Self {
        let task = tokio::spawn(async move {
            // The command may end first; what it did not read is its business.
            let _ = tokio::io::copy(&mut stdin, &mut input).await;
            if ends_input {
                let _ = input.shutdown().await;
            } else {
                // It stays open until the command has ended.
                std::future::pending::<()>().await;
            }
        });
        Self(task.abort_handle())
    }
}

impl Drop for Feeder {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Output of a process that runs as long as somebody may read it.
struct Output<R> {
    stream: R,
    /// `None` once it has ended.
    ended: Option<Ended>,
    _process: AttachedProcess,
}

impl<R: AsyncRead + Unpin> AsyncRead for Output<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut task::Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> task::Poll<io::Result<()>> {
        // The stream of a connection that was cut does not end by itself.
        let ended = match &mut self.ended {
            Some(ended) => ended.as_mut().poll(context).is_ready(),
            None => true,
        };
        if ended {
            self.ended = None;
        }
        match Pin::new(&mut self.stream).poll_read(context, buffer) {
            task::Poll::Pending if ended => task::Poll::Ready(Ok(())),
            read => read,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn code(status: serde_json::Value) -> Option<i64> {
        exit_code(&serde_json::from_value(status).unwrap())
    }

    #[test]
    fn a_status_says_how_a_command_ended() {
        assert_eq!(code(json!({ "status": "Success" })), Some(0));
        let ended = json!({ "status": "Failure", "reason": "NonZeroExitCode",
            "details": { "causes": [{ "reason": "ExitCode", "message": "3" }] } });
        assert_eq!(code(ended), Some(3));
        let never = json!({ "status": "Failure", "reason": "InternalError", "code": 500,
            "message": "no such file" });
        assert_eq!(code(never), None);
    }

    #[test]
    fn what_a_cluster_cannot_do_is_refused() {
        let plain = ExecRequest::default();
        assert_eq!(impossible(&plain), None);
        for request in [
            ExecRequest {
                user: Some("root".to_owned()),
                ..plain.clone()
            },
            ExecRequest {
                privileged: true,
                ..plain.clone()
            },
            ExecRequest {
                working_dir: Some("/".to_owned()),
                ..plain.clone()
            },
            ExecRequest {
                environment: vec!["A=b".to_owned()],
                ..plain
            },
        ] {
            assert!(impossible(&request).is_some(), "{request:?}");
        }
    }
}
