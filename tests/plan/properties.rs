//! What holds for every plan, on random situations: it converges, it is the same
//! for the same input, and whatever fails, what served goes on serving.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use proptest::strategy::Strategy as _;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::Config;
use proptest::test_runner::RngAlgorithm;
use proptest::test_runner::TestRng;
use proptest::test_runner::TestRunner;
use shopctl::backend::memory::Behaviour;
use shopctl::backend::memory::Fault;
use shopctl::backend::memory::World;
use shopctl::plan::Options;
use shopctl::plan::action::Action;
use shopctl::plan::action::Plan;
use shopctl::plan::action::Step;
use shopctl::plan::check;
use shopctl::plan::check::Promise;
use shopctl::plan::report;
use shopctl::state::change;
use shopctl::state::hooks::Moment;
use shopctl::state::observed::ObservedState;
use shopctl::state::observed::Role;

use crate::random;
use crate::random::Situation;
use crate::sketch::STACK;
use crate::sketch::Sketch;
use crate::turn;

/// How often each kind of situation came up; a run without one of a kind proves
/// nothing about it.
#[derive(Debug, Default)]
struct Kinds(BTreeMap<&'static str, u64>);

impl Kinds {
    fn count(&mut self, kind: &'static str, came_up: bool) {
        *self.0.entry(kind).or_default() += u64::from(came_up);
    }

    fn all_came_up(&self) {
        let words: Vec<String> = self
            .0
            .iter()
            .map(|(kind, count)| format!("{kind} {count}"))
            .collect();
        let text = words.join(", ");
        assert!(
            self.0.values().all(|count| *count > 0),
            "a kind is missing: {text}"
        );
        println!("{text}");
    }
}

/// Runs a check on `count` random situations, always the same ones; `PLAN_CASES=10`
/// takes ten times as many.
fn on_situations(count: u32, mut check: impl FnMut(u32, &Situation)) {
    let factor = std::env::var("PLAN_CASES")
        .ok()
        .and_then(|text| text.parse().ok());
    let count = count * factor.unwrap_or(1);
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[8; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let strategy = random::situations();
    for number in 0..count {
        let situation = strategy.new_tree(&mut runner).unwrap().current();
        check(number, &situation);
    }
}

/// The world of a situation, right before its change.
fn arrange(situation: &Situation) -> (World, usize) {
    let mut world = World::default();
    turn::bring_images(&mut world, &situation.before);
    if !situation.before.services.is_empty() {
        let plan = turn::plan(&world, &situation.before, &Options::default());
        // What does not fit was never deployed.
        if let Ok(plan) = plan {
            turn::carry_out(&mut world, &plan, "first", |_| {}).unwrap();
        }
    }
    random::adopt(&mut world, situation);
    let hits = random::strike(&mut world, &situation.blows);
    turn::bring_images(&mut world, &situation.after);
    (world, hits)
}

fn options(situation: &Situation) -> Options {
    Options {
        prune: situation.prune.into(),
        // As good a coin as any.
        backwards: situation.prune,
        ..Options::default()
    }
}

/// Whether a service's name is among those of a gateway.
fn leads(names: &BTreeMap<String, BTreeSet<String>>, service: &str) -> bool {
    names.values().any(|names| names.contains(service))
}

/// What the plan owes each service of the file.
fn promises(sketch: &Sketch, observed: &ObservedState, plan: &Plan) -> BTreeMap<String, Promise> {
    let desired = sketch.desired();
    let targets = observed
        .store
        .as_ref()
        .and_then(|store| store.routes.as_ref())
        .map(|routes| routes.targets.clone())
        .unwrap_or_default();
    let mut promises = BTreeMap::new();
    for (name, service) in &desired.services {
        let mut instances = observed.instances.iter();
        let led =
            instances.any(|one| leads(&one.names, name) || (one.nameless && one.service == *name));
        let routed = desired
            .ports
            .iter()
            .any(|port| port.routes.iter().any(|route| route.service == *name))
            || (led && !service.inner.is_empty());
        let known = targets.get(name).cloned().unwrap_or_default();
        let mine = || observed.instances.iter().filter(|one| one.service == *name);
        let serving = mine()
            .filter(|one| change::serves(one) && (!routed || known.contains(&one.alias)))
            .count();
        let wanted = usize::try_from(service.replicas).unwrap();
        let gap = plan
            .notes
            .iter()
            .any(|note| note.service == *name && note.message.contains("stop-first"));
        // A restart in place takes one replica out, unless another stands in.
        let restarted = plan
            .steps
            .iter()
            .filter(|step| step.service == *name)
            .any(|step| match &step.action {
                Action::RestartContainer { container } => {
                    mine().any(|one| one.name == *container && change::serves(one))
                }
                _ => false,
            });
        let stands_in = report::changes(plan)
            .iter()
            .any(|line| line.starts_with(&format!("+ {name}/")) && line.contains("stand in"));
        let batch = match service.rollout.parallelism {
            // As many as a stage may need.
            _ if service.rollout.staged.is_some() && (routed || led) => wanted,
            0 => wanted,
            some => usize::try_from(some).unwrap(),
        };
        let up = mine().filter(|one| shopctl::plan::check::runs(one)).count();
        let least = match (gap, restarted && !stands_in) {
            (true, _) => 0,
            (false, true) => serving.min(wanted).saturating_sub(1),
            (false, false) => serving.min(wanted),
        };
        promises.insert(
            name.clone(),
            Promise {
                least,
                most: up.max(wanted) + batch.min(wanted.max(1)) + usize::from(stands_in),
                routed,
            },
        );
    }
    promises
}

/// Whatever the order of what may run: a `pre_deploy` comes before all that happens to
/// the replicas it is for, a `pre_start` before their start, the other hooks after it.
fn assert_hooks_in_place(plan: &Plan, why: &str) {
    let mut before: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
    for step in &plan.steps {
        let mut known = BTreeSet::new();
        for need in step.needs.iter().chain(&step.after) {
            known.insert(*need);
            known.extend(&before[need]);
        }
        before.insert(step.id, known);
    }
    for hook in &plan.steps {
        let Action::RunTask { task } = &hook.action else {
            continue;
        };
        let about = |step: &&Step| {
            let own = hook.service.is_empty() || step.service == hook.service;
            own && step.slot.is_some()
        };
        for step in plan.steps.iter().filter(about) {
            let kept = match task.moment {
                Moment::PreDeploy => before[&step.id].contains(&hook.id),
                Moment::PreStart => match &step.action {
                    Action::StartContainer { container } => {
                        // One that shares the volumes of a replica is for that alone.
                        let of_another = task.instance.volumes_from.first();
                        of_another.is_some_and(|name| name != container)
                            || before[&step.id].contains(&hook.id)
                    }
                    _ => true,
                },
                Moment::PostDeploy | Moment::OnRollback => before[&hook.id].contains(&step.id),
            };
            assert!(kept, "step {} and the hook {}: {why}", step.id, hook.id);
        }
    }
}

/// Fails when fewer replicas answer than promised.
fn assert_serving(world: &World, promises: &BTreeMap<String, Promise>, why: &str) {
    for (service, promise) in promises {
        let answering = world.answering(STACK, service);
        assert!(
            answering >= promise.least,
            "{why}: {answering} of {} replicas of {service} answer",
            promise.least
        );
    }
}

/// Fails when more replicas run than promised.
fn assert_bounded(world: &World, promises: &BTreeMap<String, Promise>, why: &str) {
    for (service, promise) in promises {
        let own = world.containers.values().filter(|one| {
            one.instance.service == *service && one.instance.role == Role::Service && one.runs()
        });
        let running = own.count();
        assert!(
            running <= promise.most,
            "{why}: {running} replicas of {service} run, at most {} may",
            promise.most
        );
    }
}

/// Keeps the services whose ports and gateways stay: others have a gap by nature.
fn keep_undisturbed(promises: &mut BTreeMap<String, Promise>, plan: &Plan, world: &World) {
    let touched = plan.steps.iter().any(|step| {
        matches!(&step.action, Action::StopContainer { container, .. }
            | Action::RemoveContainer { container } if container.contains("-gateway-"))
    });
    let down = world
        .containers
        .values()
        .all(|one| !one.instance.name.contains("-gateway-") || !one.runs());
    let routes = world.routes.get(STACK);
    let was_routed = |service: &str| {
        routes.is_some_and(|config| {
            let published = config
                .listeners
                .iter()
                .filter(|one| !one.id.starts_with("net/"));
            let mut all = published.flat_map(|one| &one.routes);
            let mut containers = world.containers.values();
            all.any(|route| route.service == *service)
                || containers.any(|one| leads(&one.instance.names, service))
        })
    };
    // A port that comes or goes is no promise kept over the change.
    promises.retain(|service, promise| {
        promise.routed == was_routed(service) && (!promise.routed || !(touched || down))
    });
}

#[test]
fn plans_converge_and_protect() {
    let mut kinds = Kinds::default();
    on_situations(1500, |number, situation| {
        let (mut world, hits) = arrange(situation);
        let observed = turn::look(&world, &situation.after);
        let options = options(situation);
        let Ok(plan) = turn::plan(&world, &situation.after, &options) else {
            kinds.count("refused", true);
            return;
        };
        let lines = report::changes(&plan);
        let name = format!(
            "case {number} {situation:#?}\n{}",
            report::steps(&plan).join("\n")
        );
        assert_eq!(check::structure(&plan), Vec::<String>::new(), "{name}");
        assert_hooks_in_place(&plan, &name);
        let mut owed = promises(&situation.after, &observed, &plan);
        let faults = check::protection(&plan, &observed, &owed);
        assert_eq!(faults, Vec::<String>::new(), "{name}");
        let bounds = owed.clone();
        keep_undisturbed(&mut owed, &plan, &world);
        turn::carry_out(&mut world, &plan, "second", |world| {
            assert_serving(world, &owed, &name);
            assert_bounded(world, &bounds, &name);
        })
        .unwrap_or_else(|why| panic!("{why}\n{name}"));
        let again = turn::plan(&world, &situation.after, &options).unwrap();
        assert_eq!(report::steps(&again), Vec::<String>::new(), "{name}");
        let any = |part: &str| lines.iter().any(|line| line.contains(part));
        kinds.count("refused", false);
        kinds.count("nothing to do", lines.is_empty());
        kinds.count("blows", hits > 0);
        kinds.count("adopted", any("made by Docker Compose"));
        kinds.count("replacement", any(" replace:"));
        kinds.count(
            "stop-first",
            plan.notes
                .iter()
                .any(|note| note.message.contains("stop-first")),
        );
        kinds.count(
            "surge",
            plan.capacity.cpu.surge > plan.capacity.cpu.demand && any(" replace:"),
        );
        kinds.count(
            "fewer at a time",
            plan.notes
                .iter()
                .any(|note| note.message.contains("no room")),
        );
        kinds.count("scale up", any("more replicas"));
        kinds.count("scale down", any("fewer replicas"));
        kinds.count("restart", any(" restart:"));
        kinds.count("in stages", any(" % of "));
        kinds.count("stand-in", any(" stand in:"));
        kinds.count("live update", any(" update:"));
        kinds.count("gateway replaced", any("gateway-1 replace"));
        kinds.count("before a service", any("run pre_deploy of a"));
        kinds.count("before the stack", any("run pre_deploy of the stack"));
        kinds.count("after a service", any("run post_deploy of a"));
        kinds.count("after the stack", any("run post_deploy of the stack"));
        kinds.count("on the way back", any("run on_rollback of a"));
        kinds.count(
            "a name led to the gateway",
            plan.notes
                .iter()
                .any(|note| note.message.contains("calls by its name go through")),
        );
        kinds.count(
            "a name taken back",
            any("answers to its service's name itself"),
        );
        kinds.count("other names", any("the names it answers to changed"));
        kinds.count("service removed", any("not in the file"));
    });
    kinds.all_came_up();
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    on_situations(200, |_, situation| {
        let (world, _) = arrange(situation);
        let plan = |world: &World| {
            let plan = turn::plan(world, &situation.after, &options(situation));
            serde_json::to_string(&plan).unwrap()
        };
        assert_eq!(plan(&world), plan(&world.clone()));
    });
}

#[test]
fn any_failing_step_leaves_what_the_next_run_finishes() {
    let mut kinds = Kinds::default();
    on_situations(120, |number, situation| {
        let (world, _) = arrange(situation);
        let observed = turn::look(&world, &situation.after);
        let options = options(situation);
        let Ok(plan) = turn::plan(&world, &situation.after, &options) else {
            return;
        };
        let mut owed = promises(&situation.after, &observed, &plan);
        keep_undisturbed(&mut owed, &plan, &world);
        for step in &plan.steps {
            for way in ["refused", "reply lost", "cut"] {
                let name = format!(
                    "case {number} step {} {way} {situation:#?}\n{}",
                    step.id,
                    report::steps(&plan).join("\n")
                );
                let mut world = world.clone();
                let call = world.faults.calls + u64::from(step.id);
                match way {
                    "refused" => world.faults.at.insert(call, Fault::Refused),
                    "reply lost" => world.faults.at.insert(call, Fault::ReplyLost),
                    _ => {
                        world.faults.crash_after = Some(call);
                        None
                    }
                };
                let outcome = turn::carry_out(&mut world, &plan, "second", |world| {
                    assert_serving(world, &owed, &name);
                });
                kinds.count(way, outcome.is_err());
                world.faults.at.clear();
                world.faults.crash_after = None;
                recover(&mut world, situation, &options, &owed, &name);
            }
        }
    });
    kinds.all_came_up();
}

#[test]
fn a_revision_that_never_gets_ready_takes_nothing_away() {
    let mut kinds = Kinds::default();
    on_situations(600, |number, situation| {
        let (world, hits) = arrange(situation);
        let observed = turn::look(&world, &situation.after);
        let options = options(situation);
        let Ok(plan) = turn::plan(&world, &situation.after, &options) else {
            return;
        };
        let mut owed = promises(&situation.after, &observed, &plan);
        keep_undisturbed(&mut owed, &plan, &world);
        for (service, sketch) in &situation.after.services {
            let gated = sketch.ready.is_some() || sketch.healthcheck;
            if !gated || hits > 0 {
                continue;
            }
            let mut world = world.clone();
            world
                .behaviours
                .insert(service.clone(), Behaviour::NeverReady);
            let name = format!(
                "case {number} {service} {situation:#?}\n{}",
                report::steps(&plan).join("\n")
            );
            let outcome = turn::carry_out(&mut world, &plan, "second", |world| {
                assert_serving(world, &owed, &name);
            });
            kinds.count("never ready", outcome.is_err());
            // It was only slow.
            world.behaviours.clear();
            world.get_ready();
            recover(&mut world, situation, &options, &owed, &name);
        }
    });
    kinds.all_came_up();
}

/// One more run ends in the desired state, and takes nothing away on its way.
fn recover(
    world: &mut World,
    situation: &Situation,
    options: &Options,
    owed: &BTreeMap<String, Promise>,
    name: &str,
) {
    let observed = turn::look(world, &situation.after);
    let plan = turn::plan(world, &situation.after, options)
        .unwrap_or_else(|refusal| panic!("{refusal:?}\n{name}"));
    let name = format!("{name}\nthen\n{}", report::steps(&plan).join("\n"));
    assert_eq!(check::structure(&plan), Vec::<String>::new(), "{name}");
    let mut now = promises(&situation.after, &observed, &plan);
    now.retain(|service, _| owed.contains_key(service));
    keep_undisturbed(&mut now, &plan, world);
    turn::carry_out(world, &plan, "third", |world| {
        assert_serving(world, &now, &name);
    })
    .unwrap_or_else(|why| panic!("{why}\n{name}"));
    let again = turn::plan(world, &situation.after, options).unwrap();
    assert_eq!(report::steps(&again), Vec::<String>::new(), "{name}");
}
