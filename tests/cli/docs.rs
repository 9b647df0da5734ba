//! Pages that are generated: `UPDATE_DOCS=1` writes them, otherwise they have to
//! be equal.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use clap::CommandFactory as _;
use shopctl::cli::args::Cli;
use shopctl::cli::exit;

#[track_caller]
fn same(path: &str, wanted: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(&path, wanted).expect("the page is writable");
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == wanted,
        "{} is out of date; run the test once with UPDATE_DOCS=1",
        path.display()
    );
}

#[test]
fn exit_codes() {
    same("docs/reference/exit-codes.md", &exit::page());
}

#[test]
fn the_schema_of_stack_files() {
    let schema = serde_json::to_string_pretty(&shopctl::stack::schema()).expect("JSON");
    same("docs/reference/schema/stack.json", &format!("{schema}\n"));
}

#[test]
fn the_keys_of_stack_files() {
    same("docs/reference/keys.md", &shopctl::stack::reference());
}

#[test]
fn commands() {
    let mut page = String::from(
        "# Commands\n\nGenerated from the help texts; a test keeps it equal. `shopctl COMMAND --help` shows the same.\n",
    );
    let mut cli = Cli::command().term_width(100);
    cli.build();
    let _ = write!(
        page,
        "\n```text\n{}```\n",
        trimmed(&cli.render_long_help().to_string())
    );
    for command in cli
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
    {
        let mut command = command.clone().term_width(100);
        let help = command.render_help().to_string();
        let own = help.split("\nGlobal options:").next().unwrap_or_default();
        let example = help.split("Example:").nth(1).unwrap_or_default();
        let _ = write!(
            page,
            "\n## {}\n\n```text\n{}\n\nExample:{}```\n",
            command.get_name(),
            trimmed(own).trim_end(),
            trimmed(example)
        );
    }
    same("docs/reference/cli.md", &page);
}

fn trimmed(text: &str) -> String {
    let mut all = String::new();
    for line in text.lines() {
        all.push_str(line.trim_end());
        all.push('\n');
    }
    while all.ends_with("\n\n") {
        all.pop();
    }
    all
}
