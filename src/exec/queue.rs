//! Which step may run now: a ready-queue over the plan's `needs`.
//!
//! Pure and without I/O. A failed step never releases its dependents, and
//! nothing new is released after a failure or a stop.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::plan::action::Plan;
use crate::plan::action::StepId;

/// Ready-queue of one plan.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: BTreeMap<StepId, BTreeSet<StepId>>,
    dependents: BTreeMap<StepId, Vec<StepId>>,
    ready: BTreeSet<StepId>,
    closed: bool,
}

impl Queue {
    /// A queue in which nothing has run yet.
    pub(super) fn new(plan: &Plan) -> Self {
        let mut queue = Self {
            waiting: BTreeMap::new(),
            dependents: BTreeMap::new(),
            ready: BTreeSet::new(),
            closed: false,
        };
        for step in &plan.steps {
            for need in &step.needs {
                queue.dependents.entry(*need).or_default().push(step.id);
            }
            if step.needs.is_empty() {
                queue.ready.insert(step.id);
            } else {
                queue
                    .waiting
                    .insert(step.id, step.needs.iter().copied().collect());
            }
        }
        queue
    }

    /// Takes the next step that may run, lowest number first.
    pub(super) fn take(&mut self) -> Option<StepId> {
        if self.closed {
            None
        } else {
            self.ready.pop_first()
        }
    }

    /// A step and its gate succeeded: releases dependents.
    pub(super) fn succeeded(&mut self, step: StepId) {
        for dependent in self.dependents.remove(&step).unwrap_or_default() {
            if let Some(needs) = self.waiting.get_mut(&dependent) {
                needs.remove(&step);
                if needs.is_empty() {
                    self.waiting.remove(&dependent);
                    self.ready.insert(dependent);
                }
            }
        }
    }

    /// Releases nothing more; what runs may finish.
    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    /// Steps that never started.
    pub(super) fn left(&self) -> usize {
        self.waiting.len() + self.ready.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::action::Action;
    use crate::plan::action::Cause;
    use crate::plan::action::Gate;
    use crate::plan::action::Step;

    fn plan(needs: &[&[StepId]]) -> Plan {
        let step = |(at, needs): (usize, &&[StepId])| Step {
            id: StepId::try_from(at).expect("small") + 1,
            service: String::new(),
            action: Action::StartContainer {
                container: format!("c{at}"),
            },
            cause: Cause::Missing,
            needs: needs.to_vec(),
            gate: Gate::None,
        };
        Plan {
            steps: needs.iter().enumerate().map(step).collect(),
            ..Plan::default()
        }
    }

    #[test]
    fn a_step_waits_for_all_it_needs() {
        let mut queue = Queue::new(&plan(&[&[], &[], &[1, 2]]));
        assert_eq!(
            (queue.take(), queue.take(), queue.take()),
            (Some(1), Some(2), None)
        );
        queue.succeeded(1);
        assert_eq!(queue.take(), None);
        queue.succeeded(2);
        assert_eq!((queue.take(), queue.left()), (Some(3), 0));
    }

    #[test]
    fn nothing_is_released_after_a_failure() {
        let mut queue = Queue::new(&plan(&[&[], &[], &[1]]));
        assert_eq!(queue.take(), Some(1));
        queue.close();
        queue.succeeded(1);
        assert_eq!((queue.take(), queue.left()), (None, 2));
    }
}
