//! What whoever deploys a stack must be allowed to do, and nothing more.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::ClusterRole;
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use k8s_openapi::api::rbac::v1::PolicyRule;
use k8s_openapi::api::rbac::v1::Role;
use k8s_openapi::api::rbac::v1::RoleBinding;
use k8s_openapi::api::rbac::v1::RoleRef;
use k8s_openapi::api::rbac::v1::Subject;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Serialize;
use serde_json::Value;

use super::apis;
use super::apis::Apis;
use super::client::kinds::resources;
use super::names::dns;

/// Name of the account and of what it may do.
const NAME: &str = "shopctl";
const GROUP: &str = "rbac.authorization.k8s.io";
/// What is done with an object of a stack: applied, looked at, followed, removed.
const OBJECTS: [&str; 6] = ["create", "delete", "get", "list", "patch", "watch"];

/// An account that can deploy a stack to a cluster which serves these kinds, and nothing
/// else: objects of its namespace, the lock and the records there, what its pods say; of the
/// cluster itself the namespace, and what nodes and pods say about room.
///
/// No right to give rights, to act as others, or to read secrets elsewhere: with the standard
/// `restricted` on the namespace, no pod of it comes to more.
pub fn rbac(stack: &str, apis: &Apis) -> Vec<Value> {
    let namespace = dns(stack);
    // Not bound to a namespace, so its name must tell it from those of other stacks.
    let wide = format!("{NAME}-{namespace}");
    let within = |name: &str| ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(namespace.clone()),
        ..ObjectMeta::default()
    };
    let named = |name: &str| ObjectMeta {
        namespace: None,
        ..within(name)
    };
    let account = || {
        Some(vec![Subject {
            kind: "ServiceAccount".to_owned(),
            name: NAME.to_owned(),
            namespace: Some(namespace.clone()),
            ..Subject::default()
        }])
    };
    let role = |kind: &str, name: &str| RoleRef {
        api_group: Some(GROUP.to_owned()),
        kind: kind.to_owned(),
        name: name.to_owned(),
    };
    vec![
        value(&Namespace {
            metadata: named(&namespace),
            ..Namespace::default()
        }),
        value(&ServiceAccount {
            metadata: within(NAME),
            // It is used from outside; a pod that had it could do all of this.
            automount_service_account_token: Some(false),
            ..ServiceAccount::default()
        }),
        value(&Role {
            metadata: within(NAME),
            rules: Some(of_stack(apis)),
        }),
        value(&RoleBinding {
            metadata: within(NAME),
            role_ref: role("Role", NAME),
            subjects: account(),
        }),
        value(&ClusterRole {
            metadata: named(&wide),
            rules: Some(of_cluster(&namespace)),
            ..ClusterRole::default()
        }),
        value(&ClusterRoleBinding {
            metadata: named(&wide),
            role_ref: role("ClusterRole", &wide),
            subjects: account(),
        }),
    ]
}

/// In the namespace of the stack.
fn of_stack(apis: &Apis) -> Vec<PolicyRule> {
    let mut groups: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (api, plural) in resources() {
        if is_extra(api) && !apis.has(api) {
            continue;
        }
        let group = api.split_once('/').map_or("", |(group, _)| group);
        groups.entry(group).or_default().insert(plural);
    }
    let mut rules: Vec<PolicyRule> = groups
        .into_iter()
        .map(|(group, plurals)| {
            let plurals: Vec<&str> = plurals.into_iter().collect();
            rule(group, &plurals, &OBJECTS)
        })
        .collect();
    if apis.has(apis::ROUTE) {
        // A host that the file names.
        let hosts = ["routes/custom-host"];
        rules.push(rule("route.openshift.io", &hosts, &["create", "update"]));
    }
    let lock = ["create", "get", "list", "update", "watch"];
    rules.extend([
        rule("coordination.k8s.io", &["leases"], &lock),
        // Those of single commands are made and removed.
        rule("", &["pods"], &["create", "delete", "get", "list", "watch"]),
        rule("", &["pods/log"], &["get"]),
        // Older servers ask for the one, newer ones for the other.
        rule("", &["pods/attach", "pods/exec"], &["create", "get"]),
        rule("", &["events"], &["list", "watch"]),
        rule("metrics.k8s.io", &["pods"], &["get", "list"]),
    ]);
    rules
}

/// Of the cluster. A name cannot be asked for before there is one to hold it against, so
/// whoever may create a namespace may create any.
fn of_cluster(namespace: &str) -> Vec<PolicyRule> {
    vec![
        PolicyRule {
            resource_names: Some(vec![namespace.to_owned()]),
            // Listed and followed by its name alone, which a server allows as well.
            ..rule(
                "",
                &["namespaces"],
                &["delete", "get", "list", "patch", "watch"],
            )
        },
        rule("", &["namespaces"], &["create"]),
        rule("", &["nodes", "pods"], &["list"]),
    ]
}

/// Kinds that not every cluster has.
fn is_extra(api: &str) -> bool {
    [apis::KEDA, apis::ROUTE, apis::ISTIO, apis::CONSUL].contains(&api)
}

fn rule(group: &str, resources: &[&str], verbs: &[&str]) -> PolicyRule {
    let owned = |all: &[&str]| all.iter().map(|one| (*one).to_owned()).collect();
    PolicyRule {
        api_groups: Some(owned(&[group])),
        resources: Some(owned(resources)),
        verbs: owned(verbs),
        ..PolicyRule::default()
    }
}

fn value<T: Serialize>(object: &T) -> Value {
    // Typed objects have string keys alone, so serialising cannot fail.
    serde_json::to_value(object).unwrap_or_default()
}
