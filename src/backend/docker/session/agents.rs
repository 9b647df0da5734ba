//! Agents of ssh that a build may use: each connection of a `RUN` command is passed on
//! to the agent's socket on this machine, so keys never leave it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::pin::Pin;

use bollard::moby::sshforward::v1::BytesMessage;
use bollard::moby::sshforward::v1::CheckAgentRequest;
use bollard::moby::sshforward::v1::CheckAgentResponse;
use bollard::moby::sshforward::v1::ssh_server::Ssh;
use bollard::moby::sshforward::v1::ssh_server::SshServer;
use futures_util::Stream;
use futures_util::StreamExt as _;
use futures_util::stream;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tokio::net::unix::OwnedWriteHalf;
use tonic::Request;
use tonic::Response;
use tonic::Status;
use tonic::Streaming;

/// The header that names the agent, and its name where the Dockerfile gives none.
const ID: &str = "buildkit.ssh.id";
const DEFAULT: &str = "default";
/// Questions to an agent and its answers are short.
const PIECE: usize = 16 << 10;

/// Sockets by the id in the Dockerfile.
pub(super) struct Agents(pub(super) BTreeMap<String, PathBuf>);

impl Agents {
    pub(super) fn server(self) -> SshServer<Self> {
        SshServer::new(self)
    }

    fn socket(&self, id: &str) -> Result<&PathBuf, Status> {
        let id = if id.is_empty() { DEFAULT } else { id };
        // Answered so, the builder says itself which key is missing.
        let missing = || Status::unimplemented(format!("no ssh agent {id}"));
        self.0.get(id).ok_or_else(missing)
    }
}

type Answers = Pin<Box<dyn Stream<Item = Result<BytesMessage, Status>> + Send>>;

#[tonic::async_trait]
impl Ssh for Agents {
    type ForwardAgentStream = Answers;

    async fn check_agent(
        &self,
        request: Request<CheckAgentRequest>,
    ) -> Result<Response<CheckAgentResponse>, Status> {
        self.socket(&request.get_ref().id)?;
        Ok(Response::new(CheckAgentResponse {}))
    }

    async fn forward_agent(
        &self,
        request: Request<Streaming<BytesMessage>>,
    ) -> Result<Response<Answers>, Status> {
        let id = request.metadata().get(ID);
        let id = id.and_then(|id| id.to_str().ok()).unwrap_or_default();
        let socket = UnixStream::connect(self.socket(id)?).await?;
        let (answers, questions) = socket.into_split();
        let ask: Asking = Box::pin(ask(request.into_inner(), questions));
        let answers = stream::unfold((answers, Some(ask)), answer);
        Ok(Response::new(answers.boxed()))
    }
}

type Asking = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Passes on what the build asks; the agent is hung up on with it.
async fn ask(mut asked: Streaming<BytesMessage>, mut agent: OwnedWriteHalf) {
    while let Some(Ok(message)) = asked.next().await {
        if agent.write_all(&message.data).await.is_err() {
            break;
        }
    }
}

/// The next answer; meanwhile questions are passed on, so no task of its own is needed.
async fn answer(
    (mut agent, mut asking): (OwnedReadHalf, Option<Asking>),
) -> Option<(
    Result<BytesMessage, Status>,
    (OwnedReadHalf, Option<Asking>),
)> {
    let mut piece = vec![0; PIECE];
    loop {
        let heard = match asking.as_mut() {
            None => agent.read(&mut piece).await,
            Some(ask) => tokio::select! {
                heard = agent.read(&mut piece) => heard,
                () = ask => {
                    asking = None;
                    continue;
                }
            },
        };
        return match heard {
            Ok(0) => None,
            Ok(length) => {
                piece.truncate(length);
                Some((Ok(BytesMessage { data: piece }), (agent, asking)))
            }
            Err(error) => Some((Err(error.into()), (agent, asking))),
        };
    }
}
