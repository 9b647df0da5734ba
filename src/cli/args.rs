//! The command line as types: names, help texts and defaults, and no behaviour.
//!
//! The contract is the project's page on the command line; a flag that is not
//! there does not exist. `-f` is declared per command and not as a global flag,
//! because `logs -f` follows. Test: the help snapshots in `tests/cli_help.rs`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::Parser;
use clap::Subcommand;
use clap::ValueEnum;

use super::moment::Since;
use super::moment::since;
use crate::report::Format;

/// Deploys, scales and watches the services of an online shop from one stack file.
#[derive(Debug, Parser)]
#[command(
    name = "shopctl",
    version,
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    max_term_width = 100,
    after_help = "Example:\n  shopctl -f stack.yaml deploy"
)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub globals: Globals,
    /// Stack files.
    #[command(flatten)]
    pub files: Files,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Global options")]
pub struct Globals {
    /// File of variables for the stack file, instead of .env; may be repeated
    #[arg(long, global = true, value_name = "FILE")]
    pub env_file: Vec<PathBuf>,
    /// Name of the stack, instead of `name:` or the folder
    #[arg(short, long, global = true, value_name = "NAME")]
    pub project_name: Option<String>,
    /// Profile to select, `*` for all; may be repeated
    #[arg(long, global = true, value_name = "NAME")]
    pub profile: Vec<String>,
    /// Where the stack runs [default: x-shop, else docker]
    #[arg(long, global = true, value_enum, hide_possible_values = false)]
    pub backend: Option<BackendArg>,
    /// Docker context
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,
    /// Form of the answer on stdout
    #[arg(short, long, global = true, value_enum, default_value_t)]
    pub output: OutputArg,
    /// Form of progress on stderr
    #[arg(long, global = true, value_enum, default_value_t)]
    pub progress: ProgressArg,
    /// Say more
    #[arg(short, long, global = true, conflicts_with = "quiet")]
    pub verbose: bool,
    /// Print neither progress nor warnings
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Ask nothing, the answer is yes
    #[arg(short, long, global = true)]
    pub yes: bool,
    /// When to use colour
    #[arg(long, global = true, value_enum, default_value_t)]
    pub color: ColorArg,
}

/// Stack files.
#[derive(Debug, Clone, Default, Args)]
pub struct Files {
    /// Stack file, `-` for stdin; may be repeated, merged in order
    #[arg(
        short = 'f',
        long = "file",
        value_name = "FILE",
        help = "Stack file, `-` for stdin; may be repeated, merged in order \
                [default: SHOPCTL_FILE, COMPOSE_FILE, else stack.yaml, compose.yaml, … here or above]",
        help_heading = "Global options"
    )]
    pub files: Vec<PathBuf>,
}

/// Stack files of `logs`, where `-f` follows.
#[derive(Debug, Clone, Default, Args)]
pub struct LongFiles {
    /// Stack file, `-` for stdin; may be repeated (`shopctl -f FILE logs` works too)
    #[arg(long = "file", value_name = "FILE", help_heading = "Global options")]
    pub files: Vec<PathBuf>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Bring the stack to the state of its file: build, check capacity, roll out, verify
    Deploy(DeployArgs),
    /// Show what deploy would do and why; run, build, pull and write nothing
    Plan(PlanArgs),
    /// Change replica counts; they hold over later deploys
    Scale(ScaleArgs),
    /// Show services, replicas, health, images, R, T, N and P
    Status(StatusArgs),
    /// Go back to the last stable release, or to a named one
    Rollback(RollbackArgs),
    /// List the releases: when, by whom, how they ended
    History(HistoryArgs),
    /// Stop everything in reverse order and remove what shopctl created
    Down(DownArgs),
    /// Restart services one replica at a time, without loss
    Restart(RestartArgs),
    /// Build images and nothing else
    Build(BuildArgs),
    /// Print the resolved stack file, or lists from it
    Config(ConfigArgs),
    /// Print the objects that the stack becomes on a cluster; nothing is applied
    #[cfg(feature = "kubernetes")]
    Render(super::render::RenderArgs),
    /// Show demand M, capacity C and their ratio R per service and resource
    Capacity(CapacityArgs),
    /// Print the logs of services
    Logs(LogsArgs),
    /// Print what happens to containers and objects of the stack, as it happens
    Events(super::events::EventsArgs),
    /// Run a command in a running replica of a service
    Exec(ExecArgs),
    /// Run a command in a container of its own, with the image and settings of a service
    Run(RunArgs),
    /// Write a new service with stack file and CI steps
    Init(InitArgs),
    /// Name what is missing on this machine, with the command that mends it
    Doctor(DoctorArgs),
    /// Print a completion script for a shell
    Completion(CompletionArgs),
    /// Print the manual page
    Man(ManArgs),
    /// The data plane itself; containers run it
    #[command(hide = true, subcommand)]
    Gateway(GatewayCommand),
}

impl Command {
    /// Stack files given after the command's name.
    pub fn files(&self) -> &[PathBuf] {
        match self {
            Self::Deploy(args) => &args.files.files,
            Self::Plan(args) => &args.files.files,
            Self::Scale(args) => &args.files.files,
            Self::Status(args) => &args.files.files,
            Self::Down(args) => &args.files.files,
            Self::Restart(args) => &args.files.files,
            Self::Rollback(args) => &args.files.files,
            Self::History(args) => &args.files.files,
            Self::Build(args) => &args.files.files,
            Self::Config(args) => &args.files.files,
            #[cfg(feature = "kubernetes")]
            Self::Render(args) => &args.files.files,
            Self::Capacity(args) => &args.files.files,
            Self::Logs(args) => &args.files.files,
            Self::Events(args) => &args.files.files,
            Self::Exec(args) => &args.files.files,
            Self::Run(args) => &args.files.files,
            Self::Doctor(args) => &args.files.files,
            Self::Init(_) | Self::Completion(_) | Self::Man(_) | Self::Gateway(_) => &[],
        }
    }

    /// Whether it acts, so that `-o json` is one event per line.
    pub const fn acts(&self) -> bool {
        matches!(
            self,
            Self::Deploy(_) | Self::Scale(_) | Self::Rollback(_) | Self::Down(_) | Self::Restart(_)
        )
    }
}

/// `deploy`.
#[derive(Debug, Clone, Default, Args)]
#[command(after_help = "Example:\n  shopctl deploy --progress plain -o json")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
pub struct DeployArgs {
    /// Services to deploy; all when none is named, and only then services that left the file are removed
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
    /// Show the plan and stop
    #[arg(long)]
    pub dry_run: bool,
    /// Carry out this plan (from `plan --out`), and refuse when the world has moved
    #[arg(long, value_name = "FILE", conflicts_with_all = ["services", "dry_run", "prune", "reset_scale", "pull", "overcommit"])]
    pub plan: Option<PathBuf>,
    /// Build nothing: the images have to be there
    #[arg(long)]
    pub no_build: bool,
    /// Pull images even when the engine has them
    #[arg(long)]
    pub pull: bool,
    /// Time limit of the whole deploy
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration)]
    pub timeout: Duration,
    /// Leave a failed deploy as it is
    #[arg(long)]
    pub no_rollback: bool,
    /// Run no prepare command
    #[arg(long)]
    pub no_prepare: bool,
    /// Let CPU demand exceed the capacity by this factor
    #[arg(long, value_name = "cpu=FACTOR", value_parser = overcommit)]
    pub overcommit: Option<Overcommit>,
    /// How long to wait for another deploy's lock
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = duration)]
    pub lock_wait: Duration,
    /// Forget the replica counts that `scale` set
    #[arg(long)]
    pub reset_scale: bool,
    /// Remove services that left the file without asking
    #[arg(long)]
    pub prune: bool,
    /// Stack files.
    #[command(flatten)]
    pub files: Files,
}

/// `plan`.
#[derive(Debug, Clone, Default, Args)]
#[command(after_help = "Example:\n  shopctl plan --check -o markdown")]
pub struct PlanArgs {
    /// Services to plan for; all when none is named
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
    /// Write the plan to a file for `deploy --plan`
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Exit with 3 when changes are pending
    #[arg(long)]
    pub check: bool,
    /// Stack files.
    #[command(flatten)]
    pub files: Files,
}

/// `scale`.
#[derive(Debug, Clone, Default, Args)]
#[command(after_help = "Example:\n  shopctl scale order=3 goods=file")]
pub struct ScaleArgs {
    /// Replicas of a service: a number, or `file` for what the file says
    #[arg(value_name = "SERVICE=N", required = true, value_parser = scale_target)]
    pub targets: Vec<ScaleTarget>,
    /// Stack files.
    #[command(flatten)]
    pub files: Files,
}

/// `rollback`.
#[derive(Debug, Clone, Default, Args)]
#[command(after_help = "Example:\n  shopctl rollback --to 6")]
pub struct RollbackArgs {
    /// The release to go back to; the last stable one before this by default
    #[arg(long, value_name = "RELEASE")]
    pub to: Option<u64>,
    /// Time limit of the whole rollback
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration)]
    pub timeout: Duration,
    /// How long to wait for another run's lock
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = duration)]
    pub lock_wait: Duration,
    /// Stack files.
    #[command(flatten)]
    pub files: Files,
}

/// `history`.
#[derive(Debug, Clone, Default, Args)]
#[command(after_help = "Example:\n  shopctl history -o json")]
pub struct HistoryArgs {
    /// Stack files.
    #[command(flatten)]
    pub files: Files,
}

/// `status`.
#[derive(Debug, Clone, Default, Args)]
#[command(after_help = "Example:\n  shopctl status --check")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
pub struct StatusArgs {
    /// Services to show; all when none is named
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
    /// Draw again every second until Ctrl-C
    #[arg(long, conflicts_with = "check")]
    pub watch: bool,
    /// Exit with 3 when the stack is not converged
    #[arg(long)]
    pub check: bool,
    /// Compare what runs with the recorded release, and name every difference
    #[arg(long)]
    pub drift: bool,
    /// Measure live CPU and memory, which takes about a second
    #[arg(long)]
    pub usage: bool,
    /// Stack files.
    #[command(flatten)]
    pub files: Files,
}

/// `down`.
#[derive(Debug, Clone, Default, Args)]
#[command(after_help = "Example:\n  shopctl down --volumes")]
pub struct DownArgs {
    /// Remove named volumes and the store too: their data is lost
    #[arg(long)]
    pub volumes: bool,
    /// Stack files.
    #[command(flatten)]
    pub files: Files,
}

/// `restart`.
#[derive(Debug, Clone, Default, Args)]
#[command(after_help = "Example:\n  shopctl restart order")]
pub struct RestartArgs {
    /// Services to restart; all when none is named
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
    /// Stack files.
    #[command(flatten)]
    pub files: Files,
}

/// `build`.
#[derive(Debug, Clone, Default, Args)]
#[command(after_help = "Example:\n  shopctl build order --push")]
pub struct BuildArgs {
    /// Services whose images to build; all when none is named
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
    /// Push the images to their registry
    #[arg(long)]
    pub push: bool,
    /// Where to push to.
    #[command(flatten)]
    pub registry: super::registry::Registry,
    /// Stack files.
    #[command(flatten)]
    pub files: Files,
}

/// `config`.
#[derive(Debug, Clone, Default, Args)]
#[command(
    after_help = "With -q nothing is printed but what is wrong with the file: on stderr, or with -o json as one document.\n\nExample:\n  shopctl config -q -o json"
)]
#[command(group = clap::ArgGroup::new("list").multiple(false))]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
pub struct ConfigArgs {
    /// Print the names of services
    #[arg(long, group = "list")]
    pub services: bool,
    /// Print the images
    #[arg(long, group = "list")]
    pub images: bool,
    /// Print the names of volumes
    #[arg(long, group = "list")]
    pub volumes: bool,
    /// Print the names of networks
    #[arg(long, group = "list")]
    pub networks: bool,
    /// Print the names of profiles
    #[arg(long, group = "list")]
    pub profiles: bool,
    /// Print the variables that the file names, with their defaults
    #[arg(long, group = "list")]
    pub variables: bool,
    /// Print the environment that interpolation uses
    #[arg(long, group = "list")]
    pub environment: bool,
    /// Print the configuration digest of a service, `*` for all
    #[arg(long, value_name = "SERVICE", group = "list")]
    pub hash: Option<String>,
    /// Print a JSON Schema of stack files, for editors; no file is read
    #[arg(long, group = "list")]
    pub schema: bool,
    /// Leave variables as they are written
    #[arg(long)]
    pub no_interpolate: bool,
    /// Replace image tags by digests
    #[arg(long)]
    pub resolve_image_digests: bool,
    /// Stack files.
    #[command(flatten)]
    pub files: Files,
}

/// `capacity`.
#[derive(Debug, Clone, Default, Args)]
#[command(after_help = "Example:\n  shopctl capacity -o markdown")]
pub struct CapacityArgs {
    /// Stack files.
    #[command(flatten)]
    pub files: Files,
}

/// `logs`.
#[derive(Debug, Clone, Default, Args)]
#[command(after_help = "Example:\n  shopctl logs -f --tail 20 order")]
pub struct LogsArgs {
    /// Services to read; all when none is named
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
    /// Keep following
    #[arg(short, long)]
    pub follow: bool,
    /// Only lines since then: seconds since the epoch, or a time ago such as 10m
    #[arg(long, value_name = "TIME", value_parser = since)]
    pub since: Option<Since>,
    /// Only so many last lines of each replica
    #[arg(long, value_name = "N", value_parser = tail, default_value = "all")]
    pub tail: Tail,
    /// Stack files.
    #[command(flatten)]
    pub files: LongFiles,
}

/// `exec`.
#[derive(Debug, Clone, Default, Args)]
#[command(after_help = "Example:\n  shopctl exec order -- /order healthcheck")]
pub struct ExecArgs {
    /// Service
    #[arg(value_name = "SERVICE")]
    pub service: String,
    /// Command and arguments
    #[arg(value_name = "CMD", last = true, required = true)]
    pub command: Vec<String>,
    /// Stack files.
    #[command(flatten)]
    pub files: Files,
}

/// `run`.
#[derive(Debug, Clone, Default, Args)]
#[command(after_help = "Example:\n  shopctl run --rm order -- /order migrate --dry-run")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
pub struct RunArgs {
    /// Service
    #[arg(value_name = "SERVICE")]
    pub service: String,
    /// Command and arguments, instead of those of the service
    #[arg(value_name = "CMD", last = true)]
    pub command: Vec<String>,
    /// Start it, print its name, and do not wait
    #[arg(short, long)]
    pub detach: bool,
    /// Set a variable; without a value it is taken from here; may be repeated
    #[arg(short = 'e', long, value_name = "KEY=VALUE")]
    pub env: Vec<String>,
    /// Run this instead of the image's entrypoint
    #[arg(long, value_name = "COMMAND")]
    pub entrypoint: Option<String>,
    /// User to run as
    #[arg(short, long, value_name = "USER")]
    pub user: Option<String>,
    /// Folder to run in
    #[arg(short, long, value_name = "DIR")]
    pub workdir: Option<String>,
    /// No terminal, even where there is one
    #[arg(short = 'T', long)]
    pub no_tty: bool,
    /// Remove the container when it ends; it always is
    #[arg(long)]
    pub rm: bool,
    /// Accepted: what the service needs is never started by `run`
    #[arg(long)]
    pub no_deps: bool,
    /// Stack files.
    #[command(flatten)]
    pub files: Files,
}

/// `init`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Example:\n  shopctl init my-shop --template axum")]
pub struct InitArgs {
    /// Folder to write to
    #[arg(value_name = "DIR", default_value = ".")]
    pub dir: PathBuf,
    /// What to write
    #[arg(long, value_name = "NAME", value_enum, default_value_t)]
    pub template: TemplateArg,
}

/// `doctor`.
#[derive(Debug, Clone, Default, Args)]
#[command(after_help = "Example:\n  shopctl doctor -o json")]
pub struct DoctorArgs {
    /// Print the rights that deploying to a cluster takes, as objects for its administrator
    #[arg(long)]
    pub rights: bool,
    /// Stack files.
    #[command(flatten)]
    pub files: Files,
}

/// `completion`.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Example:\n  shopctl completion bash > ~/.local/share/bash-completion/completions/shopctl"
)]
pub struct CompletionArgs {
    /// Shell
    #[arg(value_name = "SHELL", value_enum)]
    pub shell: clap_complete::Shell,
}

/// `man`.
#[derive(Debug, Clone, Default, Args)]
#[command(after_help = "Example:\n  shopctl man | man -l -")]
pub struct ManArgs {}

/// `gateway …`: what the containers of a stack run.
#[derive(Debug, Clone, Subcommand)]
pub enum GatewayCommand {
    /// Serve as the data plane of a stack
    #[command(
        after_help = "Example:\n  shopctl gateway run --name shop-gateway-1 --dir /state --listen '*:8000/tcp=20000'"
    )]
    Run {
        /// Name of the gateway
        #[arg(long)]
        name: String,
        /// Folder of its state
        #[arg(long)]
        dir: PathBuf,
        /// Published port and the port to listen on
        #[arg(long, value_name = "ID=PORT")]
        listen: Vec<String>,
        /// Let requests in from inside the stack's networks too
        #[arg(long)]
        doors: bool,
        /// Data plane of the container's image, where another took its place
        #[arg(long, value_name = "PROGRAM")]
        base: Option<String>,
        /// Take over from the gateway that started this one
        #[arg(long)]
        take_over: bool,
    },
    /// Connect stdin and stdout to a gateway's control socket
    #[command(after_help = "Example:\n  shopctl gateway control --name shop-gateway-1")]
    Control {
        /// Name of the gateway
        #[arg(long)]
        name: Option<String>,
        /// Probe readiness without a gateway
        #[arg(long)]
        prober: bool,
    },
    /// Keep the store's volume in use
    #[command(after_help = "Example:\n  shopctl gateway keep")]
    Keep,
    /// Hold the lock of a stack while stdin is open
    #[command(after_help = "Example:\n  shopctl gateway lock")]
    Lock,
}

/// `--backend`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BackendArg {
    /// One Docker Engine
    Docker,
    /// A Swarm (not in this version)
    Swarm,
    /// A Kubernetes cluster (in this version `render` alone)
    Kubernetes,
}

impl BackendArg {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Swarm => "swarm",
            Self::Kubernetes => "kubernetes",
        }
    }
}

/// `--output`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum OutputArg {
    /// For people; not an interface
    #[default]
    Human,
    /// JSON, versioned
    Json,
    /// The same as YAML
    Yaml,
    /// Markdown tables
    Markdown,
}

impl From<OutputArg> for Format {
    fn from(output: OutputArg) -> Self {
        match output {
            OutputArg::Human => Self::Human,
            OutputArg::Json => Self::Json,
            OutputArg::Yaml => Self::Yaml,
            OutputArg::Markdown => Self::Markdown,
        }
    }
}

/// `--progress`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum ProgressArg {
    /// tty on a terminal, else plain
    #[default]
    Auto,
    /// One live line per service
    Tty,
    /// One line per event
    Plain,
    /// Nothing
    None,
}

/// `--color`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum ColorArg {
    /// On a terminal
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// `init --template`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum TemplateArg {
    /// A service in Rust
    #[default]
    Axum,
    /// A service in Python
    Flask,
}

/// `--overcommit cpu=1.5`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overcommit {
    /// In percent of the capacity.
    pub cpu_percent: u32,
}

/// `SERVICE=N`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScaleTarget {
    /// Service.
    pub service: String,
    /// Replicas; `None` for what the file says.
    pub replicas: Option<u32>,
}

/// `logs --tail`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tail(pub Option<u64>);

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("{error}; write 90s, 10m or 1h30m"))
}

fn overcommit(text: &str) -> Result<Overcommit, String> {
    let wrong = || "write cpu=FACTOR, where FACTOR is from 1 to 100, e.g. cpu=1.5".to_owned();
    let factor = text.strip_prefix("cpu=").ok_or_else(wrong)?;
    let (whole, part) = factor.split_once('.').unwrap_or((factor, ""));
    let digits = |text: &str| text.chars().all(|digit| digit.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(part) || part.len() > 2 {
        return Err(wrong());
    }
    let whole: u32 = whole.parse().map_err(|_| wrong())?;
    let part: u32 = format!("{part:0<2}").parse().map_err(|_| wrong())?;
    match whole
        .checked_mul(100)
        .and_then(|whole| whole.checked_add(part))
    {
        Some(cpu_percent @ 100..=10_000) => Ok(Overcommit { cpu_percent }),
        _ => Err(wrong()),
    }
}

fn scale_target(text: &str) -> Result<ScaleTarget, String> {
    let wrong = || "write SERVICE=N, e.g. order=3, or SERVICE=file".to_owned();
    let (service, count) = text.split_once('=').ok_or_else(wrong)?;
    if service.is_empty() {
        return Err(wrong());
    }
    let replicas = match count {
        "file" => None,
        "auto" => return Err("`auto` is not part of this version; write a number".to_owned()),
        count => Some(count.parse().map_err(|_| wrong())?),
    };
    Ok(ScaleTarget {
        service: service.to_owned(),
        replicas,
    })
}

fn tail(text: &str) -> Result<Tail, String> {
    match text {
        "all" => Ok(Tail(None)),
        count => count
            .parse()
            .map(|count| Tail(Some(count)))
            .map_err(|_| "write a number, or `all`".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn factors_are_percent() {
        assert_eq!(overcommit("cpu=1.5").map(|it| it.cpu_percent), Ok(150));
        assert_eq!(overcommit("cpu=2").map(|it| it.cpu_percent), Ok(200));
        assert_eq!(overcommit("cpu=1.25").map(|it| it.cpu_percent), Ok(125));
        for wrong in [
            "cpu=0.5",
            "memory=2",
            "1.5",
            "cpu=",
            "cpu=1.234",
            "cpu=-1",
            "cpu=101",
        ] {
            assert!(overcommit(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn files_may_stand_on_both_sides_of_the_command() {
        let cli = Cli::try_parse_from(["shopctl", "-f", "a", "-p", "x", "deploy", "-f", "b"])
            .expect("valid");
        assert_eq!(cli.files.files, [PathBuf::from("a")]);
        assert_eq!(cli.command.files(), [PathBuf::from("b")]);
        assert_eq!(cli.globals.project_name.as_deref(), Some("x"));
    }

    #[test]
    fn f_of_logs_follows() {
        let cli =
            Cli::try_parse_from(["shopctl", "-f", "a", "logs", "-f", "order"]).expect("valid");
        let Command::Logs(logs) = &cli.command else {
            panic!("{cli:?}");
        };
        assert!(logs.follow && logs.services == ["order"] && logs.files.files.is_empty());
    }
}
