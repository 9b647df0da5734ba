//! Plans for services that change in stages.

use serde_json::json;

use crate::plan::action::Action;
use crate::plan::action::Plan;
use crate::plan::cluster::tests::desired;
use crate::plan::cluster::tests::object;
use crate::plan::cluster::tests::plan_of;
use crate::plan::cluster::tests::settled;
use crate::plan::cluster::tests::there;
use crate::plan::cluster::tests::wanted;
use crate::plan::input::Options;
use crate::plan::report;
use crate::state::cluster::ClusterState;
use crate::state::cluster::Left;
use crate::state::cluster::Manifest;
use crate::state::cluster::Next;
use crate::state::cluster::Node;
use crate::state::cluster::Renewal;
use crate::state::cluster::Task;
use crate::state::cluster::Wanted;
use crate::state::desired::DesiredState;
use crate::state::hooks::Moment;
use crate::state::strategy::Judge;
use crate::state::strategy::Staged;
use crate::state::strategy::StagedKind;
use crate::state::strategy::TrafficStage;

fn with(kind: StagedKind, stages: &[(u32, u64)]) -> DesiredState {
    let mut desired = desired();
    if let Some(order) = desired.services.get_mut("order") {
        order.rollout.staged = Some(Staged {
            kind,
            stages: stages
                .iter()
                .map(|(percent, pause_ms)| TrafficStage {
                    percent: *percent,
                    pause_ms: *pause_ms,
                })
                .collect(),
            header: String::new(),
            cookie: None,
            preview: None,
            judge: Judge {
                min_requests: 0,
                max_errors: 0,
                p95_ms: None,
                p99_ms: None,
                max_slowdown: 0,
            },
        });
    }
    desired
}

fn canary() -> DesiredState {
    with(StagedKind::Canary, &[(10, 1000), (50, 2000)])
}

fn blue_green() -> DesiredState {
    with(StagedKind::BlueGreen, &[(0, 1000), (100, 2000)])
}

/// `order` is to have another image, and can show it beside the old one.
fn changed() -> ClusterState {
    let mut cluster = settled();
    let order = cluster.wanted.last_mut().unwrap();
    order.changes = vec!["image order:1 -> order:2".to_owned()];
    order.renewal = Renewal::Replaces;
    cluster.wanted[3].manifest = Manifest(json!({
        "metadata": { "annotations": { "shopctl.dev/applied": "a", "more": "b" } },
        "spec": { "selector": { "name": "order" } },
    }));
    let label = |value: &str| ("stage".to_owned(), value.to_owned());
    let next = Next {
        wanted: Wanted {
            object: object("Deployment", "order-next"),
            ..wanted("Deployment", "order", Some(2))
        },
        own: label("next"),
        others: Some(label("main")),
    };
    cluster.next.insert("order".to_owned(), next);
    cluster
}

/// A run that did not finish has left the new revision with so many pods.
fn begun(mut cluster: ClusterState, pods: u32) -> ClusterState {
    if let Some(next) = cluster.next.get_mut("order") {
        let mut found = there(std::mem::take(&mut next.wanted), pods);
        found.pods.as_mut().unwrap().replicas = Some(pods);
        next.wanted = found;
    }
    cluster.left.push(left());
    cluster
}

fn left() -> Left {
    Left {
        object: object("Deployment", "order-next"),
        service: "order".to_owned(),
        next: true,
        ..Left::default()
    }
}

fn lines(plan: &Plan) -> String {
    report::steps(plan).join("\n")
}

fn steps(desired: &DesiredState, cluster: ClusterState) -> String {
    lines(&plan_of(desired, cluster, &Options::default()).expect("a plan"))
}

#[test]
fn new_pods_come_beside_the_old_ones_until_their_share_is_reached() {
    let plan = plan_of(&canary(), changed(), &Options::default()).expect("a plan");
    insta::assert_snapshot!(lines(&plan), @r"
    1 apply Deployment order-next with 1 replicas gate rolled out watched 1000ms (image order:1 -> order:2)
    2 apply Deployment order-next with 2 replicas needs 1 gate rolled out watched 2000ms (image order:1 -> order:2)
    3 apply Deployment order with 2 replicas needs 2 gate rolled out (image order:1 -> order:2)
    4 delete Deployment order-next needs 3 (replaced)
    ");
    let note = "· order: canary: 1 new beside 2 old (33 %), then 2 new beside 2 old (50 %); pods alone give the verdict, a cluster counts no requests";
    assert_eq!(report::notes(&plan)[0], note);
    insta::assert_snapshot!(report::changes(&plan).join("\n"), @r"
    ~ apply Deployment order-next with 1 replicas, watched for 1 s: image order:1 -> order:2
    ~ apply Deployment order-next with 2 replicas, watched for 2 s: image order:1 -> order:2
    ~ apply Deployment order with 2 replicas: image order:1 -> order:2
    - delete Deployment order-next: replaced
    ");
}

#[test]
fn requests_go_to_the_new_revision_at_once_when_all_of_it_has_stood() {
    let plan = plan_of(&blue_green(), changed(), &Options::default()).expect("a plan");
    insta::assert_snapshot!(lines(&plan), @r"
    1 apply Service order (leads to the old revision alone)
    2 apply Deployment order-next with 2 replicas needs 1 gate rolled out watched 1000ms (image order:1 -> order:2)
    3 apply Service order needs 2 gate rolled out of Deployment order-next watched 2000ms (leads to the new revision alone)
    4 apply Deployment order with 2 replicas needs 3 gate rolled out (image order:1 -> order:2)
    5 apply Service order needs 4 (leads to all replicas alike)
    6 delete Deployment order-next needs 5 (replaced)
    ");
    insta::assert_snapshot!(report::changes(&plan).join("\n"), @r"
    ~ apply Service order: leads to the old revision alone
    ~ apply Deployment order-next with 2 replicas, watched for 1 s: image order:1 -> order:2
    ~ apply Service order, watched for 2 s: leads to the new revision alone
    ~ apply Deployment order with 2 replicas: image order:1 -> order:2
    ~ apply Service order: leads to all replicas alike
    - delete Deployment order-next: replaced
    ");
    let sent = |id: usize| match &plan.steps[id - 1].action {
        Action::ApplyObject { manifest, .. } => manifest.0.clone(),
        other => panic!("{other:?}"),
    };
    // What does not lead where it should must not look as if it did.
    let notes = json!({ "more": "b" });
    assert_eq!(sent(1)["spec"]["selector"]["stage"], "main");
    assert_eq!(sent(1)["metadata"]["annotations"], notes);
    assert_eq!(sent(3)["spec"]["selector"]["stage"], "next");
    assert_eq!(sent(5)["spec"]["selector"], json!({ "name": "order" }));
}

#[test]
fn a_rollout_that_was_cut_off_goes_on_with_the_stage_that_it_had_reached() {
    insta::assert_snapshot!(steps(&canary(), begun(changed(), 2)), @r"
    1 apply Deployment order-next with 2 replicas gate rolled out watched 2000ms (image order:1 -> order:2)
    2 apply Deployment order with 2 replicas needs 1 gate rolled out (image order:1 -> order:2)
    3 delete Deployment order-next needs 2 (replaced)
    ");
    let mut switched = begun(changed(), 2);
    switched.switched.insert("order".to_owned());
    insta::assert_snapshot!(steps(&blue_green(), switched.clone()), @r"
    1 apply Service order gate rolled out of Deployment order-next watched 2000ms (leads to the new revision alone)
    2 apply Deployment order with 2 replicas needs 1 gate rolled out (image order:1 -> order:2)
    3 apply Service order needs 2 (leads to all replicas alike)
    4 delete Deployment order-next needs 3 (replaced)
    ");
    // The file has changed since: requests go back to the old revision before.
    let next = switched.next.get_mut("order").unwrap();
    next.wanted.changes = vec!["image order:2 -> order:3".to_owned()];
    let found = steps(&blue_green(), switched);
    assert!(found.contains("leads to the old revision alone"), "{found}");
}

#[test]
fn what_is_left_of_a_rollout_goes_first_where_it_is_not_wanted() {
    // The workload has the new revision already, and is on its way.
    let mut late = settled();
    late.wanted[4] = there(wanted("Deployment", "order", Some(2)), 1);
    late.left.push(left());
    insta::assert_snapshot!(steps(&canary(), late), @r"
    1 delete Deployment order-next (left over from an unfinished run)
    2 apply Deployment order with 2 replicas needs 1 gate rolled out (1 of 2 replicas are ready)
    ");
    // The file went back to what serves.
    let mut back = settled();
    back.left.push(left());
    back.wanted[3].changes = vec!["selector changed".to_owned()];
    insta::assert_snapshot!(steps(&blue_green(), back.clone()), @r"
    1 delete Deployment order-next (left over from an unfinished run)
    2 apply Service order needs 1 (selector changed)
    ");
    back.switched.insert("order".to_owned());
    insta::assert_snapshot!(steps(&blue_green(), back), @r"
    1 apply Service order (selector changed)
    2 delete Deployment order-next needs 1 (left over from an unfinished run)
    ");
}

#[test]
fn the_way_back_has_no_stages() {
    let options = Options {
        backwards: true,
        ..Options::default()
    };
    let plan = plan_of(&canary(), begun(changed(), 1), &options).expect("a plan");
    insta::assert_snapshot!(lines(&plan), @r"
    1 delete Deployment order-next (left over from an unfinished run)
    2 apply Deployment order with 2 replicas needs 1 gate rolled out (image order:1 -> order:2)
    ");
}

#[test]
fn what_has_no_room_or_cannot_be_told_apart_is_replaced_batch_by_batch() {
    // Demand is 600 for each of 4 pods; two more and one that is replaced take 1800.
    let node = |cpu_milli: u64| Node {
        name: "n".to_owned(),
        cpu_milli,
        memory: 1 << 40,
        pods: 100,
        ..Node::default()
    };
    let stages = |nodes: Vec<Node>| {
        let cluster = ClusterState { nodes, ..changed() };
        let plan = plan_of(&canary(), cluster, &Options::default()).expect("a plan");
        (
            lines(&plan).contains("order-next"),
            report::notes(&plan).join("\n"),
        )
    };
    assert!(stages(vec![node(2400 + 1800)]).0);
    let (is_staged, notes) = stages(vec![node(2400 + 1700)]);
    assert!(!is_staged);
    let text =
        "! order: replaced batch by batch, not canary: the capacity has no room for two revisions";
    assert!(notes.contains(text), "{notes}");
    let mut unmarked = changed();
    unmarked.next.get_mut("order").unwrap().others = None;
    let line =
        "  1 apply Deployment order with 2 replicas gate rolled out (image order:1 -> order:2)";
    assert_eq!(steps(&blue_green(), unmarked), line);
}

#[test]
fn others_wait_for_the_last_stage_and_stages_for_what_they_need() {
    let mut desired = canary();
    let staged = desired.services["order"].rollout.staged.clone();
    desired.services.get_mut("db").unwrap().rollout.staged = staged;
    let mut cluster = changed();
    let mut next = cluster.next["order"].clone();
    next.wanted.object = object("Deployment", "db-next");
    next.wanted.service = "db".to_owned();
    cluster.next.insert("db".to_owned(), next);
    cluster.wanted[2].changes = vec!["image db:1 -> db:2".to_owned()];
    cluster.wanted[2].renewal = Renewal::Replaces;
    insta::assert_snapshot!(steps(&desired, cluster), @r"
    1 apply Deployment db-next with 1 replicas gate rolled out watched 1000ms (image db:1 -> db:2)
    2 apply Deployment db-next with 2 replicas needs 1 gate rolled out watched 2000ms (image db:1 -> db:2)
    3 apply Deployment db with 2 replicas needs 2 gate rolled out (image db:1 -> db:2)
    4 delete Deployment db-next needs 3 (replaced)
    5 apply Deployment order-next with 1 replicas needs 3 gate rolled out watched 1000ms (image order:1 -> order:2)
    6 apply Deployment order-next with 2 replicas needs 5 gate rolled out watched 2000ms (image order:1 -> order:2)
    7 apply Deployment order with 2 replicas needs 6 gate rolled out (image order:1 -> order:2)
    8 delete Deployment order-next needs 7 (replaced)
    ");
}

#[test]
fn hooks_come_before_the_first_new_pod_and_after_the_last_old_one() {
    let mut cluster = changed();
    for moment in [Moment::PreDeploy, Moment::PostDeploy] {
        cluster.tasks.push(Task {
            owner: "order".to_owned(),
            service: "order".to_owned(),
            moment,
            timeout_ms: 60_000,
            object: object("Job", moment.key()),
            manifest: Manifest::default(),
            digest: String::new(),
        });
    }
    insta::assert_snapshot!(steps(&canary(), cluster), @r"
    1 apply Job pre_deploy gate rolled out (needed by the new revision of order)
    2 apply Deployment order-next with 1 replicas needs 1 gate rolled out watched 1000ms (image order:1 -> order:2)
    3 apply Deployment order-next with 2 replicas needs 2 gate rolled out watched 2000ms (image order:1 -> order:2)
    4 apply Deployment order with 2 replicas needs 3 gate rolled out (image order:1 -> order:2)
    5 delete Deployment order-next needs 4 (replaced)
    6 delete Job pre_deploy needs 1 (needed by the new revision of order)
    7 apply Job post_deploy needs 4 gate rolled out (needed by the new revision of order)
    8 delete Job post_deploy needs 7 (needed by the new revision of order)
    ");
}
