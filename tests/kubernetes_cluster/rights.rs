//! Who may not do something is told what and where.

use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::Api;
use kube::api::PostParams;
use serde_json::Value;
use serde_json::json;
use shopctl::backend::BackendError;
use shopctl::backend::Context;
use shopctl::backend::Holder;
use shopctl::backend::Lease as _;
use shopctl::backend::Store as _;
use shopctl::backend::kubernetes::client::Cluster;
use shopctl::backend::kubernetes::client::Settings;

use crate::world::World;

/// The cluster as a user without rights sees it, who is impersonated.
async fn seen_by(world: &World, user: &str) -> Cluster {
    let text = std::fs::read_to_string(world.kubeconfig()).unwrap();
    let mut config: Value = serde_yaml::from_str(&text).unwrap();
    for one in config["users"].as_array_mut().unwrap() {
        one["user"]["as"] = user.into();
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kubeconfig");
    std::fs::write(&path, config.to_string()).unwrap();
    let settings = Settings {
        kubeconfig: vec![path],
        ..Settings::default()
    };
    Cluster::connect(&settings).await.unwrap()
}

/// Gives a user a role in the namespace of the test.
async fn bind(world: &World, user: &str, role: &str) {
    let object: RoleBinding = serde_json::from_value(json!({
        "metadata": { "name": role },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role },
        "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user }],
    }))
    .unwrap();
    let bindings: Api<RoleBinding> = Api::namespaced(world.client.clone(), &world.stack);
    bindings
        .create(&PostParams::default(), &object)
        .await
        .unwrap();
}

fn refusal<T>(done: Result<T, BackendError>) -> String {
    match done {
        Err(error @ BackendError::Cluster { status: 403, .. }) => error.to_string(),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was allowed"),
    }
}

async fn take(world: &World, cluster: &Cluster) -> String {
    let context: &Context = &world.context;
    refusal(cluster.acquire(context, &Holder::default()).await)
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn a_stranger_is_told_how_a_namespace_is_made() {
    let world = World::new().await;
    let cluster = seen_by(&world, "stranger").await;
    let said = take(&world, &cluster).await;
    let stack = &world.stack;
    for part in [
        "the cluster refused to take the lock".to_owned(),
        format!("kubectl create namespace {stack}, or oc new-project {stack}"),
        r#"User "stranger" cannot get resource "leases" in API group "coordination.k8s.io""#
            .to_owned(),
    ] {
        assert!(said.contains(&part), "{part} in: {said}");
    }
    let said = refusal(cluster.read(stack).await);
    let part = r#"User "stranger" cannot get resource "secrets""#;
    assert!(said.contains(part), "{said}");
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn a_viewer_cannot_take_the_lock() {
    let world = World::new().await;
    // The namespace is there.
    world.take("one").await.unwrap().release().await.unwrap();
    bind(&world, "viewer", "view").await;
    let cluster = seen_by(&world, "viewer").await;
    let said = take(&world, &cluster).await;
    assert!(said.contains(r#"User "viewer" cannot"#), "{said}");
    assert!(said.contains(r#"resource "leases""#), "{said}");
    assert!(!said.contains("create namespace"), "{said}");
}

/// Who may look at namespaces and make none.
#[tokio::test]
#[ignore = "needs a cluster"]
async fn who_cannot_make_a_namespace_is_told_who_can() {
    use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
    let world = World::new().await;
    let user = format!("reader-{}", world.stack);
    let object: ClusterRoleBinding = serde_json::from_value(json!({
        "metadata": { "name": user },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view" },
        "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user }],
    }))
    .unwrap();
    let bindings: Api<ClusterRoleBinding> = Api::all(world.client.clone());
    bindings
        .create(&PostParams::default(), &object)
        .await
        .unwrap();
    let cluster = seen_by(&world, &user).await;
    let taken = cluster.acquire(&world.context, &Holder::default()).await;
    bindings
        .delete(&user, &kube::api::DeleteParams::default())
        .await
        .unwrap();
    let said = refusal(taken);
    let stack = &world.stack;
    let part = format!("create namespace {stack} (who may can: kubectl create namespace {stack}");
    assert!(said.contains(&part), "{said}");
    assert!(said.contains(r#"resource "namespaces""#), "{said}");
}
