//! Find and read: the only file access of `stack`.
//!
//! [`load`] is the whole way from a request to a [`Stack`]; each stage is a
//! module of its own and pure. Test: `tests/compose.rs` over folders of cases.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::io::Read as _;
use std::path::Path;
use std::path::PathBuf;

use super::Place;
use super::Problem;
use super::Problems;
use super::Stack;
use super::assemble::Assembler;
use super::assemble::Document as File;
use super::assemble::Environment;
use super::assemble::Files;
use super::assemble::Project;
use super::assemble::Unread;
use super::check;
use super::complete;
use super::complete::section_mut;
use super::config::Document;
use super::decode;
use super::interpolate;
use super::lint;
use super::path;
use super::problem::Snippet;
use super::report::At;
use super::report::Report;
use super::select;
use super::source::Sources;
use super::source::Span;
use super::yaml::Node;

/// Larger files are no stack files.
const MAX_BYTES: u64 = 16 << 20;

/// Names that are looked for, in order.
const NAMES: [&str; 5] = [
    "stack.yaml",
    "compose.yaml",
    "compose.yml",
    "docker-compose.yml",
    "docker-compose.yaml",
];

/// Override files beside `stack.yaml`, and beside the others.
const STACK_OVERRIDES: [&str; 2] = ["stack.override.yaml", "stack.override.yml"];
const COMPOSE_OVERRIDES: [&str; 4] = [
    "compose.override.yml",
    "compose.override.yaml",
    "docker-compose.override.yml",
    "docker-compose.override.yaml",
];

/// What to load. Nothing is taken from the process: flags, the environment and
/// the working directory come in here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadRequest {
    /// `-f`, in order; `-` is [`stdin`](Self::stdin). Empty: `COMPOSE_FILE` of
    /// the environment, else the default names, upward from `working_dir`.
    pub files: Vec<PathBuf>,
    /// `--env-file`, in order. Empty: `COMPOSE_ENV_FILES`, else `.env`.
    pub env_files: Vec<PathBuf>,
    /// `-p`.
    pub project_name: Option<String>,
    /// `--profile`; `*` selects all.
    pub profiles: Vec<String>,
    /// Only these services and what they depend on; their profiles need not be
    /// active. Empty: all.
    pub services: Vec<String>,
    /// The folder that relative paths are resolved against, in place of that
    /// of the first file.
    pub project_directory: Option<PathBuf>,
    /// The environment for interpolation, `environment`, and the `COMPOSE_*`
    /// variables.
    pub environment: BTreeMap<String, String>,
    /// Where the command was started; absolute.
    pub working_dir: PathBuf,
    /// What `-` reads.
    pub stdin: Option<String>,
    /// Keep networks, volumes, secrets and configs that no service uses.
    pub all_resources: bool,
    /// The document is only printed: what no target would take is a warning,
    /// as in Docker Compose's `config`.
    pub document_only: bool,
    /// Leave variables as they are: for `config --no-interpolate`. The stack
    /// is not checked then.
    pub raw: bool,
}

/// A loaded stack.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The stack.
    pub stack: Stack,
    /// Warnings and advice, in the order of the files.
    pub warnings: Vec<Problem>,
    /// The resolved document, for `config`.
    pub document: Document,
    sources: Sources,
}

impl Loaded {
    /// The line at a place of the model, for a problem that shows up later: a
    /// port that is taken, an image that is missing.
    pub fn snippet(&self, place: &Place) -> Snippet {
        self.sources.snippet_at(place)
    }
}

/// Loads a stack: reads, interpolates, merges, checks.
///
/// # Errors
/// All problems of all files, each with its place.
pub fn load(request: &LoadRequest) -> Result<Loaded, Problems> {
    let mut disk = Disk { request };
    let mut sources = Sources::default();
    let mut report = Report::new(request.document_only || request.raw);
    let loaded = Loading {
        request,
        assembler: Assembler {
            files: &mut disk,
            sources: &mut sources,
            report: &mut report,
            home: request.environment.get("HOME").map(String::as_str),
            interpolate: !request.raw,
            uses: BTreeSet::new(),
        },
    }
    .run();
    let problems = report.finish(&sources);
    match loaded {
        Some((stack, document)) if problems.errors().next().is_none() => Ok(Loaded {
            stack,
            warnings: problems.list,
            document,
            sources,
        }),
        _ => Err(problems),
    }
}

struct Loading<'a> {
    request: &'a LoadRequest,
    assembler: Assembler<'a>,
}

impl Loading<'_> {
    fn run(mut self) -> Option<(Stack, Document)> {
        let mut environment = self.request.environment.clone();
        environment
            .entry("PWD".to_owned())
            .or_insert_with(|| self.request.working_dir.to_string_lossy().into_owned());
        let (paths, base) = self.find(&mut environment)?;
        let documents = self.read_all(&paths);
        if self.assembler.report.failed() {
            return None;
        }
        if documents.iter().all(|document| document.trees.is_empty()) {
            self.assembler
                .report
                .error(
                    "empty",
                    Span {
                        file: documents.first().map_or(0, |document| document.file),
                        line: 1,
                        column: 1,
                        length: 0,
                    },
                    &At::ROOT,
                    "the stack file is empty",
                )
                .hint("write `services:` with one service at least");
            return None;
        }
        let name = self.project_name(&documents, &base, &environment)?;
        environment.insert("COMPOSE_PROJECT_NAME".to_owned(), name.clone());
        let mut tree = self.assembler.project(
            documents,
            Project {
                base: &base,
                environment: &environment,
                trail: &[],
            },
        );
        complete::complete(&mut tree, &name, &environment);
        let profiles = check::profiles(&tree);
        let active = self.profiles(&environment);
        let inactive = select::services(
            &mut tree,
            &active,
            &self.request.services,
            self.assembler.report,
        );
        let at = At::ROOT.key("services");
        for (service, entry) in tree
            .as_map_mut()
            .and_then(|map| section_mut(map, "services"))
            .into_iter()
            .flatten()
        {
            self.assembler
                .read_value_files(&mut entry.node, &at.key(service), &environment);
        }
        let env_files = self.env_files(&environment);
        let report = &mut *self.assembler.report;
        if !self.request.raw {
            check::check(&tree, &inactive, report);
        }
        let bases = select::bases(&tree, &inactive);
        if !self.request.all_resources {
            select::resources(&mut tree, &bases);
        }
        let report = &mut *self.assembler.report;
        sources_exist(&tree, self.assembler.files, &environment, report);
        let sources = &self.assembler.sources;
        let mut stack = decode::stack(&tree, &bases, &environment, sources, report);
        stack.inactive = inactive.keys().cloned().collect();
        stack.profiles = profiles;
        stack.working_dir = base;
        stack.files = paths;
        stack.env_files = env_files;
        // Advice on a stack that cannot be used would hide what is wrong.
        if !report.failed() {
            lint::lint(&tree, &stack, report);
        }
        report.silence(&stack.shop.lint_silence);
        let document = Document {
            tree,
            environment,
            profiles: stack.profiles.clone(),
            variables: self.assembler.uses.into_iter().collect(),
            raw: self.request.raw,
        };
        if !self.request.document_only && !self.request.raw {
            for (name, service) in &mut stack.services {
                service.compose_hash = document.hash(name).unwrap_or_default();
            }
        }
        Some((stack, document))
    }

    /// The stack files and the folder of the project, with `.env` read into the
    /// environment on the way.
    fn find(&mut self, environment: &mut Environment) -> Option<(Vec<PathBuf>, PathBuf)> {
        let request = self.request;
        let given = |environment: &Environment| -> Vec<PathBuf> {
            if !request.files.is_empty() {
                return request.files.clone();
            }
            let separator = environment
                .get("COMPOSE_PATH_SEPARATOR")
                .filter(|separator| !separator.is_empty())
                .map_or(":", String::as_str);
            environment
                .get("COMPOSE_FILE")
                .filter(|files| !files.is_empty())
                .map(|files| files.split(separator).map(PathBuf::from).collect())
                .unwrap_or_default()
        };
        let explicit: Vec<(PathBuf, Span)> = self
            .env_files(environment)
            .into_iter()
            .map(|path| (path, Span::default()))
            .collect();
        let uses_default =
            explicit.is_empty() && !is_true(environment.get("COMPOSE_DISABLE_ENV_FILE"));
        self.assembler.env_files(&explicit, &At::ROOT, environment);
        let first_base = self.base(&request.files);
        if uses_default {
            self.default_env_file(&first_base, environment);
        }
        let mut files: Vec<PathBuf> = given(environment)
            .iter()
            .map(|file| self.resolve(file))
            .collect();
        if files.is_empty() {
            files = self.search();
        }
        if files.is_empty() {
            self.assembler
                .report
                .error(
                    "no-file",
                    Span::default(),
                    &At::ROOT,
                    format!(
                        "no stack file here or in a folder above: looked for {}",
                        NAMES.join(", ")
                    ),
                )
                .hint("name one with -f FILE, or begin with `shopctl init`");
            return None;
        }
        let base = self.base(&files);
        if uses_default && base != first_base {
            self.default_env_file(&base, environment);
        }
        Some((files, base))
    }

    /// `--env-file`, or `COMPOSE_ENV_FILES`.
    fn env_files(&self, environment: &Environment) -> Vec<PathBuf> {
        if !self.request.env_files.is_empty() {
            return self
                .request
                .env_files
                .iter()
                .map(|file| self.resolve(file))
                .collect();
        }
        environment
            .get("COMPOSE_ENV_FILES")
            .into_iter()
            .flat_map(|files| files.split(','))
            .filter(|file| !file.is_empty())
            .map(|file| self.resolve(Path::new(file)))
            .collect()
    }

    fn default_env_file(&mut self, folder: &Path, environment: &mut Environment) {
        let path = folder.join(".env");
        if self.assembler.files.exists(&path) {
            self.assembler
                .env_files(&[(path, Span::default())], &At::ROOT, environment);
        }
    }

    /// The folder of the project.
    fn base(&self, files: &[PathBuf]) -> PathBuf {
        if let Some(folder) = &self.request.project_directory {
            return self.resolve(folder);
        }
        files
            .iter()
            .find(|file| !is_stdin(file))
            .map(|file| self.resolve(file))
            .and_then(|file| file.parent().map(Path::to_owned))
            .unwrap_or_else(|| self.request.working_dir.clone())
    }

    fn resolve(&self, file: &Path) -> PathBuf {
        // An address is no path: cleaned, it would no longer be known for one.
        if is_stdin(file) || file.to_string_lossy().contains("://") {
            return file.to_owned();
        }
        path::clean(&self.request.working_dir.join(file))
    }

    /// The default names, in the working directory and the folders above it.
    fn search(&mut self) -> Vec<PathBuf> {
        for folder in self.request.working_dir.ancestors() {
            let present = |names: &[&str]| -> Vec<PathBuf> {
                names
                    .iter()
                    .map(|name| folder.join(name))
                    .filter(|path| self.assembler.files.exists(path))
                    .collect()
            };
            let found = present(&NAMES);
            let Some(winner) = found.first() else {
                continue;
            };
            let overrides = if winner.ends_with(NAMES[0]) {
                present(&STACK_OVERRIDES)
            } else {
                present(&COMPOSE_OVERRIDES)
            };
            for (all, what) in [(&found, "stack files"), (&overrides, "override files")] {
                if let [used, ignored, ..] = all.as_slice() {
                    let used_name = self.assembler.files.name(used);
                    let ignored_name = self.assembler.files.name(ignored);
                    self.assembler
                        .report
                        .warning(
                            "several-files",
                            Span::default(),
                            &At::ROOT,
                            format!(
                                "several {what} here: {used_name} is used, {ignored_name} is not"
                            ),
                        )
                        .hint(format!("name it: -f {used_name}"));
                }
            }
            return found
                .into_iter()
                .take(1)
                .chain(overrides.into_iter().take(1))
                .collect();
        }
        Vec::new()
    }

    fn read_all(&mut self, paths: &[PathBuf]) -> Vec<File> {
        let mut documents = Vec::new();
        for path in paths {
            let text = path.to_string_lossy();
            if path::is_remote(&text) {
                let name = text.into_owned();
                let file = self.assembler.sources.add(&name, "");
                self.assembler
                    .report
                    .error(
                        "remote-file",
                        Span::file(file),
                        &At::ROOT,
                        "stack files are read from this machine only",
                    )
                    .hint("fetch it first, then name the local file with -f");
                continue;
            }
            documents.extend(self.assembler.read(path, Span::default(), &At::ROOT));
        }
        documents
    }

    /// `-p`, `COMPOSE_PROJECT_NAME`, `name:`, or the name of the folder.
    fn project_name(
        &mut self,
        documents: &[File],
        base: &Path,
        environment: &Environment,
    ) -> Option<String> {
        let variable = environment
            .get("COMPOSE_PROJECT_NAME")
            .filter(|name| !name.is_empty());
        let asked = self
            .request
            .project_name
            .as_ref()
            .map(|name| (name, "-p"))
            .or(variable.map(|name| (name, "COMPOSE_PROJECT_NAME")));
        if let Some((name, origin)) = asked {
            let normal = normalise(name);
            if normal == *name && !name.is_empty() {
                return Some(normal);
            }
            let finding = self.assembler.report.error(
                "project-name",
                Span::default(),
                &At::ROOT,
                format!(
                    "{origin}: `{name}` is no project name: it has lower-case letters, digits, `-` and `_`, \
                     and begins with a letter or digit"
                ),
            );
            if !normal.is_empty() {
                finding.hint(format!("use {normal}"));
            }
            return None;
        }
        let lookup = |name: &str| environment.get(name).cloned();
        let written = documents
            .iter()
            .flat_map(|document| &document.trees)
            .filter_map(|tree| {
                let node = tree.get("name")?;
                let text = node.as_text().filter(|text| !text.is_empty())?;
                let filled = interpolate::fill(text, &lookup).ok()?;
                Some((filled.text, node.span))
            })
            .next_back();
        if let Some((name, span)) = &written {
            let normal = normalise(name);
            if normal != *name && !normal.is_empty() {
                self.assembler
                    .report
                    .warning(
                        "project-name",
                        *span,
                        &At::ROOT.key("name"),
                        format!("the project name `{name}` becomes `{normal}`"),
                    )
                    .hint(format!("write name: {normal}"));
            }
            if !normal.is_empty() {
                return Some(normal);
            }
        }
        let folder = base
            .file_name()
            .map(|name| normalise(&name.to_string_lossy()))
            .filter(|name| !name.is_empty());
        if folder.is_none() {
            self.assembler
                .report
                .error(
                    "project-name",
                    written.map_or(Span::default(), |(_, span)| span),
                    &At::ROOT.key("name"),
                    "the project has no name: the folder's name has no letter or digit",
                )
                .hint("write `name: shop` in the stack file, or use -p shop");
        }
        folder
    }

    fn profiles(&self, environment: &Environment) -> Vec<String> {
        if !self.request.profiles.is_empty() {
            return self.request.profiles.clone();
        }
        environment
            .get("COMPOSE_PROFILES")
            .into_iter()
            .flat_map(|profiles| profiles.split(','))
            .map(|profile| profile.trim().to_owned())
            .filter(|profile| !profile.is_empty())
            .collect()
    }
}

/// Warns of secrets and configs whose content is not there now: it may be, by
/// the time of the deploy.
fn sources_exist(tree: &Node, files: &dyn Files, environment: &Environment, report: &mut Report) {
    for section in ["secrets", "configs"] {
        let root = At::ROOT.key(section);
        let entries = tree.get(section).and_then(Node::as_map);
        for (name, entry) in entries.into_iter().flatten() {
            let at = root.key(name);
            if let Some(file) = entry.node.get("file")
                && let Some(path) = file.as_text()
                && !files.exists(Path::new(path))
            {
                let shown = files.name(Path::new(path));
                report
                    .warning(
                        "missing-file",
                        file.span,
                        &at,
                        format!("{at}: there is no file {shown}"),
                    )
                    .hint(format!("create {shown} before you deploy"));
            }
            if let Some(variable) = entry.node.get("environment")
                && let Some(variable_name) = variable.as_text()
                && !environment.contains_key(variable_name)
            {
                report
                    .warning(
                        "unset-variable",
                        variable.span,
                        &at,
                        format!("{at}: the variable {variable_name} is not set"),
                    )
                    .hint(format!("set {variable_name} before you deploy"));
            }
        }
    }
}

fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

fn is_true(value: Option<&String>) -> bool {
    value.is_some_and(|value| matches!(value.to_ascii_lowercase().as_str(), "1" | "t" | "true"))
}

/// A project name as Docker Compose makes it of any text.
fn normalise(name: &str) -> String {
    name.to_lowercase()
        .chars()
        .filter(|character| {
            character.is_ascii_lowercase()
                || character.is_ascii_digit()
                || "_-".contains(*character)
        })
        .collect::<String>()
        .trim_start_matches(['_', '-'])
        .to_owned()
}

/// The files of this machine.
struct Disk<'r> {
    request: &'r LoadRequest,
}

impl Files for Disk<'_> {
    fn read(&mut self, path: &Path) -> Result<String, Unread> {
        let absent = |reason: &str| Unread::Absent(reason.to_owned());
        if is_stdin(path) {
            return self
                .request
                .stdin
                .clone()
                .ok_or_else(|| absent("nothing was given on standard input"));
        }
        let reason = |error: std::io::Error| match error.kind() {
            ErrorKind::NotFound => absent("there is no such file"),
            ErrorKind::PermissionDenied => absent("no permission to read it"),
            ErrorKind::IsADirectory => absent("it is a folder"),
            _ => Unread::Absent(error.to_string()),
        };
        let file = std::fs::File::open(path).map_err(reason)?;
        let mut bytes = Vec::new();
        // Pipes and devices do not say how much they hold, so what comes is counted.
        file.take(MAX_BYTES + 1)
            .read_to_end(&mut bytes)
            .map_err(reason)?;
        if u64::try_from(bytes.len()).is_ok_and(|size| size > MAX_BYTES) {
            let reason = format!("it is larger than {} MiB", MAX_BYTES >> 20);
            return Err(Unread::Absent(reason));
        }
        String::from_utf8(bytes).map_err(|error| {
            let valid = error.utf8_error().valid_up_to();
            let mut before = error.into_bytes();
            before.truncate(valid);
            Unread::NotText(String::from_utf8(before).unwrap_or_default())
        })
    }

    fn exists(&self, path: &Path) -> bool {
        path.is_file()
    }

    fn name(&self, path: &Path) -> String {
        if is_stdin(path) {
            return "<stdin>".to_owned();
        }
        let inside = path.strip_prefix(&self.request.working_dir).unwrap_or(path);
        if inside.as_os_str().is_empty() {
            return ".".to_owned();
        }
        inside.to_string_lossy().into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn project_names_are_normalised_like_compose_does() {
        for (given, wanted) in [
            ("Bad_Name!", "bad_name"),
            ("-_x", "x"),
            ("Shop.2", "shop2"),
            ("äöü", ""),
        ] {
            assert_eq!(normalise(given), wanted);
        }
    }
}
