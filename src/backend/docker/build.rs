//! Builds on the engine: `BuildKit` through the build call and a session, the
//! classic builder where the engine has none.

use std::collections::BTreeMap;
use std::collections::HashMap;

use bollard::errors::Error;
use bollard::moby::buildkit::v1::StatusResponse;
use bollard::models::BuildInfo;
use bollard::models::BuildInfoAux;
use bollard::query_parameters::BuildImageOptionsBuilder;
use bollard::query_parameters::BuilderVersion;
use bollard::query_parameters::TagImageOptionsBuilder;
use futures_util::Stream;
use futures_util::StreamExt as _;
use tokio::sync::mpsc;

use super::Docker;
use super::credentials;
use super::fault;
use crate::backend::BackendError;
use crate::backend::BuildRequest;
use crate::state::observed::ImageInfo;

impl Docker {
    pub(super) async fn build_image(
        &self,
        request: BuildRequest,
        progress: mpsc::Sender<String>,
    ) -> Result<ImageInfo, BackendError> {
        let mut output = Output::new(progress);
        if !request.contexts.is_empty() {
            if self.inner.classic_builder {
                return Err(self.build_fault(&request.tag, Some(no_sessions()), Vec::new()));
            }
            return Box::pin(self.build_named(&request, output)).await;
        }
        let mut outcome = Err(None);
        if !self.inner.classic_builder {
            outcome = self.build_in_session(&request, &mut output).await;
        }
        // An engine that knows no sessions says so before the first line.
        if matches!(outcome, Err(None)) || (has_no_buildkit(&outcome) && output.lines.is_empty()) {
            if !request.lent.is_empty() {
                return Err(self.build_fault(&request.tag, Some(no_sessions()), Vec::new()));
            }
            outcome = self.build_classic(&request, &mut output).await;
        }
        if let Err(error) = outcome {
            return Err(self.build_fault(&request.tag, error, output.lines));
        }
        self.built(&request, output).await
    }

    /// From several contexts.
    async fn build_named(
        &self,
        request: &BuildRequest,
        mut output: Output,
    ) -> Result<ImageInfo, BackendError> {
        match self.build_from_contexts(request, &mut output).await {
            Ok(()) => self.built(request, output).await,
            Err(BackendError::Build { reason, .. }) => {
                let error = Error::DockerStreamError { error: reason };
                Err(self.build_fault(&request.tag, Some(error), output.lines))
            }
            Err(error) => Err(error),
        }
    }

    /// The image of a build that has ended, with all its names.
    async fn built(
        &self,
        request: &BuildRequest,
        output: Output,
    ) -> Result<ImageInfo, BackendError> {
        for name in &request.extra_tags {
            self.tag_image(&request.tag, name).await?;
        }
        self.find_image(&request.tag)
            .await?
            .ok_or_else(|| BackendError::Build {
                tag: request.tag.clone(),
                reason: "the builder ended without an image".to_owned(),
                output: output.lines,
            })
    }

    /// With `BuildKit`, which asks for what it needs over a session. The call is not
    /// bollard's, since that comes with a session of its own.
    async fn build_in_session(
        &self,
        request: &BuildRequest,
        output: &mut Output,
    ) -> Result<(), Option<Error>> {
        let session = self
            .open_session(request, BTreeMap::new())
            .await
            .map_err(Some)?;
        let options = options(request)
            .version(BuilderVersion::BuilderBuildKit)
            .session(&session.id)
            .build();
        let query = serde_urlencoded::to_string(options).map_err(|error| Some(error.into()))?;
        let build = async {
            let path = format!("/build?{query}");
            let steps = self.post_tar(&path, request.context.clone()).await;
            listen(steps.map_err(Some)?, output).await
        };
        session.during(build).await
    }

    async fn build_classic(
        &self,
        request: &BuildRequest,
        output: &mut Output,
    ) -> Result<(), Option<Error>> {
        let logins = credentials::all(self.inner.config_dir.clone()).await;
        let logins = (!logins.is_empty()).then_some(logins);
        let body = bollard::body_full(request.context.clone());
        let options = options(request).build();
        let steps = self.api().build_image(options, logins, Some(body));
        listen(steps, output).await
    }

    fn build_fault(&self, tag: &str, error: Option<Error>, output: Vec<String>) -> BackendError {
        let reason = match error {
            Some(Error::DockerStreamError { error }) => error,
            Some(Error::DockerResponseServerError { message, .. }) => message,
            Some(error) => return self.fault("build", &format!("image {tag}"), error),
            None => String::new(),
        };
        if reason.contains("no space left on device") {
            return BackendError::DiskFull { reason };
        }
        BackendError::Build {
            tag: tag.to_owned(),
            reason,
            output,
        }
    }

    pub(super) async fn tag_image(&self, image: &str, name: &str) -> Result<(), BackendError> {
        let last = name.rfind('/').map_or(0, |at| at + 1);
        let (repository, tag) = match name[last..].rfind(':') {
            Some(at) => (&name[..last + at], &name[last + at + 1..]),
            None => (name, "latest"),
        };
        let options = TagImageOptionsBuilder::new()
            .repo(repository)
            .tag(tag)
            .build();
        self.api()
            .tag_image(image, Some(options))
            .await
            .map_err(|error| self.fault("tag", &format!("image {image} as {name}"), error))
    }
}

/// Passes on what a builder says, until it has ended or failed.
async fn listen(
    steps: impl Stream<Item = Result<BuildInfo, Error>>,
    output: &mut Output,
) -> Result<(), Option<Error>> {
    let mut steps = std::pin::pin!(steps);
    while let Some(step) = steps.next().await {
        let step = step.map_err(Some)?;
        let failed = step.error_detail.as_ref();
        if let Some(error) = failed.and_then(|failed| failed.message.clone()) {
            return Err(Some(Error::DockerStreamError { error }));
        }
        output.take(step).await;
    }
    Ok(())
}

/// The classic builder asks nobody for anything.
fn no_sessions() -> Error {
    let error = "secrets, ssh agents and additional contexts take BuildKit; \
                 is DOCKER_BUILDKIT=0 set?";
    Error::DockerStreamError {
        error: error.to_owned(),
    }
}

fn has_no_buildkit(outcome: &Result<(), Option<Error>>) -> bool {
    match outcome {
        Err(Some(error)) => {
            matches!(fault::status(error), Some(400 | 404 | 501))
                || fault::message(error).contains("buildkit")
        }
        _ => false,
    }
}

fn options(request: &BuildRequest) -> BuildImageOptionsBuilder {
    let args: HashMap<&str, &str> = request
        .args
        .iter()
        .filter_map(|(name, value)| Some((name.as_str(), value.as_deref()?)))
        .collect();
    let mut options = BuildImageOptionsBuilder::new()
        .t(&request.tag)
        .dockerfile(&request.dockerfile)
        .buildargs(&args)
        .labels(&request.labels.clone().into_iter().collect())
        .nocache(request.no_cache)
        .rm(true)
        .forcerm(true);
    if request.pull {
        options = options.pull("true");
    }
    if !request.cache_from.is_empty() {
        options = options.cachefrom(&request.cache_from);
    }
    if let Some(target) = &request.target {
        options = options.target(target);
    }
    if let Some(network) = &request.network {
        options = options.networkmode(network);
    }
    if let Some(platform) = &request.platform {
        options = options.platform(platform);
    }
    if let Some(size) = request.shm_size {
        options = options.shmsize(i32::try_from(size).unwrap_or(i32::MAX));
    }
    if !request.extra_hosts.is_empty() {
        options = options.extrahosts(&request.extra_hosts.join(","));
    }
    options
}

/// The builder's words, line by line: passed on as they come, kept for a failure.
pub(super) struct Output {
    progress: mpsc::Sender<String>,
    lines: Vec<String>,
    vertexes: BTreeMap<String, Vertex>,
    partial: BTreeMap<String, String>,
}

#[derive(Default)]
struct Vertex {
    started: bool,
    ended: bool,
}

impl Output {
    fn new(progress: mpsc::Sender<String>) -> Self {
        Self {
            progress,
            lines: Vec::new(),
            vertexes: BTreeMap::new(),
            partial: BTreeMap::new(),
        }
    }

    async fn take(&mut self, step: BuildInfo) {
        let mut lines = Vec::new();
        if let Some(text) = step.stream {
            self.text("", &text, &mut lines);
        }
        if let Some(status) = step.status {
            lines.push(match step.id {
                Some(id) => format!("{id}: {status}"),
                None => status,
            });
        }
        if let Some(BuildInfoAux::BuildKit(status)) = step.aux {
            self.status(status, &mut lines);
        }
        self.pass_on(lines).await;
    }

    /// What `BuildKit` says itself.
    pub(super) async fn take_status(&mut self, status: StatusResponse) {
        let mut lines = Vec::new();
        self.status(status, &mut lines);
        self.pass_on(lines).await;
    }

    async fn pass_on(&mut self, lines: Vec<String>) {
        for line in lines {
            // Nobody may be listening.
            let _ = self.progress.send(line.clone()).await;
            self.lines.push(line);
        }
    }

    fn status(&mut self, status: StatusResponse, lines: &mut Vec<String>) {
        let mut ended = Vec::new();
        for vertex in status.vertexes {
            let known = self.vertexes.entry(vertex.digest.clone()).or_default();
            if vertex.started.is_some() && !known.started {
                known.started = true;
                if !vertex.cached {
                    lines.push(vertex.name.clone());
                }
            }
            if vertex.completed.is_some() && !known.ended {
                known.ended = true;
                ended.push(vertex.digest);
                if vertex.cached {
                    lines.push(format!("{} (cached)", vertex.name));
                } else if !vertex.error.is_empty() {
                    lines.push(format!("{} failed: {}", vertex.name, vertex.error));
                }
            }
        }
        for log in status.logs {
            self.text(&log.vertex, &String::from_utf8_lossy(&log.msg), lines);
        }
        // What was said last may lack its end.
        for vertex in ended {
            self.text(&vertex, "\n", lines);
        }
    }

    /// Output comes in pieces that know nothing of lines.
    fn text(&mut self, source: &str, text: &str, lines: &mut Vec<String>) {
        let partial = self.partial.entry(source.to_owned()).or_default();
        partial.push_str(text);
        while let Some(end) = partial.find('\n') {
            let line: String = partial.drain(..=end).collect();
            let line = line.trim_end();
            if !line.is_empty() {
                lines.push(line.to_owned());
            }
        }
    }
}
