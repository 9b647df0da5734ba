//! The executor over the world in memory: it converges, it keeps what serves,
//! and no failure of any single call leaves a stack that a second run cannot mend.

mod adopt;
mod bear;
mod gates;
mod histories;
mod outage;
mod upgrade;
mod words;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

use shopctl::backend::BackendError;
use shopctl::backend::BuildImages;
use shopctl::backend::Context;
use shopctl::backend::Holder;
use shopctl::backend::Observe as _;
use shopctl::backend::Pending;
use shopctl::backend::Query;
use shopctl::backend::memory::Behaviour;
use shopctl::backend::memory::Fault;
use shopctl::backend::memory::Memory;
use shopctl::backend::memory::World;
use shopctl::event::Event;
use shopctl::event::EventKind;
use shopctl::exec::Emitter;
use shopctl::exec::Mission;
use shopctl::exec::ProvideHelper;
use shopctl::exec::Verdict;
use shopctl::exec::carry_out;
use shopctl::gateway::Fleet;
use shopctl::gateway::fence;
use shopctl::plan::Learned;
use shopctl::plan::Options;
use shopctl::plan::PlanInput;
use shopctl::plan::action::Action;
use shopctl::state::desired::Condition;
use shopctl::state::desired::Dependency;
use shopctl::state::desired::DesiredState;
use shopctl::state::desired::ImageSource;
use shopctl::state::desired::PublishedPort;
use shopctl::state::desired::PullPolicy;
use shopctl::state::desired::ReadyGate;
use shopctl::state::desired::Route;
use shopctl::state::desired::ServiceSpec;
use shopctl::state::history::Head;
use shopctl::state::history::Outcome;
use shopctl::state::history::Release;
use shopctl::state::hooks::Hook;
use shopctl::state::hooks::Hooks;
use shopctl::state::observed::ImageInfo;
use shopctl::state::records::HEAD;
use shopctl::state::spec::Endpoint;
use shopctl::state::spec::NetworkMode;
use shopctl::state::spec::NetworkSpec;
use tokio::sync::mpsc;
use tokio::sync::watch;

struct NoBuilds;

impl BuildImages for NoBuilds {
    fn build<'a>(&'a self, service: &'a str, _: mpsc::Sender<String>) -> Pending<'a, ImageInfo> {
        Box::pin(async move {
            Err(BackendError::NotFound {
                what: service.to_owned(),
            })
        })
    }
}

/// Builders that take a second each, and count how many are at work.
struct Builders<'a> {
    memory: &'a Memory,
    at_work: AtomicUsize,
    most: AtomicUsize,
}

impl BuildImages for Builders<'_> {
    fn build<'a>(&'a self, service: &'a str, _: mpsc::Sender<String>) -> Pending<'a, ImageInfo> {
        Box::pin(async move {
            let now = self.at_work.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(now, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_secs(1)).await;
            self.at_work.fetch_sub(1, Ordering::SeqCst);
            let tag = format!("shop-{service}:1");
            let mut world = self.memory.world();
            world.add_image(&tag, "one");
            Ok(world.images[&tag].clone())
        })
    }
}

struct Present;

impl ProvideHelper for Present {
    fn provide<'a>(&'a self, _: &'a str) -> Pending<'a, ()> {
        Box::pin(async { Ok(()) })
    }
}

fn service(name: &str, version: &str, needs: &[&str]) -> ServiceSpec {
    let mut service = ServiceSpec {
        name: name.into(),
        replicas: 2,
        image: ImageSource::Pull {
            reference: "app:1".into(),
            policy: PullPolicy::Missing,
        },
        ready: ReadyGate::Probe {
            port: 8000,
            http: Some("/readyz".into()),
            deadline_ms: 1000,
        },
        needs: needs
            .iter()
            .map(|other| Dependency {
                service: (*other).into(),
                condition: Condition::Healthy,
                required: true,
                restart: false,
            })
            .collect(),
        ..ServiceSpec::default()
    };
    service.container.image = "app:1".into();
    service
        .container
        .environment
        .insert("VERSION".into(), Some(version.into()));
    service.container.network = NetworkMode::Networks(BTreeMap::from([(
        "default".into(),
        Endpoint {
            aliases: vec![name.into()],
            ..Endpoint::default()
        },
    )]));
    service
}

/// `order` behind a published port, and `goods`, which it needs.
fn desired(version: &str) -> DesiredState {
    let services = [
        service("goods", "1", &[]),
        service("order", version, &["goods"]),
    ];
    DesiredState {
        stack: "shop".into(),
        services: services
            .into_iter()
            .map(|one| (one.name.clone(), one))
            .collect(),
        networks: BTreeMap::from([(
            "default".into(),
            NetworkSpec {
                name: "shop_default".into(),
                ..NetworkSpec::default()
            },
        )]),
        ports: vec![PublishedPort {
            id: "*:8000/tcp".into(),
            host_port: Some(8000),
            http: true,
            routes: vec![Route {
                host: None,
                path: "/".into(),
                service: "order".into(),
                port: 8000,
            }],
            host_ip: String::new(),
            place: String::new(),
        }],
        cpu_overcommit_percent: 100,
        ..DesiredState::default()
    }
}

fn query() -> Query {
    Query {
        stack: "shop".into(),
        images: BTreeSet::from(["app:1".into()]),
        networks: BTreeSet::from(["shop_default".into()]),
        foreign: true,
        ..Query::default()
    }
}

fn world() -> Memory {
    let mut world = World::default();
    world.add_image("app:1", "one");
    world.engine.cpus = 8;
    world.engine.memory = 16 << 30;
    Memory::new(world)
}

/// Deploys; the verdict and the events.
async fn deploy(memory: &Memory, desired: &DesiredState) -> (Verdict, Vec<Event>) {
    let mut seen = Vec::new();
    let verdict = watched(memory, desired, &NoBuilds, None, &mut seen).await;
    (verdict, seen)
}

/// Deploys and asks to stop when a step that begins like this starts, or, where that is
/// `retrying`, when the engine is away.
async fn deploy_until(memory: &Memory, desired: &DesiredState, at: Option<&str>) -> Verdict {
    watched(memory, desired, &NoBuilds, at, &mut Vec::new()).await
}

async fn watched(
    memory: &Memory,
    desired: &DesiredState,
    builds: &dyn BuildImages,
    stop_at: Option<&str>,
    seen: &mut Vec<Event>,
) -> Verdict {
    with_data_plane("helper:1", memory, desired, builds, stop_at, seen).await
}

async fn with_data_plane(
    helper_image: &str,
    memory: &Memory,
    desired: &DesiredState,
    builds: &dyn BuildImages,
    stop_at: Option<&str>,
    seen: &mut Vec<Event>,
) -> Verdict {
    let (sender, mut events) = mpsc::unbounded_channel();
    let emitter = Emitter::new(sender, "run");
    let plan = |observed: &_, learned: &Learned| {
        let options = Options {
            learned: learned.clone(),
            data_plane: helper_image.to_owned(),
            ..Options::default()
        };
        shopctl::plan::plan(&PlanInput {
            desired,
            observed,
            options: &options,
        })
    };
    let (stopper, stop) = watch::channel(false);
    let running = async move {
        let mission = Mission {
            query: &query(),
            plan: &plan,
            agreed: None,
            context: &Context {
                stack: "shop".into(),
                run: "run".into(),
                helper_image: helper_image.to_owned(),
                ..Context::default()
            },
            holder: &Holder {
                who: "ana".into(),
                host: "laptop".into(),
                run: "run".into(),
                since: 1,
            },
            lock_wait: Duration::ZERO,
            helper: &Present,
            builds,
            secrets: &["s3cret".to_owned()],
            timeout: None,
            patience: Duration::from_mins(1),
            stop,
            release: Some(Release {
                desired: desired.clone(),
                ..Release::default()
            }),
            goes_back: true,
            converge: true,
        };
        let verdict = carry_out(memory, &mission, &emitter).await;
        drop(emitter);
        verdict
    };
    let looking = async {
        while let Some(event) = events.recv().await {
            let word = match &event.kind {
                EventKind::StepStarted { what, .. } => what.as_str(),
                EventKind::Retrying { .. } => "retrying",
                _ => "",
            };
            if stop_at.is_some_and(|at| word.starts_with(at)) {
                let _ = stopper.send(true);
            }
            seen.push(event);
        }
    };
    let (verdict, ()) = tokio::join!(running, looking);
    verdict
}

/// What became of the newest release.
fn newest(memory: &Memory) -> Outcome {
    let world = memory.world();
    let head = &world.records["shop"][HEAD];
    let head: Head = serde_json::from_slice(head).expect("JSON");
    head.newest.expect("a release").outcome
}

/// The release that a run recorded when all went well.
fn released(verdict: &Verdict) -> Option<u64> {
    match verdict {
        Verdict::Done { release, .. } => *release,
        _ => None,
    }
}

async fn steps_left(memory: &Memory, desired: &DesiredState) -> usize {
    let observed = memory.observe(&query()).await.expect("memory answers");
    let options = Options::default();
    let plan = shopctl::plan::plan(&PlanInput {
        desired,
        observed: &observed,
        options: &options,
    });
    plan.expect("a plan").steps.len()
}

#[tokio::test(start_paused = true)]
async fn a_deploy_converges_and_the_second_has_nothing_to_do() {
    let memory = world();
    let (first, events) = deploy(&memory, &desired("1")).await;
    assert_eq!(released(&first), Some(1), "{first:?} {events:#?}");
    assert_eq!(memory.world().answering("shop", "order"), 2);
    assert_eq!(steps_left(&memory, &desired("1")).await, 0);
    let calls = memory.world().faults.calls;
    let (second, _) = deploy(&memory, &desired("1")).await;
    assert!(
        matches!(
            second,
            Verdict::Done {
                release: None,
                steps: 0
            }
        ),
        "{second:?}"
    );
    // Taking and freeing the lock is all that a second run may do.
    assert!(memory.world().faults.calls <= calls + 2);
}

#[tokio::test(start_paused = true)]
async fn images_are_built_side_by_side_but_never_more_than_four() {
    let memory = world();
    let built = |number: usize| {
        let name = format!("s{number}");
        let mut service = service(&name, "1", &[]);
        let tag = format!("shop-{name}:1");
        service.image = ImageSource::Build {
            tag: Some(tag.clone()),
        };
        service.container.image = tag;
        (name, service)
    };
    let desired = DesiredState {
        services: (0..10).map(built).collect(),
        ports: Vec::new(),
        ..desired("1")
    };
    let builders = Builders {
        memory: &memory,
        at_work: AtomicUsize::new(0),
        most: AtomicUsize::new(0),
    };
    let mut seen = Vec::new();
    let verdict = watched(&memory, &desired, &builders, None, &mut seen).await;
    assert!(matches!(verdict, Verdict::Done { .. }), "{verdict:?}");
    assert_eq!(builders.most.into_inner(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_change_replaces_one_service_and_no_other() {
    let memory = world();
    deploy(&memory, &desired("1")).await;
    let (changed, events) = deploy(&memory, &desired("2")).await;
    assert_eq!(released(&changed), Some(2), "{changed:?}");
    let touched: BTreeSet<String> = events
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::StepFinished { service, .. } => Some(service.clone()),
            _ => None,
        })
        .collect();
    assert!(
        touched.contains("order") && !touched.contains("goods"),
        "{touched:?}"
    );
    assert_eq!(memory.world().answering("shop", "order"), 2);
}

/// Fails each mutating call of a change in turn, before and after it took
/// effect: what served still serves, and one more deploy converges.
#[tokio::test(start_paused = true)]
#[expect(clippy::print_stdout, reason = "how often the faults bit")]
async fn no_failing_call_leaves_a_stack_that_cannot_be_mended() {
    let whole = world();
    deploy(&whole, &desired("1")).await;
    let before = whole.world().faults.calls;
    deploy(&whole, &desired("2")).await;
    let calls = whole.world().faults.calls - before;
    assert!(calls > 10, "only {calls} calls: nothing was changed");
    let mut failed = 0;
    for fault in [Fault::Refused, Fault::ReplyLost] {
        for call in 1..=calls {
            let memory = world();
            deploy(&memory, &desired("1")).await;
            {
                let mut world = memory.world();
                let at = world.faults.calls + call;
                world.faults.at.insert(at, fault);
            }
            let (verdict, events) = deploy(&memory, &desired("2")).await;
            if !matches!(verdict, Verdict::Done { .. }) {
                failed += 1;
            }
            assert!(
                memory.world().answering("shop", "order") >= 2,
                "{fault:?} of call {call}: {verdict:?} {events:#?}"
            );
            memory.world().faults.at.clear();
            let (mended, events) = deploy(&memory, &desired("2")).await;
            assert!(
                matches!(mended, Verdict::Done { .. }),
                "{fault:?} of call {call}: {mended:?} {events:#?}"
            );
            assert_eq!(
                steps_left(&memory, &desired("2")).await,
                0,
                "{fault:?} of call {call}"
            );
            assert_eq!(
                memory.world().running("shop", "order"),
                2,
                "{fault:?} of call {call}"
            );
        }
    }
    println!(
        "{calls} calls, {failed} of {} runs failed and were mended",
        2 * calls
    );
    assert!(failed >= calls, "the faults did not bite");
}

/// A wish to stop is never taken for success, whoever hears of it first.
#[tokio::test(start_paused = true)]
async fn a_stopped_run_is_not_done() {
    let mut desired = desired("1");
    // Nothing is routed, so no route is left to give the run away.
    desired.services.remove("order");
    desired.ports.clear();
    for service in desired.services.values_mut() {
        // This gate takes its time, so the wish always finds it waiting.
        service.ready = ReadyGate::Running;
    }
    for _ in 0..50 {
        let memory = world();
        let stopped = deploy_until(&memory, &desired, Some("start ")).await;
        assert!(
            matches!(stopped, Verdict::Stopped { left } if left > 0),
            "{stopped:?}"
        );
        let (finished, _) = deploy(&memory, &desired).await;
        assert!(matches!(finished, Verdict::Done { .. }), "{finished:?}");
        assert_eq!(steps_left(&memory, &desired).await, 0);
    }
}

/// The stack with hooks on `order`.
fn hooked(version: &str, hooks: Hooks) -> DesiredState {
    let mut desired = desired(version);
    if let Some(order) = desired.services.get_mut("order") {
        order.hooks = hooks;
    }
    desired
}

fn hook(word: &str) -> Hook {
    Hook {
        command: vec!["/app".into(), word.into()],
        timeout_ms: 5000,
        ..Hook::default()
    }
}

fn migrates() -> Hooks {
    Hooks {
        pre_deploy: Some(hook("migrate")),
        post_deploy: Some(hook("warm")),
        on_rollback: Some(hook("undo")),
    }
}

fn names(memory: &Memory) -> Vec<String> {
    memory.world().containers.keys().cloned().collect()
}

/// The hooks that were started in a run, in order.
fn started_hooks(events: &[Event]) -> Vec<&str> {
    let starts = events.iter().filter_map(|event| match &event.kind {
        EventKind::StepStarted { what, .. } => what.strip_prefix("run "),
        _ => None,
    });
    starts.filter_map(|what| what.split(' ').next()).collect()
}

#[tokio::test(start_paused = true)]
async fn hooks_run_once_for_a_revision_and_leave_nothing() {
    let memory = world();
    let (first, events) = deploy(&memory, &hooked("1", migrates())).await;
    assert!(matches!(first, Verdict::Done { .. }), "{first:?}");
    assert_eq!(started_hooks(&events), ["pre_deploy", "post_deploy"]);
    assert_eq!(steps_left(&memory, &hooked("1", migrates())).await, 0);
    assert!(names(&memory).iter().all(|name| !name.contains("deploy")));
    // Another command is no other revision.
    assert_eq!(steps_left(&memory, &hooked("1", Hooks::default())).await, 0);
    let (second, events) = deploy(&memory, &hooked("2", migrates())).await;
    assert!(matches!(second, Verdict::Done { .. }), "{second:?}");
    assert_eq!(started_hooks(&events), ["pre_deploy", "post_deploy"]);
}

/// `goods` changed already, `order` was not touched: the stack goes back.
#[tokio::test(start_paused = true)]
async fn a_failing_pre_deploy_touches_no_replica_and_takes_the_change_back() {
    for behaviour in [Behaviour::Exits(3), Behaviour::Ready] {
        let memory = world();
        let mut first = hooked("1", migrates());
        deploy(&memory, &first).await;
        let before = names(&memory);
        memory
            .world()
            .behaviours
            .insert("shop-order-pre-deploy".into(), behaviour);
        let journal = memory.world().journal.len();
        let mut next = hooked("2", migrates());
        if let Some(goods) = next.services.get_mut("goods") {
            goods.container.command = Some(vec!["new".into()]);
        }
        let (verdict, events) = deploy(&memory, &next).await;
        let Verdict::RolledBack { failure, to: 1 } = verdict else {
            panic!("{verdict:?}");
        };
        let how = match behaviour {
            Behaviour::Exits(_) => "pre_deploy of order (/app migrate) ended with exit code 3",
            _ => "pre_deploy of order (/app migrate) was killed: it had not ended after 5 s",
        };
        assert_eq!(failure.message, how);
        assert_eq!(started_hooks(&events), ["pre_deploy", "on_rollback"]);
        assert_eq!(names(&memory), before);
        let about_order = |action: &Action| match action {
            Action::StopContainer { container, .. } | Action::RemoveContainer { container } => {
                container.starts_with("shop-order-") && before.contains(container)
            }
            Action::CreateInstance { instance } => instance.service == "order" && instance.slot > 0,
            _ => false,
        };
        let touched = memory.world().journal[journal..].iter().any(about_order);
        assert!(!touched, "{behaviour:?}");
        memory.world().behaviours.clear();
        first.services.clone_from(&next.services);
        let (mended, _) = deploy(&memory, &first).await;
        assert!(matches!(mended, Verdict::Done { .. }), "{mended:?}");
        assert_eq!(steps_left(&memory, &first).await, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_failing_post_deploy_fails_the_change_and_a_failing_way_back_is_told() {
    let memory = world();
    deploy(&memory, &hooked("1", migrates())).await;
    let before = names(&memory);
    let fails = |memory: &Memory, hook: &str| {
        let mut world = memory.world();
        world.behaviours.insert(hook.into(), Behaviour::Exits(1));
    };
    fails(&memory, "shop-order-post-deploy");
    let (verdict, events) = deploy(&memory, &hooked("2", migrates())).await;
    assert!(
        matches!(verdict, Verdict::RolledBack { to: 1, .. }),
        "{verdict:?}"
    );
    let ran = ["pre_deploy", "post_deploy", "on_rollback"];
    assert_eq!(started_hooks(&events), ran);
    assert_eq!(names(&memory), before);
    fails(&memory, "shop-order-on-rollback");
    let (verdict, _) = deploy(&memory, &hooked("2", migrates())).await;
    assert!(
        matches!(&verdict, Verdict::Stranded { to: 1, why, .. } if why.contains("on_rollback of order")),
        "{verdict:?}"
    );
    assert_eq!(names(&memory), before);
    assert_eq!(memory.world().answering("shop", "order"), 2);
}

/// Half a migration is no safe point: it runs to its end, and nothing after it begins.
#[tokio::test(start_paused = true)]
async fn a_wish_to_stop_waits_for_the_hook_that_runs() {
    let memory = world();
    deploy(&memory, &hooked("1", migrates())).await;
    let before = names(&memory);
    memory
        .world()
        .behaviours
        .insert("shop-order-pre-deploy".into(), Behaviour::Ready);
    let mut seen = Vec::new();
    let next = hooked("2", migrates());
    let verdict = watched(&memory, &next, &NoBuilds, Some("run pre_deploy"), &mut seen).await;
    // It hung until its time was up, though the wish came long before.
    assert!(
        matches!(&verdict, Verdict::RolledBack { failure, .. } if failure.message.contains("was killed")),
        "{verdict:?}"
    );
    assert_eq!(names(&memory), before);
}

/// Cut at each call, the next deploy converges, and the hooks have run by then.
#[tokio::test(start_paused = true)]
async fn a_run_with_hooks_that_is_cut_anywhere_is_finished_by_the_next() {
    let whole = world();
    deploy(&whole, &hooked("1", migrates())).await;
    let before = whole.world().faults.calls;
    deploy(&whole, &hooked("2", migrates())).await;
    let calls = whole.world().faults.calls - before;
    for call in 1..=calls {
        let memory = world();
        deploy(&memory, &hooked("1", migrates())).await;
        let started = memory.world().faults.calls;
        memory.world().faults.crash_after = Some(started + call);
        let (cut, first) = deploy(&memory, &hooked("2", migrates())).await;
        memory.world().faults.crash_after = None;
        let (mended, second) = deploy(&memory, &hooked("2", migrates())).await;
        assert!(
            matches!(mended, Verdict::Done { .. }),
            "cut after call {call}: {mended:?}"
        );
        assert_eq!(steps_left(&memory, &hooked("2", migrates())).await, 0);
        assert_eq!(newest(&memory), Outcome::Deployed, "cut after call {call}");
        assert!(names(&memory).iter().all(|name| !name.contains("deploy")));
        let finished = |hook: &str| {
            let mut all = first.iter().chain(&second);
            all.any(|event| {
                matches!(&event.kind, EventKind::StepFinished { what, .. } if what.starts_with(hook))
            })
        };
        for hook in ["run pre_deploy", "run post_deploy"] {
            assert!(finished(hook), "cut after call {call}: {hook}: {cut:?}");
        }
    }
}

/// The clock of the engine was set back: the gateways hold a lock id of the future.
#[tokio::test(start_paused = true)]
async fn routes_with_a_lock_of_the_future_do_not_shut_deploys_out() {
    let memory = world();
    deploy(&memory, &desired("1")).await;
    let future = 9_000_000;
    let ahead = |memory: &Memory| {
        let mut world = memory.world();
        world.routes.get_mut("shop").expect("routes").lock = future;
    };
    ahead(&memory);
    let (second, events) = deploy(&memory, &desired("2")).await;
    assert_eq!(released(&second), Some(2), "{second:?} {events:#?}");
    assert_eq!(memory.world().answering("shop", "order"), 2);
    let lock = memory.world().routes["shop"].lock;
    assert_eq!(lock, future + 1, "one run is one writer");
    // A way back within the run writes as the same holder.
    let next = ("order".to_owned(), Behaviour::Exits(3));
    memory.world().behaviours.extend([next]);
    let (failed, _) = deploy(&memory, &desired("3")).await;
    assert!(
        matches!(failed, Verdict::RolledBack { to: 2, .. }),
        "{failed:?}"
    );
    assert_eq!(memory.world().routes["shop"].lock, future + 2);
}

/// Two holders after a clock that was set back: who comes later wins, and the one before
/// cannot write, whatever it had read.
#[tokio::test]
async fn a_holder_that_lost_its_lock_cannot_write_after_the_clock_was_set_back() {
    let memory = world();
    deploy(&memory, &desired("1")).await;
    memory.world().routes.get_mut("shop").expect("routes").lock = 9_000_000;
    let context = Context {
        stack: "shop".into(),
        ..Context::default()
    };
    let before = memory.observe(&query()).await.expect("memory answers");
    let old = fence(7, &before);
    let stale = Fleet::new(&memory, &context, old, &before);
    stale.claim().await.expect("it holds the lock");
    let now = memory.observe(&query()).await.expect("memory answers");
    let new = fence(3, &now);
    assert!(new > old, "{new} after {old}");
    let holder = Fleet::new(&memory, &context, new, &now);
    holder.claim().await.expect("it holds the lock");
    let late = stale.add_target("order", "i-late", "", None).await;
    assert!(late.is_err(), "the gateway refuses what comes late");
    holder
        .add_target("order", "i-next", "", None)
        .await
        .expect("the holder writes");
    // A clock that runs as it should needs no more than its own time.
    assert_eq!(fence(9_999_999, &now), 9_999_999);
}
