//! Plans for small stacks on a cluster, step by step.

use serde_json::json;

use super::super::input::Goal;
use super::super::input::Options;
use super::super::input::PlanInput;
use super::super::input::Prune;
use super::super::input::ScaleTo;
use super::super::plan;
use super::super::report;
use crate::plan::action::Plan;
use crate::plan::action::Refusal;
use crate::state::cluster::ClusterState;
use crate::state::cluster::Left;
use crate::state::cluster::Manifest;
use crate::state::cluster::Node;
use crate::state::cluster::ObjectRef;
use crate::state::cluster::Pods;
use crate::state::cluster::Wanted;
use crate::state::desired::Condition;
use crate::state::desired::Demand;
use crate::state::desired::DemandSource;
use crate::state::desired::Dependency;
use crate::state::desired::DesiredState;
use crate::state::desired::ServiceSpec;
use crate::state::observed::ObservedState;

pub(super) fn object(kind: &str, name: &str) -> ObjectRef {
    ObjectRef {
        api_version: "v1".to_owned(),
        kind: kind.to_owned(),
        namespace: "shop".to_owned(),
        name: name.to_owned(),
    }
}

pub(super) fn wanted(kind: &str, service: &str, replicas: Option<u32>) -> Wanted {
    Wanted {
        object: object(kind, service),
        service: service.to_owned(),
        manifest: Manifest(json!({ "kind": kind, "spec": { "replicas": replicas } })),
        ..Wanted::default()
    }
}

/// What is there as it should be.
pub(super) fn there(mut wanted: Wanted, ready: u32) -> Wanted {
    wanted.exists = true;
    wanted.pods = Some(Pods {
        replicas: wanted.manifest.replicas(),
        ready,
        all: ready,
        is_current: true,
        ..Pods::default()
    });
    wanted
}

/// `order` needs `db`, which is healthy first.
pub(super) fn desired() -> DesiredState {
    let service = |name: &str, needs: &[&str]| ServiceSpec {
        name: name.to_owned(),
        replicas: 2,
        needs: needs
            .iter()
            .map(|need| Dependency {
                service: (*need).to_owned(),
                condition: Condition::Healthy,
                required: true,
                restart: false,
            })
            .collect(),
        demand: Demand {
            cpu_milli: 600,
            cpu_source: DemandSource::Reservation,
            ..Demand::default()
        },
        ..ServiceSpec::default()
    };
    DesiredState {
        stack: "shop".to_owned(),
        services: [service("db", &[]), service("order", &["db"])]
            .map(|one| (one.name.clone(), one))
            .into(),
        ..DesiredState::default()
    }
}

fn fresh() -> ClusterState {
    ClusterState {
        namespace: "shop".to_owned(),
        exists: true,
        wanted: vec![
            Wanted {
                object: object("Namespace", "shop"),
                ..Wanted::default()
            },
            wanted("Service", "db", None),
            wanted("Deployment", "db", Some(2)),
            wanted("Service", "order", None),
            wanted("Deployment", "order", Some(2)),
        ],
        ..ClusterState::default()
    }
}

pub(super) fn settled() -> ClusterState {
    let mut cluster = fresh();
    for one in &mut cluster.wanted {
        let is_workload = one.object.is_workload();
        *one = there(std::mem::take(one), 2);
        one.pods.take_if(|_| !is_workload);
    }
    cluster
}

pub(super) fn plan_of(
    desired: &DesiredState,
    cluster: ClusterState,
    options: &Options,
) -> Result<Plan, Refusal> {
    let observed = ObservedState {
        cluster: Some(cluster),
        ..ObservedState::default()
    };
    plan(&PlanInput {
        desired,
        observed: &observed,
        options,
    })
}

fn planned(cluster: ClusterState, options: &Options) -> Result<Vec<String>, Refusal> {
    let plan = plan_of(&desired(), cluster, options)?;
    Ok(report::steps(&plan))
}

fn steps(cluster: ClusterState, options: &Options) -> Vec<String> {
    planned(cluster, options).expect("a plan")
}

#[test]
fn a_new_stack_is_applied_in_the_order_of_its_needs() {
    insta::assert_snapshot!(steps(fresh(), &Options::default()).join("\n"), @r"
    1 apply Namespace shop (missing)
    2 apply Service db needs 1 (missing)
    3 apply Deployment db with 2 replicas needs 1,2 gate rolled out (missing)
    4 apply Service order needs 1 (missing)
    5 apply Deployment order with 2 replicas needs 1,3,4 gate rolled out (missing)
    ");
}

#[test]
fn what_is_as_it_should_be_takes_no_step() {
    assert_eq!(steps(settled(), &Options::default()), [""; 0]);
}

#[test]
fn counts_are_set_where_nothing_else_decides_on_them() {
    let to = ScaleTo::Count {
        replicas: 3,
        by: "a".to_owned(),
        at: 0,
    };
    let options = Options {
        scale: [("order".to_owned(), to)].into(),
        ..Options::default()
    };
    let found = steps(settled(), &options).join("\n");
    assert!(
        found.contains("apply Deployment order with 3 replicas"),
        "{found}"
    );
    let mut scaled = settled();
    scaled.wanted[4].manifest = Manifest(json!({ "spec": {} }));
    let found = steps(scaled, &Options::default());
    assert_eq!(found, [""; 0]);
}

#[test]
fn a_rollout_that_was_cut_off_is_waited_for() {
    let mut cluster = settled();
    cluster.wanted[4] = there(wanted("Deployment", "order", Some(2)), 1);
    let found = steps(cluster, &Options::default()).join("\n");
    assert!(found.contains("1 of 2 replicas are ready"), "{found}");
}

#[test]
fn a_job_that_failed_is_made_anew() {
    let mut cluster = settled();
    let mut job = there(wanted("Job", "order", None), 0);
    job.pods = Some(Pods {
        failed: Some("BackoffLimitExceeded".to_owned()),
        ..Pods::default()
    });
    cluster.wanted[4] = job;
    insta::assert_snapshot!(steps(cluster, &Options::default()).join("\n"), @r"
    1 delete Job order (BackoffLimitExceeded)
    2 apply Job order needs 1 gate rolled out (BackoffLimitExceeded)
    ");
}

#[test]
fn what_left_the_file_goes_last_and_only_where_that_is_allowed() {
    let mut cluster = settled();
    cluster.left = vec![
        Left {
            object: object("Deployment", "old"),
            service: "old".to_owned(),
            ..Left::default()
        },
        Left {
            object: object("PersistentVolumeClaim", "data"),
            ..Left::default()
        },
    ];
    assert_eq!(steps(cluster.clone(), &Options::default()), [""; 0]);
    let options = Options {
        prune: Prune::All,
        ..Options::default()
    };
    let found = steps(cluster, &options);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("delete Deployment old"), "{found:?}");
}

#[test]
fn a_command_that_runs_is_let_alone_until_down_and_what_is_left_of_one_goes() {
    let with = |runs: bool, goal: Goal| {
        let mut cluster = settled();
        cluster.left = vec![Left {
            object: object("Pod", "order-run-1"),
            service: "order".to_owned(),
            runs,
            ..Left::default()
        }];
        let options = Options {
            goal,
            ..Options::default()
        };
        steps(cluster, &options)
    };
    assert_eq!(with(true, Goal::Deploy), [""; 0]);
    assert_eq!(
        with(false, Goal::Deploy),
        ["  1 delete Pod order-run-1 (left over from an unfinished run)"]
    );
    let down = with(true, Goal::Down { volumes: false });
    assert!(
        down.iter()
            .any(|step| step.contains("delete Pod order-run-1")),
        "{down:?}"
    );
}

#[test]
fn of_sets_that_nothing_uses_the_newest_stay() {
    let mut cluster = settled();
    cluster.left = (0..7)
        .map(|age| Left {
            object: object("Secret", &format!("key-{age}")),
            set: "key".to_owned(),
            made_at: 100 - age,
            ..Left::default()
        })
        .collect();
    let found = steps(cluster, &Options::default()).join("\n");
    assert!(
        found.contains("key-5") && found.contains("key-6"),
        "{found}"
    );
    assert!(!found.contains("key-4"), "{found}");
}

#[test]
fn down_goes_from_the_dependents_to_what_they_need_and_keeps_what_is_kept() {
    let down = |volumes: bool| {
        let options = Options {
            goal: Goal::Down { volumes },
            ..Options::default()
        };
        steps(settled(), &options).join("\n")
    };
    insta::assert_snapshot!(down(false), @r"
    1 delete Deployment order (asked for)
    2 delete Service order needs 1 (asked for)
    3 delete Deployment db needs 1,2 (asked for)
    4 delete Service db needs 3 (asked for)
    ");
    assert!(!down(false).contains("Namespace"));
    assert!(down(true).contains("delete Namespace shop"));
}

#[test]
fn down_takes_each_object_of_services_that_left_the_file_once() {
    let left = |kind: &str, service: &str| Left {
        object: object(kind, service),
        service: service.to_owned(),
        ..Left::default()
    };
    let cluster = ClusterState {
        namespace: "shop".to_owned(),
        exists: true,
        left: ["Service", "Deployment"]
            .into_iter()
            .flat_map(|kind| [left(kind, "a"), left(kind, "b")])
            .collect(),
        ..ClusterState::default()
    };
    let options = Options {
        goal: Goal::Down { volumes: false },
        ..Options::default()
    };
    insta::assert_snapshot!(steps(cluster, &options).join("\n"), @r"
    1 delete Deployment a (asked for)
    2 delete Service a needs 1 (asked for)
    3 delete Deployment b (asked for)
    4 delete Service b needs 3 (asked for)
    ");
}

#[test]
fn a_replica_that_fits_on_no_node_is_refused_though_the_sum_would_do() {
    let node = |cpu_milli: u64| Node {
        name: "n".to_owned(),
        cpu_milli,
        memory: 1 << 40,
        pods: 100,
        ..Node::default()
    };
    let with = |nodes: Vec<Node>| ClusterState { nodes, ..fresh() };
    let refusal = |cluster| match planned(cluster, &Options::default()) {
        Err(Refusal::Capacity(report)) => report.misfit,
        other => panic!("{other:?}"),
    };
    assert!(planned(with(vec![node(4000)]), &Options::default()).is_ok());
    assert_eq!(refusal(with(vec![node(2000)])), None);
    assert!(refusal(with(vec![node(500); 8])).is_some());
}

#[test]
fn an_autoscalers_count_is_the_one_that_is_wanted() {
    let mut cluster = settled();
    let order = cluster.wanted.iter_mut();
    let order = order
        .filter(|one| one.object == object("Deployment", "order"))
        .last()
        .expect("it is wanted");
    order.manifest = wanted("Deployment", "order", None).manifest;
    if let Some(pods) = &mut order.pods {
        pods.replicas = Some(7);
    }
    let desired = desired();
    let options = Options::default();
    let observed = ObservedState {
        cluster: Some(cluster),
        ..ObservedState::default()
    };
    let input = PlanInput {
        desired: &desired,
        observed: &observed,
        options: &options,
    };
    let counts = super::super::wanted(&input);
    assert_eq!(
        counts,
        [("db".to_owned(), 2), ("order".to_owned(), 7)].into()
    );
}

mod hooks;
