//! A plan in words: one line per change for people, one line per step for tests.

use std::collections::BTreeMap;

use super::action::Action;
use super::action::Cause;
use super::action::Gate;
use super::action::Listen;
use super::action::Note;
use super::action::Plan;
use super::action::Step;
use super::action::StepId;
use super::hooks;
use crate::capacity::report::CapacityReport;
use crate::state::desired::DesiredState;
use crate::state::desired::PublishedPort;
use crate::state::desired::ReadyGate;
use crate::state::observed::Role;

/// One line per change, in the order in which they begin:
/// `~ order/2 replace: environment changed (GREETING)`.
pub fn changes(plan: &Plan) -> Vec<String> {
    grouped(plan)
        .iter()
        .map(|(subject, steps)| change(subject, steps))
        .collect()
}

/// One line per thing that is not as the plan's state has it, with what differs:
/// `order/2: environment changed (GREETING)`.
pub fn drift(plan: &Plan, desired: &DesiredState) -> Vec<String> {
    let words = |step: &Step| match &step.cause {
        Cause::ScaleUp => "missing".to_owned(),
        Cause::ScaleDown => "one too many".to_owned(),
        Cause::NotInFile => "not in the release".to_owned(),
        other => cause(other),
    };
    let line = |(subject, steps): &(Subject<'_>, Vec<&Step>)| {
        let step = steps.first()?;
        if is_about_tasks(subject, steps) {
            return None;
        }
        Some(match subject {
            Subject::Replica(service, slot) => format!("{service}/{slot}: {}", words(step)),
            Subject::Helper(name) => format!("{name}: {}", words(step)),
            Subject::Other(_) => format!("{} ({})", what(step), words(step)),
        })
    };
    // Of the notes, those about services that nobody released.
    let unknown =
        |note: &&Note| !note.service.is_empty() && !desired.services.contains_key(&note.service);
    let notes = plan.notes.iter().filter(unknown);
    grouped(plan)
        .iter()
        .filter_map(line)
        .chain(notes.map(|note| format!("{}: {}", note.service, note.message)))
        .collect()
}

/// Hooks, and helpers that a killed run left behind, are nothing that runs otherwise
/// than it should.
fn is_about_tasks(subject: &Subject<'_>, steps: &[&Step]) -> bool {
    match (subject, steps) {
        (Subject::Helper(_), [step]) => {
            step.cause == Cause::LeftOver && matches!(step.action, Action::RemoveContainer { .. })
        }
        (Subject::Other(_), [step]) => matches!(step.action, Action::RunTask { .. }),
        _ => false,
    }
}

/// The steps by what they are about, in the order in which they begin.
fn grouped(plan: &Plan) -> Vec<(Subject<'_>, Vec<&Step>)> {
    let mut groups: Vec<(Subject<'_>, Vec<&Step>)> = Vec::new();
    let mut index: BTreeMap<Subject<'_>, usize> = BTreeMap::new();
    for step in &plan.steps {
        let subject = subject(step);
        let at = *index.entry(subject.clone()).or_insert_with(|| {
            groups.push((subject, Vec::new()));
            groups.len() - 1
        });
        groups[at].1.push(step);
    }
    groups
}

/// The notes as lines, warnings marked by `!`.
pub fn notes(plan: &Plan) -> Vec<String> {
    plan.notes
        .iter()
        .map(|note| {
            let sign = if note.warning { "!" } else { "·" };
            match note.service.as_str() {
                "" => format!("{sign} {}", note.message),
                service => format!("{sign} {service}: {}", note.message),
            }
        })
        .collect()
}

/// One line per step with everything that orders it.
pub fn steps(plan: &Plan) -> Vec<String> {
    plan.steps.iter().map(full).collect()
}

/// A cause in words.
pub fn cause(cause: &Cause) -> String {
    match cause {
        Cause::Missing => "missing".to_owned(),
        Cause::Changed(what) => what.join(", "),
        Cause::ImageChanged => "image changed".to_owned(),
        Cause::ScaleUp => "more replicas wanted".to_owned(),
        Cause::ScaleDown => "fewer replicas wanted".to_owned(),
        Cause::NotRunning(how) => how.clone(),
        Cause::Unhealthy => "unhealthy".to_owned(),
        Cause::LeftOver => "left over from an unfinished run".to_owned(),
        Cause::Replaced => "replaced".to_owned(),
        Cause::NotInFile => "not in the file any more".to_owned(),
        Cause::Asked => "asked for".to_owned(),
        Cause::NeededBy(what) => format!("needed by {what}"),
        Cause::RoutesChanged => "routes changed".to_owned(),
    }
}

/// What the capacity check has to say about a plan that it lets pass.
pub(super) fn capacity_notes(report: &CapacityReport) -> Vec<Note> {
    let mut notes = Vec::new();
    for (name, resource) in [("CPU", &report.cpu), ("memory", &report.memory)] {
        if resource.demand > resource.capacity {
            notes.push(Note {
                warning: true,
                service: String::new(),
                message: format!(
                    "{name} demand is {} of the capacity; {} of it is declared",
                    percent(resource.demand, resource.capacity),
                    percent(resource.declared, resource.demand)
                ),
            });
        }
    }
    notes
}

fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "more than all".to_owned();
    }
    format!("{} %", u128::from(part) * 100 / u128::from(whole))
}

/// Whether an action is of a kind.
type Is = fn(&Action) -> bool;

/// What a step is about: steps about the same thing make one change.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Subject<'p> {
    Replica(&'p str, u32),
    Helper(&'p str),
    Other(StepId),
}

fn subject(step: &Step) -> Subject<'_> {
    if let Some(slot) = step.slot {
        return Subject::Replica(&step.service, slot);
    }
    match &step.action {
        Action::CreateHelper { name, .. } => Subject::Helper(name),
        Action::StartContainer { container }
        | Action::StopContainer { container, .. }
        | Action::RestartContainer { container }
        | Action::RemoveContainer { container }
        | Action::ConnectNetwork { container, .. }
        | Action::DisconnectNetwork { container, .. } => Subject::Helper(container),
        _ => Subject::Other(step.id),
    }
}

fn change(subject: &Subject<'_>, steps: &[&Step]) -> String {
    let find = |wanted: Is| steps.iter().find(|step| wanted(&step.action));
    let created = find(|action| {
        matches!(
            action,
            Action::CreateInstance { .. } | Action::CreateHelper { .. }
        )
    });
    let removed = find(|action| matches!(action, Action::RemoveContainer { .. }));
    let who = match subject {
        Subject::Replica(service, slot) => format!("{service}/{slot}"),
        Subject::Helper(name) => (*name).to_owned(),
        Subject::Other(_) => return steps.first().map(|step| other(step)).unwrap_or_default(),
    };
    let line = |sign: char, verb: &str, step: &Step| {
        format!("{sign} {who} {verb}: {}", cause(&step.cause))
    };
    if let (Some(step), Some(gone)) = (created, removed) {
        let own = match (&step.action, &gone.action) {
            (Action::CreateInstance { instance }, Action::RemoveContainer { container }) => {
                step.id < gone.id && instance.name == *container
            }
            _ => false,
        };
        return if own {
            line('+', "stand in", step)
        } else {
            line('~', "replace", step)
        };
    }
    if let Some(step) = created {
        return line('+', "create", step);
    }
    let start = find(|action| matches!(action, Action::StartContainer { .. }));
    if let Some(step) = start {
        return match step.cause {
            // It runs; what it has yet to do is pass its gate.
            Cause::LeftOver => line('~', "finish", step),
            Cause::RoutesChanged => line('~', "route", step),
            _ => line('~', "start", step),
        };
    }
    let verbs: [(char, &str, Is); 5] = [
        ('~', "restart", |action| {
            matches!(action, Action::RestartContainer { .. })
        }),
        ('-', "remove", |action| {
            matches!(action, Action::RemoveContainer { .. })
        }),
        ('~', "update", |action| {
            matches!(action, Action::UpdateLive { .. })
        }),
        ('~', "connect", |action| {
            matches!(action, Action::ConnectNetwork { .. })
        }),
        ('~', "disconnect", |action| {
            matches!(action, Action::DisconnectNetwork { .. })
        }),
    ];
    verbs
        .into_iter()
        .find_map(|(sign, verb, wanted)| Some(line(sign, verb, find(wanted)?)))
        .or_else(|| steps.first().map(|step| other(step)))
        .unwrap_or_default()
}

/// The line of a step that is a change by itself.
fn other(step: &Step) -> String {
    let sign = match &step.action {
        Action::RemoveNetwork { .. }
        | Action::RemoveVolume { .. }
        | Action::DeleteObject { .. }
        | Action::RemoveTarget { .. } => '-',
        Action::ApplyObject { .. } if step.cause == Cause::Missing => '+',
        Action::SetListeners { .. }
        | Action::SetSplit { .. }
        | Action::UpgradeGateway { .. }
        | Action::RecordScale { .. }
        | Action::ApplyObject { .. }
        | Action::RestartWorkload { .. }
        | Action::RunTask { .. } => '~',
        _ => '+',
    };
    let watched = match step.gate {
        Gate::RolledOut { watch_ms, .. } if watch_ms > 0 => {
            format!(", watched for {}", span(watch_ms))
        }
        _ => String::new(),
    };
    format!("{sign} {}{watched}: {}", what(step), cause(&step.cause))
}

/// Which ports lead where, in words.
fn routes(listeners: &[PublishedPort]) -> String {
    let ports: Vec<String> = listeners
        .iter()
        .map(|port| {
            let mut services: Vec<&str> = Vec::new();
            for route in &port.routes {
                if !services.contains(&route.service.as_str()) {
                    services.push(&route.service);
                }
            }
            format!("{} to {}", port.id, services.join(", "))
        })
        .collect();
    match ports.as_slice() {
        [] => "route nothing".to_owned(),
        ports => format!("route {}", ports.join("; ")),
    }
}

/// What a step does, in words.
pub fn what(step: &Step) -> String {
    match &step.action {
        Action::BuildImage { service, tag } => format!(
            "build image of {service} {}",
            tag.as_deref().unwrap_or("(tag known at deploy)")
        ),
        Action::PullImage { reference, .. } => format!("pull image {reference}"),
        Action::CreateNetwork { spec, .. } => format!("create network {}", spec.name),
        Action::RemoveNetwork { name } => format!("remove network {name}"),
        Action::CreateVolume { spec, .. } => format!("create volume {}", spec.name),
        Action::RemoveVolume { name } => format!("remove volume {name}"),
        Action::SeedFiles {
            set,
            volume,
            memory,
        } => files(set, volume, *memory),
        Action::CreateInstance { instance } => format!("create {}", instance.name),
        Action::CreateHelper {
            name,
            role,
            listens,
            networks,
            ..
        } => helper(name, *role, listens, networks),
        Action::RunTask { task } => {
            let owner = match step.service.as_str() {
                "" => "the stack",
                service => service,
            };
            format!(
                "run {} of {owner}: {} (at most {})",
                task.moment.key(),
                match task.words() {
                    [] => task.instance.spec.image.clone(),
                    words => command(words),
                },
                hooks::span(task.timeout_ms)
            )
        }
        Action::StoreProgram { program } => format!("store data plane {program}"),
        Action::UpgradeGateway {
            container, program, ..
        } => format!("upgrade {container} to data plane {program}"),
        Action::ConnectNetwork {
            container,
            network,
            aliases,
        } if !aliases.is_empty() => {
            format!("connect {container} to {network} as {}", aliases.join(", "))
        }
        Action::ConnectNetwork {
            container, network, ..
        } => format!("connect {container} to {network}"),
        Action::DisconnectNetwork { container, network } => {
            format!("disconnect {container} from {network}")
        }
        Action::StartContainer { container } => format!("start {container}"),
        Action::StopContainer { container, .. } => format!("stop {container}"),
        Action::RestartContainer { container } => format!("restart {container}"),
        Action::RemoveContainer { container } => format!("remove {container}"),
        Action::UpdateLive { container, .. } => format!("update {container}"),
        Action::SetListeners { listeners } => routes(listeners),
        Action::AddTarget { service, alias, .. } => format!("route {service} to {alias}"),
        Action::SetSplit {
            service,
            split: Some(split),
            group,
        } => format!(
            "send {} % of {service} to revision {group}",
            split.percent(group)
        ),
        Action::SetSplit { service, .. } => format!("send {service} to all its replicas alike"),
        Action::RemoveTarget { service, alias, .. } => {
            format!("drain {alias} of {service}")
        }
        Action::ApplyObject {
            object,
            replicas: Some(count),
            ..
        } => format!("apply {object} with {count} replicas"),
        Action::ApplyObject { object, .. } => format!("apply {object}"),
        Action::DeleteObject { object } => format!("delete {object}"),
        Action::RestartWorkload { object } => format!("restart {object}"),
        Action::RecordScale { overrides } => {
            let words: Vec<String> = overrides
                .iter()
                .map(|(service, change)| match change {
                    Some(change) => format!("{service}={}", change.replicas),
                    None => format!("{service}=file"),
                })
                .collect();
            format!("record scale {}", words.join(" "))
        }
    }
}

fn helper(name: &str, role: Role, listens: &[Listen], networks: &[String]) -> String {
    let kind = match role {
        Role::Gateway => "gateway",
        Role::Keeper => "keeper",
        Role::Prober => "prober",
        Role::Lock => "lock",
        Role::Holder => "holder",
        Role::Service | Role::Task | Role::Run => "helper",
    };
    let ports: Vec<String> = listens
        .iter()
        .map(|listen| format!("{}->{}", listen.id, listen.inside))
        .collect();
    let words = [
        format!("create {kind} {name}"),
        ports.join(" "),
        networks.join(" "),
    ];
    let words: Vec<String> = words.into_iter().filter(|word| !word.is_empty()).collect();
    words.join(" ")
}

fn files(set: &str, volume: &str, memory: bool) -> String {
    let place = if memory { " in memory" } else { "" };
    format!("put files {set} into {volume}{place}")
}

/// A time in words, given in milliseconds.
pub fn span(millis: u64) -> String {
    hooks::span(millis)
}

/// A command as it could be typed.
pub fn command(words: &[String]) -> String {
    let quoted = |word: &String| {
        let plain = |byte: u8| byte.is_ascii_graphic() && !b"\"'\\$`".contains(&byte);
        if !word.is_empty() && word.bytes().all(plain) {
            word.clone()
        } else {
            format!("{word:?}")
        }
    };
    words.iter().map(quoted).collect::<Vec<_>>().join(" ")
}

fn full(step: &Step) -> String {
    use std::fmt::Write as _;
    let mut line = format!("{:>3} {}", step.id, what(step));
    let list = |ids: &[StepId]| {
        let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
        ids.join(",")
    };
    // Writing into a String cannot fail.
    if !step.needs.is_empty() {
        let _ = write!(line, " needs {}", list(&step.needs));
    }
    if !step.after.is_empty() {
        let _ = write!(line, " after {}", list(&step.after));
    }
    if step.delay_ms > 0 {
        let _ = write!(line, " delay {}ms", step.delay_ms);
    }
    if let Action::RemoveTarget { drain_ms, .. } | Action::UpgradeGateway { drain_ms, .. } =
        &step.action
    {
        let _ = write!(line, " drain {drain_ms}ms");
    }
    match &step.gate {
        Gate::None => {}
        Gate::Ready {
            ready, monitor_ms, ..
        } => {
            let _ = write!(line, " gate {}", gate(ready));
            if *monitor_ms > 0 {
                let _ = write!(line, " monitor {monitor_ms}ms");
            }
        }
        Gate::Verdict { pause_ms, .. } => {
            let _ = write!(line, " verdict after {pause_ms}ms");
        }
        Gate::RolledOut {
            object, watch_ms, ..
        } => {
            line.push_str(" gate rolled out");
            if !matches!(&step.action, Action::ApplyObject { object: own, .. } | Action::RestartWorkload { object: own } if own == object)
            {
                let _ = write!(line, " of {object}");
            }
            if *watch_ms > 0 {
                let _ = write!(line, " watched {watch_ms}ms");
            }
        }
    }
    let _ = write!(line, " ({})", cause(&step.cause));
    line
}

fn gate(ready: &ReadyGate) -> String {
    match ready {
        ReadyGate::Running => "running".to_owned(),
        ReadyGate::Probe { port, http, .. } => {
            format!("probe {port}{}", http.as_deref().unwrap_or_default())
        }
        ReadyGate::Healthy { .. } => "healthy".to_owned(),
        ReadyGate::Completed { .. } => "completed".to_owned(),
    }
}

/// What can be done when a container was killed for lack of memory: the demand M of one
/// replica was above the capacity C that it had.
pub fn out_of_memory(service: &str, limit: Option<i64>) -> String {
    match limit {
        Some(limit) if limit > 0 => format!(
            "{service} needs more memory than it may have (R = M / C > 1): raise deploy.resources.limits.memory above the {} MiB it had",
            limit >> 20
        ),
        _ => format!(
            "the machine had no memory left for {service} (R = M / C > 1): shopctl capacity --usage, then declare deploy.resources.reservations.memory or stop something else"
        ),
    }
}
