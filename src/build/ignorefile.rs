//! `.dockerignore`: which files of a folder are part of its build context.
//!
//! Docker's patterns are not Git's: each is anchored at the context's root, so
//! every pattern gets a leading slash before the `ignore` crate reads it. The last
//! pattern that matches a path, or a folder above it, decides.

use std::path::Path;

use ignore::gitignore::Gitignore;
use ignore::gitignore::GitignoreBuilder;

/// The rules of one context.
pub(super) struct IgnoreFile {
    rules: Gitignore,
    /// Paths that are part of the context whatever the rules say.
    always: Vec<String>,
    /// Literal beginnings of the exceptions (`!pattern`), to know which ignored
    /// folders may still hold something.
    exceptions: Vec<String>,
}

impl IgnoreFile {
    /// Reads the rules; `always` names the Dockerfile and the ignore file itself.
    ///
    /// # Errors
    /// The pattern that cannot be read.
    pub(super) fn parse(text: &str, always: Vec<String>) -> Result<Self, String> {
        let mut builder = GitignoreBuilder::new("");
        let mut exceptions = Vec::new();
        let text = text.trim_start_matches('\u{feff}');
        for line in text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
        {
            let (not, pattern) = match line.strip_prefix('!') {
                Some(rest) => ("!", rest.trim()),
                None => ("", line),
            };
            let pattern = clean(pattern);
            if pattern.is_empty() {
                continue;
            }
            if !not.is_empty() {
                let literal = pattern
                    .split(['*', '?', '[', '\\'])
                    .next()
                    .unwrap_or_default();
                exceptions.push(literal.to_owned());
            }
            builder
                .add_line(None, &format!("{not}/{pattern}"))
                .map_err(|_| line.to_owned())?;
        }
        let rules = builder.build().map_err(|error| error.to_string())?;
        Ok(Self {
            rules,
            always,
            exceptions,
        })
    }

    /// Whether a path, relative to the context, is left out.
    pub(super) fn ignores(&self, path: &Path, is_folder: bool) -> bool {
        if self.always.iter().any(|always| Path::new(always) == path) {
            return false;
        }
        self.rules
            .matched_path_or_any_parents(path, is_folder)
            .is_ignore()
    }

    /// Whether an ignored folder may still hold something that is not.
    pub(super) fn may_hold(&self, folder: &Path) -> bool {
        let folder = format!("{}/", folder.display());
        let below = |literal: &str| literal.starts_with(&folder) || folder.starts_with(literal);
        self.exceptions.iter().any(|literal| below(literal))
            || self.always.iter().any(|path| path.starts_with(&folder))
    }
}

/// A pattern without `./`, doubled or surrounding slashes, and with `..` resolved
/// as far as it goes.
fn clean(pattern: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in pattern.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Paths that stay, of a fixed list.
    fn kept(rules: &str) -> Vec<&'static str> {
        let all = [
            "Dockerfile",
            "a.log",
            "src/a.rs",
            "src/a.log",
            "src/deep/b.log",
            "target/image/x",
            "target/y",
        ];
        let file = IgnoreFile::parse(rules, vec!["Dockerfile".into()]).expect("rules");
        all.into_iter()
            .filter(|path| !file.ignores(Path::new(path), false))
            .collect()
    }

    #[test]
    fn patterns_are_anchored_at_the_root() {
        assert_eq!(
            kept("*.log"),
            [
                "Dockerfile",
                "src/a.rs",
                "src/a.log",
                "src/deep/b.log",
                "target/image/x",
                "target/y"
            ]
        );
        assert_eq!(
            kept("**/*.log"),
            ["Dockerfile", "src/a.rs", "target/image/x", "target/y"]
        );
        assert_eq!(
            kept("src/*.log"),
            [
                "Dockerfile",
                "a.log",
                "src/a.rs",
                "src/deep/b.log",
                "target/image/x",
                "target/y"
            ]
        );
    }

    #[test]
    fn the_last_match_decides_and_the_dockerfile_always_stays() {
        assert_eq!(kept("*\n!target/image"), ["Dockerfile", "target/image/x"]);
        assert_eq!(
            kept("*\n!src\nsrc/deep/"),
            ["Dockerfile", "src/a.rs", "src/a.log"]
        );
        assert_eq!(
            kept("# comment\n\n /target/ \n./src//deep"),
            ["Dockerfile", "a.log", "src/a.rs", "src/a.log"]
        );
    }

    #[test]
    fn only_folders_below_which_an_exception_lies_are_walked() {
        let file = IgnoreFile::parse("*\n!target/image", Vec::new()).expect("rules");
        assert!(file.may_hold(Path::new("target")) && file.may_hold(Path::new("target/image")));
        assert!(!file.may_hold(Path::new("src")) && !file.may_hold(Path::new("target/debug")));
    }
}
