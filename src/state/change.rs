//! Desired against observed, for one container: what must become of it, and why.
//!
//! Pure comparison; the order of things and the protection of what serves are the
//! planner's business.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use super::digest;
use super::live;
use super::names;
use super::observed::Health;
use super::observed::Instance;
use super::observed::InstanceState;
use super::spec::ContainerSpec;

/// One service's containers as they should be.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Revision {
    /// What a container is, live part included.
    pub spec: ContainerSpec,
    /// Digest of the spec.
    pub digest: String,
    /// Digests of its fields.
    pub fields: BTreeMap<String, String>,
    /// The image, where it is known already.
    pub image: KnownImage,
    /// What is in the image; see [`ImageInfo::content`](super::observed::ImageInfo::content).
    pub image_content: String,
    /// Ends by itself with success, and then counts as current.
    pub one_off: bool,
    /// By what Docker Compose would know a container of it; empty where nothing is taken
    /// over.
    pub compose_hash: String,
}

impl Revision {
    /// Its group at the gateway; see [`names::group`].
    pub fn group(&self) -> String {
        match &self.image {
            KnownImage::Id(id) => names::group(&self.digest, Some(id)),
            KnownImage::Absent | KnownImage::Unnamed => names::group(&self.digest, None),
        }
    }
}

/// What is known of an image before the plan is carried out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum KnownImage {
    /// It is on the engine.
    Id(String),
    /// Not there yet, but its reference says all.
    #[default]
    Absent,
    /// Its reference will be known after prepare commands ran.
    Unnamed,
}

/// What must become of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is as it should be.
    Current,
    /// The engine can change these things while it runs.
    Update(Vec<String>),
    /// It ended, as told, and can be started again.
    Start(String),
    /// It is up but not well, as told; a restart in place may mend it.
    Restart(String),
    /// Its health check fails; a restart in place may mend it.
    Unhealthy,
    /// It was created and never started.
    LeftOver,
    /// The engine cannot use it any more.
    Dead,
    /// Another image must run.
    ImageChanged,
    /// Another container must take its place, for these reasons.
    Changed(Vec<String>),
}

impl Verdict {
    /// Whether the container goes on, as it is or started anew; else another takes its
    /// place.
    pub fn stays(&self) -> bool {
        match self {
            Self::Current
            | Self::Update(_)
            | Self::Start(_)
            | Self::Restart(_)
            | Self::Unhealthy => true,
            Self::LeftOver | Self::Dead | Self::ImageChanged | Self::Changed(_) => false,
        }
    }
}

/// Judges one container of a service.
pub fn judge(wanted: &Revision, found: &Instance) -> Verdict {
    if found.state == InstanceState::Dead {
        return Verdict::Dead;
    }
    if !found.is_managed() {
        if let Some(obstacle) = obstacle_of_taking_over(wanted, found) {
            return Verdict::Changed(vec![obstacle.to_owned()]);
        }
    } else if let Some(difference) = revision_difference(wanted, found) {
        return difference;
    }
    let live = live::compare(&found.live, &wanted.spec.live, found.memory_in_use);
    if !live.obstacles.is_empty() {
        let mut reasons = live.changes;
        reasons.extend(live.obstacles);
        return Verdict::Changed(reasons);
    }
    match &found.state {
        InstanceState::Created => Verdict::LeftOver,
        InstanceState::Exited { code: 0, .. } if wanted.one_off => Verdict::Current,
        InstanceState::Exited { code, oom: false } => Verdict::Start(format!("exited {code}")),
        InstanceState::Exited { code, oom: true } => {
            Verdict::Start(format!("exited {code}, out of memory"))
        }
        InstanceState::Restarting => Verdict::Restart("keeps restarting".to_owned()),
        InstanceState::Paused => Verdict::Restart("paused".to_owned()),
        InstanceState::Running if found.health == Some(Health::Unhealthy) => Verdict::Unhealthy,
        InstanceState::Running if !live.changes.is_empty() => Verdict::Update(live.changes),
        InstanceState::Running => Verdict::Current,
        InstanceState::Dead => Verdict::Dead,
    }
}

/// Why a container that Docker Compose made is not what this service says. Where its image
/// is not known yet, it is judged again when it is.
fn obstacle_of_taking_over(wanted: &Revision, found: &Instance) -> Option<&'static str> {
    if wanted.compose_hash.is_empty() || wanted.compose_hash != found.compose_hash {
        return Some("made by Docker Compose");
    }
    match &wanted.image {
        KnownImage::Id(id) if !has_image(wanted, id, found) => {
            Some("made by Docker Compose of another image")
        }
        _ => None,
    }
}

/// Whether it runs this image, or one that another builder made of the same.
fn has_image(wanted: &Revision, id: &str, found: &Instance) -> bool {
    let same = !found.image_content.is_empty() && found.image_content == wanted.image_content;
    same || found.image_id == id
}

fn revision_difference(wanted: &Revision, found: &Instance) -> Option<Verdict> {
    match &wanted.image {
        KnownImage::Unnamed => {
            let mut names = changed_fields(wanted, found);
            names.retain(|name| name != "image changed");
            // The image's digest is part of the revision, so an unknown image
            // leaves only the fields to compare.
            (!names.is_empty() || found.fields.is_empty()).then(|| Verdict::Changed(or_all(names)))
        }
        _ if wanted.digest != found.revision => {
            let names = changed_fields(wanted, found);
            if names == ["image changed"] {
                Some(Verdict::ImageChanged)
            } else {
                Some(Verdict::Changed(or_all(names)))
            }
        }
        KnownImage::Id(id) if !found.image_id.is_empty() && !has_image(wanted, id, found) => {
            Some(Verdict::ImageChanged)
        }
        _ => None,
    }
}

fn or_all(names: Vec<String>) -> Vec<String> {
    if names.is_empty() {
        vec!["configuration changed".to_owned()]
    } else {
        names
    }
}

/// Names what differs, as far as the labels and the container tell.
fn changed_fields(wanted: &Revision, found: &Instance) -> Vec<String> {
    if found.fields.is_empty() {
        return Vec::new();
    }
    let fields: BTreeSet<&String> = wanted.fields.keys().chain(found.fields.keys()).collect();
    let mut names = Vec::new();
    let mut variables = BTreeSet::new();
    for field in fields {
        let (new, old) = (wanted.fields.get(field), found.fields.get(field));
        if let Some(variable) = field.strip_prefix(digest::ENVIRONMENT) {
            if new != old || value_differs(wanted, found, variable) {
                variables.insert(variable);
            }
        } else if new != old {
            names.push(match field.strip_prefix("files.") {
                Some(set) => format!("files changed ({set})"),
                None => format!("{} changed", field.replace('_', " ")),
            });
        }
    }
    if !variables.is_empty() {
        let list: Vec<_> = variables.into_iter().collect();
        names.push(format!("environment changed ({})", list.join(", ")));
    } else if names.is_empty() && wanted.digest != found.revision {
        // All that the labels cover is equal, so it is a value of the environment.
        names.push("environment changed".to_owned());
    }
    names
}

fn value_differs(wanted: &Revision, found: &Instance, variable: &str) -> bool {
    let Some(environment) = &found.environment else {
        return false;
    };
    let new = wanted
        .spec
        .environment
        .get(variable)
        .and_then(Option::as_ref);
    new.is_some() && new != environment.0.get(variable)
}

/// Whether the container answers requests as far as one look can tell.
pub fn serves(found: &Instance) -> bool {
    found.state == InstanceState::Running && found.health != Some(Health::Unhealthy)
}
