//! The words shopctl and the gateway speak: requests, answers, the
//! configuration, the statistics. One JSON object per line in each direction.
//!
//! Fields are added, never renamed or given another meaning, and an unknown
//! field is ignored, so a gateway and a shopctl of different versions
//! understand each other. Nothing here reads, writes or waits.
//!
//! Test: `tests/gateway/protocol.rs` pins each line as it goes over the wire.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The protocol's version, as [`Hello::protocol`] states it.
pub const PROTOCOL: u32 = 1;

/// The version of [`Config`] that this gateway understands.
pub const CONFIG_VERSION: u32 = 1;

/// One line from shopctl: `{"id":1,"op":"apply",…}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Chosen by the caller; the answer carries it. Unique among the requests
    /// that are under way on one connection.
    pub id: u64,
    /// What is asked for.
    #[serde(flatten)]
    pub op: Op,
}

/// What can be asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Op {
    /// Who is there, and which configuration is in force. Answer: [`Hello`].
    Hello,
    /// Replace the configuration. Answer: [`Applied`].
    Apply {
        /// The whole new configuration.
        config: Config,
    },
    /// Wait until nothing is in flight at a target. Answer: [`Drained`].
    Drain {
        /// The target's id.
        target: String,
        /// How long to wait.
        deadline_ms: u64,
    },
    /// Wait until a replica answers. Answer: [`Probed`].
    Probe {
        /// The name under which the replica is reached.
        target: String,
        /// Its port.
        port: u16,
        /// The path that must answer 2xx; none: a TCP connection is enough.
        #[serde(default)]
        http: Option<String>,
        /// How long to try.
        deadline_ms: u64,
    },
    /// End another request of the same connection. Answer: [`Cancelled`].
    Cancel {
        /// The id of that request.
        request: u64,
    },
    /// What went through. Answer: [`Stats`].
    Stats,
    /// Make way for another program, which is in the store. Answer: [`Upgraded`], when
    /// it serves and nothing is under way here any more.
    Upgrade {
        /// The program's name.
        program: String,
        /// How long what is under way may take; what is left then is ended.
        deadline_ms: u64,
    },
}

impl Op {
    /// Every name that may stand under `op`.
    pub const NAMES: [&'static str; 7] = [
        "hello", "apply", "drain", "probe", "cancel", "stats", "upgrade",
    ];
}

/// One line from the gateway: `{"id":1,"ok":{…}}` or `{"id":1,"error":{…}}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The id of the request; 0 when the line that came held none.
    pub id: u64,
    /// How it went.
    #[serde(flatten)]
    pub outcome: Outcome,
}

impl Answer {
    /// The answer's content as the type that belongs to the request.
    pub fn decode<T: DeserializeOwned>(self) -> Result<T, Fault> {
        match self.outcome {
            Outcome::Ok(value) => serde_json::from_value(value)
                .map_err(|error| Fault::internal(format!("unexpected answer: {error}"))),
            Outcome::Error(fault) => Err(fault),
        }
    }
}

/// How a request went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Done; the content depends on the request.
    Ok(Value),
    /// Not done.
    Error(Fault),
}

/// Why a request was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// For programs.
    pub kind: FaultKind,
    /// For people.
    pub message: String,
}

impl Fault {
    /// A fault of any kind.
    pub fn new(kind: FaultKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    /// A failure that is not the caller's doing.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(FaultKind::Internal, message)
    }

    /// A request that cannot be understood or makes no sense.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(FaultKind::Invalid, message)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

/// The kinds of [`Fault`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// The configuration in force is as new or newer.
    Stale,
    /// The request cannot be understood or makes no sense.
    Invalid,
    /// The deadline passed.
    Timeout,
    /// Ended by `cancel`, or because the connection ended.
    Cancelled,
    /// This process does not do that.
    Unsupported,
    /// The gateway failed; also what a kind of a later version is read as.
    #[serde(other)]
    Internal,
}

/// Answer to `hello`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The gateway's name, e.g. `gateway-1`.
    pub name: String,
    /// The version of the program.
    pub version: String,
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// The lock id of the configuration in force; 0 without one.
    pub lock: u64,
    /// The generation of the configuration in force; 0 without one.
    pub generation: u64,
    /// Where the gateway listens.
    pub listens: Vec<Listen>,
    /// The program that serves; none: it cannot make way for another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
}

/// One port that the gateway has bound.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listen {
    /// The published port's id, e.g. `127.0.0.1:8000/tcp`.
    pub id: String,
    /// The port inside the container.
    pub port: u16,
}

/// Answer to `apply`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// The generation now in force.
    pub generation: u64,
    /// Removed targets that still have requests or connections.
    pub draining: Vec<Draining>,
}

/// A target without new requests that is not idle yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draining {
    /// The target's id.
    pub target: String,
    /// Requests and connections at this moment.
    pub in_flight: u64,
}

/// Answer to `drain`: at zero, or at the deadline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drained {
    /// What is still in flight.
    pub in_flight: u64,
}

/// Answer to `upgrade`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upgraded {
    /// Requests and connections that were ended at the deadline.
    pub cut: u64,
}

/// Answer to `probe`: the first success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probed {
    /// How many attempts it took.
    pub attempts: u64,
    /// From the request to the success.
    pub elapsed_ms: u64,
}

/// Answer to `cancel`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancelled {
    /// False when there was nothing to cancel (any more).
    pub cancelled: bool,
}

/// The gateway's whole configuration. All gateways of a stack get the same.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// [`CONFIG_VERSION`].
    pub version: u32,
    /// The lock id of the run that made it: the more significant half of its age.
    pub lock: u64,
    /// Counts up within a lock: the less significant half of its age.
    pub generation: u64,
    /// The published ports.
    #[serde(default)]
    pub listeners: Vec<Listener>,
    /// The services behind them.
    #[serde(default)]
    pub services: BTreeMap<String, Service>,
}

/// A published port and what it leads to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// The published port's id, e.g. `127.0.0.1:8000/tcp`.
    pub id: String,
    /// What is spoken on it.
    pub protocol: Protocol,
    /// The port inside the container, for a listener with [`bind`](Self::bind).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// A name of the gateway's own in one network: only what comes to its address there
    /// belongs to this listener. Opened by gateways that run with `--doors`; none: a
    /// published port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bind: Option<String>,
    /// The most specific one wins: a named host before any host, then the
    /// longest path. A TCP listener takes the first.
    #[serde(default)]
    pub routes: Vec<Route>,
}

/// What is spoken on a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// HTTP/1: balanced per request.
    Http,
    /// Anything else: bytes are passed through, balanced per connection.
    Tcp,
}

/// From a host and a path to a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The host that the client asks for, without port; none: any.
    #[serde(default)]
    pub host: Option<String>,
    /// A prefix of whole path segments: `/api` covers `/api/x`, not `/apix`.
    #[serde(default = "root")]
    pub path: String,
    /// The key in [`Config::services`].
    pub service: String,
    /// The port of the targets.
    pub port: u16,
    /// Leads to this group of the service alone, whatever the weights: a preview.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
}

/// A service: the replicas that may get requests.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Its replicas.
    #[serde(default)]
    pub targets: Vec<Target>,
    /// How requests are shared between groups of replicas; none: all are alike.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<Split>,
    /// How a replica is asked whether it still serves; none: it is not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// How long a response's head may take to begin; none: without limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_timeout_ms: Option<u64>,
}

/// The share of each group of a service's targets, and who chooses otherwise.
///
/// A group without a target that can be reached gets nothing, whatever its weight.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    /// By group; a group that is not named gets nothing.
    pub weights: BTreeMap<String, u32>,
    /// The header whose value names the group that a request is led to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// The cookie that keeps a client with the group it was led to first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cookie: Option<String>,
}

/// Active health checks: how every target of a service is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// The port that is asked.
    pub port: u16,
    /// The path that must answer 2xx; none: a TCP connection is enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<String>,
    /// From one question to the next.
    pub interval_ms: u64,
    /// So many good answers in a row bring a target back.
    pub rise: u32,
    /// So many bad ones in a row take it out.
    pub fall: u32,
}

/// One replica.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// The instance, e.g. `i-3f9a01`.
    pub id: String,
    /// The name under which it is reached; resolved at every connect.
    pub host: String,
    /// Its share of the requests, relative to the others; 0: none.
    #[serde(default = "one")]
    pub weight: u32,
    /// The replicas of one revision, in a [`Split`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
}

/// What went through a gateway: the answer to `stats`, and its stats file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stats {
    /// The gateway's name.
    pub name: String,
    /// When this was taken, in milliseconds since 1970 UTC.
    pub at_ms: u64,
    /// The generation in force.
    pub generation: u64,
    /// The lock id in force.
    pub lock: u64,
    /// The program that serves; none: it cannot make way for another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
    /// The program that could not take over from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// By service.
    pub services: BTreeMap<String, ServiceStats>,
}

/// What went through to a service.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ServiceStats {
    /// Requests (TCP: connections) since the gateway started.
    pub requests: u64,
    /// Answers of 500 and above, the gateway's own included.
    pub errors_5xx: u64,
    /// Under way now.
    pub in_flight: u64,
    /// Per second, over the last 10 s.
    pub rps: f64,
    /// Over the last 60 s; none without a request in that time, and for TCP.
    pub latency_ms: Option<Latency>,
    /// By target id.
    pub targets: BTreeMap<String, TargetStats>,
    /// By group, since the group got its first target.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub groups: BTreeMap<String, GroupStats>,
}

/// What went through to the replicas of one revision.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct GroupStats {
    /// Requests since the group got its first target.
    pub requests: u64,
    /// Answers of 500 and above, failed connects and broken exchanges included.
    pub errors_5xx: u64,
    /// Over the last 60 s; none without a request in that time.
    pub latency_ms: Option<Latency>,
}

/// From a request's arrival to the head of its response, in milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Half of the requests took at most this long.
    pub p50: f64,
    /// 95 of 100.
    pub p95: f64,
    /// 99 of 100.
    pub p99: f64,
}

/// What went through to a target.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetStats {
    /// Under way now.
    pub in_flight: u64,
    /// Requests (TCP: connections) since the target was added.
    pub requests: u64,
    /// Failed connects and broken exchanges; not the service's own 5xx.
    pub errors: u64,
    /// Left out for now, because a connect failed.
    pub ejected: bool,
    /// What the active health checks say; none: it is not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthy: Option<bool>,
}

fn root() -> String {
    "/".to_owned()
}

fn one() -> u32 {
    1
}
