//! Cases as text: `cases/*.yaml` in, a snapshot of the whole plan out.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use serde::Deserialize;
use shopctl::backend::memory::Behaviour;
use shopctl::backend::memory::Container;
use shopctl::backend::memory::World;
use shopctl::plan::Goal;
use shopctl::plan::Options;
use shopctl::plan::ScaleTo;
use shopctl::plan::action::Action;
use shopctl::plan::action::Plan;
use shopctl::plan::action::Refusal;
use shopctl::plan::action::Step;
use shopctl::plan::check;
use shopctl::plan::report;
use shopctl::state::observed::Foreign;
use shopctl::state::observed::Health;
use shopctl::state::observed::Instance;
use shopctl::state::observed::InstanceState;
use shopctl::state::observed::Role;

use crate::sketch::STACK;
use crate::sketch::Sketch;
use crate::turn;
use crate::turn::made_from_file;

/// One case.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Case {
    /// What it shows.
    about: String,
    /// What is deployed first.
    before: Option<Sketch>,
    /// What happens to it.
    then: Vec<String>,
    /// A merge patch on `before`: what the file says next.
    change: serde_json::Value,
    /// What the user asks for.
    ask: Ask,
    /// The connection is cut after so many calls of the plan; the snapshot is the
    /// next plan.
    cut: Option<u64>,
    /// The next plan is for what was deployed first.
    back: bool,
    /// Another plan is left after this one is done, because a container stays bad.
    unfinished: bool,
}

/// Options in short form.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
struct Ask {
    goal: String,
    prune: bool,
    backwards: bool,
    reset_scale: bool,
    /// A count, or 0 for the file's.
    scale: BTreeMap<String, u32>,
    overcommit: Option<u32>,
    pull: bool,
    /// Image of the data plane that this version brings.
    data_plane: String,
}

impl Ask {
    fn options(&self) -> Options {
        Options {
            goal: match self.goal.as_str() {
                "restart" => Goal::Restart,
                "down" => Goal::Down { volumes: false },
                "down volumes" => Goal::Down { volumes: true },
                _ => Goal::Deploy,
            },
            prune: self.prune.into(),
            backwards: self.backwards,
            reset_scale: self.reset_scale,
            scale: self
                .scale
                .iter()
                .map(|(service, count)| (service.clone(), scale_to(*count)))
                .collect(),
            cpu_overcommit_percent: self.overcommit,
            pull: self.pull,
            data_plane: self.data_plane.clone(),
            ..Options::default()
        }
    }
}

fn scale_to(count: u32) -> ScaleTo {
    match count {
        0 => ScaleTo::File,
        replicas => ScaleTo::Count {
            replicas,
            by: "ana".to_owned(),
            at: 20 * 3600 + 60,
        },
    }
}

#[test]
fn every_case_gives_its_plan() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plan/cases");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() >= 40, "cases are missing: {}", files.len());
    let mut settings = insta::Settings::clone_current();
    settings.set_omit_expression(true);
    settings.set_prepend_module_to_snapshot(false);
    let _scope = settings.bind_to_scope();
    for file in files {
        let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
        let text = std::fs::read_to_string(&file).unwrap();
        let case: Case = serde_yaml::from_str(&text)
            .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        insta::assert_snapshot!(name.clone(), run(&name, &case));
    }
}

fn run(name: &str, case: &Case) -> String {
    let mut world = World::default();
    let before = case.before.clone().unwrap_or_default();
    if case.before.is_some() {
        turn::bring_images(&mut world, &before);
        let plan = turn::plan(&world, &before, &Options::default())
            .unwrap_or_else(|refusal| panic!("{name}: {refusal:?}"));
        turn::carry_out(&mut world, &plan, "first", |_| {}).unwrap();
    }
    let after = patched(&before, &case.change);
    for line in &case.then {
        match line.strip_prefix("made-from-file ") {
            Some(rest) => {
                let (name, content) = rest.split_once(' ').unwrap_or((rest, ""));
                made_from_file(&mut world, &after, name, content);
            }
            None => happen(&mut world, line),
        }
    }
    if !case.then.iter().any(|line| line == "no images") {
        turn::bring_images(&mut world, &after);
    }
    let options = case.ask.options();
    if let Some(calls) = case.cut {
        let plan = turn::plan(&world, &after, &Options::default()).unwrap();
        world.faults.crash_after = Some(world.faults.calls + calls);
        turn::carry_out(&mut world, &plan, "second", |_| {}).unwrap_err();
        world.faults.crash_after = None;
    }
    let after = if case.back { before } else { after };
    let text = match turn::plan(&world, &after, &options) {
        Ok(plan) => {
            assert_eq!(check::structure(&plan), Vec::<String>::new(), "{name}");
            let mut text = words(&plan);
            text.push_str(&finish(name, case, &mut world, &after, &options, &plan));
            text
        }
        Err(refusal) => refused(&refusal),
    };
    format!("{}\n\n{text}", case.about)
}

/// Carries the plan out, as often as it takes for an empty one: once, except where
/// a pull or a build brought something new.
fn finish(
    name: &str,
    case: &Case,
    world: &mut World,
    after: &Sketch,
    options: &Options,
    plan: &Plan,
) -> String {
    let mut options = options.clone();
    let mut plan = plan.clone();
    let mut text = String::new();
    for round in 0.. {
        if plan
            .steps
            .iter()
            .any(|step| matches!(&step.action, Action::BuildImage { tag: None, .. }))
        {
            return text;
        }
        let outcome = turn::carry_out(world, &plan, "last", |_| {});
        if case.unfinished {
            outcome.unwrap_err();
            return text;
        }
        outcome.unwrap_or_else(|why| panic!("{name}: {why}"));
        if options.goal == Goal::Restart {
            return text;
        }
        let pulls = plan.steps.iter().filter_map(|step| match &step.action {
            Action::PullImage { reference, .. } => Some(reference.clone()),
            _ => None,
        });
        let pulled: Vec<String> = pulls.collect();
        let built = |step: &Step| matches!(step.action, Action::BuildImage { .. });
        let brought = !pulled.is_empty() || plan.steps.iter().any(built);
        options.learned.pulled.extend(pulled.iter().cloned());
        plan = turn::plan(world, after, &options).unwrap();
        if plan.steps.is_empty() {
            return text;
        }
        assert!(
            round == 0 && brought,
            "{name}: a second plan: {:#?}",
            report::steps(&plan)
        );
        write!(text, "\nthen\n{}", words(&plan)).unwrap();
    }
    text
}

fn patched(before: &Sketch, change: &serde_json::Value) -> Sketch {
    let mut value = serde_json::to_value(before).unwrap();
    merge(&mut value, change);
    serde_json::from_value(value).unwrap()
}

/// JSON merge patch (RFC 7396).
fn merge(target: &mut serde_json::Value, patch: &serde_json::Value) {
    let Some(patch) = patch.as_object() else {
        return;
    };
    for (key, value) in patch {
        if value.is_null() {
            target.as_object_mut().unwrap().remove(key);
        } else if value.is_object() {
            let entry = &mut target[key.as_str()];
            if !entry.is_object() {
                *entry = serde_json::json!({});
            }
            merge(entry, value);
        } else {
            target[key.as_str()] = value.clone();
        }
    }
}

/// Lets something happen to the world: `exit order/1 137`.
fn happen(world: &mut World, line: &str) {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words.as_slice() {
        ["no", "images"] => {
            world.images.clear();
            world.registry.clear();
        }
        ["exit", who, code] => {
            let code = code.parse().unwrap();
            state(world, who, InstanceState::Exited { code, oom: false });
        }
        ["oom", who] => state(
            world,
            who,
            InstanceState::Exited {
                code: 137,
                oom: true,
            },
        ),
        ["restarting", who] => state(world, who, InstanceState::Restarting),
        ["paused", who] => state(world, who, InstanceState::Paused),
        ["dead", who] => state(world, who, InstanceState::Dead),
        ["created", who] => state(world, who, InstanceState::Created),
        ["unhealthy", who] => {
            let name = name_of(world, who);
            world.containers.get_mut(&name).unwrap().instance.health = Some(Health::Unhealthy);
        }
        ["uses", who, mib] => {
            let name = name_of(world, who);
            let used: u64 = mib.parse().unwrap();
            world
                .containers
                .get_mut(&name)
                .unwrap()
                .instance
                .memory_in_use = Some(used << 20);
        }
        ["lose", who] => {
            let name = name_of(world, who);
            world.containers.remove(&name);
        }
        ["unlabel", who] => {
            let name = name_of(world, who);
            world
                .containers
                .get_mut(&name)
                .unwrap()
                .instance
                .fields
                .clear();
        }
        ["image", reference, content] => world.add_image(reference, content),
        ["registry", reference, content] => {
            let info = shopctl::backend::memory::world::image(reference, content);
            world.registry.insert((*reference).to_owned(), info);
        }
        ["drop-image", reference] => {
            world.images.remove(*reference);
        }
        ["behave", service, how] => {
            let behaviour = match *how {
                "never-ready" => Behaviour::NeverReady,
                "unhealthy" => Behaviour::Unhealthy,
                "completes" => Behaviour::Exits(0),
                "fails" => Behaviour::Exits(1),
                _ => Behaviour::Ready,
            };
            world.behaviours.insert((*service).to_owned(), behaviour);
        }
        ["program", who, "unknown"] => gateway(world, who).program = None,
        ["program", who, program] => gateway(world, who).program = Some((*program).to_owned()),
        ["forget"] => forget(world),
        ["prober"] => prober(world),
        ["compose", service, slot, rest @ ..] => {
            let port = rest.first().copied().unwrap_or_default();
            world.add_compose_container(STACK, service, slot.parse().unwrap(), port);
        }
        ["volume", who, volume] => {
            let name = name_of(world, who);
            let one = world.containers.get_mut(&name).unwrap();
            one.instance.volumes.insert((*volume).to_owned());
        }
        ["scale", service, count] => {
            record_scale(world, service, count.parse().unwrap());
        }
        ["age", reference, seconds] => {
            let info = world.images.get_mut(*reference).unwrap();
            info.age_secs = Some(seconds.parse().unwrap());
        }
        ["api", version] => (*version).clone_into(&mut world.engine.api),
        ["no", "swap", "limit"] => world.engine.no_swap_limit = true,
        other => to_engine(world, other),
    }
}

/// What happens to the engine, not to a stack.
fn to_engine(world: &mut World, words: &[&str]) {
    match words {
        ["busy", port] => {
            world.busy_ports.insert((*port).to_owned());
        }
        ["disk", mib] => {
            let mib: u64 = mib.parse().unwrap();
            world.disk_free = Some(mib << 20);
        }
        ["foreign", name, port, rest @ ..] => foreign(world, name, port, rest),
        ["engine", cores, mib] => {
            world.engine.cpus = cores.parse().unwrap();
            let mib: u64 = mib.parse().unwrap();
            world.engine.memory = mib << 20;
        }
        other => panic!("{other:?} cannot happen"),
    }
}

/// A container outside the stack, with its port (`-` for none), CPU and memory.
fn foreign(world: &mut World, name: &str, port: &str, rest: &[&str]) {
    let number = |at: usize| rest.get(at).map_or(0, |text| text.parse().unwrap());
    world.foreign.push(Foreign {
        name: name.to_owned(),
        project: None,
        cpu_milli: number(0),
        memory: number(1) << 20,
        host_ports: std::iter::once(port.to_owned())
            .filter(|port| port != "-")
            .collect(),
    });
}

/// A prober that a killed run left behind.
fn prober(world: &mut World) {
    let instance = Instance {
        name: format!("{STACK}-prober"),
        role: Role::Prober,
        state: InstanceState::Running,
        ours: true,
        ..Instance::default()
    };
    let container = Container {
        stack: STACK.to_owned(),
        instance,
        ..Container::default()
    };
    world
        .containers
        .insert(container.instance.name.clone(), container);
}

fn record_scale(world: &mut World, service: &str, replicas: u32) {
    let change = serde_json::json!({
        service: { "replicas": replicas, "file_replicas": 2, "by": "ana", "at": 72060 }
    });
    let records = world.records.entry(STACK.to_owned()).or_default();
    records.insert("scale.json".to_owned(), change.to_string().into_bytes());
}

fn state(world: &mut World, who: &str, state: InstanceState) {
    let name = name_of(world, who);
    let one = world.containers.get_mut(&name).unwrap();
    one.instance.state = state;
    one.instance.health = None;
    one.ready = false;
}

/// What an engine does that starts again: what was in memory is gone.
fn forget(world: &mut World) {
    for one in world.containers.values_mut() {
        if one.instance.role == Role::Holder {
            one.instance.state = InstanceState::Exited {
                code: 0,
                oom: false,
            };
        }
    }
}

fn gateway<'w>(world: &'w mut World, name: &str) -> &'w mut Instance {
    &mut world.containers.get_mut(name).unwrap().instance
}

/// `order/1`, or a container's name.
fn name_of(world: &World, who: &str) -> String {
    let Some((service, slot)) = who.split_once('/') else {
        return who.to_owned();
    };
    let slot: u32 = slot.parse().unwrap();
    world
        .containers
        .values()
        .find(|one| one.instance.service == service && one.instance.slot == slot)
        .map_or_else(
            || panic!("no container {who}"),
            |one| one.instance.name.clone(),
        )
}

fn words(plan: &Plan) -> String {
    let mut text = String::new();
    if plan.steps.is_empty() {
        text.push_str("nothing to do\n");
    }
    for line in report::changes(plan) {
        writeln!(text, "{line}").unwrap();
    }
    for line in report::notes(plan) {
        writeln!(text, "{line}").unwrap();
    }
    if !plan.steps.is_empty() {
        text.push('\n');
    }
    for line in report::steps(plan) {
        writeln!(text, "{line}").unwrap();
    }
    text
}

fn refused(refusal: &Refusal) -> String {
    let mut text = String::from("refused\n");
    match refusal {
        Refusal::Preflight(obstacles) => {
            for one in obstacles {
                writeln!(text, "{}: {} ({})", one.place, one.message, one.hint).unwrap();
            }
        }
        Refusal::Capacity(report) => {
            for (name, one) in [("cpu", &report.cpu), ("memory", &report.memory)] {
                writeln!(
                    text,
                    "{name}: capacity {} demand {} declared {} surge {}",
                    one.capacity, one.demand, one.declared, one.surge
                )
                .unwrap();
            }
            for row in &report.services {
                writeln!(
                    text,
                    "{} x{}: cpu {} memory {}",
                    row.service, row.replicas, row.cpu_ratio_milli, row.memory_ratio_milli,
                )
                .unwrap();
            }
            for remedy in &report.remedies {
                writeln!(text, "remedy: {remedy}").unwrap();
            }
        }
    }
    text
}
