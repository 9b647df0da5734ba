//! `control`: from standard input and output to a running gateway, or to a
//! prober within this process.
//!
//! Test: `tests/gateway/program.rs`.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::io::copy;

use super::operations::ProberOperations;
use super::server::serve;
use super::socket;
use super::stdin::Stdin;
use crate::error::Error;
use crate::upstream::resolve::Names;
use crate::upstream::resolve::Resolve;
use crate::upstream::resolve::SystemResolver;

/// What `control` needs to know.
#[derive(Clone)]
pub struct ControlOptions {
    /// The gateway to talk to, or the prober's own name.
    pub name: String,
    /// Answer `hello`, `probe` and `cancel` here, without a gateway.
    pub prober: bool,
    /// How long the gateway may take to appear.
    pub wait: Duration,
    /// How the prober finds addresses.
    pub resolver: Arc<dyn Resolve>,
}

impl ControlOptions {
    /// A bridge to a running gateway.
    pub fn bridge(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            prober: false,
            wait: Duration::from_secs(10),
            resolver: Arc::new(SystemResolver),
        }
    }

    /// A prober.
    pub fn prober(name: impl Into<String>) -> Self {
        Self {
            prober: true,
            ..Self::bridge(name)
        }
    }
}

/// Carries JSON lines between standard input and output and a gateway. Ends
/// well at the end of the input, with an error when the gateway ends first.
pub async fn control(options: ControlOptions) -> Result<(), Error> {
    let stdin = Stdin::open().map_err(Error::system("reading standard input"))?;
    let stdout = tokio::io::stdout();
    if options.prober {
        let operations = ProberOperations {
            name: options.name,
            names: Arc::new(Names::new(options.resolver)),
        };
        return serve(stdin, stdout, Arc::new(operations))
            .await
            .map_err(Error::system("the prober's conversation"));
    }
    let stream = socket::connect(&options.name, options.wait).await?;
    let (reader, writer) = stream.into_split();
    bridge(stdin, stdout, reader, writer)
        .await
        .map_err(|source| Error::Connect {
            name: options.name,
            source,
        })
}

async fn bridge(
    mut stdin: Stdin,
    mut stdout: tokio::io::Stdout,
    mut from_gateway: tokio::net::unix::OwnedReadHalf,
    mut to_gateway: tokio::net::unix::OwnedWriteHalf,
) -> io::Result<()> {
    let asking = async {
        copy(&mut stdin, &mut to_gateway).await?;
        // The gateway answers what it can, and then closes.
        to_gateway.shutdown().await
    };
    let answering = async {
        copy(&mut from_gateway, &mut stdout).await?;
        stdout.flush().await
    };
    tokio::pin!(asking, answering);
    tokio::select! {
        asked = &mut asking => {
            asked?;
            answering.await
        }
        answered = &mut answering => {
            answered?;
            Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the gateway ended"))
        }
    }
}
