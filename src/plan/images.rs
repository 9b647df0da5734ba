//! Image steps: they come before everything else.

use std::collections::BTreeSet;

use super::action::Action;
use super::action::Cause;
use super::draft::Draft;
use super::hooks;
use super::view::ServiceView;
use super::view::View;
use super::view::must_pull;
use crate::state::change::KnownImage;
use crate::state::desired::ImageSource;
use crate::state::desired::PinnedImage;

/// Builds and pulls what the containers to be made need.
pub(super) fn draft(view: &View<'_>, draft: &mut Draft) {
    let mut pulled = BTreeSet::new();
    for one in &view.services {
        let lends = hooks::lends(view, one);
        if !one.in_scope && !lends {
            continue;
        }
        let needed = one.creates() || lends || one.waits_for_image();
        let name = &one.service.name;
        if needed {
            others(view, one, &mut pulled, draft);
        }
        if let Some(pinned) = &one.service.pinned {
            if needed && !view.input.observed.images.contains_key(&pinned.id) {
                again(one, pinned, &mut pulled, draft);
            }
            continue;
        }
        match &one.service.image {
            ImageSource::Build { tag: None } => {
                draft.note(false, name, "image: built at deploy");
                draft.image(
                    name,
                    Action::BuildImage {
                        service: name.clone(),
                        tag: None,
                    },
                    Cause::Missing,
                );
            }
            ImageSource::Build { tag } if needed && is_absent(&one.revision.image) => {
                draft.image(
                    name,
                    Action::BuildImage {
                        service: name.clone(),
                        tag: tag.clone(),
                    },
                    Cause::Missing,
                );
            }
            ImageSource::Pull { reference, .. } => {
                let asked = must_pull(&view.input, one.service);
                let missing = needed && is_absent(&one.revision.image);
                if (asked || missing) && pulled.insert(reference.clone()) {
                    let cause = if missing && !view.input.observed.images.contains_key(reference) {
                        Cause::Missing
                    } else {
                        Cause::Asked
                    };
                    draft.image(
                        name,
                        Action::PullImage {
                            reference: reference.clone(),
                            platform: one.revision.spec.platform.clone(),
                        },
                        cause,
                    );
                }
            }
            ImageSource::Build { .. } | ImageSource::Unset => {}
        }
    }
}

/// Pulls the images that a container needs beside its own, where they are missing.
fn others(
    view: &View<'_>,
    one: &ServiceView<'_>,
    pulled: &mut BTreeSet<String>,
    draft: &mut Draft,
) {
    for reference in one.service.container.other_images() {
        let there = view.input.observed.images.contains_key(reference);
        if !there && pulled.insert(reference.clone()) {
            let action = Action::PullImage {
                reference: reference.clone(),
                platform: one.revision.spec.platform.clone(),
            };
            draft.image(&one.service.name, action, Cause::Missing);
        }
    }
}

/// Pulls an image of a release by its digest: its reference may mean another by now.
fn again(
    one: &ServiceView<'_>,
    pinned: &PinnedImage,
    pulled: &mut BTreeSet<String>,
    draft: &mut Draft,
) {
    if pulled.insert(pinned.id.clone()) {
        let reference = pinned.repo_digest.as_ref();
        let action = Action::PullImage {
            reference: reference.unwrap_or(&one.service.container.image).clone(),
            platform: one.revision.spec.platform.clone(),
        };
        draft.image(&one.service.name, action, Cause::Missing);
    }
}

fn is_absent(image: &KnownImage) -> bool {
    *image == KnownImage::Absent
}
