//! A new data plane for gateways that run another one: in place, with their containers
//! and connections left as they are, before anything about routes changes.

use super::action::Action;
use super::action::Cause;
use super::action::StepId;
use super::doors::Gateways;
use super::draft::Draft;
use super::retire::drain_ms;
use super::view::View;
use crate::state::observed::Instance;

/// Upgrades a gateway that stays, after the step that starts it, where there is one. One
/// that is too old to say what it runs goes on with that; so does one that could not be
/// upgraded in this run.
pub(super) fn draft(
    view: &View<'_>,
    draft: &mut Draft,
    gateways: &mut Gateways,
    one: &Instance,
    started: Option<StepId>,
) {
    let options = &view.input.options;
    let Some(ours) = options.program() else {
        return;
    };
    let Some(program) = one.program.as_deref().filter(|program| *program != ours) else {
        return;
    };
    if options.learned.stuck.contains(&one.name) {
        return;
    }
    if one.refused.as_deref() == Some(ours) {
        draft.note(true, "", refused(&one.name));
        return;
    }
    let stored = *gateways.program.get_or_insert_with(|| {
        let program = ours.to_owned();
        let cause = Cause::NeededBy(one.name.clone());
        draft.step("", Action::StoreProgram { program }, cause, &[])
    });
    let action = Action::UpgradeGateway {
        container: one.name.clone(),
        program: ours.to_owned(),
        drain_ms: drain(view),
    };
    let cause = Cause::Changed(vec![format!("data plane {program} -> {ours}")]);
    let needs: Vec<StepId> = [stored].into_iter().chain(started).collect();
    let step = draft.step("", action, cause, &needs);
    gateways.ready.push(step);
    gateways.probing.push(step);
}

/// Said of a gateway that cannot run the data plane of this shopctl.
pub fn refused(gateway: &str) -> String {
    format!(
        "{gateway} goes on with the data plane that it has; when its ports may be silent for a second: docker rm -f {gateway}; shopctl deploy"
    )
}

/// As long as the most patient of the services behind it.
fn drain(view: &View<'_>) -> u64 {
    let routed = view.services.iter().filter(|one| one.routed());
    let all = routed.map(|one| drain_ms(&one.service.container));
    all.max().unwrap_or_default()
}
