//! What `init` writes.

use std::fs;
use std::path::Path;

use crate::support::Bench;

fn files(folder: &Path, below: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files(&path, below, found);
        } else {
            let name = path.strip_prefix(below).expect("below").display();
            found.push(name.to_string());
        }
    }
    found.sort();
}

#[test]
fn both_templates_are_complete_and_their_stack_files_load() {
    for template in ["axum", "flask"] {
        let bench = Bench::empty();
        let ran = bench.run(&["init", "My_Shop", "--template", template]);
        assert_eq!(ran.code, 0, "{ran}");
        let folder = bench.path().join("My_Shop");
        let mut found = Vec::new();
        files(&folder, &folder, &mut found);
        insta::assert_snapshot!(format!("{template}_files"), found.join("\n"));
        for name in &found {
            let text = fs::read_to_string(folder.join(name)).expect("readable");
            assert!(!text.contains("@NAME@"), "{name} has a placeholder left");
            assert!(!text.contains("# syntax="), "{name} needs a registry");
        }
        let stack = folder.join("stack.yaml").display().to_string();
        let ran = bench.run(&["-p", "my-shop", "-f", &stack, "config", "--services"]);
        assert_eq!((ran.code, ran.stdout.as_str()), (0, "my-shop\n"), "{ran}");
        let plan = bench.run(&["-p", "my-shop", "-f", &stack, "plan"]);
        assert_eq!(plan.code, 0, "{plan}");
    }
}

#[test]
fn nothing_that_exists_is_overwritten() {
    let bench = Bench::empty();
    bench.write("shop/app.py", "mine");
    let ran = bench.run(&["init", "shop", "--template", "flask"]);
    insta::assert_snapshot!(ran);
    assert_eq!(
        fs::read_to_string(bench.path().join("shop/app.py")).expect("readable"),
        "mine"
    );
    assert!(!bench.path().join("shop/stack.yaml").exists());
}
