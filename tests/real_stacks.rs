//! Stacks of real shops, as their projects publish them: each is loaded, resolved,
//! planned, deployed to the world in memory, and planned again.
//!
//! They are the `shop-…` ones of the outside cases, and run where those are. The cases
//! hold stack files alone, so what a file names beside itself is made up: contents of
//! secrets, images, networks that must exist, jobs that end well.

#![expect(
    clippy::print_stdout,
    reason = "says where it looked for cases that are not there"
)]

#[path = "support/cases.rs"]
mod cases;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use shopctl::backend::BackendError;
use shopctl::backend::BuildImages;
use shopctl::backend::Context;
use shopctl::backend::Holder;
use shopctl::backend::Observe as _;
use shopctl::backend::Pending;
use shopctl::backend::Query;
use shopctl::backend::memory::Behaviour;
use shopctl::backend::memory::Memory;
use shopctl::backend::memory::World;
use shopctl::backend::memory::world::image;
use shopctl::capacity::ratio;
use shopctl::exec::Emitter;
use shopctl::exec::Mission;
use shopctl::exec::ProvideHelper;
use shopctl::exec::Verdict;
use shopctl::exec::carry_out;
use shopctl::plan;
use shopctl::plan::Learned;
use shopctl::plan::Options;
use shopctl::plan::PlanInput;
use shopctl::plan::action::Plan;
use shopctl::plan::action::Refusal;
use shopctl::stack::LoadRequest;
use shopctl::stack::load;
use shopctl::state::desired::DesiredState;
use shopctl::state::desired::ImageSource;
use shopctl::state::history::Release;
use shopctl::state::observed::ImageInfo;
use shopctl::state::observed::ObservedNetwork;
use shopctl::state::observed::ObservedState;
use shopctl::state::observed::ObservedVolume;
use shopctl::state::resolve;
use tokio::sync::mpsc;
use tokio::sync::watch;

const RUN: &str = "run";
const DATA_PLANE: &str = "shopctl:test";

/// Builders that always succeed.
struct Builders<'a> {
    memory: &'a Memory,
    desired: &'a DesiredState,
}

impl BuildImages for Builders<'_> {
    fn build<'a>(&'a self, service: &'a str, _: mpsc::Sender<String>) -> Pending<'a, ImageInfo> {
        Box::pin(async move {
            let Some(ImageSource::Build { tag: Some(tag) }) =
                self.desired.services.get(service).map(|one| &one.image)
            else {
                return Err(BackendError::NotFound {
                    what: service.to_owned(),
                });
            };
            self.memory.world().add_image(tag, "");
            Ok(image(tag, ""))
        })
    }
}

struct Present;

impl ProvideHelper for Present {
    fn provide<'a>(&'a self, _: &'a str) -> Pending<'a, ()> {
        Box::pin(async { Ok(()) })
    }
}

/// What the file asks for, or why it cannot be had.
fn desired(request: &LoadRequest) -> Result<DesiredState, String> {
    let stack = load(request)
        .map_err(|problems| problems.to_string())?
        .stack;
    let tags = stack
        .services
        .values()
        .filter(|service| service.build.is_some())
        .map(|service| {
            let tag = format!("{}-{}:0123456789ab", stack.name, service.name);
            (service.name.clone(), tag)
        })
        .collect();
    let contents = resolve::files(&stack)
        .into_iter()
        .map(|path| (path, b"made up".to_vec()))
        .collect();
    let inputs = resolve::Inputs {
        tags,
        contents,
        ..resolve::Inputs::default()
    };
    resolve::resolve(&stack, &inputs)
        .map(|resolved| resolved.desired)
        .map_err(|problems| problems.to_string())
}

/// A machine with 8 cores and 32 GiB, on which is what the stack takes for granted.
fn world(desired: &DesiredState) -> Memory {
    let mut world = World::default();
    world.engine.cpus = 8;
    world.engine.memory = 32 << 30;
    for service in desired.services.values() {
        if let ImageSource::Pull { reference, .. } = &service.image {
            world
                .registry
                .insert(reference.clone(), image(reference, ""));
        }
        if service.one_off {
            world
                .behaviours
                .insert(service.name.clone(), Behaviour::Exits(0));
        }
    }
    for network in desired.networks.values().filter(|one| one.external) {
        let there = ObservedNetwork {
            id: "n".to_owned(),
            of_stack: false,
            ours: false,
        };
        world.networks.insert(network.name.clone(), there);
    }
    for volume in desired.volumes.values().filter(|one| one.external) {
        let there = ObservedVolume { of_stack: false };
        world.volumes.insert(volume.name.clone(), there);
    }
    Memory::new(world)
}

fn plan_for(
    desired: &DesiredState,
    observed: &ObservedState,
    learned: &Learned,
) -> Result<Plan, Refusal> {
    let options = Options {
        learned: learned.clone(),
        data_plane: DATA_PLANE.to_owned(),
        ..Options::default()
    };
    plan::plan(&PlanInput {
        desired,
        observed,
        options: &options,
    })
}

/// Looks and plans.
async fn look(memory: &Memory, desired: &DesiredState) -> Result<Plan, Refusal> {
    let observed = memory.observe(&Query::of(desired)).await;
    plan_for(
        desired,
        &observed.expect("memory answers"),
        &Learned::default(),
    )
}

async fn deploy(memory: &Memory, desired: &DesiredState) -> Verdict {
    let (sender, mut events) = mpsc::unbounded_channel();
    let emitter = Emitter::new(sender, RUN);
    let (_stopper, stop) = watch::channel(false);
    let mission = Mission {
        query: &Query::of(desired),
        plan: &|observed, learned| plan_for(desired, observed, learned),
        agreed: None,
        context: &Context {
            stack: desired.stack.clone(),
            run: RUN.to_owned(),
            files: desired.files.clone(),
            helper_image: DATA_PLANE.to_owned(),
            ..Context::default()
        },
        holder: &Holder {
            who: "ana".to_owned(),
            host: "laptop".to_owned(),
            run: RUN.to_owned(),
            since: 1,
        },
        lock_wait: Duration::ZERO,
        helper: &Present,
        builds: &Builders { memory, desired },
        secrets: &[],
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
    let running = async {
        let verdict = carry_out(memory, &mission, &emitter).await;
        drop(emitter);
        verdict
    };
    let listening = async { while events.recv().await.is_some() {} };
    tokio::join!(running, listening).0
}

/// One line on a shop: it is there, all of it, and nothing is left to do.
async fn tried(request: &LoadRequest) -> Result<String, String> {
    let desired = desired(request)?;
    let memory = world(&desired);
    let plan = look(&memory, &desired)
        .await
        .map_err(|refusal| format!("{refusal:#?}"))?;
    let verdict = deploy(&memory, &desired).await;
    if !matches!(
        verdict,
        Verdict::Done {
            release: Some(1),
            ..
        }
    ) {
        return Err(format!("{verdict:#?}"));
    }
    for (name, service) in desired.services.iter().filter(|(_, one)| !one.one_off) {
        let answering = memory.world().answering(&desired.stack, name);
        if answering != service.replicas as usize {
            return Err(format!(
                "{answering} of {} replicas of {name} answer",
                service.replicas
            ));
        }
    }
    let again = look(&memory, &desired)
        .await
        .map_err(|refusal| format!("then {refusal:#?}"))?;
    if !again.steps.is_empty() {
        let left = plan::report::steps(&again).join("\n");
        return Err(format!("not empty when planned again:\n{left}"));
    }
    let capacity = &plan.capacity;
    assert_eq!(capacity.services.len(), desired.services.len());
    let (cpu, memory) = (&capacity.cpu, &capacity.memory);
    Ok(format!(
        "{:>8} {:>9} {:>6} {:>8} {:>8}",
        desired.services.len(),
        desired
            .services
            .values()
            .map(|one| one.replicas)
            .sum::<u32>(),
        plan.steps.len(),
        thousandths(ratio::milli(cpu.demand, cpu.capacity)),
        thousandths(ratio::milli(memory.demand, memory.capacity)),
    ))
}

fn thousandths(milli: u64) -> String {
    format!("{}.{:03}", milli / 1000, milli % 1000)
}

#[tokio::test(start_paused = true)]
async fn real_shops_come_up_and_are_then_as_they_should_be() {
    let Some(folder) = cases::outside() else {
        return;
    };
    let work = tempfile::tempdir().expect("a folder");
    let mut table = format!(
        "{:<36} services  replicas  steps    R cpu    R mem\n",
        "shop"
    );
    let mut failed = BTreeMap::new();
    for (name, path) in cases::list(&folder) {
        let accepted = path.join("expected.json").exists();
        if !name.starts_with("shop-") || !accepted {
            continue;
        }
        match tried(&cases::lay(&path, work.path())).await {
            Ok(line) => writeln!(table, "{name:<36} {line}").expect("text"),
            Err(why) => {
                failed.insert(name, why.replace(&*work.path().to_string_lossy(), "@DIR@"));
            }
        }
    }
    for (name, why) in &failed {
        println!("== {name}\n{why}");
    }
    assert!(
        failed.is_empty(),
        "{} shops failed: {:?}",
        failed.len(),
        failed.keys()
    );
    insta::assert_snapshot!(table);
}
