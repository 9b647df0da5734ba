//! One connection to one gateway: JSON lines over an exec's stdin and stdout.
//!
//! Requests run concurrently and answers come in any order, so a task of its
//! own reads answers and hands each to the request that waits for it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use serde::de::DeserializeOwned;
use shop_gateway::protocol::Answer;
use shop_gateway::protocol::Fault;
use shop_gateway::protocol::FaultKind;
use shop_gateway::protocol::Op;
use shop_gateway::protocol::Request;
use tokio::io::AsyncBufReadExt as _;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt as _;
use tokio::io::BufReader;
use tokio::sync::oneshot;

use crate::backend::BackendError;
use crate::backend::Exec;

/// A gateway refused or did not answer.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The engine could not connect us.
    #[error("cannot talk to {gateway}")]
    Connect {
        /// Container name.
        gateway: String,
        /// Why.
        #[source]
        source: BackendError,
    },
    /// The connection ended before the answer came.
    #[error("{gateway} closed the connection before it answered")]
    Closed {
        /// Container name.
        gateway: String,
    },
    /// The gateway refused.
    #[error("{gateway} refused")]
    Refused {
        /// Container name.
        gateway: String,
        /// Its words.
        #[source]
        fault: Fault,
    },
}

impl GatewayError {
    /// The gateway is not there, or went away; it refused nothing.
    pub fn is_absence(&self) -> bool {
        match self {
            Self::Closed { .. } => true,
            // An engine that starts up refuses with 409 and 5xx, and knows no container yet.
            Self::Connect { source, .. } => match source {
                BackendError::Unreachable { .. } | BackendError::NotFound { .. } => true,
                BackendError::Engine { status, .. } => *status == 409 || *status >= 500,
                _ => false,
            },
            Self::Refused { .. } => false,
        }
    }

    /// The gateway's own words, where it gave up at the request's deadline.
    pub fn timed_out(&self) -> Option<&str> {
        match self {
            Self::Refused { fault, .. } if fault.kind == FaultKind::Timeout => Some(&fault.message),
            _ => None,
        }
    }
}

type Waiting = Arc<Mutex<Option<BTreeMap<u64, oneshot::Sender<Answer>>>>>;

/// One connection to one gateway (or prober).
pub struct Control {
    gateway: String,
    input: tokio::sync::Mutex<Box<dyn AsyncWrite + Send + Unpin>>,
    waiting: Waiting,
    next: AtomicU64,
    reader: tokio::task::JoinHandle<()>,
}

impl Control {
    /// Connects to the gateway in `container`; `prober` for a container that
    /// has no data plane behind it.
    pub async fn open(
        backend: &impl Exec,
        container: &str,
        prober: bool,
    ) -> Result<Self, GatewayError> {
        let mut command: Vec<String> = ["/shopctl", "gateway", "control", "--name", container]
            .map(str::to_owned)
            .into();
        if prober {
            command.push("--prober".into());
        }
        let session = backend
            .session(container, &command)
            .await
            .map_err(|source| GatewayError::Connect {
                gateway: container.to_owned(),
                source,
            })?;
        let waiting: Waiting = Arc::new(Mutex::new(Some(BTreeMap::new())));
        let answers = Arc::clone(&waiting);
        let reader = tokio::spawn(async move {
            let mut lines = BufReader::new(session.output).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let Ok(answer) = serde_json::from_str::<Answer>(&line) else {
                    continue;
                };
                let mut waiting = answers.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(sender) = waiting.as_mut().and_then(|map| map.remove(&answer.id)) {
                    let _ = sender.send(answer);
                }
            }
            // Dropping the senders tells every waiting request that no answer will come.
            *answers.lock().unwrap_or_else(PoisonError::into_inner) = None;
        });
        Ok(Self {
            gateway: container.to_owned(),
            input: tokio::sync::Mutex::new(session.input),
            waiting,
            next: AtomicU64::new(1),
            reader,
        })
    }

    /// Whether the gateway has ended the connection.
    pub fn is_closed(&self) -> bool {
        self.waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_none()
    }

    /// Sends one request and waits for its answer. A caller that stops waiting
    /// leaves nothing behind but an answer that nobody reads.
    pub async fn call<T: DeserializeOwned>(&self, op: Op) -> Result<T, GatewayError> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let closed = || GatewayError::Closed {
            gateway: self.gateway.clone(),
        };
        let refused = |fault| GatewayError::Refused {
            gateway: self.gateway.clone(),
            fault,
        };
        let (sender, answer) = oneshot::channel();
        self.waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_mut()
            .ok_or_else(closed)?
            .insert(id, sender);
        let mut line = serde_json::to_vec(&Request { id, op })
            .map_err(|error| refused(Fault::invalid(error.to_string())))?;
        line.push(b'\n');
        {
            let mut input = self.input.lock().await;
            input.write_all(&line).await.map_err(|_| closed())?;
            input.flush().await.map_err(|_| closed())?;
        }
        answer
            .await
            .map_err(|_| closed())?
            .decode()
            .map_err(refused)
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.reader.abort();
    }
}
