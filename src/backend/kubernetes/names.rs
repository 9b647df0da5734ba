//! Names and labels of objects.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::state::desired::DesiredState;
use crate::state::desired::ServiceSpec;
use crate::state::names::hex;
use crate::state::spec::NetworkMode;

/// Longest name of most objects, and of a label's value.
const LONGEST: usize = 63;
/// The service.
pub(super) const NAME: &str = "app.kubernetes.io/name";
/// The stack.
pub(super) const PART_OF: &str = "app.kubernetes.io/part-of";
/// Who makes and removes it.
pub(super) const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The service whose settings a pod runs one command with. It is none of the service's, so
/// it has no label by which that is known.
pub(super) const RUN_OF: &str = "shopctl.dev/run-of";
/// Set of files that an object holds.
pub(super) const SET: &str = "shopctl.dev/set";
/// What an object keeps that is no part of the stack itself: records.
pub(super) const KEEPS: &str = "shopctl.dev/keeps";
/// That it is made for one command, and goes with it: which hook.
pub(super) const TASK: &str = "shopctl.dev/task";
/// That a namespace was made by us, and goes with its stack: its labels say nothing of that.
pub(super) const MADE: &str = "shopctl.dev/made";
/// Which of two revisions of a service a pod shows, where they can be side by side.
pub(super) const STAGE: &str = "shopctl.dev/stage";
/// The one that serves.
pub(super) const MAIN: &str = "main";
/// The one that is to follow.
pub(super) const NEXT: &str = "next";
/// Prefix of the labels that say in which networks of the stack a pod is.
const NETWORK: &str = "network.shopctl.dev/";
/// Digest of what a pod was made from.
pub(super) const REVISION: &str = crate::state::cluster::compare::REVISION;

/// Labels by name.
pub(super) type Labels = BTreeMap<String, String>;

/// A name as a cluster takes it: lower case, digits and hyphens. What had to be changed
/// ends with a digest, so that two names never become one; a lone underscore or dot is a
/// hyphen.
pub(super) fn dns(name: &str) -> String {
    let plain = name.to_lowercase().replace(['_', '.'], "-");
    let fits = |char: char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '-';
    let good = plain.chars().all(fits)
        && plain.starts_with(|char: char| char.is_ascii_lowercase())
        && !plain.ends_with('-')
        && plain.len() <= LONGEST;
    if good {
        return plain;
    }
    let kept: String = plain
        .chars()
        .filter(|char| fits(*char))
        .take(LONGEST - 11)
        .collect();
    let digest = hex(name.as_bytes());
    format!("s{}-{}", kept.trim_matches('-'), &digest[..8])
}

/// Labels of everything of a stack.
pub(super) fn of_stack(desired: &DesiredState) -> Labels {
    labels([
        (PART_OF, dns(&desired.stack)),
        (MANAGED_BY, "shopctl".to_owned()),
    ])
}

/// Labels of a service's objects.
pub(super) fn of_service(desired: &DesiredState, service: &ServiceSpec) -> Labels {
    let mut all = of_stack(desired);
    all.insert(NAME.to_owned(), dns(&service.name));
    all
}

/// Labels of a service's pods: those and the networks that they are in.
pub(super) fn of_pod(desired: &DesiredState, service: &ServiceSpec) -> Labels {
    let mut all = of_service(desired, service);
    if let NetworkMode::Networks(endpoints) = &service.container.network {
        let networks = endpoints.keys();
        all.extend(networks.map(|key| (network_label(key), "true".to_owned())));
    }
    all
}

/// The label of a pod in a network of the stack.
pub(super) fn network_label(key: &str) -> String {
    format!("{NETWORK}{}", dns(key))
}

/// By what the pods of a service are known; it can never be changed on a workload.
pub(super) fn selector(desired: &DesiredState, service: &ServiceSpec) -> Labels {
    labels([(NAME, dns(&service.name)), (PART_OF, dns(&desired.stack))])
}

/// That as a selector.
pub(super) fn matching(labels: Labels) -> LabelSelector {
    LabelSelector {
        match_labels: Some(labels),
        ..LabelSelector::default()
    }
}

/// Metadata of an object of the stack.
pub(super) fn meta(desired: &DesiredState, name: &str, labels: Labels) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(dns(&desired.stack)),
        labels: Some(labels),
        ..ObjectMeta::default()
    }
}

fn labels<const N: usize>(all: [(&str, String); N]) -> Labels {
    all.into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::dns;

    #[test]
    fn names_fit_and_stay_apart() {
        assert_eq!(dns("order"), "order");
        assert_eq!(dns("order_service"), "order-service");
        assert_eq!(dns("Order.API"), "order-api");
        // Older servers take no service that begins with a digit.
        assert_eq!(&dns("3d-viewer")[..11], "s3d-viewer-");
        assert_eq!(dns("_x"), "sx-a01e47cb");
        let long = dns(&"a".repeat(80));
        assert_eq!(long.len(), 62, "{long}");
        assert_ne!(long, dns(&"a".repeat(81)));
    }
}
