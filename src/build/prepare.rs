//! Commands that run on this host before a context is read, such as a compiler.
//!
//! They are skipped while the files they declare as inputs are unchanged.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Stdio;

use ignore::WalkBuilder;
use ignore::overrides::Override;
use ignore::overrides::OverrideBuilder;
use tokio::io::AsyncBufReadExt as _;
use tokio::io::AsyncRead;
use tokio::io::BufReader;
use tokio::process::Command;
use tokio::sync::mpsc;

use super::BuildError;
use super::memo;
use super::recipe::Prepare;
use super::recipe::Recipe;
use crate::state::names::hex;

/// Whether the commands of a recipe must run: there are some, and their inputs
/// changed, or none are declared.
pub fn is_due(recipe: &Recipe, cache: &Path) -> Result<bool, BuildError> {
    let Some(prepare) = recipe
        .prepare
        .as_ref()
        .filter(|prepare| !prepare.commands.is_empty())
    else {
        return Ok(false);
    };
    if prepare.inputs.is_empty() {
        return Ok(true);
    }
    // What they make has been deleted: the inputs alone cannot tell.
    if !recipe.context.exists() {
        return Ok(true);
    }
    let inputs = Inputs::find(recipe, prepare)?;
    let key = key(prepare);
    if memo::recall(cache, &key, &inputs.fingerprint).is_some() {
        return Ok(false);
    }
    let Some(last) = memo::last(cache, &key) else {
        return Ok(true);
    };
    let digest = inputs.digest(recipe)?;
    if digest == last {
        memo::remember(cache, &key, &inputs.fingerprint, &digest, inputs.youngest);
    }
    Ok(digest != last)
}

/// Runs the commands in order, their output line by line into the channel.
///
/// # Errors
/// The first command that does not end with 0; the rest do not run.
pub async fn run(
    recipe: &Recipe,
    cache: &Path,
    lines: mpsc::Sender<String>,
) -> Result<(), BuildError> {
    let Some(prepare) = &recipe.prepare else {
        return Ok(());
    };
    for command in &prepare.commands {
        one(recipe, prepare, command, &lines).await?;
    }
    if !prepare.inputs.is_empty() {
        // Taken afterwards: a command may write lock files that are inputs too.
        let inputs = Inputs::find(recipe, prepare)?;
        let digest = inputs.digest(recipe)?;
        memo::remember(
            cache,
            &key(prepare),
            &inputs.fingerprint,
            &digest,
            inputs.youngest,
        );
    }
    Ok(())
}

/// A command as one would type it.
pub fn typed(command: &[String]) -> String {
    shlex::try_join(command.iter().map(String::as_str)).unwrap_or_else(|_| command.join(" "))
}

async fn one(
    recipe: &Recipe,
    prepare: &Prepare,
    command: &[String],
    lines: &mpsc::Sender<String>,
) -> Result<(), BuildError> {
    let failed = |ended: String, output| BuildError::Prepare {
        service: recipe.service.clone(),
        command: typed(command),
        ended,
        output,
    };
    let [program, arguments @ ..] = command else {
        return Ok(());
    };
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir(&prepare.folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| failed(error.to_string(), Vec::new()))?;
    let out = forward(child.stdout.take(), lines);
    let err = forward(child.stderr.take(), lines);
    let (mut output, more, ended) = tokio::join!(out, err, child.wait());
    output.extend(more);
    match ended {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(failed(
            status
                .code()
                .map_or_else(|| status.to_string(), |code| format!("exit code {code}")),
            output,
        )),
        Err(error) => Err(failed(error.to_string(), output)),
    }
}

async fn forward(
    stream: Option<impl AsyncRead + Unpin>,
    lines: &mpsc::Sender<String>,
) -> Vec<String> {
    let mut output = Vec::new();
    let Some(stream) = stream else { return output };
    let mut reader = BufReader::new(stream).lines();
    while let Ok(Some(line)) = reader.next_line().await {
        // Nobody listening is no reason to stop the command.
        let _ = lines.send(line.clone()).await;
        output.push(line);
    }
    output
}

fn key(prepare: &Prepare) -> String {
    format!(
        "prepare {} {:?} {:?}",
        prepare.folder.display(),
        prepare.commands,
        prepare.inputs
    )
}

/// The files that the inputs' globs match.
struct Inputs {
    files: Vec<PathBuf>,
    fingerprint: String,
    youngest: i128,
}

impl Inputs {
    fn find(recipe: &Recipe, prepare: &Prepare) -> Result<Self, BuildError> {
        let bad = |pattern: &str| BuildError::Pattern {
            service: recipe.service.clone(),
            pattern: pattern.to_owned(),
        };
        let mut files = Vec::new();
        for glob in &prepare.inputs {
            let (root, inside) = anchored(&prepare.folder, glob);
            let mut builder = OverrideBuilder::new(&root);
            builder.add(&format!("/{inside}")).map_err(|_| bad(glob))?;
            let rules = builder.build().map_err(|_| bad(glob))?;
            files.extend(matching(&root.join(literal(inside)), &rules));
        }
        files.sort();
        files.dedup();
        let mut text = String::new();
        let mut youngest = 0;
        for path in &files {
            let Ok(metadata) = fs::metadata(path) else {
                continue;
            };
            let at =
                i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
            youngest = youngest.max(at);
            let _ = writeln!(
                text,
                "{} {} {at} {}",
                path.display(),
                metadata.len(),
                metadata.ino()
            );
        }
        Ok(Self {
            files,
            fingerprint: hex(text.as_bytes()),
            youngest,
        })
    }

    fn digest(&self, recipe: &Recipe) -> Result<String, BuildError> {
        let mut bytes = Vec::new();
        for path in &self.files {
            let content = fs::read(path).map_err(|source| BuildError::Unreadable {
                service: recipe.service.clone(),
                path: path.clone(),
                source,
            })?;
            bytes.extend_from_slice(format!("{}\0{}\0", path.display(), hex(&content)).as_bytes());
        }
        Ok(hex(&bytes))
    }
}

/// The folder a glob starts from, with leading `..` followed, and the rest of it.
fn anchored<'g>(folder: &Path, glob: &'g str) -> (PathBuf, &'g str) {
    let mut root = folder.to_owned();
    let mut rest = glob;
    loop {
        if let Some(below) = rest.strip_prefix("./") {
            rest = below;
        } else if let Some(above) = rest.strip_prefix("../") {
            rest = above;
            root.pop();
        } else {
            return (root, rest);
        }
    }
}

/// The folders of a glob before its first wildcard: only there can it match.
fn literal(glob: &str) -> PathBuf {
    glob.split('/')
        .take_while(|part| !part.contains(['*', '?', '[', '{']))
        .collect()
}

fn matching(start: &Path, rules: &Override) -> Vec<PathBuf> {
    WalkBuilder::new(start)
        .standard_filters(false)
        .build()
        .filter_map(Result::ok)
        .filter(|found| found.file_type().is_some_and(|kind| kind.is_file()))
        .map(ignore::DirEntry::into_path)
        .filter(|path| rules.matched(path, false).is_whitelist())
        .collect()
}
