//! Which step may run now: a ready-queue over the plan's `needs` and `after`.
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
    waiting: BTreeMap<StepId, Waiting>,
    ready: BTreeSet<StepId>,
    closed: bool,
}

/// What a step still waits for.
#[derive(Debug)]
struct Waiting {
    /// Steps that must have succeeded, gates included.
    needs: BTreeSet<StepId>,
    /// Steps whose action must have succeeded.
    after: BTreeSet<StepId>,
}

impl Queue {
    /// A queue in which nothing has run yet.
    pub(super) fn new(plan: &Plan) -> Self {
        let mut queue = Self {
            waiting: BTreeMap::new(),
            ready: BTreeSet::new(),
            closed: false,
        };
        for step in &plan.steps {
            let waiting = Waiting {
                needs: step.needs.iter().copied().collect(),
                after: step.after.iter().copied().collect(),
            };
            queue.waiting.insert(step.id, waiting);
        }
        queue.release();
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

    /// A step's action succeeded; its gate may still be closed.
    pub(super) fn acted(&mut self, step: StepId) {
        for waiting in self.waiting.values_mut() {
            waiting.after.remove(&step);
        }
        self.release();
    }

    /// A step and its gate succeeded: releases dependents.
    pub(super) fn succeeded(&mut self, step: StepId) {
        for waiting in self.waiting.values_mut() {
            waiting.needs.remove(&step);
            waiting.after.remove(&step);
        }
        self.release();
    }

    /// Steps that will not run: those that wait for them go on without, if `goes_on`
    /// says so.
    pub(super) fn give_up(&mut self, steps: &BTreeSet<StepId>, goes_on: impl Fn(StepId) -> bool) {
        self.waiting.retain(|id, _| !steps.contains(id));
        for (id, waiting) in &mut self.waiting {
            if goes_on(*id) {
                waiting.needs.retain(|need| !steps.contains(need));
                waiting.after.retain(|need| !steps.contains(need));
            }
        }
        self.release();
    }

    /// Releases nothing more; what runs may finish.
    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    fn release(&mut self) {
        let free = self.waiting.extract_if(.., |_, waiting| {
            waiting.needs.is_empty() && waiting.after.is_empty()
        });
        self.ready.extend(free.map(|(step, _)| step));
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
            slot: None,
            action: Action::StartContainer {
                container: format!("c{at}"),
            },
            cause: Cause::Missing,
            needs: needs.to_vec(),
            after: Vec::new(),
            delay_ms: 0,
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
        assert_eq!((queue.take(), queue.take()), (Some(3), None));
    }

    #[test]
    fn a_soft_need_is_met_before_the_gate() {
        let mut plan = plan(&[&[], &[]]);
        plan.steps[1].after = vec![1];
        let mut queue = Queue::new(&plan);
        assert_eq!((queue.take(), queue.take()), (Some(1), None));
        queue.acted(1);
        assert_eq!(queue.take(), Some(2));
    }

    #[test]
    fn what_is_given_up_holds_nobody_up_who_goes_on_without() {
        let mut queue = Queue::new(&plan(&[&[], &[1], &[2], &[2]]));
        assert_eq!(queue.take(), Some(1));
        queue.give_up(&BTreeSet::from([1, 2]), |id| id == 3);
        assert_eq!((queue.take(), queue.take()), (Some(3), None));
    }

    #[test]
    fn nothing_is_released_after_a_failure() {
        let mut queue = Queue::new(&plan(&[&[], &[], &[1]]));
        assert_eq!(queue.take(), Some(1));
        queue.close();
        queue.succeeded(1);
        assert_eq!(queue.take(), None);
    }
}
