//! Where it happens: small traits, one implementation per kind of target.
//!
//! A backend decides nothing: it looks, and it does one action. Only
//! `backend/docker` may name bollard. [`memory`] is a world in memory for tests.

mod clock;
pub mod docker;
pub mod error;
#[cfg(feature = "kubernetes")]
pub mod kubernetes;
pub mod memory;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::sync::mpsc;
use tokio::sync::watch;

pub use error::BackendError;

use crate::plan::action::Action;
use crate::state::cluster::ObjectRef;
use crate::state::desired::DesiredState;
use crate::state::desired::FileSet;
use crate::state::desired::ImageSource;
use crate::state::desired::ServiceSpec;
use crate::state::happening::Happening;
use crate::state::observed::Health;
use crate::state::observed::ImageInfo;
use crate::state::observed::InstanceState;
use crate::state::observed::ObservedState;

/// A future that can move between threads.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, BackendError>> + Send + 'a>>;

/// What one look should cover.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// Name of the stack.
    pub stack: String,
    /// Image references and ids to look up.
    pub images: BTreeSet<String>,
    /// Engine names of external networks and volumes to look up.
    pub networks: BTreeSet<String>,
    /// Engine names of external volumes to look up.
    pub volumes: BTreeSet<String>,
    /// Host ports to look at, as `ip:port/tcp`: does another process hold them?
    pub ports: BTreeSet<String>,
    /// Look at containers outside the stack too (capacity, host ports).
    pub foreign: bool,
    /// What should be: a cluster is asked what it would make of it.
    pub desired: Option<Arc<DesiredState>>,
}

impl Query {
    /// A look that covers all that this state asks for, and what is in its way.
    pub fn of(desired: &DesiredState) -> Self {
        let images = desired
            .services
            .values()
            .filter_map(|service| match &service.image {
                ImageSource::Pull { reference, .. } => Some(reference.clone()),
                ImageSource::Build { tag } => tag.clone(),
                ImageSource::Unset => None,
            });
        let pinned = desired.services.values().filter_map(|service| {
            let pinned = service.pinned.as_ref()?;
            Some(pinned.id.clone())
        });
        let services = desired.services.values();
        let others = services.flat_map(|service| service.container.other_images().cloned());
        let networks = desired.networks.values().map(|one| one.name.clone());
        let volumes = desired.volumes.values().map(|one| one.name.clone());
        Self {
            stack: desired.stack.clone(),
            images: images.chain(pinned).chain(others).collect(),
            networks: networks.collect(),
            volumes: volumes.collect(),
            ports: desired.host_ports(),
            foreign: true,
            desired: Some(Arc::new(desired.clone())),
        }
    }
}

/// Looks at the target.
pub trait Observe: Send + Sync {
    /// One look; never changes anything.
    fn observe<'a>(&'a self, query: &'a Query) -> Pending<'a, ObservedState>;
    /// Fails where the target takes no new connection. One that is told to stop takes
    /// none from then on, while it ends its containers and answers on those it has.
    fn reach(&self) -> Pending<'_, ()>;
    /// Of what deploying a stack takes, what we may not do there, in words.
    fn forbidden<'a>(&'a self, stack: &'a str) -> Pending<'a, Vec<String>> {
        let _ = stack;
        Box::pin(async { Ok(Vec::new()) })
    }
    /// What the target does by itself.
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }
}

/// What a target does by itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// It replaces replicas, probes them and routes to them: no helper of ours is needed.
    pub is_cluster: bool,
}

/// What the executor hands to an action besides its own fields.
#[derive(Debug, Clone, Default)]
pub struct Context {
    /// Name of the stack.
    pub stack: String,
    /// Run id, a label on everything created.
    pub run: String,
    /// File sets to seed, contents included.
    pub files: BTreeMap<String, FileSet>,
    /// Tag of our own image, from which helpers are created.
    pub helper_image: String,
    /// The executable that it is made of.
    pub helper_binary: PathBuf,
}

/// Does one action.
pub trait Apply: Send + Sync {
    /// Does it; idempotent after a lost reply. Build, route and record actions
    /// belong to other modules and are refused as [`BackendError::Unsupported`].
    fn apply<'a>(&'a self, context: &'a Context, action: &'a Action) -> Pending<'a, ()>;
}

/// A change of a container's state, from the engine's event stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Container name.
    pub container: String,
    /// Its state.
    pub state: InstanceState,
    /// Its health, where it has a check.
    pub health: Option<Health>,
}

/// Streams changes of containers.
pub trait Watch: Send + Sync {
    /// Changes of the stack's containers from now on. The stream is open when
    /// the future resolves, so nothing that happens later is missed.
    fn watch<'a>(&'a self, stack: &'a str) -> Pending<'a, mpsc::Receiver<Change>>;
    /// State and health of one container now.
    fn state<'a>(&'a self, container: &'a str) -> Pending<'a, Change>;
    /// What the engine's health check of a container said last, line by line; empty
    /// where it has none.
    fn check_log<'a>(&'a self, container: &'a str) -> Pending<'a, Vec<String>>;
}

/// How far a workload has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rolling {
    /// It is on its way: what it waits for, in words.
    Waiting(String),
    /// All its pods are of the newest revision and ready.
    Done,
    /// It will not get there, and why.
    Failed {
        /// In words.
        why: String,
        /// A pod of it that shows why, where one does.
        pod: Option<String>,
    },
}

/// Follows what a cluster does by itself.
pub trait Rollouts: Send + Sync {
    /// How a workload comes along, from now until it has failed, or nobody listens any
    /// more: one that is done may fall back, and a container that ends after that is a
    /// failure. It may be followed as often as one likes.
    fn rollout<'a>(
        &'a self,
        stack: &'a str,
        workload: &'a ObjectRef,
    ) -> Pending<'a, mpsc::Receiver<Rolling>> {
        let _ = stack;
        let what = format!("following {workload}");
        Box::pin(async move { Err(BackendError::Unsupported(what)) })
    }
}

/// Live use of one container.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Use {
    /// Cores in use.
    pub cpu: f64,
    /// Bytes in use.
    pub memory: u64,
}

/// Measures live use.
pub trait Usage: Send + Sync {
    /// Use of the named containers; takes about a second on a Docker Engine.
    fn usage<'a>(&'a self, containers: &'a [String]) -> Pending<'a, BTreeMap<String, Use>>;
}

/// So many releases of a stack are kept; a newer one overwrites the oldest.
pub const KEPT_RELEASES: u64 = 20;

/// Records of a stack, kept with the target.
pub trait Store: Send + Sync {
    /// All records by name; `None` when there is no store.
    fn read<'a>(&'a self, stack: &'a str) -> Pending<'a, Option<BTreeMap<String, Vec<u8>>>>;
    /// Changes records, all or none; the store must exist. Only for the holder of the
    /// lock: what it read or wrote last is taken for what is there.
    fn edit<'a>(&'a self, stack: &'a str, edit: Edit<'a>) -> Pending<'a, ()>;
    /// The files of a seeded volume by path; empty where it is gone. Only for the holder
    /// of the lock.
    fn seeded<'a>(
        &'a self,
        context: &'a Context,
        volume: &'a str,
    ) -> Pending<'a, BTreeMap<String, Vec<u8>>>;
    /// The release documents that are kept, by number; empty without a store.
    fn releases<'a>(&'a self, stack: &'a str) -> Pending<'a, BTreeMap<u64, Vec<u8>>>;
}

/// A change of a stack's records. What it gives back is the document of a release and
/// its number, to be kept in place of one with the same number; it is there before the
/// records are.
pub type Edit<'a> = Box<
    dyn FnOnce(&mut BTreeMap<String, Vec<u8>>) -> Result<Option<(u64, Vec<u8>)>, BackendError>
        + Send
        + 'a,
>;

/// Who holds a lock.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holder {
    /// User.
    pub who: String,
    /// Host.
    pub host: String,
    /// Run id.
    pub run: String,
    /// Milliseconds since the epoch, by the target's clock where it has one.
    pub since: u64,
}

/// A lock that is held while this lives, and freed when it is dropped or its
/// process dies.
pub trait Lock: Send + Sync {
    /// Grows with each lock of a stack as long as the target's clock does: what the
    /// fencing token for the gateway is made from.
    fn id(&self) -> u64;
    /// Succeeds while the lock is still ours, so that something may be changed under it;
    /// waits where that is not known yet. [`BackendError::LockLost`] when it is lost.
    fn confirm(&self) -> Pending<'_, ()>;
    /// Frees it and waits until it is free. Where it was lost because it could never be
    /// held, the error says why.
    fn release(self: Box<Self>) -> Pending<'static, ()>;
}

/// Gives out the lock of a stack.
pub trait Lease: Send + Sync {
    /// Takes the lock, or says who holds it ([`BackendError::Locked`]).
    fn acquire<'a>(
        &'a self,
        context: &'a Context,
        holder: &'a Holder,
    ) -> Pending<'a, Box<dyn Lock>>;
    /// Waits until the lock of a stack that is held now may be free.
    fn freed<'a>(&'a self, stack: &'a str) -> Pending<'a, ()>;
}

/// Both ends of a process in a container.
pub struct Session {
    /// Its standard output.
    pub output: Box<dyn AsyncRead + Send + Unpin>,
    /// Its standard input.
    pub input: Box<dyn AsyncWrite + Send + Unpin>,
}

/// What a finished command said.
#[derive(Debug, Clone, Default)]
pub struct ExecRequest {
    /// Container name.
    pub container: String,
    /// Command and arguments.
    pub command: Vec<String>,
    /// User to run as.
    pub user: Option<String>,
    /// With all capabilities.
    pub privileged: bool,
    /// Working directory.
    pub working_dir: Option<String>,
    /// Environment as `KEY=value`.
    pub environment: Vec<String>,
    /// Allocate a terminal.
    pub tty: bool,
    /// Attach standard input.
    pub stdin: bool,
    /// Sizes of the terminal as rows and columns, now and later.
    pub sizes: Option<watch::Receiver<(u16, u16)>>,
}

/// A one-off container to stay with.
#[derive(Debug, Clone, Default)]
pub struct RunRequest {
    /// Container name; it was made, and on an engine not started.
    pub container: String,
    /// It has a terminal.
    pub tty: bool,
    /// Sizes of the terminal as rows and columns, now and later.
    pub sizes: Option<watch::Receiver<(u16, u16)>>,
}

/// A command to run in a pod of its own, on a cluster.
#[derive(Debug, Clone, Copy)]
pub struct OneOff<'a> {
    /// The stack that the service is of.
    pub desired: &'a DesiredState,
    /// The service, whose container says what is run.
    pub service: &'a ServiceSpec,
    /// What tells it from other commands: lower case letters and digits.
    pub id: &'a str,
}

/// What was made for a command.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MadeOneOff {
    /// Name of the pod.
    pub name: String,
    /// What of the service it goes without, in words.
    pub notes: Vec<String>,
}

/// Makes pods for single commands, on a cluster. What is made there is started too.
pub trait OneOffs: Send + Sync {
    /// Makes one.
    fn one_off<'a>(&'a self, request: &'a OneOff<'a>) -> Pending<'a, MadeOneOff> {
        let what = format!("a pod for a command of {}", request.service.name);
        Box::pin(async move { Err(BackendError::Unsupported(what)) })
    }
}

/// Runs a process inside a container.
pub trait Exec: Send + Sync {
    /// Starts a process whose stdin and stdout stay connected (stderr is dropped).
    fn session<'a>(&'a self, container: &'a str, command: &'a [String]) -> Pending<'a, Session>;
    /// Runs a command interactively between the given ends; its exit code.
    fn exec<'a>(
        &'a self,
        request: &'a ExecRequest,
        stdin: Option<Box<dyn AsyncRead + Send + Unpin>>,
        stdout: Box<dyn AsyncWrite + Send + Unpin>,
        stderr: Box<dyn AsyncWrite + Send + Unpin>,
    ) -> Pending<'a, i64>;
    /// Starts a one-off container between the given ends, where it is not, and stays with it
    /// until it has ended and is gone; its exit code.
    fn run<'a>(
        &'a self,
        request: &'a RunRequest,
        stdin: Option<Box<dyn AsyncRead + Send + Unpin>>,
        stdout: Box<dyn AsyncWrite + Send + Unpin>,
        stderr: Box<dyn AsyncWrite + Send + Unpin>,
    ) -> Pending<'a, i64>;
    /// Sends a signal, e.g. `SIGINT`, to the first process of a one-off container. One that
    /// has ended needs none. A cluster knows two: to end in the time it is given, and at once.
    fn signal<'a>(&'a self, container: &'a str, name: &'a str) -> Pending<'a, ()>;
}

/// A line of a container's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// Container name.
    pub container: String,
    /// Came from stderr.
    pub stderr: bool,
    /// The text, without its newline; starts with the engine's timestamp when asked.
    pub text: String,
}

/// What of a log is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogQuery {
    /// Keep following.
    pub follow: bool,
    /// Only the last lines; all when `None`.
    pub tail: Option<u64>,
    /// Seconds since the epoch.
    pub since: Option<i64>,
    /// Seconds since the epoch.
    pub until: Option<i64>,
    /// Put the engine's timestamp before each line.
    pub timestamps: bool,
}

/// Reads logs.
pub trait Logs: Send + Sync {
    /// Lines of one container; the stream ends with the log, or the container.
    fn logs<'a>(
        &'a self,
        container: &'a str,
        query: &'a LogQuery,
    ) -> Pending<'a, mpsc::Receiver<LogLine>>;
}

/// Which happenings are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventQuery {
    /// Name of the stack.
    pub stack: String,
    /// Services of its file: what is gone is known by their names alone.
    pub services: BTreeSet<String>,
    /// Seconds since the epoch; only what happens from now on when `None`.
    pub since: Option<i64>,
    /// Seconds since the epoch; without end when `None`.
    pub until: Option<i64>,
}

/// Tells what happens to a stack.
pub trait Events: Send + Sync {
    /// What happened, and what happens, in order. The stream is open when the future
    /// resolves, so nothing that happens later is missed; it ends at the time asked for.
    fn events<'a>(&'a self, query: &'a EventQuery) -> Pending<'a, mpsc::Receiver<Happening>>;
}

/// A build to hand to the engine.
pub struct BuildRequest {
    /// Tag the image gets.
    pub tag: String,
    /// The context as a tar archive.
    pub context: bytes::Bytes,
    /// Path of the Dockerfile inside the context.
    pub dockerfile: String,
    /// Further contexts by the name in the Dockerfile.
    pub contexts: BTreeMap<String, BuildContext>,
    /// Build arguments.
    pub args: BTreeMap<String, Option<String>>,
    /// Stage to build.
    pub target: Option<String>,
    /// Labels on the image.
    pub labels: BTreeMap<String, String>,
    /// Further names the image gets.
    pub extra_tags: Vec<String>,
    /// Images whose layers may be reused.
    pub cache_from: Vec<String>,
    /// Do not reuse layers.
    pub no_cache: bool,
    /// Pull base images even when present.
    pub pull: bool,
    /// Network of RUN commands.
    pub network: Option<String>,
    /// Platform to build for.
    pub platform: Option<String>,
    /// Size of /dev/shm in bytes.
    pub shm_size: Option<i64>,
    /// Extra lines of /etc/hosts as `name:address`.
    pub extra_hosts: Vec<String>,
    /// What its commands may use.
    pub lent: Lent,
}

/// A context of a build beside its own.
pub enum BuildContext {
    /// Files of this machine as a tar archive.
    Files(bytes::Bytes),
    /// What the engine gets itself: `docker-image://…`, a repository, an address.
    Remote(String),
}

/// What the commands of a build may use while they run. Nothing of it gets into the
/// image, unless a command writes it there.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Lent {
    /// Secrets by the id in the Dockerfile; never printed.
    pub secrets: BTreeMap<String, Vec<u8>>,
    /// Sockets of ssh agents on this machine, by the id in the Dockerfile.
    pub agents: BTreeMap<String, PathBuf>,
}

impl Lent {
    /// Nothing is lent.
    pub fn is_empty(&self) -> bool {
        self.secrets.is_empty() && self.agents.is_empty()
    }
}

/// Makes and fetches images. Progress goes line by line into the channel.
pub trait Images: Send + Sync {
    /// Looks up an image.
    fn image<'a>(&'a self, reference: &'a str) -> Pending<'a, Option<ImageInfo>>;
    /// Tags of the images that were built for a stack.
    fn built<'a>(&'a self, stack: &'a str) -> Pending<'a, BTreeSet<String>>;
    /// Takes a tag away, and the image with its last tag. One that a container uses stays.
    fn remove_image<'a>(&'a self, tag: &'a str) -> Pending<'a, ()>;
    /// Builds an image.
    fn build(
        &self,
        request: BuildRequest,
        progress: mpsc::Sender<String>,
    ) -> Pending<'_, ImageInfo>;
    /// Pulls an image, with the credentials of the Docker configuration.
    fn pull<'a>(
        &'a self,
        reference: &'a str,
        platform: Option<&'a str>,
        progress: mpsc::Sender<String>,
    ) -> Pending<'a, ImageInfo>;
    /// The digest that a reference means in its registry, `sha256:…`; nothing is pulled.
    fn digest<'a>(&'a self, reference: &'a str) -> Pending<'a, String>;
    /// Gives an image one more name.
    fn tag<'a>(&'a self, image: &'a str, name: &'a str) -> Pending<'a, ()>;
    /// Pushes an image, with the credentials of the Docker configuration.
    fn push<'a>(&'a self, reference: &'a str, progress: mpsc::Sender<String>) -> Pending<'a, ()>;
    /// Loads a docker archive.
    fn load(&self, archive: bytes::Bytes) -> Pending<'_, ()>;
}

/// Builds the image of a service; the way of building belongs to `build`.
pub trait BuildImages: Send + Sync {
    /// Builds it, one line of output at a time into the channel.
    fn build<'a>(
        &'a self,
        service: &'a str,
        progress: mpsc::Sender<String>,
    ) -> Pending<'a, ImageInfo>;
}

/// Everything a backend can do.
pub trait Backend:
    Observe + Apply + Watch + Rollouts + Usage + Store + Lease + Exec + OneOffs + Logs + Events + Images
{
}

impl<T> Backend for T where
    T: Observe
        + Apply
        + Watch
        + Rollouts
        + Usage
        + Store
        + Lease
        + Exec
        + OneOffs
        + Logs
        + Events
        + Images
{
}
