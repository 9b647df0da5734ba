//! What references mean in a run: the images that its containers are made from and that
//! its release records.
//!
//! A reference such as `web:1` can come to mean another image at any moment, also
//! between two steps. A look or a pull settles it for the run; from then on the id counts.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use crate::plan::action::Action;
use crate::plan::action::Plan;
use crate::state::desired::DesiredState;
use crate::state::desired::ImageSource;
use crate::state::desired::PinnedImage;
use crate::state::observed::ImageInfo;
use crate::state::observed::ObservedState;

/// Images by reference, as this run knows them.
#[derive(Debug, Default)]
pub struct Pins {
    images: Mutex<BTreeMap<String, ImageInfo>>,
}

impl Pins {
    /// A look before a plan is carried out. What the plan pulls is settled by the pull.
    pub(super) fn saw(&self, observed: &ObservedState, plan: &Plan) {
        let mut images = self.images();
        images.extend(observed.images.clone());
        for step in &plan.steps {
            if let Action::PullImage { reference, .. } = &step.action {
                images.remove(reference);
            }
        }
    }

    /// A reference was pulled.
    pub(super) fn pulled(&self, reference: &str, info: ImageInfo) {
        self.images().insert(reference.to_owned(), info);
    }

    /// The image that a reference means.
    pub(super) fn id_of(&self, reference: &str) -> Option<String> {
        Some(self.images().get(reference)?.id.clone())
    }

    /// Writes the images into a state that is to be recorded. `running` are the ids that
    /// containers run, by service; services that are pinned already stay as they are.
    pub(super) fn fix(&self, desired: &mut DesiredState, running: &BTreeMap<String, String>) {
        let images = self.images();
        for (name, service) in &mut desired.services {
            let ImageSource::Pull { reference, .. } = &service.image else {
                continue;
            };
            let info = images.get(reference);
            let id = running.get(name).or(info.map(|info| &info.id));
            if let (None, Some(id)) = (&service.pinned, id) {
                let info = info.filter(|info| info.id == *id);
                service.pinned = Some(PinnedImage {
                    id: id.clone(),
                    repo_digest: info.and_then(|info| repo_digest(reference, info)),
                });
            }
        }
    }

    fn images(&self) -> MutexGuard<'_, BTreeMap<String, ImageInfo>> {
        self.images.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The digest by which the repository of a reference gives the image; an image may be
/// in several.
fn repo_digest(reference: &str, info: &ImageInfo) -> Option<String> {
    let repository = repository(reference);
    let of = |digest: &&String| {
        let from = digest.split('@').next().unwrap_or_default();
        // The engine leaves out what everybody means.
        from == repository || repository.ends_with(&format!("/{from}"))
    };
    info.repo_digests.iter().find(of).cloned()
}

/// A reference without its tag and digest.
fn repository(reference: &str) -> &str {
    let name = reference.split('@').next().unwrap_or_default();
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_that_of_the_references_own_repository() {
        let info = ImageInfo {
            id: "sha256:1".into(),
            repo_digests: vec!["other@sha256:2".into(), "host:5000/a/web@sha256:3".into()],
            ..ImageInfo::default()
        };
        let of = |reference: &str| repo_digest(reference, &info);
        assert_eq!(
            of("host:5000/a/web:1").as_deref(),
            Some("host:5000/a/web@sha256:3")
        );
        assert_eq!(
            of("host:5000/a/web").as_deref(),
            Some("host:5000/a/web@sha256:3")
        );
        assert_eq!(
            of("docker.io/library/other:1").as_deref(),
            Some("other@sha256:2")
        );
        assert_eq!(of("third:1"), None);
    }
}
