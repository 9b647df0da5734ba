//! One turn: look, plan, do. The executor here is the simplest there is: steps in
//! their order, gates at once, end at the first failure.

use std::collections::BTreeSet;

use shopctl::backend::Context;
use shopctl::backend::Query;
use shopctl::backend::memory::World;
use shopctl::backend::memory::world::image;
use shopctl::plan;
use shopctl::plan::Options;
use shopctl::plan::PlanInput;
use shopctl::plan::action::Action;
use shopctl::plan::action::Gate;
use shopctl::plan::action::Plan;
use shopctl::plan::action::Refusal;
use shopctl::plan::action::Step;
use shopctl::state::history::Head;
use shopctl::state::observed::ObservedState;
use shopctl::state::observed::Role;
use shopctl::state::records::HEAD;

use crate::sketch::STACK;
use crate::sketch::Sketch;
use crate::sketch::compose_hash;

/// A look that covers what a sketch needs.
pub(crate) fn look(world: &World, sketch: &Sketch) -> ObservedState {
    let desired = sketch.desired();
    world.observe(&Query {
        stack: STACK.to_owned(),
        images: sketch.images().into_iter().collect(),
        networks: desired
            .networks
            .values()
            .map(|one| one.name.clone())
            .collect(),
        volumes: desired
            .volumes
            .values()
            .map(|one| one.name.clone())
            .collect(),
        ports: desired.host_ports(),
        foreign: true,
        desired: None,
    })
}

/// The plan for a sketch in a world.
pub(crate) fn plan(world: &World, sketch: &Sketch, options: &Options) -> Result<Plan, Refusal> {
    let observed = look(world, sketch);
    plan::plan(&PlanInput {
        desired: &sketch.desired(),
        observed: &observed,
        options,
    })
}

/// What the executor hands to actions.
pub(crate) fn context(run: &str) -> Context {
    Context {
        stack: STACK.to_owned(),
        run: run.to_owned(),
        helper_image: "shopctl:test".to_owned(),
        ..Context::default()
    }
}

/// Does a plan; `watch` sees the world after each step.
pub(crate) fn carry_out(
    world: &mut World,
    plan: &Plan,
    run: &str,
    mut watch: impl FnMut(&World),
) -> Result<(), String> {
    let context = context(run);
    let mut done = BTreeSet::new();
    for step in &plan.steps {
        assert!(
            step.needs
                .iter()
                .chain(&step.after)
                .all(|need| done.contains(need)),
            "step {} comes before what it needs",
            step.id
        );
        let outcome = world.apply(&context, &step.action);
        watch(world);
        outcome.map_err(|error| format!("step {}: {error}", step.id))?;
        world
            .gate(&step.gate)
            .map_err(|why| format!("step {}: {why}", step.id))?;
        done.insert(step.id);
    }
    record(world, plan);
    Ok(())
}

/// Records what passed its gate, as a run does at its end.
fn record(world: &mut World, plan: &Plan) {
    let records = world.records.entry(STACK.to_owned()).or_default();
    let mut head: Head = records
        .get(HEAD)
        .map(|bytes| serde_json::from_slice(bytes).unwrap())
        .unwrap_or_default();
    let hooked = |step: &Step| matches!(step.action, Action::RunTask { .. });
    if plan.steps.iter().any(hooked) {
        // With its hooks a service is done.
        let instances = world.containers.values().map(|one| &one.instance);
        let replicas = instances.filter(|one| one.role == Role::Service && one.ours);
        head.proved
            .extend(replicas.map(|one| (one.service.clone(), one.revision.clone())));
    }
    for step in &plan.steps {
        if let Gate::Ready { container, .. } = &step.gate
            && let Some(found) = world.containers.get(container)
        {
            let revision = found.instance.revision.clone();
            head.proved.insert(step.service.clone(), revision);
        }
    }
    head.taken_over.clone_from(&plan.taken_over);
    for one in world.containers.values().map(|one| &one.instance) {
        if let Some(revision) = plan.taken_over.get(&one.id) {
            head.proved.insert(one.service.clone(), revision.clone());
        }
    }
    records.insert(HEAD.to_owned(), serde_json::to_vec(&head).unwrap());
}

/// Docker Compose made the containers of a service from this very file, of an image with
/// this content.
pub(crate) fn made_from_file(world: &mut World, after: &Sketch, name: &str, content: &str) {
    let service = &after.services[name];
    let reference = service.image.clone().unwrap_or_else(|| format!("{name}:1"));
    let info = image(&reference, content);
    let made = world.containers.values_mut().map(|one| &mut one.instance);
    for one in made.filter(|one| one.service == name && !one.ours) {
        one.compose_hash = compose_hash(name, service);
        one.image_id.clone_from(&info.id);
        one.image_content.clone_from(&info.content);
    }
}

/// Puts the images that the sketch pulls on the engine.
pub(crate) fn bring_images(world: &mut World, sketch: &Sketch) {
    for step in sketch.services.values().flat_map(|one| &one.pre_start) {
        if let Some((_, image)) = step.split_once(" of ")
            && !world.registry.contains_key(image)
        {
            world.add_image(image, "");
        }
    }
    for (name, service) in &sketch.services {
        if service.build.is_none() {
            let reference = service.image.clone().unwrap_or_else(|| format!("{name}:1"));
            if !world.images.contains_key(&reference) {
                world.add_image(&reference, "");
            }
            world
                .registry
                .entry(reference.clone())
                .or_insert_with(|| image(&reference, ""));
        }
    }
}
