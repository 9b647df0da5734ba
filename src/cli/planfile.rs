//! Plan files: what `plan --out` writes and `deploy --plan` insists on.
//!
//! A plan file holds no value of an environment, secret or config. Replicas are
//! named by their revision, so a changed value changes the steps, and with them
//! the comparison: whoever deploys a plan file gets what was reviewed, or nothing.

use std::fs;
use std::path::Path;

use super::error::CliError;
use super::exit::Exit;
use crate::plan::action::Plan;
use crate::plan::action::Refusal;
use crate::plan::action::Step;
use crate::plan::report;
use crate::report::documents::PlanDocument;
use crate::report::documents::VERSION;
use crate::report::output;
use crate::state::desired::DesiredState;
use crate::state::desired::ImageSource;
use crate::state::desired::ServiceSpec;

/// The document of a plan, with its changes, steps and causes in words.
pub(super) fn document(plan: &Plan, only: &[String]) -> PlanDocument {
    let words = |step: &Step| (report::what(step), report::cause(&step.cause));
    PlanDocument::new(plan, only, report::changes(plan), words)
}

/// Writes a plan file.
pub(super) fn write(path: &Path, document: &PlanDocument) -> Result<(), CliError> {
    fs::write(path, output::json(document)).map_err(|error| {
        CliError::caused(
            Exit::Usage,
            format!("the plan file {} cannot be written", path.display()),
            &error,
        )
    })
}

/// Reads a plan file.
pub(super) fn read(path: &Path) -> Result<PlanDocument, CliError> {
    let unusable = |error: &dyn std::error::Error| {
        CliError::caused(
            Exit::Usage,
            format!("{} is no plan file", path.display()),
            error,
        )
        .hint("shopctl plan --out FILE")
    };
    let bytes = fs::read(path).map_err(|error| unusable(&error))?;
    let document: PlanDocument =
        serde_json::from_slice(&bytes).map_err(|error| unusable(&error))?;
    if document.version == VERSION {
        Ok(document)
    } else {
        Err(CliError::usage(format!(
            "{} has format version {}, and this shopctl knows {VERSION}",
            path.display(),
            document.version
        )))
    }
}

/// A plan that was reviewed, and what it was made for.
pub(super) struct Reviewed {
    /// The plan, as the file has it.
    pub(super) filed: PlanDocument,
    /// What should be, before any prepare command has run.
    pub(super) desired: DesiredState,
}

impl Reviewed {
    /// Whether a plan made now is the one of the file. Images that a prepare command has
    /// yet to make have no name in a plan file; there the plan that `again` makes for the
    /// state that was reviewed counts.
    pub(super) fn is(
        &self,
        now: &Plan,
        again: impl FnOnce(&DesiredState) -> Result<Plan, Refusal>,
    ) -> bool {
        if self.same(now) {
            return true;
        }
        let unnamed = |service: &ServiceSpec| service.image == ImageSource::Build { tag: None };
        self.desired.services.values().any(unnamed)
            && again(&self.desired).is_ok_and(|plan| self.same(&plan))
    }

    /// Whether a plan made now for the same state is the one of the file.
    pub(super) fn same(&self, now: &Plan) -> bool {
        let (filed, now) = (&self.filed, document(now, &self.filed.only));
        (&filed.stack, &filed.basis, &filed.steps) == (&now.stack, &now.basis, &now.steps)
    }
}

/// A plan made now is not the one that was reviewed.
pub(super) fn stale(now: &Plan) -> CliError {
    let mut detail = vec!["a plan made now:".to_owned()];
    detail.extend(report::changes(now));
    if now.steps.is_empty() {
        detail.push("nothing to do".to_owned());
    }
    CliError::new(
        Exit::Stale,
        "the plan is stale: the stack file or what runs has changed since; nothing was changed",
    )
    .detail(detail)
    .hint("review a new one: shopctl plan --out FILE")
}
