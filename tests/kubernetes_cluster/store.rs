//! Records in secrets of the stack's namespace.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::ListParams;
use kube::api::Patch;
use kube::api::PatchParams;
use serde_json::json;
use shopctl::backend::BackendError;
use shopctl::backend::KEPT_RELEASES;
use shopctl::backend::Observe as _;
use shopctl::backend::Query;
use shopctl::backend::Store as _;
use shopctl::release;
use shopctl::stack;
use shopctl::state::history;
use shopctl::state::history::Outcome;
use shopctl::state::history::Release;
use shopctl::state::records;
use shopctl::state::resolve;

use crate::world::World;

const RECORDS: &str = "shopctl-records";

cases! {
    records_begin_with_the_first_of_them,
    releases_are_kept_the_newest_in_place_of_the_oldest,
    an_edit_that_fails_changes_nothing,
    records_that_another_run_has_written_stay,
    a_label_that_came_meanwhile_stops_nothing,
    what_no_object_holds_is_told,
    a_release_of_many_services_fits,
}

type Records = BTreeMap<String, Vec<u8>>;

pub(crate) async fn write(world: &World, name: &str, text: &str) -> Result<(), BackendError> {
    let edit = |records: &mut Records| {
        records.insert(name.to_owned(), text.as_bytes().to_vec());
        Ok(None)
    };
    world.cluster.edit(&world.stack, Box::new(edit)).await
}

async fn keep(world: &World, number: u64, document: Vec<u8>) -> Result<(), BackendError> {
    let edit = |_: &mut Records| Ok(Some((number, document)));
    world.cluster.edit(&world.stack, Box::new(edit)).await
}

pub(crate) async fn read(world: &World) -> Option<Records> {
    world.cluster.read(&world.stack).await.unwrap()
}

pub(crate) fn record(name: &str, text: &str) -> Records {
    [(name.to_owned(), text.as_bytes().to_vec())].into()
}

/// The lock makes the namespace, as in a run.
async fn begin(world: &World) {
    world.take("one").await.unwrap();
}

async fn records_begin_with_the_first_of_them(world: World) {
    assert_eq!(read(&world).await, None);
    let refused = write(&world, "a", "1").await;
    assert!(
        matches!(refused, Err(BackendError::NotFound { .. })),
        "{refused:?}"
    );
    begin(&world).await;
    assert_eq!(read(&world).await, None);
    let scale = r#"{"order":{"replicas":3,"file_replicas":1,"by":"ana","at":5}}"#;
    for (name, text) in [("a", "1"), ("b", "2"), ("a", "3"), (records::SCALE, scale)] {
        write(&world, name, text).await.unwrap();
    }
    let mut want = record("a", "3");
    want.extend(record("b", "2"));
    want.extend(record(records::SCALE, scale));
    assert_eq!(read(&world).await, Some(want));
    let query = Query {
        stack: world.stack.clone(),
        ..Query::default()
    };
    let seen = world.cluster.observe(&query).await.unwrap();
    assert_eq!(seen.store.unwrap().scale["order"].replicas, 3);
    // Others know them for what they are.
    let secret = world.secrets().get(RECORDS).await.unwrap();
    assert_eq!(secret.type_.as_deref(), Some("shopctl.dev/records"));
    let labels = secret.metadata.labels.unwrap();
    assert_eq!(labels["app.kubernetes.io/part-of"], world.stack);
    assert_eq!(labels["app.kubernetes.io/managed-by"], "shopctl");
    assert_eq!(labels["shopctl.dev/keeps"], "records");
}

async fn releases_are_kept_the_newest_in_place_of_the_oldest(world: World) {
    let store = &world.cluster;
    assert_eq!(store.releases(&world.stack).await.unwrap(), BTreeMap::new());
    begin(&world).await;
    let document = |number: u64, state: &str| format!("release {number} {state}").into_bytes();
    for number in 1..=KEPT_RELEASES + 2 {
        keep(&world, number, document(number, "runs"))
            .await
            .unwrap();
        keep(&world, number, document(number, "ended"))
            .await
            .unwrap();
    }
    let kept = store.releases(&world.stack).await.unwrap();
    let want: BTreeMap<u64, Vec<u8>> = (3..=KEPT_RELEASES + 2)
        .map(|number| (number, document(number, "ended")))
        .collect();
    assert_eq!(kept, want);
    let only = ListParams::default().labels("shopctl.dev/keeps=release");
    let secrets = world.secrets().list(&only).await.unwrap().items;
    assert_eq!(secrets.len() as u64, KEPT_RELEASES);
    let kinds = secrets.iter().map(|one| one.type_.as_deref());
    assert!(
        kinds
            .into_iter()
            .all(|it| it == Some("shopctl.dev/release"))
    );
    assert_eq!(read(&world).await, Some(BTreeMap::new()));
}

async fn an_edit_that_fails_changes_nothing(world: World) {
    begin(&world).await;
    write(&world, "a", "1").await.unwrap();
    let edit = |records: &mut Records| {
        records.clear();
        Err(BackendError::LockLost)
    };
    let edited = world.cluster.edit(&world.stack, Box::new(edit)).await;
    assert!(matches!(edited, Err(BackendError::LockLost)), "{edited:?}");
    assert_eq!(read(&world).await, Some(record("a", "1")));
}

/// Changes the object of the records in the middle of an edit.
async fn edit_beside(world: &World, patch: serde_json::Value) -> Result<(), BackendError> {
    let edit = |records: &mut Records| {
        world.at_once(async |client| {
            let secrets: Api<Secret> = Api::namespaced(client, &world.stack);
            let params = PatchParams::default();
            let patch = Patch::Merge(&patch);
            secrets.patch(RECORDS, &params, &patch).await.unwrap();
        });
        records.insert("a".to_owned(), b"mine".to_vec());
        Ok(None)
    };
    world.cluster.edit(&world.stack, Box::new(edit)).await
}

/// It has the lock that was ours: a laptop woke up.
async fn records_that_another_run_has_written_stay(world: World) {
    begin(&world).await;
    write(&world, "a", "1").await.unwrap();
    let theirs = json!({ "data": { "a": k8s_openapi::ByteString(b"theirs".to_vec()) } });
    let edited = edit_beside(&world, theirs).await;
    assert!(matches!(edited, Err(BackendError::LockLost)), "{edited:?}");
    assert_eq!(read(&world).await, Some(record("a", "theirs")));
}

async fn a_label_that_came_meanwhile_stops_nothing(world: World) {
    begin(&world).await;
    write(&world, "a", "1").await.unwrap();
    let label = json!({ "metadata": { "annotations": { "example.com/seen": "yes" } } });
    edit_beside(&world, label).await.unwrap();
    assert_eq!(read(&world).await, Some(record("a", "mine")));
}

async fn what_no_object_holds_is_told(world: World) {
    begin(&world).await;
    write(&world, "a", "1").await.unwrap();
    // As good as random: nothing makes it smaller.
    let mut state = 1_u64;
    let noise = std::iter::repeat_with(|| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 56) as u8
    });
    let kept = keep(&world, 7, noise.take(1_200_000).collect()).await;
    let error = kept.expect_err("it is too large");
    let why = std::error::Error::source(&error).map(ToString::to_string);
    let said = format!("{error}: {}", why.unwrap_or_default());
    assert!(said.contains("could not write release 7: "), "{said}");
    assert!(said.contains("1048576"), "{said}");
    let releases = world.cluster.releases(&world.stack).await.unwrap();
    assert_eq!(releases, BTreeMap::new());
    assert_eq!(read(&world).await, Some(record("a", "1")));
}

async fn a_release_of_many_services_fits(world: World) {
    use std::fmt::Write as _;
    begin(&world).await;
    let mut file = "name: many\nservices:\n".to_owned();
    for number in 0..200 {
        write!(
            file,
            "  service-{number}:
    image: registry.example.com/shop/service-{number}:1.{number}
    command: [serve, --port, '8000', --name, service-{number}]
    environment: {{ DATABASE_URL: 'postgres://user:{number}@db/{number}', LEVEL: info }}
    healthcheck: {{ test: [CMD, /probe, '{number}'], interval: 5s, retries: 3 }}
    volumes: ['data-{number}:/data']
    deploy: {{ replicas: 2, resources: {{ limits: {{ memory: 64M }} }} }}
    x-shop: {{ ready: {{ http: /readyz, port: 8000 }} }}
"
        )
        .unwrap();
    }
    file.push_str("volumes:\n");
    for number in 0..200 {
        writeln!(file, "  data-{number}:").unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stack.yaml");
    std::fs::write(&path, file).unwrap();
    let request = stack::LoadRequest {
        files: vec![path],
        working_dir: folder.path().to_owned(),
        ..stack::LoadRequest::default()
    };
    let loaded = stack::load(&request).unwrap();
    let resolved = resolve::resolve(&loaded.stack, &resolve::Inputs::default()).unwrap();
    let mut made = Release {
        desired: history::recorded(&resolved.desired),
        ..Release::default()
    };
    made.summary.outcome = Outcome::Deployed;
    let found = history::Findings::default();
    release::record(&world.cluster, &world.stack, &mut made, found)
        .await
        .unwrap();
    let kept = release::serving(&world.cluster, &world.stack).await;
    let kept = kept.unwrap().unwrap();
    assert_eq!((kept.summary.number, kept.desired.services.len()), (1, 200));
    let secret = world.secrets().get("shopctl-release-1").await.unwrap();
    let size = secret.data.unwrap()["release.json.gz"].0.len();
    // An object has 1024 KiB.
    assert!(size < 100 * 1024, "{size} bytes");
}
