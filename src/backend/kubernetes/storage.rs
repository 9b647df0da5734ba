//! The namespace, and what outlives pods: claims for volumes, files by their content.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::api::core::v1::PersistentVolumeClaimSpec;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::core::v1::VolumeResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::Making;
use super::names;
use super::names::dns;
use super::scaling;
use super::support::Finding;
use crate::state::desired::DesiredState;
use crate::state::desired::FileSet;
use crate::state::desired::ServiceSpec;
use crate::state::digest;
use crate::state::resolve::holds_secrets;
use crate::state::spec::MountSource;

/// What is asked for where the file says nothing.
const SIZE: &str = "1Gi";
/// Label by which a namespace asks for the strictest standard of pods.
const STANDARD: [&str; 2] = [
    "pod-security.kubernetes.io/enforce",
    "pod-security.kubernetes.io/warn",
];

impl Making<'_> {
    /// The namespace of the stack, with the strictest standard that its pods pass.
    pub(super) fn namespace(&mut self) {
        let mut labels = names::of_stack(self.desired);
        let restricted = self
            .desired
            .services
            .values()
            .all(super::pod::is_restricted);
        if restricted {
            labels.extend(STANDARD.map(|label| (label.to_owned(), "restricted".to_owned())));
        }
        self.add(&Namespace {
            metadata: ObjectMeta {
                name: Some(dns(&self.desired.stack)),
                labels: Some(labels),
                ..ObjectMeta::default()
            },
            ..Namespace::default()
        });
    }

    /// Files and volumes.
    pub(super) fn storage(&mut self) {
        let desired = self.desired;
        // Of a set whose content is not at hand the object is there, or is missed by pods.
        let at_hand = desired
            .files
            .iter()
            .filter(|(_, files)| files.known.is_none());
        for (set, files) in at_hand {
            let secret = desired
                .services
                .keys()
                .any(|service| holds_secrets(set, service));
            if secret {
                self.secret(set, files);
            } else {
                self.config(set, files);
            }
        }
        for key in desired.volumes.keys() {
            self.claim(key);
        }
    }

    fn config(&mut self, set: &str, files: &FileSet) {
        let mut map = ConfigMap {
            metadata: names::meta(
                self.desired,
                &files_name(set, files),
                of_set(self.desired, set),
            ),
            immutable: Some(true),
            ..ConfigMap::default()
        };
        for (path, file) in &files.files {
            match String::from_utf8(file.content.clone()) {
                Ok(text) => {
                    let data = map.data.get_or_insert_default();
                    data.insert(key_of(path), text);
                }
                Err(bytes) => {
                    let data = map.binary_data.get_or_insert_default();
                    data.insert(key_of(path), ByteString(bytes.into_bytes()));
                }
            }
        }
        self.add(&map);
    }

    fn secret(&mut self, set: &str, files: &FileSet) {
        let name = files_name(set, files);
        let values = files.files.iter();
        let values = values.map(|(path, file)| (key_of(path), ByteString(file.content.clone())));
        let data: BTreeMap<String, ByteString> = values.collect();
        if !self.how.secrets {
            let keys: Vec<&str> = data.keys().map(String::as_str).collect();
            let text = format!(
                "{name} is written without {}: pods wait until it has that; --secrets writes it",
                keys.join(", ")
            );
            self.findings.push(Finding::note("", "secrets", text));
        }
        self.add(&Secret {
            metadata: names::meta(self.desired, &name, of_set(self.desired, set)),
            // What is filled in by hand has to be changed.
            immutable: Some(self.how.secrets),
            // Without values no key: what was filled in by hand is not overwritten.
            data: self.how.secrets.then_some(data),
            ..Secret::default()
        });
    }

    fn claim(&mut self, key: &str) {
        let desired = self.desired;
        let spec = &desired.volumes[key];
        if spec.external || spec.driver.is_some() || !spec.options.is_empty() {
            let text = format!(
                "{key} is a claim of its own there, and empty: another one is named by hand"
            );
            self.findings.push(Finding::note("", "volumes", text));
        }
        let pods = pods_of(desired, key);
        let mode = if pods > 1 {
            let text = format!(
                "{key} is used by {pods} pods, so its storage class must offer ReadWriteMany"
            );
            self.findings.push(Finding::note("", "volumes", text));
            "ReadWriteMany"
        } else {
            "ReadWriteOnce"
        };
        self.add(&PersistentVolumeClaim {
            metadata: names::meta(desired, &dns(key), names::of_stack(desired)),
            spec: Some(PersistentVolumeClaimSpec {
                access_modes: Some(vec![mode.to_owned()]),
                resources: Some(VolumeResourceRequirements {
                    requests: Some([("storage".to_owned(), Quantity(SIZE.to_owned()))].into()),
                    ..VolumeResourceRequirements::default()
                }),
                ..PersistentVolumeClaimSpec::default()
            }),
            ..PersistentVolumeClaim::default()
        });
    }
}

/// Labels of an object that holds a set of files.
fn of_set(desired: &DesiredState, set: &str) -> names::Labels {
    let mut labels = names::of_stack(desired);
    labels.insert(names::SET.to_owned(), dns(set));
    labels
}

/// How many pods use a volume.
pub(super) fn pods_of(desired: &DesiredState, key: &str) -> u32 {
    let users = desired.services.values();
    users
        .filter(|service| uses(service, key))
        .map(scaling::most)
        .sum()
}

fn uses(service: &ServiceSpec, key: &str) -> bool {
    let mut mounts = service.container.mounts.iter();
    mounts.any(|mount| matches!(&mount.source, MountSource::Volume { key: own, .. } if own == key))
}

/// Name of the object that holds a set: another content is another object, so that its
/// pods are replaced and the old ones keep what they started with.
pub(super) fn files_name(set: &str, files: &FileSet) -> String {
    format!("{}-{}", dns(set), &digest::file_set(files)[..10])
}

/// Name of the set's object, as the stack has it.
pub(super) fn object_of(desired: &DesiredState, set: &str) -> String {
    let files = desired.files.get(set);
    files.map_or_else(|| dns(set), |files| files_name(set, files))
}

/// A path as a key of an object, which has no slashes.
pub(super) fn key_of(path: &str) -> String {
    path.replace('/', "..")
}
