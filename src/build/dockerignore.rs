//! `.dockerignore` with Docker's rules: the last pattern that covers a path decides,
//! `!` takes back, and patterns are rooted at the context.

use super::pattern::Pattern;

/// The compiled file.
#[derive(Debug, Clone, Default)]
pub struct Ignore {
    rules: Vec<Rule>,
}

#[derive(Debug, Clone)]
struct Rule {
    pattern: Pattern,
    /// Cleaned text, by which a folder is told to lead to something taken back.
    text: String,
    takes_back: bool,
}

impl Ignore {
    /// Compiles the file's text.
    ///
    /// # Errors
    /// The pattern that is not valid.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut rules = Vec::new();
        for line in text.lines() {
            // A comment starts in the first column.
            if line.starts_with('#') {
                continue;
            }
            let line = line.trim();
            let (takes_back, pattern) = match line.strip_prefix('!') {
                Some(rest) => (true, rest.trim()),
                None => (false, line),
            };
            if pattern.is_empty() {
                continue;
            }
            let text = cleaned(pattern);
            if text.is_empty() {
                continue;
            }
            let pattern = Pattern::new(&text).ok_or_else(|| line.to_owned())?;
            rules.push(Rule {
                pattern,
                text,
                takes_back,
            });
        }
        Ok(Self { rules })
    }

    /// Whether a path, relative to the context, is left out.
    pub fn excludes(&self, path: &str) -> bool {
        let mut excluded = false;
        for rule in &self.rules {
            if rule.takes_back == excluded && rule.pattern.covers(path) {
                excluded = !rule.takes_back;
            }
        }
        excluded
    }

    /// Whether something in an excluded folder may be taken back, so that it must be
    /// looked into. With wildcards that is always so, as `BuildKit` has it; the classic
    /// client does not look.
    pub fn may_take_back_in(&self, folder: &str) -> bool {
        let folder = format!("{folder}/");
        self.rules.iter().any(|rule| {
            rule.takes_back
                && (rule.has_wildcard() || format!("{}/", rule.text).starts_with(&folder))
        })
    }
}

impl Rule {
    fn has_wildcard(&self) -> bool {
        self.text.contains(['*', '?', '['])
    }
}

/// Without a leading slash, empty and `.` parts, and with `..` resolved.
fn cleaned(pattern: &str) -> String {
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

    fn excluded(text: &str, path: &str) -> bool {
        Ignore::parse(text).unwrap().excludes(path)
    }

    #[test]
    fn patterns_are_rooted_and_cover_folders() {
        assert!(excluded("target", "target/debug"));
        assert!(excluded("/target/", "target/debug"));
        assert!(!excluded("target", "src/target"));
        assert!(excluded("**/target", "src/target/x"));
        assert!(excluded("./a/../b", "b"));
    }

    #[test]
    fn the_last_pattern_decides() {
        let text = "*\n!src\nsrc/secret\n!src/secret/public";
        assert!(excluded(text, "README"));
        assert!(!excluded(text, "src/main.rs"));
        assert!(excluded(text, "src/secret/key"));
        assert!(!excluded(text, "src/secret/public/key"));
    }

    #[test]
    fn comments_and_blanks_do_not_count() {
        let text = "# a\n\n  b  \n!\n #c";
        assert!(!excluded(text, "a"));
        assert!(excluded(text, "b"));
        assert!(excluded(text, "#c"));
    }

    #[test]
    fn folders_that_lead_to_something_taken_back_are_entered() {
        let ignore = Ignore::parse("a\nb\n!a/x/y").unwrap();
        assert!(ignore.may_take_back_in("a"));
        assert!(ignore.may_take_back_in("a/x"));
        assert!(!ignore.may_take_back_in("b"));
    }

    #[test]
    fn a_bad_pattern_is_named() {
        assert_eq!(Ignore::parse("a\n[b").unwrap_err(), "[b");
    }
}
