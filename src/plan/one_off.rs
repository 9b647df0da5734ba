//! A container beside a service, for one command that a user asks for.

use super::action::InstanceSpec;
use super::ground;
use super::input::PlanInput;
use super::replica;
use super::stage;
use super::view::View;
use crate::state::spec::NetworkMode;
use crate::state::task;

/// The container, named `name`; `None` where there is no such service.
pub fn one_off(input: &PlanInput<'_>, service: &str, name: String) -> Option<InstanceSpec> {
    let view = View::new(*input);
    let one = view
        .services
        .iter()
        .find(|one| one.service.name == service)?;
    let revision = &one.revision.digest;
    let join = match &one.service.container.network {
        NetworkMode::Service(other) => view.holder_of(other),
        _ => None,
    };
    let mut spec = task::one_off(&one.revision.spec);
    spec.share(|other| view.holder_of(other));
    Some(InstanceSpec {
        name,
        service: service.to_owned(),
        slot: 0,
        revision: revision.clone(),
        alias: String::new(),
        image_id: replica::image_id(one),
        spec,
        networks: ground::network_names(&view, one),
        volumes: ground::volumes_of(&view, one),
        files: ground::files_of(&view, one),
        join,
        volumes_from: stage::lent(&one.service.container, |other| view.holder_of(other)),
        labels: task::labels(input.desired, service, "run", revision),
    })
}
