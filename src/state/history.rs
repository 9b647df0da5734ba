//! Releases: what was asked for, by whom, and how it ended.
//!
//! A release is the whole stack's resolved state under a number. It plans like a
//! file does, so going back to one is planning with it. Kept with the target.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::Serialize;

use super::desired::DesiredState;
use super::digest;

/// One release, complete enough to deploy it again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Release {
    /// The line that a history shows.
    #[serde(flatten)]
    pub summary: ReleaseSummary,
    /// What it asks for. Contents of secrets and configs are not in it: they are in
    /// the volumes of their file sets, which are named by them.
    pub desired: DesiredState,
}

/// One release in a line.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReleaseSummary {
    /// Its number, from 1; 0 while it has none.
    pub number: u64,
    /// When it began, in seconds since the epoch.
    pub at: u64,
    /// Who began it, as `user@host`.
    pub by: String,
    /// Run that carried it out.
    pub run: String,
    /// The release it goes back to, where it is a rollback that was asked for.
    pub back_to: Option<u64>,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it failed, secrets filtered; empty where it did not.
    pub reason: String,
    /// How long it took in milliseconds.
    pub took_ms: u64,
    /// Steps of its first plan.
    pub steps: usize,
    /// Digest of what it asks for; equal for equal releases.
    pub spec: String,
    /// Image of each service.
    pub images: BTreeMap<String, ReleasedImage>,
}

/// An image of a release.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReleasedImage {
    /// Reference that containers were created by.
    #[serde(rename = "ref")]
    pub reference: String,
    /// Image id, where it was seen.
    pub id: Option<String>,
    /// The name by which its registry gives it, where it was pulled.
    pub repo_digest: Option<String>,
}

/// How a release ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It goes on, or its run was killed.
    #[default]
    Running,
    /// Everything is as it asks for: it is stable.
    Deployed,
    /// It failed, and the release before serves again.
    RolledBack,
    /// It failed and nothing went back.
    Failed,
    /// It was stopped, or its time was up; the next deploy goes on.
    Interrupted,
}

impl Outcome {
    /// The word of it, the same in every output.
    pub fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Deployed => "deployed",
            Self::RolledBack => "rolled back",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
        }
    }

    /// The same as the end of a sentence.
    pub fn past(self) -> &'static str {
        match self {
            Self::Running => "did not finish",
            Self::Deployed => "was deployed",
            Self::RolledBack => "failed and was rolled back",
            Self::Failed => "failed",
            Self::Interrupted => "was interrupted",
        }
    }
}

/// The head of a stack's history: small, and part of every look.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Head {
    /// The newest release, whatever became of it.
    pub newest: Option<ReleaseSummary>,
    /// The stable release that serves.
    pub serving: Option<u64>,
    /// Of each service the revision whose gate has opened in a run that ended well.
    pub proved: BTreeMap<String, String>,
    /// Of each container that was taken over from Docker Compose, by its id, the revision
    /// that it stands for.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub taken_over: BTreeMap<String, String>,
}

/// What a run that ended well has found out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// By service, the revision whose gate has opened.
    pub proved: BTreeMap<String, String>,
    /// All containers that are taken over from Docker Compose; see [`Head::taken_over`].
    pub taken_over: BTreeMap<String, String>,
}

impl ReleaseSummary {
    /// Whether the next deploy goes on with it: it was interrupted, or its run was killed.
    pub fn goes_on(&self) -> bool {
        matches!(self.outcome, Outcome::Running | Outcome::Interrupted)
    }
}

impl Release {
    /// Whether everything once was as it asks for.
    pub fn is_stable(&self) -> bool {
        self.summary.outcome == Outcome::Deployed
    }
}

/// Digest of what a state asks for, whoever asks and from which folder; images that are
/// pinned are part of it.
pub fn spec_digest(desired: &DesiredState) -> String {
    let mut plain = recorded(desired);
    plain.working_dir.clear();
    plain.config_files.clear();
    plain.only.clear();
    for service in plain.services.values_mut() {
        service.place.clear();
        // One image, wherever it can be had.
        if let Some(pinned) = &mut service.pinned {
            pinned.repo_digest = None;
        }
    }
    for port in &mut plain.ports {
        port.place.clear();
    }
    digest::of(&plain)
}

/// A state as a release records it: contents of files are replaced by their digest.
pub fn recorded(desired: &DesiredState) -> DesiredState {
    let mut recorded = desired.clone();
    for set in recorded.files.values_mut() {
        set.known = Some(digest::file_set(set));
        for file in set.files.values_mut() {
            file.content.clear();
        }
    }
    recorded
}

/// What the whole stack asks for after a deploy of the services named in `new` alone:
/// theirs as they are now, all others as they were. What they need and nobody had
/// before came with them.
pub fn merged(last: &DesiredState, new: &DesiredState) -> DesiredState {
    if new.only.is_empty() {
        return new.clone();
    }
    let mut merged = new.clone();
    merged.only.clear();
    let mut scope = new.only.clone();
    let mut open: Vec<&String> = new.only.iter().collect();
    while let Some(name) = open.pop() {
        let service = new.services.get(name);
        for need in service.into_iter().flat_map(|service| &service.needs) {
            let brought = !last.services.contains_key(&need.service);
            if brought && scope.insert(need.service.clone()) {
                open.push(&need.service);
            }
        }
    }
    merged.services.retain(|name, _| scope.contains(name));
    for (name, service) in &last.services {
        merged
            .services
            .entry(name.clone())
            .or_insert_with(|| service.clone());
    }
    for (key, network) in &last.networks {
        merged
            .networks
            .entry(key.clone())
            .or_insert_with(|| network.clone());
    }
    for (key, volume) in &last.volumes {
        merged
            .volumes
            .entry(key.clone())
            .or_insert_with(|| volume.clone());
    }
    for (set, files) in &last.files {
        merged
            .files
            .entry(set.clone())
            .or_insert_with(|| files.clone());
    }
    let led_to = |port: &super::desired::PublishedPort| {
        port.routes
            .iter()
            .any(|route| new.only.contains(&route.service))
    };
    merged.ports.retain(led_to);
    for port in &last.ports {
        if merged.ports.iter().all(|known| known.id != port.id) {
            merged.ports.push(port.clone());
        }
    }
    merged.ports.sort();
    merged
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::desired::FileSet;
    use crate::state::desired::PublishedPort;
    use crate::state::desired::Route;
    use crate::state::desired::SeedFile;
    use crate::state::desired::ServiceSpec;

    fn desired(services: &[(&str, u32)]) -> DesiredState {
        DesiredState {
            stack: "shop".into(),
            services: services
                .iter()
                .map(|(name, replicas)| {
                    let service = ServiceSpec {
                        name: (*name).into(),
                        replicas: *replicas,
                        ..ServiceSpec::default()
                    };
                    ((*name).into(), service)
                })
                .collect(),
            ..DesiredState::default()
        }
    }

    #[test]
    fn the_digest_is_of_what_is_asked_for_not_of_where_it_is_written() {
        let mut one = desired(&[("order", 2)]);
        let digest = spec_digest(&one);
        one.working_dir = "/elsewhere".into();
        one.services.get_mut("order").unwrap().place = "stack.yaml:9:3".into();
        assert_eq!(spec_digest(&one), digest);
        one.services.get_mut("order").unwrap().replicas = 3;
        assert_ne!(spec_digest(&one), digest);
    }

    #[test]
    fn a_record_has_digests_of_files_and_no_content() {
        let secret = SeedFile {
            content: b"hunter2".to_vec(),
            ..SeedFile::default()
        };
        let mut one = desired(&[]);
        let set = FileSet {
            files: [("token".to_owned(), secret)].into(),
            known: None,
            memory: false,
        };
        one.files.insert("order".into(), set.clone());
        let text = serde_json::to_string(&recorded(&one)).unwrap();
        assert!(
            !text.contains("hunter2") && !text.contains("104,117"),
            "{text}"
        );
        let read: DesiredState = serde_json::from_str(&text).unwrap();
        assert_eq!(
            digest::file_set(&read.files["order"]),
            digest::file_set(&set)
        );
        assert_eq!(spec_digest(&read), spec_digest(&one));
    }

    #[test]
    fn a_deploy_of_one_service_leaves_the_others_as_they_were() {
        let port = |id: &str, service: &str| PublishedPort {
            id: id.into(),
            routes: vec![Route {
                host: None,
                path: "/".into(),
                service: service.into(),
                port: 80,
            }],
            ..PublishedPort::default()
        };
        let mut last = desired(&[("goods", 1), ("order", 1)]);
        last.ports = vec![port("*:1/tcp", "goods"), port("*:2/tcp", "order")];
        let mut new = desired(&[("goods", 9), ("order", 2), ("user", 1)]);
        new.ports = vec![port("*:3/tcp", "user"), port("*:4/tcp", "order")];
        new.only = ["order".to_owned()].into();
        let merged = merged(&last, &new);
        let counts: Vec<(&str, u32)> = merged
            .services
            .iter()
            .map(|(name, one)| (name.as_str(), one.replicas))
            .collect();
        assert_eq!(counts, [("goods", 1), ("order", 2)]);
        let ids: Vec<&str> = merged.ports.iter().map(|port| port.id.as_str()).collect();
        assert_eq!(ids, ["*:1/tcp", "*:2/tcp", "*:4/tcp"]);
        assert!(merged.only.is_empty());
    }
}
