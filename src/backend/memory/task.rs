//! Hooks in the world.

use super::world::Behaviour;
use super::world::World;
use crate::backend::BackendError;
use crate::backend::Context;
use crate::plan::action::Action;
use crate::plan::action::TaskSpec;
use crate::state::observed::InstanceState;

impl World {
    /// A whole hook at once, as an executor without time runs it.
    pub(super) fn run_task(
        &mut self,
        context: &Context,
        task: &TaskSpec,
    ) -> Result<(), BackendError> {
        let container = task.instance.name.clone();
        let create = Action::CreateInstance {
            instance: task.instance.clone(),
        };
        self.act(context, &create)?;
        let start = Action::StartContainer {
            container: container.clone(),
        };
        self.act(context, &start)?;
        let state = self.get(&container)?.instance.state.clone();
        self.act(context, &Action::RemoveContainer { container })?;
        match state {
            InstanceState::Exited { code: 0, .. } => Ok(()),
            other => Err(BackendError::Engine {
                doing: format!("run {}", task.moment.key()),
                status: 500,
                message: format!("{other:?}"),
            }),
        }
    }

    /// What a hook does: it ends well, unless what its name begins with is arranged.
    pub(super) fn task_behaviour(&self, container: &str) -> Behaviour {
        self.arranged(container).unwrap_or(Behaviour::Exits(0))
    }

    /// What was arranged for containers whose names begin like this one's.
    pub(super) fn arranged(&self, container: &str) -> Option<Behaviour> {
        let mut behaviours = self.behaviours.iter();
        let arranged = behaviours.find(|(name, _)| container.starts_with(name.as_str()));
        arranged.map(|(_, behaviour)| *behaviour)
    }
}
