//! Random histories: revisions that work and revisions that do not, in any order. A way
//! back leads to a release that was stable and is another one, at most once a run, and
//! what was stable last serves after every run (invariants I1 and I14).

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::strategy::Strategy as _;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::Config;
use proptest::test_runner::RngAlgorithm;
use proptest::test_runner::TestRng;
use proptest::test_runner::TestRunner;
use shopctl::backend::memory::Behaviour;
use shopctl::backend::memory::Memory;
use shopctl::event::EventKind;
use shopctl::exec::Verdict;

use crate::deploy;
use crate::desired;
use crate::world;

const HISTORIES: u32 = 200;

/// Replicas of odd revisions get ready, those of even ones never do.
fn works(revision: u8) -> bool {
    revision % 2 == 1
}

#[derive(Debug, Default)]
struct Kinds {
    works: u32,
    goes_back: u32,
    has_no_way_back: u32,
    nothing_to_do: u32,
}

/// Revisions of the replicas of `order` that run.
fn orders(memory: &Memory) -> Vec<String> {
    let world = memory.world();
    let all = world.containers.values().filter(|one| one.runs());
    all.filter(|one| one.instance.service == "order")
        .map(|one| one.instance.revision.clone())
        .collect()
}

async fn play(history: &[u8], kinds: &mut Kinds) {
    let memory = world();
    // What each stable release runs.
    let mut stable: BTreeMap<u64, u8> = BTreeMap::new();
    let mut serves: Option<u8> = None;
    // By what its replicas are known.
    let mut digests: BTreeMap<u8, String> = BTreeMap::new();
    for (at, revision) in history.iter().enumerate() {
        let works = works(*revision);
        let why = format!("deploy {at} of {history:?}");
        let behaves = (!works).then(|| ("order".to_owned(), Behaviour::NeverReady));
        memory.world().behaviours = behaves.into_iter().collect();
        let (verdict, events) = deploy(&memory, &desired(&revision.to_string())).await;
        let ways_back = events
            .iter()
            .filter(|event| matches!(event.kind, EventKind::RollbackStarted { .. }));
        let ways_back = ways_back.count();
        match verdict {
            Verdict::Done {
                release: Some(number),
                ..
            } => {
                kinds.works += 1;
                stable.insert(number, *revision);
                serves = Some(*revision);
                assert_eq!(ways_back, 0, "{why}");
            }
            Verdict::Done { steps, .. } => {
                kinds.nothing_to_do += 1;
                assert_eq!((steps, serves), (0, Some(*revision)), "{why}");
            }
            Verdict::RolledBack { to, .. } => {
                kinds.goes_back += 1;
                assert!(!works, "{why}");
                let back = stable.get(&to).copied();
                assert!(back.is_some(), "release {to} was never stable: {why}");
                assert_ne!(back, Some(*revision), "the same again: {why}");
                assert_eq!(back, serves, "{why}");
                assert_eq!(ways_back, 1, "{why}");
            }
            Verdict::Failed(_) => {
                kinds.has_no_way_back += 1;
                assert!(!works && serves.is_none(), "{why}");
                assert_eq!(ways_back, 0, "{why}");
            }
            other => panic!("{other:?}: {why}"),
        }
        if let Some(serves) = serves {
            let runs = orders(&memory);
            assert_eq!(runs.len(), 2, "{why}");
            let known = digests.entry(serves).or_insert_with(|| runs[0].clone());
            assert!(runs.iter().all(|one| one == known), "{runs:?}: {why}");
        }
    }
}

#[tokio::test(start_paused = true)]
#[expect(clippy::print_stdout, reason = "how often each end came up")]
async fn a_way_back_leads_to_another_stable_release_and_ends() {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[14; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let histories = vec(1..6_u8, 1..8);
    let mut kinds = Kinds::default();
    for _ in 0..HISTORIES {
        let history = histories.new_tree(&mut runner).expect("a history");
        play(&history.current(), &mut kinds).await;
    }
    println!("{kinds:?}");
    let all = [
        kinds.works,
        kinds.goes_back,
        kinds.has_no_way_back,
        kinds.nothing_to_do,
    ];
    assert!(all.iter().all(|count| *count > 0), "{kinds:?}");
}
