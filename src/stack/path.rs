//! Paths as text: no file is looked at.

use std::path::Component;
use std::path::Path;
use std::path::PathBuf;

/// An absolute, clean path for one that is relative to `base` or to `~`.
pub(crate) fn absolute(text: &str, base: &Path, home: Option<&str>) -> String {
    if text.is_empty() || is_windows(text) {
        return text.to_owned();
    }
    let expanded = match (text.strip_prefix('~'), home) {
        (Some(rest), Some(home)) => clean(&Path::new(home).join(rest.trim_start_matches('/'))),
        _ => PathBuf::from(text),
    };
    if expanded.is_absolute() {
        return expanded.to_string_lossy().into_owned();
    }
    clean(&base.join(expanded)).to_string_lossy().into_owned()
}

/// Without `.`, `..` and doubled slashes, by the text alone.
pub(crate) fn clean(path: &Path) -> PathBuf {
    let mut parts = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                let last = parts.components().next_back();
                match last {
                    Some(Component::Normal(_)) => {
                        parts.pop();
                    }
                    Some(Component::RootDir | Component::Prefix(_)) => {}
                    _ => parts.push(".."),
                }
            }
            other => parts.push(other),
        }
    }
    if parts.as_os_str().is_empty() {
        parts.push(".");
    }
    parts
}

/// A path inside a container, clean.
pub(crate) fn clean_target(text: &str) -> String {
    if text.is_empty() {
        return String::new();
    }
    clean(Path::new(text)).to_string_lossy().into_owned()
}

/// `C:\…` and `\\pipe\…`.
pub(crate) fn is_windows(text: &str) -> bool {
    let bytes = text.as_bytes();
    text.starts_with("\\\\")
        || (bytes.len() > 2
            && bytes[0].is_ascii_alphabetic()
            && bytes[1] == b':'
            && matches!(bytes[2], b'\\' | b'/'))
}

/// A build context that is no folder of this machine.
pub(crate) fn is_remote(text: &str) -> bool {
    text.contains("://")
        || ["service:", "github.com/", "git@"]
            .iter()
            .any(|prefix| text.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_resolved_by_text() {
        let base = Path::new("/base/dir");
        for (text, wanted) in [
            (".", "/base/dir"),
            ("../x", "/base/x"),
            ("./a//b/../c", "/base/dir/a/c"),
            ("/abs/./x", "/abs/./x"),
            ("~/h", "/home/u/h"),
            ("~", "/home/u"),
            ("", ""),
            ("C:\\data", "C:\\data"),
            ("../../../../x", "/x"),
        ] {
            assert_eq!(absolute(text, base, Some("/home/u")), wanted, "{text}");
        }
        assert_eq!(clean_target("/a/../b/"), "/b");
        assert_eq!(clean_target("a/.."), ".");
    }

    #[test]
    fn remote_contexts_are_known() {
        for text in [
            "https://x/y.git",
            "git@host:x",
            "service:base",
            "docker-image://a",
        ] {
            assert!(is_remote(text), "{text}");
        }
        assert!(!is_remote("./github.com/x"));
    }
}
