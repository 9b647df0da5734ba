//! From files to one tree: parse, interpolate, canonical form, `include`,
//! `extends`, merge.
//!
//! Reading goes through [`Files`], so that this stays free of file access and
//! the tests can lay out files in memory.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::Path;
use std::path::PathBuf;

use super::canonical;
use super::canonical::Context;
use super::dotenv;
use super::interpolate;
use super::interpolate::Use;
use super::keys::SECTIONS;
use super::keys::SERVICE;
use super::keys::STACK;
use super::keys::Shape;
use super::lint;
use super::merge;
use super::path;
use super::report::At;
use super::report::Report;
use super::source::Sources;
use super::source::Span;
use super::yaml;
use super::yaml::Entry;
use super::yaml::Map;
use super::yaml::Node;
use super::yaml::Value;

/// Read access to files, by absolute path.
pub(crate) trait Files {
    /// The text of a file, or why it cannot be read.
    fn read(&mut self, path: &Path) -> Result<String, Unread>;

    /// Whether it is a file that exists.
    fn exists(&self, path: &Path) -> bool;

    /// How the user would name it.
    fn name(&self, path: &Path) -> String;
}

/// Why a file cannot be read.
pub(crate) enum Unread {
    /// It is not to be had, in words.
    Absent(String),
    /// It is not UTF-8 text: what comes before the first byte that is none.
    NotText(String),
}

/// Reports a file that cannot be read; `asked` is where it was named.
pub(crate) fn unread(
    why: Unread,
    name: &str,
    asked: Span,
    at: &At<'_>,
    hint: &str,
    (sources, report): (&mut Sources, &mut Report),
) {
    match why {
        Unread::Absent(reason) => {
            let span = if asked.file == 0 {
                Span::file(sources.add(name, ""))
            } else {
                asked
            };
            report
                .error("file", span, at, format!("cannot read {name}: {reason}"))
                .hint(hint);
        }
        Unread::NotText(before) => {
            let file = sources.add(name, &before);
            let message = format!("cannot read {name}: from here on it is not UTF-8 text");
            report
                .error("file", Span::at(&before, before.len(), file), at, message)
                .related(asked, "named here")
                .hint("save the file as UTF-8");
        }
    }
}

/// Variables by name.
pub(crate) type Environment = BTreeMap<String, String>;

/// One stack file that was read, not yet looked into.
pub(crate) struct Document {
    /// Its absolute path.
    pub(crate) path: PathBuf,
    /// Its YAML documents.
    pub(crate) trees: Vec<Node>,
    /// Its number among the sources.
    pub(crate) file: u32,
}

/// One set of files with its folder and variables: the stack itself, or what
/// it includes.
#[derive(Clone, Copy)]
pub(crate) struct Project<'p> {
    /// Relative paths are resolved against it.
    pub(crate) base: &'p Path,
    /// Variables for interpolation.
    pub(crate) environment: &'p Environment,
    /// The files that led here, to see a cycle.
    pub(crate) trail: &'p [PathBuf],
}

/// The state of assembling.
pub(crate) struct Assembler<'a> {
    /// Where files come from.
    pub(crate) files: &'a mut dyn Files,
    /// Every text read.
    pub(crate) sources: &'a mut Sources,
    /// Where problems go.
    pub(crate) report: &'a mut Report,
    /// What `~` stands for.
    pub(crate) home: Option<&'a str>,
    /// Whether variables are replaced.
    pub(crate) interpolate: bool,
    /// Every variable that the files name.
    pub(crate) uses: BTreeSet<Use>,
}

impl Assembler<'_> {
    /// Reads one file; `None` after a report.
    pub(crate) fn read(&mut self, path: &Path, asked: Span, at: &At<'_>) -> Option<Document> {
        let name = self.files.name(path);
        match self.files.read(path) {
            Ok(text) => Some(self.parse(path, &name, &text)),
            Err(why) => {
                let hint = if asked.file == 0 {
                    "check the path that -f or COMPOSE_FILE names"
                } else {
                    "check the path; it is relative to the folder of this file's project"
                };
                unread(why, &name, asked, at, hint, (self.sources, self.report));
                None
            }
        }
    }

    /// Parses a text that is already read.
    pub(crate) fn parse(&mut self, path: &Path, name: &str, text: &str) -> Document {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let file = self.sources.add(name, text);
        let trees = yaml::read(text, file, self.report);
        Document {
            path: path.to_owned(),
            trees,
            file,
        }
    }

    /// All files of a project as one canonical tree.
    pub(crate) fn project(&mut self, documents: Vec<Document>, project: Project<'_>) -> Node {
        let mut merged: Option<Node> = None;
        for document in documents {
            let mut trail = project.trail.to_vec();
            trail.push(document.path.clone());
            let inside = Project {
                trail: &trail,
                ..project
            };
            for tree in document.trees {
                let Some(tree) = self.document(tree, inside) else {
                    continue;
                };
                merged = Some(match merged {
                    None => merge::cleared(tree),
                    Some(base) => {
                        merge::merge(base, tree, &Shape::Object(&STACK), &At::ROOT, self.report)
                    }
                });
            }
        }
        let mut tree = merged.unwrap_or_else(|| Node::new(Value::Map(Map::new()), Span::default()));
        finish_project(&mut tree, project);
        tree
    }

    /// One YAML document, with what it includes and extends.
    fn document(&mut self, mut tree: Node, project: Project<'_>) -> Option<Node> {
        if tree.as_map().is_none() {
            let kind = tree.kind();
            self.report
                .error(
                    "type",
                    tree.span,
                    &At::ROOT,
                    format!("a stack file is a mapping, and this document is {kind}"),
                )
                .hint("begin with `services:`");
            return None;
        }
        if let Some(map) = tree.as_map() {
            lint::version(map, self.report);
        }
        self.fill(&mut tree, project.environment);
        canonical::object(
            &mut tree,
            &STACK,
            &At::ROOT,
            &mut self.context(project.base),
        );
        self.include(&mut tree, project);
        self.extend_services(&mut tree, project);
        Some(tree)
    }

    fn fill(&mut self, tree: &mut Node, environment: &Environment) {
        collect_uses(tree, &mut self.uses);
        if self.interpolate {
            let lookup = |name: &str| environment.get(name).cloned();
            interpolate::tree(tree, &At::ROOT, &lookup, self.report);
        }
    }

    fn context<'c>(&'c mut self, base: &'c Path) -> Context<'c> {
        Context {
            report: self.report,
            base,
            home: self.home,
            raw: !self.interpolate,
        }
    }

    /// Brings in what `include` names, and removes the key.
    fn include(&mut self, tree: &mut Node, project: Project<'_>) {
        let Some(map) = tree.as_map_mut() else {
            return;
        };
        let Some(list) = map.remove("include") else {
            return;
        };
        let root = At::ROOT.key("include");
        for (index, one) in list.node.as_list().unwrap_or_default().iter().enumerate() {
            let at = root.index(index);
            if let Some(imported) = self.included(one, &at, project) {
                import(map, imported, self.report);
            }
        }
    }

    fn included(&mut self, one: &Node, at: &At<'_>, project: Project<'_>) -> Option<Node> {
        let texts = |key: &str| -> Vec<&Node> {
            one.get(key)
                .and_then(Node::as_list)
                .unwrap_or_default()
                .iter()
                .filter(|node| node.as_text().is_some())
                .collect()
        };
        let resolve = |text: &str| PathBuf::from(path::absolute(text, project.base, self.home));
        let files: Vec<(PathBuf, Span)> = texts("path")
            .into_iter()
            .map(|node| (resolve(node.as_text().unwrap_or_default()), node.span))
            .collect();
        let (first, span) = files.first()?.clone();
        if let Some(begin) = project.trail.iter().position(|known| *known == first) {
            let mut names: Vec<String> = project.trail[begin..]
                .iter()
                .map(|path| self.files.name(path))
                .collect();
            names.push(self.files.name(&first));
            self.report
                .error(
                    "include-cycle",
                    span,
                    at,
                    format!("the files include each other: {}", names.join(" -> ")),
                )
                .hint("remove one of these includes");
            return None;
        }
        let base = match one.text_of("project_directory") {
            Some(folder) => resolve(folder),
            None => first.parent().unwrap_or(project.base).to_owned(),
        };
        let env_files: Vec<(PathBuf, Span)> = match one.get("env_file") {
            Some(_) => texts("env_file")
                .into_iter()
                .map(|node| (resolve(node.as_text().unwrap_or_default()), node.span))
                .filter(|(path, _)| path != Path::new("/dev/null"))
                .collect(),
            None => Some(base.join(".env"))
                .filter(|path| self.files.exists(path))
                .map(|path| (path, span))
                .into_iter()
                .collect(),
        };
        let mut environment = project.environment.clone();
        self.env_files(&env_files, at, &mut environment);
        let mut documents = Vec::new();
        for (path, span) in files {
            documents.push(self.read(&path, span, at)?);
        }
        let project = Project {
            base: &base,
            environment: &environment,
            trail: project.trail,
        };
        Some(self.project(documents, project))
    }

    /// Adds the variables of `.env` files; those that are set stay. Of the
    /// files the later one wins.
    pub(crate) fn env_files(
        &mut self,
        files: &[(PathBuf, Span)],
        at: &At<'_>,
        environment: &mut Environment,
    ) {
        let mut values = Environment::new();
        for (path, asked) in files {
            let name = self.files.name(path);
            let text = match self.files.read(path) {
                Ok(text) => text,
                Err(why) => {
                    let hint = "check the path of the environment file";
                    unread(why, &name, *asked, at, hint, (self.sources, self.report));
                    continue;
                }
            };
            let file = self.sources.add(&name, &text);
            let parsed = {
                let (first, then) = (&*environment, &values);
                let lookup = |key: &str| first.get(key).or_else(|| then.get(key)).cloned();
                dotenv::parse(&text, file, &lookup, self.report)
            };
            values.extend(parsed);
        }
        for (key, value) in values {
            environment.entry(key).or_insert(value);
        }
    }

    /// Replaces every `extends` by the merge with what it names.
    fn extend_services(&mut self, tree: &mut Node, project: Project<'_>) {
        let Some(services) = tree
            .as_map_mut()
            .and_then(|map| map.get_mut("services"))
            .and_then(|entry| entry.node.as_map_mut())
        else {
            return;
        };
        let extending: Vec<String> = services
            .iter()
            .filter(|(_, entry)| entry.node.get("extends").is_some())
            .map(|(name, _)| name.clone())
            .collect();
        if extending.is_empty() {
            return;
        }
        let before = services.clone();
        let mut failed: Vec<String> = Vec::new();
        for name in extending {
            // One circle is reported once.
            if failed.contains(&name) {
                continue;
            }
            let file = project.trail.last().cloned().unwrap_or_default();
            let mut trail = vec![(file, name.clone())];
            match self.extended(&name, &before, project, &mut trail) {
                Some(done) => {
                    if let Some(entry) = services.get_mut(&name) {
                        entry.node = done;
                    }
                }
                None => failed.extend(trail.into_iter().map(|(_, name)| name)),
            }
        }
    }

    /// A service of `services` merged into what it extends.
    fn extended(
        &mut self,
        name: &str,
        services: &Map,
        project: Project<'_>,
        trail: &mut Vec<(PathBuf, String)>,
    ) -> Option<Node> {
        let mut service = services.get(name)?.node.clone();
        let Some(extends) = service.as_map_mut().and_then(|map| map.remove("extends")) else {
            return Some(service);
        };
        let root = At::ROOT.key("services");
        let owner = root.key(name);
        let at = owner.key("extends");
        let Some(wanted) = extends.node.text_of("service") else {
            if extends.node.as_map().is_some() {
                self.report
                    .error(
                        "missing-key",
                        extends.node.span,
                        &at,
                        format!("{at} has no `service`"),
                    )
                    .hint("add `service: name` of the service to extend");
            }
            return None;
        };
        let wanted_span = extends
            .node
            .get("service")
            .map_or(extends.node.span, |node| node.span);
        let base = if let Some(file) = extends.node.get("file") {
            let text = file.as_text()?;
            let path = PathBuf::from(path::absolute(text, project.base, self.home));
            self.visit(&path, wanted, wanted_span, &at, trail)?;
            self.base_in_file(&path, wanted, (file.span, wanted_span), &at, project, trail)?
        } else {
            let file = project.trail.last().cloned().unwrap_or_default();
            if !services.contains_key(wanted) {
                self.no_base(wanted, wanted_span, services, &at);
                return None;
            }
            self.visit(&file, wanted, wanted_span, &at, trail)?;
            self.extended(wanted, services, project, trail)?
        };
        if base.is_null() {
            return Some(service);
        }
        let at = At::ROOT.key("services");
        Some(merge::merge(
            base,
            service,
            &Shape::Object(&SERVICE),
            &at.key(name),
            self.report,
        ))
    }

    fn visit(
        &mut self,
        file: &Path,
        service: &str,
        span: Span,
        at: &At<'_>,
        trail: &mut Vec<(PathBuf, String)>,
    ) -> Option<()> {
        let here = (file.to_owned(), service.to_owned());
        let cycle = trail.iter().position(|known| *known == here);
        trail.push(here);
        let Some(begin) = cycle else {
            return Some(());
        };
        let names: Vec<&str> = trail[begin..]
            .iter()
            .map(|(_, name)| name.as_str())
            .collect();
        self.report
            .error(
                "extends-cycle",
                span,
                at,
                format!("the services extend each other: {}", names.join(" -> ")),
            )
            .hint("remove one of these `extends`");
        None
    }

    fn base_in_file(
        &mut self,
        path: &Path,
        wanted: &str,
        (file_span, wanted_span): (Span, Span),
        at: &At<'_>,
        project: Project<'_>,
        trail: &mut Vec<(PathBuf, String)>,
    ) -> Option<Node> {
        let document = self.read(path, file_span, at)?;
        let base = path.parent().unwrap_or(project.base).to_owned();
        let mut services = Map::new();
        for mut tree in document.trees {
            self.fill(&mut tree, project.environment);
            let found = tree
                .as_map_mut()
                .and_then(|map| map.remove("services"))
                .map(|entry| entry.node.value);
            if let Some(Value::Map(found)) = found {
                services.extend(found);
            }
        }
        if !services.contains_key(wanted) {
            self.no_base(wanted, wanted_span, &services, at);
            return None;
        }
        // Of the other file only what is extended has to be right.
        let root = At::ROOT.key("services");
        let mut next = Some(wanted.to_owned());
        let mut seen = Vec::new();
        while let Some(name) = next.take().filter(|name| !seen.contains(name)) {
            if let Some(entry) = services
                .get_mut(&name)
                .filter(|entry| !entry.node.is_null())
            {
                canonical::object(
                    &mut entry.node,
                    &SERVICE,
                    &root.key(&name),
                    &mut self.context(&base),
                );
                next = entry
                    .node
                    .get("extends")
                    .filter(|extends| extends.get("file").is_none())
                    .and_then(|extends| extends.text_of("service"))
                    .map(str::to_owned);
            }
            seen.push(name);
        }
        let files = [path.to_owned()];
        let inside = Project {
            base: &base,
            environment: project.environment,
            trail: &files,
        };
        self.extended(wanted, &services, inside, trail)
            .map(merge::cleared)
    }

    fn no_base(&mut self, wanted: &str, span: Span, services: &Map, at: &At<'_>) {
        let meant = super::report::did_you_mean(wanted, services.keys().map(String::as_str));
        let finding = self.report.error(
            "unknown-service",
            span,
            at,
            format!("there is no service `{wanted}` to extend"),
        );
        if let Some(meant) = meant {
            finding.hint(format!("did you mean `{meant}`?"));
        }
    }
}

/// The variables that the texts of a tree name.
fn collect_uses(node: &Node, uses: &mut BTreeSet<Use>) {
    match &node.value {
        Value::Text(text) if text.contains('$') => uses.extend(interpolate::uses(text)),
        Value::List(list) => list.iter().for_each(|entry| collect_uses(entry, uses)),
        Value::Map(map) => map
            .values()
            .for_each(|entry| collect_uses(&entry.node, uses)),
        _ => {}
    }
}

/// Adds what was included. The same name is fine when it says the same.
fn import(into: &mut Map, imported: Node, report: &mut Report) {
    let Value::Map(mut imported) = imported.value else {
        return;
    };
    for section in SECTIONS {
        let Some(from) = imported.remove(section) else {
            continue;
        };
        let span = from.key;
        let Value::Map(from) = from.node.value else {
            continue;
        };
        let to = into.entry(section.to_owned()).or_insert_with(|| Entry {
            key: span,
            node: Node::new(Value::Map(Map::new()), span),
        });
        let Some(to) = to.node.as_map_mut() else {
            continue;
        };
        let root = At::ROOT.key(section);
        for (name, entry) in from {
            match to.get(&name) {
                Some(own) if !merge::same(&own.node, &entry.node) => {
                    report
                        .error(
                            "include-conflict",
                            own.key,
                            &root.key(&name),
                            format!("{section}.{name} is also in an included file, and differs"),
                        )
                        .related(entry.key, "the included one")
                        .hint("rename one, or change it in an override file behind a second -f");
                }
                Some(_) => {}
                None => {
                    to.insert(name, entry);
                }
            }
        }
    }
}

/// What depends on the folder and the variables of the project itself: build
/// contexts that are not named, and variables without a value.
fn finish_project(tree: &mut Node, project: Project<'_>) {
    let services = tree
        .as_map_mut()
        .and_then(|map| map.get_mut("services"))
        .and_then(|entry| entry.node.as_map_mut());
    for service in services.into_iter().flat_map(|map| map.values_mut()) {
        if let Some(build) = service
            .node
            .as_map_mut()
            .and_then(|map| map.get_mut("build"))
        {
            let folder = project.base.to_string_lossy().into_owned();
            build.node.set_default("context", Value::Text(folder));
        }
        let variables = service
            .node
            .as_map_mut()
            .and_then(|map| map.get_mut("environment"))
            .and_then(|entry| entry.node.as_map_mut());
        for (name, entry) in variables.into_iter().flatten() {
            if entry.node.is_null()
                && let Some(value) = project.environment.get(name)
            {
                entry.node.value = Value::Text(value.clone());
            }
        }
    }
}
