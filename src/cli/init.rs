//! `init`: writes a new service from a template that is part of the binary.
//!
//! Nothing that exists is overwritten, and nothing is written unless all can be.

use std::fs;
use std::path::Path;

use super::args::InitArgs;
use super::args::TemplateArg;
use super::desk::Desk;
use super::error::CliError;
use super::exit::Exit;
use crate::report::tables::plural;

/// Path below the folder, and what stands in it.
type File = (&'static str, &'static str);

/// Both templates have the same CI steps: they only call shopctl.
const COMMON: [File; 2] = [
    (
        ".github/workflows/deploy.yml",
        include_str!("../../templates/common/github.yml"),
    ),
    (
        ".gitlab-ci.yml",
        include_str!("../../templates/common/gitlab.yml"),
    ),
];

const AXUM: [File; 7] = [
    (
        "stack.yaml",
        include_str!("../../templates/axum/stack.yaml"),
    ),
    (
        "Dockerfile",
        include_str!("../../templates/axum/Dockerfile"),
    ),
    (
        ".dockerignore",
        include_str!("../../templates/axum/dockerignore"),
    ),
    (".gitignore", include_str!("../../templates/axum/gitignore")),
    (
        ".cargo/config.toml",
        include_str!("../../templates/axum/cargo-config.toml"),
    ),
    (
        "Cargo.toml",
        include_str!("../../templates/axum/Cargo.toml.in"),
    ),
    (
        "src/main.rs",
        include_str!("../../templates/axum/main.rs.in"),
    ),
];

const FLASK: [File; 5] = [
    (
        "stack.yaml",
        include_str!("../../templates/flask/stack.yaml"),
    ),
    (
        "Dockerfile",
        include_str!("../../templates/flask/Dockerfile"),
    ),
    (
        ".dockerignore",
        include_str!("../../templates/flask/dockerignore"),
    ),
    (
        "requirements.txt",
        include_str!("../../templates/flask/requirements.txt"),
    ),
    ("app.py", include_str!("../../templates/flask/app.py")),
];

/// Writes the files.
pub(super) fn run(desk: &Desk<'_>, args: &InitArgs) -> Result<Exit, CliError> {
    let dir = desk.settings.load.working_dir.join(&args.dir);
    let name = name(&dir)?;
    let own: &[File] = match args.template {
        TemplateArg::Axum => &AXUM,
        TemplateArg::Flask => &FLASK,
    };
    let files: Vec<&File> = own.iter().chain(&COMMON).collect();
    let taken: Vec<String> = files
        .iter()
        .map(|(path, _)| dir.join(path))
        .filter(|path| path.exists())
        .map(|path| path.display().to_string())
        .collect();
    if !taken.is_empty() {
        return Err(CliError::usage(format!(
            "{} would be overwritten; nothing was written",
            plural(taken.len(), "file")
        ))
        .detail(taken)
        .hint("shopctl init NEW-FOLDER"));
    }
    for (path, text) in files {
        let path = dir.join(path);
        write(&path, &text.replace("@NAME@", &name)).map_err(|error| {
            CliError::caused(
                Exit::Usage,
                format!("{} cannot be written", path.display()),
                &error,
            )
        })?;
    }
    if !desk.settings.quiet {
        desk.console.err(&format!(
            "wrote {name} to {}\nnext: cd {} && shopctl deploy",
            args.dir.display(),
            args.dir.display()
        ));
    }
    Ok(Exit::Done)
}

fn write(path: &Path, text: &str) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, text)
}

/// The folder's name as the name of a crate, a service and a stack.
fn name(dir: &Path) -> Result<String, CliError> {
    let folder = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    let last = folder
        .components()
        .next_back()
        .map(|part| part.as_os_str().to_string_lossy().to_lowercase())
        .unwrap_or_default();
    let name: String = last
        .chars()
        .map(|letter| {
            if letter.is_ascii_alphanumeric() {
                letter
            } else {
                '-'
            }
        })
        .collect();
    let name = name
        .trim_matches('-')
        .trim_start_matches(|letter: char| letter.is_ascii_digit() || letter == '-')
        .to_owned();
    if name.is_empty() {
        return Err(CliError::usage(format!(
            "the folder name `{last}` gives no name for a service"
        ))
        .hint("shopctl init my-shop"));
    }
    Ok(name)
}
