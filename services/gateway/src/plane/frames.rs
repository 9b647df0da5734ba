//! Where one WebSocket frame ends and the next begins (RFC 6455, 5.2), so that the
//! gateway can put in one of its own.
//!
//! Test: here.

/// Counts its way through a stream of frames.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    /// The part of a head that has come: at most 14 bytes.
    head: Vec<u8>,
    /// Bytes of the payload that have yet to come.
    payload: u64,
    /// Bytes were passed on in part, so what comes next is unknown.
    pub(crate) torn: bool,
}

impl Frames {
    /// Whether a frame may begin here.
    pub(crate) fn is_between(&self) -> bool {
        !self.torn && self.head.is_empty() && self.payload == 0
    }

    /// Whether more of a frame has to come first.
    pub(crate) fn is_within(&self) -> bool {
        !self.torn && !self.is_between()
    }

    /// These bytes come next.
    pub(crate) fn pass(&mut self, mut bytes: &[u8]) {
        loop {
            let skipped = bytes
                .len()
                .min(usize::try_from(self.payload).unwrap_or(usize::MAX));
            self.payload -= skipped as u64;
            bytes = bytes.get(skipped..).unwrap_or_default();
            let Some((first, rest)) = bytes.split_first() else {
                return;
            };
            bytes = rest;
            self.head.push(*first);
            if let Some(length) = length(&self.head) {
                self.payload = length;
                self.head.clear();
            }
        }
    }
}

/// The length of the payload, once the head is whole.
fn length(head: &[u8]) -> Option<u64> {
    let second = *head.get(1)?;
    let mask = if second & 0x80 == 0 { 0 } else { 4 };
    let more = match second & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let long = head.get(2..2 + more)?;
    head.get(..2 + more + mask)?;
    Some(match more {
        0 => u64::from(second & 0x7f),
        _ => long.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame with a payload of this length.
    fn frame(length: u64, masked: bool) -> Vec<u8> {
        let mask = if masked { 0x80 } else { 0 };
        let mut frame = vec![0x82];
        match length {
            0..126 => frame.push(mask | u8::try_from(length).expect("small")),
            126..=0xffff => {
                frame.push(mask | 0x7e);
                frame.extend(u16::try_from(length).expect("small").to_be_bytes());
            }
            _ => {
                frame.push(mask | 0x7f);
                frame.extend(length.to_be_bytes());
            }
        }
        let rest = length + if masked { 4 } else { 0 };
        frame.resize(frame.len() + usize::try_from(rest).expect("small"), 0xff);
        frame
    }

    #[test]
    fn a_frame_ends_where_its_length_says_at_any_cut() {
        for length in [0, 1, 125, 126, 300, 65_535, 65_536] {
            for masked in [false, true] {
                let frame = frame(length, masked);
                for cut in [1, 2, 3, frame.len() / 2, frame.len() - 1] {
                    let mut frames = Frames::default();
                    frames.pass(&frame[..cut.min(frame.len())]);
                    let whole = cut >= frame.len();
                    assert_eq!(frames.is_between(), whole, "{length} {masked} {cut}");
                    frames.pass(&frame[cut.min(frame.len())..]);
                    assert!(frames.is_between(), "{length} {masked} {cut}");
                    frames.pass(&[frame.clone(), frame.clone()].concat());
                    assert!(frames.is_between(), "{length} {masked}");
                }
            }
        }
    }
}
