//! A command in a pod of its own, with its streams: begun, attached to, waited for, removed.
//!
//! It begins before anybody can be attached to it, and the connection may be cut. So each
//! byte is told by its place in the log, where all of it is: what was said before, and what
//! was missed, comes from there.

use std::io;
use std::time::Duration;

use futures_util::AsyncReadExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::AttachedProcess;
use kube::api::LogParams;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::watch;

use super::Cluster;
use super::arrival::Stage;
use super::follow::Follower;
use super::inside::Ended;
use super::inside::Feeder;
use super::inside::REST;
use super::inside::Reader;
use super::inside::Writer;
use super::inside::follow_sizes;
use super::inside::params;
use super::overlap;
use super::pods;
use super::retry::patiently;
use crate::backend::BackendError;
use crate::backend::RunRequest;

/// First pause before it is attached to once more.
const SHORTEST_PAUSE: Duration = Duration::from_millis(250);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// So often in a row nobody may get attached to it while it runs.
const FAILURES: u32 = 10;
/// Bytes that are read at a time.
const CHUNK: usize = 8192;

impl Cluster {
    /// Stays with the command of a pod until it has ended, and removes the pod.
    pub(super) async fn run_attached(
        &self,
        request: &RunRequest,
        stdin: Option<Reader>,
        stdout: Writer,
        stderr: Writer,
    ) -> Result<i64, BackendError> {
        let name = request.container.as_str();
        let api: Api<Pod> = Api::namespaced(self.client(), &self.namespace());
        let mut follower = Follower::of(api, name);
        let mut talk = Talk {
            stdin,
            stdout,
            stderr,
            told: 0,
            sizes: request.sizes.clone(),
            ends_input: self.ends_input(),
        };
        let mut stage = self.begun(name, &mut follower).await?;
        let mut is_whole = false;
        let (mut failures, mut pause) = (0, SHORTEST_PAUSE);
        while stage == Stage::Running {
            match self.attach(request, talk.stdin.is_some()).await {
                Ok(process) => {
                    let ended = async {
                        Self::over(&mut follower).await;
                        tokio::time::sleep(REST).await;
                    };
                    is_whole = tokio::select! {
                        stayed = talk.stay(process, self.whole_log(name)) => {
                            stayed.map_err(|source| lost(name, source))?
                        }
                        // A connection that is lost without a word never ends.
                        () = ended => false,
                    };
                    (failures, pause) = (0, SHORTEST_PAUSE);
                }
                Err(error) => {
                    failures += 1;
                    let refused = matches!(
                        error,
                        BackendError::Cluster {
                            status: 401 | 403,
                            ..
                        }
                    );
                    if refused || failures > FAILURES {
                        return Err(error);
                    }
                }
            }
            // It has ended and nobody knows yet, or the connection was cut.
            stage = tokio::select! {
                stage = Self::over(&mut follower) => stage,
                () = tokio::time::sleep(pause) => Stage::Running,
            };
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        if !is_whole {
            let log = self.whole_log(name).await;
            let rest = log.get(talk.told..).unwrap_or_default();
            let written = write(&mut talk.stdout, rest).await;
            written.map_err(|source| lost(name, source))?;
        }
        let code = match stage {
            Stage::Ended(code) => code,
            Stage::Failed(why) => {
                return Err(BackendError::Other {
                    doing: format!("run pod {name}"),
                    source: why.into(),
                });
            }
            _ => {
                return Err(BackendError::NotFound {
                    what: format!("pod {name}"),
                });
            }
        };
        // A command that has ended is not asked for again because its pod stays for a while: the
        // next deploy removes it.
        let _ = self.remove_one_off(name, None).await;
        Ok(code)
    }

    async fn attach(
        &self,
        request: &RunRequest,
        stdin: bool,
    ) -> Result<AttachedProcess, BackendError> {
        let name = request.container.as_str();
        let pod = self.pod(name).await?;
        let mut params = params(stdin, request.tty);
        params.container = pods::main_container(&pod).map(|it| it.name.clone());
        let api: Api<Pod> = Api::namespaced(self.client(), &self.namespace());
        let attached = patiently(|| api.attach(name, &params)).await;
        attached.map_err(|error| self.failed(format!("attach to pod {name}"), error))
    }

    /// All that a pod has said so far. Who may not read it goes without.
    async fn whole_log(&self, name: &str) -> Vec<u8> {
        let api: Api<Pod> = Api::namespaced(self.client(), &self.namespace());
        let params = LogParams {
            container: self.pod(name).await.ok().and_then(|pod| {
                let container = pods::main_container(&pod)?;
                Some(container.name.clone())
            }),
            ..LogParams::default()
        };
        let mut log = Vec::new();
        if let Ok(stream) = patiently(|| api.log_stream(name, &params)).await {
            // One that is cut is taken for as long as it is.
            let _ = Box::pin(stream).read_to_end(&mut log).await;
        }
        log
    }
}

fn lost(name: &str, source: io::Error) -> BackendError {
    BackendError::Other {
        doing: format!("pass on the output of pod {name}"),
        source: source.into(),
    }
}

/// Both ends of what is said.
struct Talk {
    /// `None` once it was given to the command.
    stdin: Option<Reader>,
    stdout: Writer,
    stderr: Writer,
    /// So many bytes of the log were told, from there or from the streams.
    told: usize,
    sizes: Option<watch::Receiver<(u16, u16)>>,
    ends_input: bool,
}

impl Talk {
    /// Passes on what goes in and comes out, until the command or the connection ends;
    /// whether the command did, so that nothing is missing.
    async fn stay(
        &mut self,
        mut process: AttachedProcess,
        log: impl Future<Output = Vec<u8>>,
    ) -> io::Result<bool> {
        let mut status: Ended = match process.take_status() {
            Some(status) => Box::pin(status),
            None => Box::pin(std::future::ready(None)),
        };
        let sizes = process.terminal_size();
        let sizes = follow_sizes(sizes, self.sizes.clone());
        let _feeder = match (process.stdin(), self.stdin.take()) {
            (Some(input), Some(stdin)) => Some(Feeder::start(stdin, input, self.ends_input)),
            _ => None,
        };
        let mut out = Half::of(process.stdout());
        let mut err = Half::of(process.stderr());
        let mut sizes = std::pin::pin!(sizes);
        self.catch_up(&mut out, &mut err, log).await?;
        let told = &mut self.told;
        let (stdout, stderr) = (&mut self.stdout, &mut self.stderr);
        let mut ended = None;
        while !(out.ended && err.ended) {
            tokio::select! {
                count = out.fill(), if !out.ended => {
                    count?;
                    *told += out.held.len();
                    out.pass_on(stdout).await?;
                }
                count = err.fill(), if !err.ended => {
                    count?;
                    *told += err.held.len();
                    err.pass_on(stderr).await?;
                }
                status = &mut status, if ended.is_none() => {
                    ended = Some(status.is_some());
                }
                // Streams of a connection that was cut do not end.
                () = tokio::time::sleep(REST), if ended == Some(false) => return Ok(false),
                () = &mut sizes => {}
            }
        }
        Ok(match ended {
            Some(ended) => ended,
            None => status.await.is_some(),
        })
    }

    /// Tells what was said before the streams began, and then what they have brought since.
    async fn catch_up<O: AsyncRead + Unpin, E: AsyncRead + Unpin>(
        &mut self,
        out: &mut Half<O>,
        err: &mut Half<E>,
        log: impl Future<Output = Vec<u8>>,
    ) -> io::Result<()> {
        let mut log = std::pin::pin!(log);
        let log = loop {
            tokio::select! {
                log = &mut log => break log,
                count = out.fill(), if !out.ended => count?,
                count = err.fill(), if !err.ended => count?,
            }
        };
        let new = log.get(self.told..).unwrap_or_default();
        let before = &new[..overlap::before(new, &out.held, &err.held)];
        write(&mut self.stdout, before).await?;
        self.told += before.len() + out.held.len() + err.held.len();
        out.pass_on(&mut self.stdout).await?;
        err.pass_on(&mut self.stderr).await
    }
}

/// One stream of output, with what it brought and nobody was told.
struct Half<R> {
    stream: Option<R>,
    held: Vec<u8>,
    ended: bool,
}

impl<R: AsyncRead + Unpin> Half<R> {
    fn of(stream: Option<R>) -> Self {
        Self {
            ended: stream.is_none(),
            stream,
            held: Vec::new(),
        }
    }

    /// Reads some more.
    async fn fill(&mut self) -> io::Result<()> {
        if let Some(stream) = &mut self.stream {
            self.held.reserve(CHUNK);
            self.ended = stream.read_buf(&mut self.held).await? == 0;
        }
        Ok(())
    }

    async fn pass_on(&mut self, to: &mut Writer) -> io::Result<()> {
        write(to, &self.held).await?;
        self.held.clear();
        Ok(())
    }
}

async fn write(to: &mut Writer, bytes: &[u8]) -> io::Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    to.write_all(bytes).await?;
    to.flush().await
}
