//! Builds from more than one context, which the engine's build call has no words for:
//! they are asked of its `BuildKit` itself.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use bollard::moby::buildkit::v1::CacheOptions;
use bollard::moby::buildkit::v1::CacheOptionsEntry;
use bollard::moby::buildkit::v1::SolveRequest;
use bollard::moby::buildkit::v1::StatusRequest;
use bollard::moby::buildkit::v1::control_client::ControlClient;
use bytes::Bytes;
use hyper::Uri;
use hyper::upgrade::Upgraded;
use tonic::Status;
use tonic::transport::Channel;
use tonic::transport::Endpoint;
use uuid::Uuid;

use super::Docker;
use super::build::Output;
use super::session::Folder;
use crate::backend::BackendError;
use crate::backend::BuildContext;
use crate::backend::BuildRequest;

/// What a frontend must know, or another that the Dockerfile names.
const CONTEXTS: &str = "moby.buildkit.frontend.contexts";
/// The names of the main context and of what holds the Dockerfile.
const MAIN: [&str; 2] = ["context", "dockerfile"];
/// What is said of a build comes at most so long after its end.
const LAST_WORDS: Duration = Duration::from_secs(3);
const TOO_OLD: &str = "the builder of this engine knows no additional contexts: they take the \
                       Dockerfile frontend 1.4, which Docker Engine 23 has built in; where the \
                       engine reaches a registry, start the Dockerfile with \
                       `# syntax=docker/dockerfile:1`";

impl Docker {
    /// Builds with the contexts of a session, whose key tells their content: the builder
    /// keeps what it got under that key and does not look into files again.
    pub(super) async fn build_from_contexts(
        &self,
        request: &BuildRequest,
        output: &mut Output,
    ) -> Result<(), BackendError> {
        let failed = |reason: String| BackendError::Build {
            tag: request.tag.clone(),
            reason,
            output: Vec::new(),
        };
        let network = network(request).map_err(failed)?;
        let folders = folders(request).map_err(|error| failed(error.to_string()))?;
        let fault = |error| self.fault("build", &format!("image {}", request.tag), error);
        let session = self.open_session(request, folders).await.map_err(fault)?;
        let connection = self.hijack_builder(&session.id).await.map_err(fault)?;
        let channel = Endpoint::from_static("http://engine")
            .connect_with_connector(Once(Some(connection)))
            .await
            .map_err(|error| failed(error.to_string()))?;
        let solved = solve(
            channel,
            solve_request(request, &session.id, network),
            output,
        );
        Box::pin(session.during(solved))
            .await
            .map_err(|status| failed(reason(&status)))
    }
}

/// Asks for the build and listens until it has ended and said so.
async fn solve(channel: Channel, request: SolveRequest, output: &mut Output) -> Result<(), Status> {
    let asked = StatusRequest {
        r#ref: request.r#ref.clone(),
    };
    let (mut builder, mut listener) = (
        ControlClient::new(channel.clone()),
        ControlClient::new(channel),
    );
    let listen = async {
        // Who hears nothing still learns how it ended.
        let Ok(said) = listener.status(asked).await else {
            return;
        };
        let mut said = said.into_inner();
        while let Ok(Some(status)) = said.message().await {
            output.take_status(status).await;
        }
    };
    let mut listen = std::pin::pin!(listen);
    let mut heard = false;
    let mut solve = std::pin::pin!(builder.solve(request));
    let solved = loop {
        tokio::select! {
            solved = &mut solve => break solved,
            () = &mut listen, if !heard => heard = true,
        }
    };
    if !heard {
        let _ = tokio::time::timeout(LAST_WORDS, listen).await;
    }
    solved.map(drop)
}

fn reason(status: &Status) -> String {
    let said = status.message();
    if said.contains("unsupported frontend capability") && said.contains(CONTEXTS) {
        TOO_OLD.to_owned()
    } else {
        said.to_owned()
    }
}

fn folders(request: &BuildRequest) -> io::Result<BTreeMap<String, Folder>> {
    let main = MAIN.into_iter().map(|name| (name, &request.context));
    let others = request.contexts.iter();
    let others = others.filter_map(|(name, context)| match context {
        BuildContext::Files(archive) => Some((name.as_str(), archive)),
        BuildContext::Remote(_) => None,
    });
    let named = others.map(|(name, archive)| (local(name), archive));
    main.map(|(name, archive)| (name.to_owned(), archive))
        .chain(named)
        .map(|(name, archive)| Ok((name, Folder::read(Bytes::clone(archive))?)))
        .collect()
}

/// What the builder fetches a named context as: none may hide the main one.
fn local(name: &str) -> String {
    format!("beside-{name}")
}

/// The network of commands as the builder calls it.
fn network(request: &BuildRequest) -> Result<Option<&str>, String> {
    match request.network.as_deref() {
        None | Some("" | "default") => Ok(None),
        Some(network @ ("host" | "none")) => Ok(Some(network)),
        Some(other) => Err(format!("BuildKit has no network {other}: host or none")),
    }
}

fn solve_request(request: &BuildRequest, session: &str, network: Option<&str>) -> SolveRequest {
    let host = network == Some("host");
    SolveRequest {
        r#ref: Uuid::now_v7().simple().to_string(),
        exporter_deprecated: "moby".to_owned(),
        exporter_attrs_deprecated: HashMap::from([("name".to_owned(), request.tag.clone())]),
        session: session.to_owned(),
        frontend: "dockerfile.v0".to_owned(),
        frontend_attrs: attributes(request, network),
        cache: Some(CacheOptions {
            imports: request
                .cache_from
                .iter()
                .map(|image| import(image))
                .collect(),
            ..CacheOptions::default()
        }),
        entitlements: host
            .then(|| "network.host".to_owned())
            .into_iter()
            .collect(),
        ..SolveRequest::default()
    }
}

fn import(image: &str) -> CacheOptionsEntry {
    CacheOptionsEntry {
        r#type: "registry".to_owned(),
        attrs: HashMap::from([("ref".to_owned(), image.to_owned())]),
    }
}

/// The build in the words of the Dockerfile frontend.
fn attributes(request: &BuildRequest, network: Option<&str>) -> HashMap<String, String> {
    let mut all = HashMap::from([
        ("filename".to_owned(), request.dockerfile.clone()),
        ("frontend.caps".to_owned(), format!("{CONTEXTS}+forward")),
    ]);
    let mut say = |name: &str, value: Option<String>| {
        value.and_then(|value| all.insert(name.to_owned(), value));
    };
    say("target", request.target.clone());
    say("platform", request.platform.clone());
    say("force-network-mode", network.map(str::to_owned));
    say("no-cache", request.no_cache.then(String::new));
    say(
        "image-resolve-mode",
        request.pull.then(|| "pull".to_owned()),
    );
    say("shm-size", request.shm_size.map(|size| size.to_string()));
    let hosts: Vec<String> = request
        .extra_hosts
        .iter()
        .map(|line| line.replacen(':', "=", 1))
        .collect();
    say("add-hosts", (!hosts.is_empty()).then(|| hosts.join(",")));
    for (name, value) in &request.args {
        say(&format!("build-arg:{name}"), value.clone());
    }
    for (name, value) in &request.labels {
        say(&format!("label:{name}"), Some(value.clone()));
    }
    for (name, context) in &request.contexts {
        let place = match context {
            BuildContext::Files(_) => format!("local:{}", local(name)),
            BuildContext::Remote(place) => place.clone(),
        };
        say(&format!("context:{name}"), Some(place));
    }
    all
}

/// One connection that is there already; a second is not to be had.
struct Once(Option<Upgraded>);

impl tower_service::Service<Uri> for Once {
    type Response = Upgraded;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Upgraded>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let connection = self.0.take();
        let gone = || io::Error::other("the connection to the builder ended");
        Box::pin(async move { connection.ok_or_else(gone) })
    }
}
