//! One-off containers that somebody watches: attached before the start, so that no
//! output is lost, and waited for until the engine has removed them.

use bollard::query_parameters::KillContainerOptionsBuilder;
use http_body_util::BodyExt as _;
use serde::Deserialize;
use serde_json::json;

use super::Docker;
use super::exec::Feeder;
use super::exec::Reader;
use super::exec::Terminal;
use super::exec::Writer;
use super::exec::demultiplex;
use super::exec::raw;
use super::fault;
use super::raw::Hijacked;
use crate::backend::BackendError;
use crate::backend::RunRequest;

/// What the engine says of a container that ended.
#[derive(Deserialize)]
struct Ended {
    #[serde(rename = "StatusCode")]
    code: i64,
}

impl Docker {
    /// Starts a container that was made, and stays with it until it is gone.
    pub(super) async fn run_attached(
        &self,
        request: &RunRequest,
        stdin: Option<Reader>,
        stdout: Writer,
        stderr: Writer,
    ) -> Result<i64, BackendError> {
        let container = request.container.as_str();
        let subject = format!("container {container}");
        let stream = self.attach(container, stdin.is_some()).await?;
        // Answered as soon as the engine waits, which must be before the end.
        let ended = self
            .post_stream(&format!("/containers/{container}/wait?condition=removed"))
            .await
            .map_err(|error| self.fault("wait for", &subject, error))?;
        self.start_container(container).await?;
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
            () = self.follow_sizes(Terminal::OfContainer(container), request.sizes.clone()) => Ok(()),
        };
        drop(feeder);
        moved.map_err(|source| BackendError::Other {
            doing: format!("pass on the output of {subject}"),
            source: Box::new(source),
        })?;
        let body = ended
            .collect()
            .await
            .map_err(|source| BackendError::Other {
                doing: format!("wait for {subject}"),
                source: Box::new(source),
            })?;
        let ended: Ended =
            serde_json::from_slice(&body.to_bytes()).map_err(|source| BackendError::Other {
                doing: format!("read how {subject} ended"),
                source: Box::new(source),
            })?;
        Ok(ended.code)
    }

    async fn attach(&self, container: &str, stdin: bool) -> Result<Hijacked, BackendError> {
        let path = format!(
            "/containers/{container}/attach?stream=true&stdin={stdin}&stdout=true&stderr=true"
        );
        self.hijack(&path, &json!({}))
            .await
            .map_err(|error| self.fault("attach to", &format!("container {container}"), error))
    }

    /// Sends a signal to the first process of a container; one that has ended needs none.
    pub(super) async fn send_signal(
        &self,
        container: &str,
        name: &str,
    ) -> Result<(), BackendError> {
        let options = KillContainerOptionsBuilder::new().signal(name).build();
        match self.api().kill_container(container, Some(options)).await {
            Ok(()) => Ok(()),
            Err(error) if matches!(fault::status(&error), Some(404 | 409)) => Ok(()),
            Err(error) => Err(self.fault("signal", &format!("container {container}"), error)),
        }
    }
}
