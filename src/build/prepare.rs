//! Commands that run on this host before the context is read, e.g. a compiler.
//!
//! They run again only when a file that they declare to read has changed, or a file
//! of the context that was there after their last run is gone.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Instant;

use serde::Deserialize;
use serde::Serialize;
use tokio::io::AsyncBufReadExt as _;
use tokio::io::AsyncRead;
use tokio::io::BufReader;
use tokio::process::Command;
use tokio::sync::mpsc;

use super::BuildError;
use super::BuildInputs;
use super::context::Context;
use super::context::unreadable;
use super::digests::Digests;
use super::digests::replace;
use super::pattern::Pattern;
use crate::event::EventKind;
use crate::state::names;

/// Lines of a failing command that are kept.
const KEPT_LINES: usize = 200;

/// What is remembered of the last successful run.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    /// Digest of the declared inputs.
    inputs: String,
    /// Files of the context afterwards.
    files: BTreeSet<String>,
}

/// Whether the commands of a service have to run before its image can be known.
pub fn is_due(inputs: &BuildInputs, cache: &Path) -> Result<bool, BuildError> {
    if inputs.prepare.is_empty() {
        return Ok(false);
    }
    if inputs.prepare_inputs.is_empty() {
        return Ok(true);
    }
    let record = fs::read(record_file(inputs, cache))
        .ok()
        .and_then(|bytes| serde_json::from_slice::<Record>(&bytes).ok());
    let Some(record) = record else {
        return Ok(true);
    };
    if record.inputs != digest_of_inputs(inputs, cache)? {
        return Ok(true);
    }
    let Ok(context) = Context::list(inputs) else {
        // What the commands make may be what is missing.
        return Ok(true);
    };
    let present: BTreeSet<&str> = context
        .entries
        .iter()
        .map(|entry| entry.path.as_str())
        .collect();
    Ok(record
        .files
        .iter()
        .any(|file| !present.contains(file.as_str())))
}

/// Runs the commands of a service in order, unless they need not run. Each command is
/// announced before it runs, and its output goes line by line into `lines`.
pub async fn run(
    inputs: &BuildInputs,
    cache: &Path,
    events: &mpsc::Sender<EventKind>,
    lines: &mpsc::Sender<String>,
) -> Result<(), BuildError> {
    if inputs.prepare.is_empty() {
        return Ok(());
    }
    let start = Instant::now();
    let due = is_due(inputs, cache)?;
    if due {
        // Read before the run: a file that is changed meanwhile is seen next time.
        let digest = digest_of_inputs(inputs, cache)?;
        for command in &inputs.prepare {
            // Nobody may be listening.
            let _ = events
                .send(EventKind::PrepareStarted {
                    service: inputs.service.clone(),
                    command: typed(command),
                })
                .await;
            one(inputs, command, lines).await?;
        }
        remember(inputs, cache, digest)?;
    }
    let _ = events
        .send(EventKind::PrepareFinished {
            service: inputs.service.clone(),
            skipped: !due,
            elapsed_ms: u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX),
        })
        .await;
    Ok(())
}

fn remember(inputs: &BuildInputs, cache: &Path, digest: String) -> Result<(), BuildError> {
    let files = Context::list(inputs)?
        .entries
        .into_iter()
        .map(|entry| entry.path)
        .collect();
    let record = Record {
        inputs: digest,
        files,
    };
    let path = record_file(inputs, cache);
    let text = serde_json::to_vec(&record).unwrap_or_default();
    replace(&path, &text).map_err(|source| BuildError::Cache { path, source })
}

async fn one(
    inputs: &BuildInputs,
    command: &[String],
    lines: &mpsc::Sender<String>,
) -> Result<(), BuildError> {
    let failed = |outcome: String, output: Vec<String>| BuildError::Prepare {
        service: inputs.service.clone(),
        command: typed(command),
        outcome,
        output,
    };
    let Some((program, arguments)) = command.split_first() else {
        return Err(failed("is empty".to_owned(), Vec::new()));
    };
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir(&inputs.project)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| failed(format!("cannot be started: {error}"), Vec::new()))?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (kept, mut keep) = mpsc::unbounded_channel();
    let (status, (), ()) = tokio::join!(
        child.wait(),
        pass_on(stdout, lines, kept.clone()),
        pass_on(stderr, lines, kept),
    );
    let mut output = Vec::new();
    while let Ok(line) = keep.try_recv() {
        output.push(line);
    }
    let skip = output.len().saturating_sub(KEPT_LINES);
    let output = output.split_off(skip);
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(failed(format!("ended with {status}"), output)),
        Err(error) => Err(failed(format!("was lost: {error}"), output)),
    }
}

async fn pass_on(
    stream: Option<impl AsyncRead + Unpin>,
    lines: &mpsc::Sender<String>,
    kept: mpsc::UnboundedSender<String>,
) {
    let Some(stream) = stream else {
        return;
    };
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    while let Ok(count) = reader.read_until(b'\n', &mut line).await {
        if count == 0 {
            return;
        }
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        line.clear();
        let _ = kept.send(text.clone());
        let _ = lines.send(text).await;
    }
}

fn typed(command: &[String]) -> String {
    shlex::try_join(command.iter().map(String::as_str)).unwrap_or_else(|_| command.join(" "))
}

fn record_file(inputs: &BuildInputs, cache: &Path) -> PathBuf {
    let key = serde_json::json!([
        inputs.project,
        inputs.service,
        inputs.prepare,
        inputs.prepare_inputs,
    ]);
    let name = names::hex(key.to_string().as_bytes());
    cache.join(format!("prepare-{}.json", &name[..16]))
}

/// A digest over the files that the globs name.
fn digest_of_inputs(inputs: &BuildInputs, cache: &Path) -> Result<String, BuildError> {
    let mut files = BTreeSet::new();
    for glob in &inputs.prepare_inputs {
        let glob = glob.trim_start_matches("./");
        let pattern = Pattern::new(glob).ok_or_else(|| BuildError::Pattern {
            service: inputs.service.clone(),
            pattern: glob.to_owned(),
            file: "x-shop.build.inputs".to_owned(),
        })?;
        let start = literal_prefix(glob);
        collect(inputs, &pattern, start, &mut files)?;
    }
    // Other services of the project may declare other globs: each has its own cache.
    let mut folder = inputs.project.as_os_str().to_owned();
    folder.push(format!("\0inputs\0{}", inputs.prepare_inputs.join("\0")));
    let mut digests = Digests::open(cache, Path::new(&folder));
    let mut text = String::new();
    for path in files {
        let place = inputs.project.join(&path);
        let digest = fs::metadata(&place)
            .and_then(|metadata| digests.of(&place, &metadata))
            .map_err(|source| unreadable(inputs, &place, source))?;
        text.push_str(&format!("{path}\0{digest}\n"));
    }
    // The cache only saves time.
    let _ = digests.save();
    Ok(names::hex(text.as_bytes()))
}

/// The folders of a glob before its first wildcard: nothing else need be walked.
fn literal_prefix(glob: &str) -> &str {
    let wild = glob.find(['*', '?', '[', '\\']).unwrap_or(glob.len());
    if wild == glob.len() {
        return glob;
    }
    glob[..wild].rfind('/').map_or("", |at| &glob[..at])
}

fn collect(
    inputs: &BuildInputs,
    pattern: &Pattern,
    path: &str,
    files: &mut BTreeSet<String>,
) -> Result<(), BuildError> {
    let place = inputs.project.join(path);
    let Ok(metadata) = fs::metadata(&place) else {
        // A file that is not there, or a link to nowhere, is no input.
        return Ok(());
    };
    if !metadata.is_dir() {
        if pattern.covers(path) {
            files.insert(path.to_owned());
        }
        return Ok(());
    }
    for entry in fs::read_dir(&place).map_err(|source| unreadable(inputs, &place, source))? {
        let entry = entry.map_err(|source| unreadable(inputs, &place, source))?;
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| *name != ".git") else {
            continue;
        };
        let linked = entry.file_type().is_ok_and(|kind| kind.is_symlink());
        let below = if path.is_empty() {
            name.to_owned()
        } else {
            format!("{path}/{name}")
        };
        if linked && entry.path().is_dir() {
            // It may lead back to where we are.
            continue;
        }
        collect(inputs, pattern, &below, files)?;
    }
    Ok(())
}
