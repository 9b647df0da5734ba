//! Help texts, completion, manual: public, so every word of them is held.

use std::fmt::Write as _;

use clap::CommandFactory as _;
use shopctl::cli::args::Cli;

use crate::support::Bench;

#[test]
fn help_of_the_program() {
    insta::assert_snapshot!(Bench::empty().run(&["--help"]));
}

#[test]
fn help_of_every_command_has_an_example() {
    let mut all = String::new();
    let cli = Cli::command();
    for command in cli.get_subcommands() {
        if command.is_hide_set() {
            continue;
        }
        let name = command.get_name();
        let ran = Bench::empty().run(&[name, "--help"]);
        assert_eq!(ran.code, 0, "{ran}");
        assert_eq!(ran.stdout.matches("Example:").count(), 1, "{name}: {ran}");
        let own = ran
            .stdout
            .split("Global options:")
            .next()
            .unwrap_or_default();
        let example = ran.stdout.split("Example:").nth(1).unwrap_or_default();
        let _ = write!(all, "===== {name}\n{}\nExample:{example}\n", own.trim_end());
    }
    insta::assert_snapshot!(all);
}

#[test]
fn version_is_one_line() {
    let ran = Bench::empty().run(&["--version"]);
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (0, concat!("shopctl ", env!("CARGO_PKG_VERSION"), "\n"))
    );
}

#[test]
fn every_shell_gets_a_completion_that_knows_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let ran = Bench::empty().run(&["completion", shell]);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{shell}");
        for word in ["deploy", "capacity", "doctor", "no-rollback"] {
            assert!(ran.stdout.contains(word), "{shell} does not know {word}");
        }
    }
}

#[test]
fn the_bash_completion_is_a_script_that_bash_accepts() {
    let ran = Bench::empty().run(&["completion", "bash"]);
    let checked = std::process::Command::new("bash")
        .args(["-n", "-c", &ran.stdout])
        .status()
        .expect("bash is there");
    assert!(checked.success());
}

#[test]
fn the_manual_has_every_command() {
    let ran = Bench::empty().run(&["man"]);
    assert_eq!(ran.code, 0);
    assert!(ran.stdout.contains(".TH"), "it is a manual page");
    for command in Cli::command()
        .get_subcommands()
        .filter(|it| !it.is_hide_set())
    {
        let heading = format!("SHOPCTL {}", command.get_name().to_uppercase());
        assert!(ran.stdout.contains(&heading), "{heading} is missing");
    }
}

#[test]
fn a_flag_of_a_later_version_is_unknown() {
    for arguments in [
        &["load", "order"][..],
        &["scale", "order=auto"],
        &["scale", "order"],
        &["deploy", "--overcommit", "memory=2"],
        &["deploy", "--timeout", "soon"],
        &["config", "--services", "--images"],
        &["-q", "-v", "status"],
        &[],
    ] {
        let ran = Bench::empty().run(arguments);
        assert_eq!(ran.code, 2, "{arguments:?}: {ran}");
        assert_eq!(ran.stdout, "", "{arguments:?}");
    }
}
