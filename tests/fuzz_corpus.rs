//! The corpus of the fuzz targets, and what is near it: every input is read without a
//! panic and in time. Inputs are the same in every run; `fuzz/run.sh` looks further.

#[path = "../fuzz/entries.rs"]
mod entries;

use std::fs;
use std::panic;
use std::path::Path;
use std::time::Duration;
use std::time::Instant;

use proptest::collection::vec;
use proptest::prelude::any;
use proptest::sample::Index;
use proptest::strategy::Strategy;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::Config;
use proptest::test_runner::RngAlgorithm;
use proptest::test_runner::TestRng;
use proptest::test_runner::TestRunner;

/// What one input may take: as much as the fuzzer gives it, on a machine that does much
/// else.
const LIMIT: Duration = Duration::from_secs(5);

/// Inputs near each file of the corpus.
const NEAR: u32 = 40;

/// What means something to one of the readers.
const WORDS: [&str; 32] = [
    "${",
    "}",
    ":-",
    ":?",
    "$$",
    "$A",
    "export ",
    "=",
    "#",
    "'",
    "\"",
    "\\",
    "\n",
    "\t",
    "- ",
    ": ",
    "? ",
    "[",
    "]",
    "{",
    "}",
    ",",
    "&a ",
    "*a",
    "<<: *a",
    "!reset ",
    "!override ",
    "|\n",
    "\u{85}",
    "\u{2028}",
    "\u{feff}",
    "0x1p9",
];

/// One change of an input.
#[derive(Clone, Debug)]
enum Edit {
    /// A word comes in.
    Word(Index, Index),
    /// A byte becomes another.
    Byte(Index, u8),
    /// A piece goes.
    Cut(Index, Index),
    /// A piece comes once more, elsewhere.
    Copy(Index, Index, Index),
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let place = any::<Index>;
    let edit = proptest::prop_oneof![
        (place(), place()).prop_map(|(at, word)| Edit::Word(at, word)),
        (place(), any::<u8>()).prop_map(|(at, byte)| Edit::Byte(at, byte)),
        (place(), place()).prop_map(|(from, to)| Edit::Cut(from, to)),
        (place(), place(), place()).prop_map(|(from, to, at)| Edit::Copy(from, to, at)),
    ];
    vec(edit, 1..6)
}

fn changed(input: &[u8], edits: &[Edit]) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for edit in edits {
        let places = bytes.len() + 1;
        let piece = |one: &Index, other: &Index| {
            let (one, other) = (one.index(places), other.index(places));
            one.min(other)..one.max(other)
        };
        match edit {
            Edit::Word(at, word) => {
                let at = at.index(places);
                bytes.splice(at..at, word.get(&WORDS).bytes());
            }
            Edit::Byte(at, byte) => {
                if let Some(place) = bytes.get_mut(at.index(places)) {
                    *place = *byte;
                }
            }
            Edit::Cut(from, to) => {
                bytes.drain(piece(from, to));
            }
            Edit::Copy(from, to, at) => {
                let copied = bytes[piece(from, to)].to_vec();
                let at = at.index(places);
                bytes.splice(at..at, copied);
            }
        }
    }
    bytes
}

/// What is wrong with how an input was taken, if anything.
fn fault(entry: entries::Entry, input: &[u8], folder: &Path, limit: Duration) -> Option<String> {
    let started = Instant::now();
    let outcome = panic::catch_unwind(|| entry(input, folder));
    let took = started.elapsed();
    let what = match outcome {
        Err(_) => "it panicked".to_owned(),
        Ok(()) if took > limit => format!("it took {took:?}"),
        Ok(()) => return None,
    };
    Some(format!("{what}: {:?}", String::from_utf8_lossy(input)))
}

fn replay(target: &str) {
    let entry = entries::of(target);
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let mut files: Vec<_> = fs::read_dir(corpus.join(target))
        .expect("a corpus")
        .map(|file| file.expect("readable").path())
        .collect();
    files.sort();
    assert!(files.len() >= 10, "{target}: only {} files", files.len());
    let work = tempfile::tempdir().expect("a folder");
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let near = edits();
    let mut faults = Vec::new();
    for file in files {
        let input = fs::read(&file).expect("readable");
        faults.extend(fault(entry, &input, work.path(), LIMIT));
        for _ in 0..NEAR {
            let edits = near.new_tree(&mut runner).expect("edits").current();
            let input = changed(&input, &edits);
            faults.extend(fault(entry, &input, work.path(), LIMIT));
        }
    }
    assert!(faults.is_empty(), "{target}:\n{}", faults.join("\n"));
}

#[test]
fn variables_of_any_form_are_taken() {
    replay("interpolate");
}

#[test]
fn environment_files_of_any_form_are_taken() {
    replay("dotenv");
}

#[test]
fn documents_of_any_form_are_taken() {
    replay("tree");
}

#[test]
fn stack_files_of_any_form_are_taken() {
    replay("loader");
}

#[test]
fn a_panic_and_a_slow_input_are_faults() {
    let fault = |entry, limit| fault(entry, b"x", Path::new(""), limit);
    assert_eq!(fault(|_, _| {}, LIMIT), None);
    let panicked = fault(|_, _| panic!("on purpose"), LIMIT);
    assert_eq!(panicked.as_deref(), Some("it panicked: \"x\""));
    let slow = fault(
        |_, _| std::thread::sleep(Duration::from_millis(2)),
        Duration::ZERO,
    );
    assert!(slow.is_some_and(|words| words.starts_with("it took ")));
}
