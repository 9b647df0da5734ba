//! Hooks on a cluster: when they run, and between what.

use super::*;
use crate::state::cluster::Renewal;
use crate::state::cluster::Task;
use crate::state::cluster::compare::REVISION;
use crate::state::hooks::Moment;
use crate::state::observed::StoreSnapshot;

fn task(owner: &str, moment: Moment) -> Task {
    let whose = if owner.is_empty() { "stack" } else { owner };
    Task {
        owner: owner.to_owned(),
        service: "order".to_owned(),
        moment,
        timeout_ms: 60_000,
        object: object("Job", &format!("{whose}-{}", moment.key())),
        manifest: Manifest::default(),
        digest: String::new(),
    }
}

fn with_hooks(mut cluster: ClusterState) -> ClusterState {
    let moments = [Moment::PreDeploy, Moment::PostDeploy, Moment::OnRollback];
    for owner in ["order", ""] {
        let tasks = moments.iter().map(|moment| task(owner, *moment));
        cluster.tasks.extend(tasks);
    }
    cluster
}

/// With another image for `order`.
fn changed() -> ClusterState {
    let mut cluster = with_hooks(settled());
    for one in &mut cluster.wanted {
        if one.object == object("Deployment", "order") {
            one.changes.push("image a -> b".to_owned());
            one.renewal = Renewal::Anew;
        }
    }
    cluster
}

#[test]
fn they_run_around_the_change_of_their_service() {
    let mut cluster = with_hooks(fresh());
    for one in &mut cluster.wanted {
        if one.object.is_workload() {
            one.renewal = Renewal::Anew;
        }
    }
    insta::assert_snapshot!(steps(cluster, &Options::default()).join("\n"), @r"
     1 apply Namespace shop (missing)
     2 apply Service db needs 1 (missing)
     3 apply Service order needs 1 (missing)
     4 apply Job stack-pre_deploy needs 1 gate rolled out (needed by the new revision of db, order)
     5 apply Deployment db with 2 replicas needs 1,2,4 gate rolled out (missing)
     6 delete Job stack-pre_deploy needs 4 (needed by the new revision of db, order)
     7 apply Job order-pre_deploy needs 1,3,4,5 gate rolled out (needed by the new revision of order)
     8 apply Deployment order with 2 replicas needs 1,3,4,5,7 gate rolled out (missing)
     9 delete Job order-pre_deploy needs 7 (needed by the new revision of order)
    10 apply Job order-post_deploy needs 8 gate rolled out (needed by the new revision of order)
    11 delete Job order-post_deploy needs 10 (needed by the new revision of order)
    12 apply Job stack-post_deploy needs 6,9,11 gate rolled out (needed by the new revision of db, order)
    13 delete Job stack-post_deploy needs 12 (needed by the new revision of db, order)
    ");
    insta::assert_snapshot!(steps(changed(), &Options::default()).join("\n"), @r"
    1 apply Job stack-pre_deploy gate rolled out (needed by the new revision of order)
    2 delete Job stack-pre_deploy needs 1 (needed by the new revision of order)
    3 apply Job order-pre_deploy needs 1 gate rolled out (needed by the new revision of order)
    4 apply Deployment order with 2 replicas needs 1,3 gate rolled out (image a -> b)
    5 delete Job order-pre_deploy needs 3 (needed by the new revision of order)
    6 apply Job order-post_deploy needs 4 gate rolled out (needed by the new revision of order)
    7 delete Job order-post_deploy needs 6 (needed by the new revision of order)
    8 apply Job stack-post_deploy needs 2,5,7 gate rolled out (needed by the new revision of order)
    9 delete Job stack-post_deploy needs 8 (needed by the new revision of order)
    ");
}

#[test]
fn nothing_runs_where_nobody_gets_a_new_revision() {
    let settled = with_hooks(settled());
    assert_eq!(steps(settled.clone(), &Options::default()), [""; 0]);
    let more = Options {
        scale: [(
            "order".to_owned(),
            ScaleTo::Count {
                replicas: 3,
                by: "ana".to_owned(),
                at: 1,
            },
        )]
        .into(),
        ..Options::default()
    };
    insta::assert_snapshot!(steps(settled, &more).join("\n"), @r"
    1 apply Deployment order with 3 replicas gate rolled out (more replicas wanted)
    2 record scale order=3 (asked for)
    ");
}

#[test]
fn the_way_back_has_its_own() {
    let options = Options {
        backwards: true,
        begun: ["order".to_owned()].into(),
        ..Options::default()
    };
    insta::assert_snapshot!(steps(with_hooks(settled()), &options).join("\n"), @r"
    1 apply Job order-on_rollback gate rolled out (needed by the way back of order)
    2 delete Job order-on_rollback needs 1 (needed by the way back of order)
    3 apply Job stack-on_rollback needs 2 gate rolled out (needed by the way back of order)
    4 delete Job stack-on_rollback needs 3 (needed by the way back of order)
    ");
    insta::assert_snapshot!(steps(changed(), &options).join("\n"), @r"
    1 apply Deployment order with 2 replicas gate rolled out (image a -> b)
    2 apply Job order-on_rollback needs 1 gate rolled out (needed by the way back of order)
    3 delete Job order-on_rollback needs 2 (needed by the way back of order)
    4 apply Job stack-on_rollback needs 3 gate rolled out (needed by the way back of order)
    5 delete Job stack-on_rollback needs 4 (needed by the way back of order)
    ");
}

/// One that was killed between the rollout and the hook after it.
#[test]
fn what_no_run_has_ended_well_with_is_followed_by_its_hook() {
    let mut cluster = with_hooks(settled());
    for one in &mut cluster.wanted {
        let template = json!({ "metadata": { "annotations": { REVISION: "abc" } } });
        one.manifest = Manifest(json!({ "spec": { "replicas": 2, "template": template } }));
    }
    let mut observed = ObservedState {
        cluster: Some(cluster),
        store: Some(StoreSnapshot::default()),
        ..ObservedState::default()
    };
    let planned = |observed: &ObservedState| {
        let input = PlanInput {
            desired: &desired(),
            observed,
            options: &Options::default(),
        };
        report::steps(&plan(&input).expect("a plan"))
    };
    insta::assert_snapshot!(planned(&observed).join("\n"), @r"
    1 apply Job order-post_deploy gate rolled out (needed by the new revision of order)
    2 delete Job order-post_deploy needs 1 (needed by the new revision of order)
    3 apply Job stack-post_deploy needs 2 gate rolled out (needed by the new revision of db, order)
    4 delete Job stack-post_deploy needs 3 (needed by the new revision of db, order)
    ");
    let store = observed.store.as_mut().expect("a store");
    for service in ["order", "db"] {
        store
            .head
            .proved
            .insert(service.to_owned(), "abc".to_owned());
    }
    assert_eq!(planned(&observed), [""; 0]);
}

/// No pod can tell that a run has ended well with it.
#[test]
fn a_service_without_replicas_has_no_hook_after_it() {
    let mut cluster = with_hooks(settled());
    for one in &mut cluster.wanted {
        let template = json!({ "metadata": { "annotations": { REVISION: "abc" } } });
        one.manifest = Manifest(json!({ "spec": { "replicas": 0, "template": template } }));
        if one.pods.is_some() {
            *one = there(std::mem::take(one), 0);
        }
    }
    let observed = ObservedState {
        cluster: Some(cluster),
        store: Some(StoreSnapshot::default()),
        ..ObservedState::default()
    };
    let mut desired = desired();
    for service in desired.services.values_mut() {
        service.replicas = 0;
    }
    let input = PlanInput {
        desired: &desired,
        observed: &observed,
        options: &Options::default(),
    };
    assert_eq!(report::steps(&plan(&input).expect("a plan")), [""; 0]);
}

/// A hook that still runs is ended before anything else.
#[test]
fn what_a_killed_run_has_left_goes_first() {
    let mut cluster = changed();
    cluster.left.push(Left {
        object: object("Job", "order-pre_deploy"),
        task: true,
        ..Left::default()
    });
    insta::assert_snapshot!(steps(cluster, &Options::default()).join("\n"), @r"
     1 delete Job order-pre_deploy (left over from an unfinished run)
     2 apply Job stack-pre_deploy needs 1 gate rolled out (needed by the new revision of order)
     3 delete Job stack-pre_deploy needs 2 (needed by the new revision of order)
     4 apply Job order-pre_deploy needs 1,2 gate rolled out (needed by the new revision of order)
     5 apply Deployment order with 2 replicas needs 1,2,4 gate rolled out (image a -> b)
     6 delete Job order-pre_deploy needs 4 (needed by the new revision of order)
     7 apply Job order-post_deploy needs 5 gate rolled out (needed by the new revision of order)
     8 delete Job order-post_deploy needs 7 (needed by the new revision of order)
     9 apply Job stack-post_deploy needs 3,6,8 gate rolled out (needed by the new revision of order)
    10 delete Job stack-post_deploy needs 9 (needed by the new revision of order)
    ");
}
