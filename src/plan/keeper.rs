//! The keeper: holds the store of a stack that publishes nothing.

use std::collections::BTreeMap;

use super::action::Action;
use super::action::Cause;
use super::action::StepId;
use super::doors::Gateways;
use super::draft::Draft;
use super::gateway;
use super::gateway::Mended;
use super::ground::Ground;
use super::inner;
use super::view::View;
use crate::state::desired::PublishedPort;
use crate::state::names;
use crate::state::observed::Instance;
use crate::state::observed::Role;

/// Makes or mends the keeper, or removes it where a gateway holds the store.
pub(super) fn draft(
    view: &View<'_>,
    draft: &mut Draft,
    ground: &Ground,
    ports: &[&PublishedPort],
    gateways: &mut Gateways,
) {
    let found: Vec<&Instance> = gateway::helpers(view, Role::Keeper).collect();
    let gateway_stays = gateway::published(view).any(|one| {
        !view.input.desired.only.is_empty()
            || ports.iter().any(|port| one.listens.contains_key(&port.id))
    });
    if !ports.is_empty() || gateway_stays || inner::stays(view) {
        for one in found {
            let cause = Cause::NeededBy("the gateway, which holds the store now".to_owned());
            let needs = gateways.all();
            gateway::retire(draft, one, &cause, &needs);
        }
        return;
    }
    let mut needs: Vec<StepId> = ground.store.into_iter().collect();
    let mut cause = Cause::Missing;
    if let Some(one) = found.first() {
        match gateway::mend(draft, one) {
            Mended::Runs => return,
            Mended::Started(step) => {
                gateways.ready.push(step);
                return;
            }
            Mended::Removed(step) => {
                needs.push(step);
                cause = Cause::LeftOver;
            }
        }
    }
    let action = Action::CreateHelper {
        name: names::keeper(&view.input.desired.stack),
        role: Role::Keeper,
        listens: Vec::new(),
        networks: Vec::new(),
        names: BTreeMap::new(),
    };
    let step = draft.step("", action, cause, &needs);
    gateways.ready.push(step);
}
