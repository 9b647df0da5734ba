//! What the user reads when something fails: worded here and nowhere else.
//!
//! Form: what failed, on which resource, where in the stack file, the causes
//! once, one hint that can be typed. Test: snapshots in `tests/cli_errors.rs`.

use std::error::Error as StdError;
use std::fmt::Write as _;

use super::exit::Exit;
use super::project::ProjectError;
use crate::backend::BackendError;
use crate::build::BuildError;
use crate::plan::action::Obstacle;
use crate::plan::action::Refusal;
use crate::report::console::Console;
use crate::report::console::Paint;
use crate::report::tables;
use crate::stack::Problem;
use crate::stack::Problems;
use crate::stack::Severity;

/// A failure with its exit code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CliError {
    /// How the process ends.
    pub exit: Exit,
    /// What is reported, in this order; most failures have one report.
    pub reports: Vec<Report>,
}

/// One thing that went wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// What failed, on which resource.
    pub message: String,
    /// `file:line:column`, or empty.
    pub place: String,
    /// Source lines with a caret, already laid out; or empty.
    pub snippet: String,
    /// Output of what failed, or a table.
    pub detail: Vec<String>,
    /// Why, each cause once, outermost first.
    pub causes: Vec<String>,
    /// What can be typed to go on.
    pub hint: Option<String>,
    /// Where the reference speaks of it.
    see: String,
}

impl CliError {
    /// A failure in words.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        let message = message.into();
        let report = Report {
            message,
            ..Report::default()
        };
        Self {
            exit,
            reports: vec![report],
        }
    }

    /// Wrong usage.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// A failure that names what was done when it happened, and its causes.
    pub fn caused(exit: Exit, message: impl Into<String>, error: &dyn StdError) -> Self {
        let mut failure = Self::new(exit, message);
        failure.edit(|report| report.causes = chain(Some(error), &report.message));
        failure
    }

    /// Adds what can be typed.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        let hint = hint.into();
        self.edit(|report| report.hint = Some(hint));
        self
    }

    /// Adds a place in the stack file.
    #[must_use]
    pub fn at(mut self, place: impl Into<String>) -> Self {
        let place = place.into();
        self.edit(|report| report.place = place);
        self
    }

    /// Adds output or a table.
    #[must_use]
    pub fn detail(mut self, lines: Vec<String>) -> Self {
        self.edit(|report| report.detail = lines);
        self
    }

    fn edit(&mut self, change: impl FnOnce(&mut Report)) {
        if let Some(report) = self.reports.first_mut() {
            change(report);
        }
    }

    /// The first message, for the last line of `-o json`.
    pub fn summary(&self) -> String {
        let first = self.reports.first();
        first.map_or_else(String::new, |report| {
            let mut text = report.message.clone();
            for cause in &report.causes {
                let _ = write!(text, ": {cause}");
            }
            text
        })
    }

    /// Writes it to stderr.
    pub fn print(&self, console: &Console) {
        let reports: Vec<String> = self
            .reports
            .iter()
            .map(|report| report.render(console))
            .collect();
        console.err(&reports.join("\n"));
    }
}

impl Report {
    fn render(&self, console: &Console) -> String {
        // Writing into a String cannot fail.
        let mut text = String::new();
        let label = console.paint(Paint::Red, "error:");
        let _ = writeln!(text, "{label} {}", self.message);
        if !self.place.is_empty() {
            let _ = writeln!(text, "  --> {}", self.place);
        }
        if !self.snippet.is_empty() {
            let _ = writeln!(text, "{}", self.snippet.trim_end());
        }
        for line in &self.detail {
            let _ = writeln!(text, "{}", format!("  {line}").trim_end());
        }
        for cause in &self.causes {
            let _ = writeln!(text, "cause: {cause}");
        }
        if let Some(hint) = &self.hint {
            let _ = writeln!(text, "{} {hint}", console.paint(Paint::Cyan, "hint:"));
        }
        if !self.see.is_empty() {
            let _ = writeln!(text, "see: {}", self.see);
        }
        text
    }
}

/// The sources of an error as phrases, none of them twice.
fn chain(mut next: Option<&dyn StdError>, said: &str) -> Vec<String> {
    let mut causes: Vec<String> = Vec::new();
    while let Some(error) = next {
        let words = error.to_string();
        let known = |text: &str| text.contains(words.as_str());
        if !words.is_empty() && !known(said) && !causes.iter().any(|cause| known(cause)) {
            causes.push(words);
        }
        next = error.source();
    }
    causes
}

impl From<Problems> for CliError {
    fn from(problems: Problems) -> Self {
        let errors: Vec<Report> = problems
            .list
            .iter()
            .filter(|problem| problem.severity == Severity::Error)
            .map(report)
            .collect();
        if errors.is_empty() {
            return Self::new(Exit::StackInvalid, "the stack file cannot be used");
        }
        Self {
            exit: Exit::StackInvalid,
            reports: errors,
        }
    }
}

/// Place, source lines and caret, without the message and the hint.
fn laid_out(problem: &Problem) -> String {
    let bare = Problem {
        hint: None,
        reference: String::new(),
        ..problem.clone()
    };
    let text = bare.to_string();
    text.split_once('\n')
        .map_or_else(String::new, |(_, rest)| rest.to_owned())
}

/// A finding in the stack file as a report.
fn report(problem: &Problem) -> Report {
    Report {
        message: problem.message.clone(),
        snippet: laid_out(problem),
        hint: problem.hint.clone(),
        see: problem.reference.clone(),
        ..Report::default()
    }
}

/// Prints what the loader found without failing; advice is for those who ask.
pub fn print_findings(console: &Console, findings: &[Problem], advice: bool) {
    for problem in findings {
        if problem.severity == Severity::Advice && !advice {
            continue;
        }
        let label = match problem.severity {
            Severity::Error => console.paint(Paint::Red, "error:"),
            Severity::Warning => console.paint(Paint::Yellow, "warning:"),
            Severity::Advice => console.paint(Paint::Cyan, "advice:"),
        };
        let mut text = format!("{label} {}", problem.message);
        let place = problem.place().to_string();
        if !place.is_empty() {
            let _ = write!(text, " ({place})");
        }
        if let Some(hint) = &problem.hint {
            let _ = write!(text, "; {hint}");
        }
        console.err(&text);
    }
}

impl From<Refusal> for CliError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Capacity(figures) => {
                let mut detail: Vec<String> = tables::capacity(&figures)
                    .human()
                    .lines()
                    .map(str::to_owned)
                    .collect();
                let (first, rest) = match figures.remedies.split_first() {
                    Some((first, rest)) => (Some(first.clone()), rest),
                    None => (None, &[][..]),
                };
                detail.extend(rest.iter().map(|remedy| format!("or: {remedy}")));
                let why = match &figures.misfit {
                    Some(text) => format!("the declared demand does not fit: {text}"),
                    None => "the declared demand does not fit: R = M / C is above 1".to_owned(),
                };
                let message = format!("{why}; nothing was changed");
                let failure = Self::new(Exit::DoesNotFit, message).detail(detail);
                match first {
                    Some(first) => failure.hint(first),
                    None => failure.hint("shopctl capacity"),
                }
            }
            Refusal::Preflight(obstacles) => Self {
                exit: Exit::Refused,
                reports: obstacles.into_iter().map(obstacle).collect(),
            },
        }
    }
}

fn obstacle(obstacle: Obstacle) -> Report {
    Report {
        message: format!("{}; nothing was changed", obstacle.message),
        place: obstacle.place,
        hint: (!obstacle.hint.is_empty()).then_some(obstacle.hint),
        ..Report::default()
    }
}

impl From<BackendError> for CliError {
    fn from(error: BackendError) -> Self {
        let exit = exit_of(&error);
        let message = error.to_string();
        let failure = Self {
            exit,
            reports: vec![Report {
                causes: chain(error.source(), &message),
                message,
                ..Report::default()
            }],
        };
        match &error {
            BackendError::Unreachable { target, .. } if target.starts_with("unix://") => {
                failure.hint("shopctl doctor")
            }
            BackendError::Unreachable { target, .. } if is_cluster(target) => failure
                .hint("check KUBECONFIG and --context, then: kubectl version"),
            BackendError::Unreachable { .. } => {
                failure.hint("check DOCKER_HOST and --context, then: shopctl doctor")
            }
            BackendError::TooOld { .. } => {
                failure.hint("install Docker Engine 20.10 or newer")
            }
            BackendError::ImageMissing { reference, .. } => failure.hint(format!(
                "check the name, sign in with `docker login` if the registry needs it, then: docker pull {reference}"
            )),
            BackendError::NotPushed { reference, .. } => failure.hint(format!(
                "check the name, sign in with `docker login`, then: docker push {reference}"
            )),
            BackendError::Build { output, .. } => failure.detail(output.clone()),
            BackendError::PortTaken { port, .. } => failure.hint(format!(
                "see who holds it: ss -ltnp 'sport = :{}'",
                port.rsplit(':').next().unwrap_or(port)
            )),
            BackendError::DiskFull { .. } => {
                failure.hint("see what takes the space: docker system df")
            }
            BackendError::Locked(_) => {
                failure.hint("wait for it: shopctl deploy --lock-wait 5m")
            }
            BackendError::LockLost => failure.hint("shopctl status, then: shopctl deploy"),
            BackendError::Cluster { status: 403, .. } => {
                failure.hint("shopctl doctor --backend kubernetes prints the rights that are needed")
            }
            BackendError::Conflict { .. } => {
                failure.hint("remove it, or choose another stack name: shopctl -p NAME deploy")
            }
            _ => failure,
        }
    }
}

/// The exit code of a backend's failure before anything was changed.
fn exit_of(error: &BackendError) -> Exit {
    match error {
        BackendError::Unreachable { .. }
        | BackendError::TooOld { .. }
        | BackendError::Cluster { status: 401, .. } => Exit::Unreachable,
        BackendError::ImageMissing { .. } | BackendError::NotPushed { .. } => {
            Exit::ImageUnavailable
        }
        BackendError::Build { .. } => Exit::BuildFailed,
        BackendError::Conflict { .. }
        | BackendError::PortTaken { .. }
        | BackendError::DiskFull { .. }
        | BackendError::Cluster { status: 403, .. } => Exit::Refused,
        BackendError::Locked(_) | BackendError::LockLost => Exit::Locked,
        BackendError::Unsupported(_) => Exit::Internal,
        BackendError::NotFound { .. }
        | BackendError::Engine { .. }
        | BackendError::Cluster { .. }
        | BackendError::StuckNetwork { .. }
        | BackendError::Other { .. } => Exit::Failed,
    }
}

/// Whether what was dialled is a cluster's server, or the file that names one.
fn is_cluster(target: &str) -> bool {
    target.starts_with("https://") || !target.contains("://")
}

impl From<ProjectError> for CliError {
    fn from(error: ProjectError) -> Self {
        match error {
            ProjectError::Problems(problems) => problems.into(),
            ProjectError::Build(error) => error.into(),
        }
    }
}

impl From<BuildError> for CliError {
    fn from(error: BuildError) -> Self {
        let failure = Self {
            exit: Exit::BuildFailed,
            reports: vec![Report {
                causes: chain(error.source(), &error.to_string()),
                message: error.to_string(),
                ..Report::default()
            }],
        };
        match error {
            BuildError::Unreadable { path, .. } => {
                failure.hint(format!("ls -la {}", path.display()))
            }
            BuildError::Pattern { .. } | BuildError::Lent { .. } | BuildError::Circle { .. } => {
                failure
            }
            BuildError::Prepare {
                command, output, ..
            } => failure
                .detail(output)
                .hint(format!("run it by hand: {command}")),
        }
    }
}

impl From<std::io::Error> for CliError {
    /// Only writing to stdout fails this way.
    fn from(error: std::io::Error) -> Self {
        Self::caused(Exit::Internal, "standard output cannot be written", &error)
    }
}
