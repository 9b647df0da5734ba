//! Path patterns with Docker's rules: `*` and `?` stop at a slash, `**` does not, a
//! pattern that matches a folder matches everything in it.

/// One compiled pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    tokens: Vec<Token>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Char(char),
    /// `?`
    AnyChar,
    /// `*`
    AnyText,
    /// `**/`: any number of folders, none included.
    AnyFolders,
    /// `**` at the end.
    Anything,
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

impl Pattern {
    /// Compiles a cleaned pattern; `None` when a class is not closed.
    pub(super) fn new(text: &str) -> Option<Self> {
        let mut tokens = Vec::new();
        let mut chars = text.chars().peekable();
        while let Some(char) = chars.next() {
            tokens.push(match char {
                '*' if chars.peek() == Some(&'*') => {
                    chars.next();
                    chars.next_if_eq(&'/');
                    if chars.peek().is_none() {
                        Token::Anything
                    } else {
                        Token::AnyFolders
                    }
                }
                '*' => Token::AnyText,
                '?' => Token::AnyChar,
                '[' => class(&mut chars)?,
                '\\' => Token::Char(chars.next().unwrap_or('\\')),
                char => Token::Char(char),
            });
        }
        Some(Self { tokens })
    }

    /// Whether the pattern matches a path, or one of the folders it is in.
    pub(super) fn covers(&self, path: &str) -> bool {
        let ends = path.match_indices('/').map(|(at, _)| at);
        ends.chain([path.len()])
            .any(|end| self.matches(&path[..end]))
    }

    /// Whether the pattern matches exactly this path.
    pub(super) fn matches(&self, path: &str) -> bool {
        let path: Vec<char> = path.chars().collect();
        // Positions in the path that the tokens so far can have reached.
        let mut reached = vec![false; path.len() + 1];
        reached[0] = true;
        for token in &self.tokens {
            reached = token.step(&path, &reached);
        }
        reached[path.len()]
    }
}

impl Token {
    fn step(&self, path: &[char], from: &[bool]) -> Vec<bool> {
        let mut to = vec![false; from.len()];
        let mut open = false;
        for at in 0..from.len() {
            match self {
                Self::AnyText => {
                    open = (open && at > 0 && path[at - 1] != '/') || from[at];
                    to[at] = open;
                }
                Self::Anything => {
                    open = open || from[at];
                    to[at] = open;
                }
                Self::AnyFolders => {
                    let after_slash = at > 0 && path[at - 1] == '/';
                    to[at] = from[at] || (open && after_slash);
                    open = open || from[at];
                }
                single => {
                    let matched = at > 0 && from[at - 1] && single.takes(path[at - 1]);
                    to[at] = matched;
                }
            }
        }
        to
    }

    fn takes(&self, char: char) -> bool {
        match self {
            Self::Char(own) => *own == char,
            Self::AnyChar => char != '/',
            Self::Class { negated, ranges } => {
                let within = ranges
                    .iter()
                    .any(|(low, high)| (*low..=*high).contains(&char));
                within != *negated
            }
            Self::AnyText | Self::AnyFolders | Self::Anything => false,
        }
    }
}

fn class(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<Token> {
    let negated = chars.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    loop {
        let low = match chars.next()? {
            ']' if !ranges.is_empty() => return Some(Token::Class { negated, ranges }),
            '\\' => chars.next()?,
            char => char,
        };
        let mut high = low;
        if chars.peek() == Some(&'-') {
            let mut ahead = chars.clone();
            ahead.next();
            if ahead.peek().is_some_and(|char| *char != ']') {
                chars.next();
                high = match chars.next()? {
                    '\\' => chars.next()?,
                    char => char,
                };
            }
        }
        ranges.push((low, high));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, path: &str) -> bool {
        Pattern::new(pattern).unwrap().matches(path)
    }

    #[test]
    fn stars_and_question_marks_stop_at_slashes() {
        assert!(matches("*.rs", "main.rs"));
        assert!(!matches("*.rs", "src/main.rs"));
        assert!(matches("src/*/a", "src/x/a"));
        assert!(!matches("src/*/a", "src/x/y/a"));
        assert!(matches("a?c", "abc"));
        assert!(!matches("a?c", "a/c"));
    }

    #[test]
    fn two_stars_cross_them() {
        for path in ["a", "x/a", "x/y/a"] {
            assert!(matches("**/a", path), "{path}");
        }
        assert!(!matches("**/a", "ba"));
        for path in ["x/a", "x/y/a", "x/"] {
            assert!(matches("x/**", path), "{path}");
        }
        assert!(!matches("x/**", "x"));
        assert!(matches("a/**/b", "a/b"));
        assert!(matches("a/**/b", "a/x/y/b"));
        assert!(!matches("a/**/b", "a/xb"));
        assert!(matches("**", "anything/at/all"));
    }

    #[test]
    fn classes_and_escapes() {
        assert!(matches("[a-c]x", "bx"));
        assert!(!matches("[^a-c]x", "bx"));
        assert!(matches("[a-]", "-"));
        assert!(matches(r"[\]]", "]"));
        assert!(matches(r"\*", "*"));
        assert!(!matches(r"\*", "a"));
        assert!(matches("a.b", "a.b"));
        assert!(!matches("a.b", "axb"));
        assert_eq!(Pattern::new("[a"), None);
    }

    #[test]
    fn a_folder_covers_what_is_in_it() {
        let pattern = Pattern::new("target").unwrap();
        assert!(pattern.covers("target"));
        assert!(pattern.covers("target/debug/x"));
        assert!(!pattern.covers("src/target"));
        assert!(!pattern.covers("targets"));
    }

    proptest! {
        /// The pattern as a regular expression, by Docker's own translation.
        #[test]
        fn agrees_with_the_regular_expression(
            pattern in "(a|b|/|\\*|\\*\\*|\\*\\*/|\\?|\\.){0,7}",
            path in "(a|b|/|\\.){0,7}",
        ) {
            prop_assume!(!pattern.contains("***"));
            let regex = regex::Regex::new(&translated(&pattern)).unwrap();
            prop_assert_eq!(
                Pattern::new(&pattern).unwrap().matches(&path),
                regex.is_match(&path),
                "{} on {}", pattern, path
            );
        }
    }

    fn translated(pattern: &str) -> String {
        let mut out = String::from("(?s)^");
        let mut rest = pattern;
        while let Some(char) = rest.chars().next() {
            if let Some(after) = rest.strip_prefix("**") {
                rest = after.strip_prefix('/').unwrap_or(after);
                out.push_str(if rest.is_empty() { ".*" } else { "(.*/)?" });
                continue;
            }
            rest = &rest[char.len_utf8()..];
            match char {
                '*' => out.push_str("[^/]*"),
                '?' => out.push_str("[^/]"),
                char => out.push_str(&regex::escape(&char.to_string())),
            }
        }
        out + "$"
    }
}
