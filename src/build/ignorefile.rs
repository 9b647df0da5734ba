//! `.dockerignore`: which files of a folder are part of its build context.
//!
//! Docker's rules are not Git's: every pattern is anchored at the context's root, and
//! the last pattern that covers a path, or a folder above it, decides, so `!src` takes
//! back what an earlier `**/*.rs` left out.

use std::path::Path;

use super::pattern::Pattern;

/// The rules of one context.
pub(super) struct IgnoreFile {
    rules: Vec<Rule>,
    /// Paths that are part of the context whatever the rules say.
    always: Vec<String>,
}

struct Rule {
    pattern: Pattern,
    /// The pattern up to its first wildcard.
    literal: String,
    takes_back: bool,
}

impl IgnoreFile {
    /// Reads the rules; `always` names the Dockerfile and the ignore file itself.
    ///
    /// # Errors
    /// The pattern that cannot be read.
    pub(super) fn parse(text: &str, always: Vec<String>) -> Result<Self, String> {
        let mut rules = Vec::new();
        let text = text.trim_start_matches('\u{feff}');
        // A comment starts in the first column.
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let line = line.trim();
            let (takes_back, pattern) = match line.strip_prefix('!') {
                Some(rest) => (true, rest.trim()),
                None => (false, line),
            };
            let text = clean(pattern);
            if text.is_empty() {
                continue;
            }
            let literal = text.split(['*', '?', '[', '\\']).next();
            rules.push(Rule {
                pattern: Pattern::new(&text).ok_or_else(|| line.to_owned())?,
                literal: literal.unwrap_or_default().to_owned(),
                takes_back,
            });
        }
        Ok(Self { rules, always })
    }

    /// Whether a path, relative to the context, is left out.
    pub(super) fn ignores(&self, path: &Path) -> bool {
        let path = path.to_string_lossy();
        if self.always.iter().any(|always| *always == path) {
            return false;
        }
        let mut ignored = false;
        for rule in &self.rules {
            if rule.takes_back == ignored && rule.pattern.covers(&path) {
                ignored = !rule.takes_back;
            }
        }
        ignored
    }

    /// Whether an ignored folder may still hold something that is not. An exception
    /// with wildcards is looked for as `BuildKit` does it.
    pub(super) fn may_hold(&self, folder: &Path) -> bool {
        let folder = format!("{}/", folder.display());
        let below = |literal: &str| literal.starts_with(&folder) || folder.starts_with(literal);
        self.rules
            .iter()
            .any(|rule| rule.takes_back && below(&rule.literal))
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
            .filter(|path| !file.ignores(Path::new(path)))
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
    fn a_later_exception_takes_back_what_a_deeper_pattern_left_out() {
        assert_eq!(
            kept("**/*.log\n!src"),
            [
                "Dockerfile",
                "src/a.rs",
                "src/a.log",
                "src/deep/b.log",
                "target/image/x",
                "target/y"
            ]
        );
        assert_eq!(kept("**\n!target/y"), ["Dockerfile", "target/y"]);
    }

    #[test]
    fn a_bad_pattern_is_named() {
        let error = IgnoreFile::parse("a\n[b", Vec::new()).err();
        assert_eq!(error.as_deref(), Some("[b"));
    }

    #[test]
    fn only_folders_below_which_an_exception_lies_are_walked() {
        let file = IgnoreFile::parse("*\n!target/image", Vec::new()).expect("rules");
        assert!(file.may_hold(Path::new("target")) && file.may_hold(Path::new("target/image")));
        assert!(!file.may_hold(Path::new("src")) && !file.may_hold(Path::new("target/debug")));
    }
}
