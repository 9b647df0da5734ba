//! Where the log of a command and its own streams meet.
//!
//! A command runs before anybody is attached to it, and what it says until then is in its
//! log alone. The log goes on while it is read, so its end may have come through the
//! streams too.

/// How many bytes of a log were said before the streams began: the rest of it is what these
/// have brought so far, or a part of that.
pub(super) fn before(log: &[u8], out: &[u8], err: &[u8]) -> usize {
    if out.is_empty() && err.is_empty() {
        return log.len();
    }
    // As much of the log as possible has come through the streams too.
    let most = log.len().saturating_sub(out.len() + err.len());
    let mut starts = most..log.len();
    if let Some(start) = starts.find(|&start| meet(&log[start..], [out, err]) == Meeting::Whole) {
        return start;
    }
    // The streams are behind the log: what they lack is on its way.
    let behind = (0..most).rev();
    let mut behind = behind.filter(|&start| meet(&log[start..], [out, err]) == Meeting::Behind);
    behind.next().unwrap_or(log.len())
}

/// How the end of a log and the beginning of streams go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meeting {
    /// The streams have brought all of it.
    Whole,
    /// It has all that the streams have brought, and more.
    Behind,
    /// They are about something else.
    Not,
}

/// Line by line, each of one of the streams: a log has them in order.
fn meet(mut rest: &[u8], mut streams: [&[u8]; 2]) -> Meeting {
    while !rest.is_empty() {
        if streams.iter().all(|stream| stream.is_empty()) {
            return Meeting::Behind;
        }
        let end = rest.iter().position(|byte| *byte == b'\n');
        let line = &rest[..end.map_or(rest.len(), |end| end + 1)];
        let said = |stream: &&mut &[u8]| {
            !stream.is_empty() && (stream.starts_with(line) || line.starts_with(stream))
        };
        let Some(stream) = streams.iter_mut().find(said) else {
            return Meeting::Not;
        };
        let told = line.len().min(stream.len());
        *stream = &stream[told..];
        rest = &rest[told..];
    }
    Meeting::Whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_told_up_to_where_the_streams_began() {
        for (log, out, err, want) in [
            // Nothing came through the streams: all of it was before.
            ("a\nb\n", "", "", "a\nb\n"),
            ("", "a\n", "", ""),
            // They began in the middle, of lines and of a line.
            ("a\nb\nc\n", "b\nc\n", "", "a\n"),
            ("a\nb\nc\n", "c\n", "b\n", "a\n"),
            ("a\nbcd\n", "cd\n", "", "a\nb"),
            // They are ahead of the log, or behind it.
            ("a\nb\n", "b\nc\nd\n", "", "a\n"),
            ("a\nb\nc\nd\n", "b\n", "", "a\n"),
            ("a\nbcd\nd\n", "b", "", "a\n"),
            // They have all of it, or none.
            ("a\nb\n", "a\nb\n", "", ""),
            ("a\nb\n", "c\n", "", "a\nb\n"),
            // Of lines that are all the same, as many as are in both.
            ("a\na\na\n", "a\na\n", "", "a\n"),
            ("# ", "# ", "", ""),
        ] {
            let found = before(log.as_bytes(), out.as_bytes(), err.as_bytes());
            assert_eq!(&log[..found], want, "{log:?} {out:?} {err:?}");
        }
    }
}
