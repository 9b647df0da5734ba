//! JSON Schemas of everything that `-o json` prints, generated from the types.
//!
//! `UPDATE_DOCS=1` writes them to `docs/reference/schema/`; otherwise the files
//! there have to be equal. Real output is held against them in `tests/cli`.

use std::fs;
use std::path::Path;

use schemars::JsonSchema;
use schemars::schema_for;

use super::documents::BuildDocument;
use super::documents::CapacityDocument;
use super::documents::DoctorDocument;
use super::documents::PlanDocument;
use super::documents::StatusDocument;
use super::happenings::HappeningDocument;
use super::history::HistoryDocument;
use super::problems::ProblemsDocument;
use crate::event::Event;

#[track_caller]
fn same<T: JsonSchema>(name: &str) {
    let schema = schema_for!(T);
    let mut wanted = serde_json::to_string_pretty(&schema).expect("a schema is JSON");
    wanted.push('\n');
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("docs/reference/schema")
        .join(name);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(&path, &wanted).expect("the schema is writable");
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == wanted,
        "{} is out of date; run the test once with UPDATE_DOCS=1",
        path.display()
    );
}

#[test]
fn schemas_are_those_of_the_types() {
    same::<StatusDocument>("status.json");
    same::<HistoryDocument>("history.json");
    same::<PlanDocument>("plan.json");
    same::<CapacityDocument>("capacity.json");
    same::<BuildDocument>("build.json");
    same::<DoctorDocument>("doctor.json");
    same::<ProblemsDocument>("problems.json");
    same::<Event>("event.json");
    same::<HappeningDocument>("happening.json");
}
