//! Quantities: numbers with a suffix, as nodes and pods write them.

/// What a suffix multiplies by.
const SUFFIXES: [(&str, f64); 15] = [
    ("Ki", 1024.0),
    ("Mi", 1_048_576.0),
    ("Gi", 1_073_741_824.0),
    ("Ti", 1_099_511_627_776.0),
    ("Pi", 1_125_899_906_842_624.0),
    ("Ei", 1_152_921_504_606_846_976.0),
    ("n", 1e-9),
    ("u", 1e-6),
    ("m", 1e-3),
    ("k", 1e3),
    ("M", 1e6),
    ("G", 1e9),
    ("T", 1e12),
    ("P", 1e15),
    ("E", 1e18),
];

/// A quantity times `scale`, rounded up; nothing of what cannot be read.
pub(super) fn scaled(text: &str, scale: f64) -> u64 {
    let number = number(text).unwrap_or(0.0) * scale;
    // Of a number with an error in its last digit the ceiling would be one too many.
    let whole = (number - 1e-6).ceil().max(0.0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "not negative, and a cast of what is too large gives the largest"
    )]
    let whole = whole as u64;
    whole
}

/// A quantity as a number.
pub(super) fn number(text: &str) -> Option<f64> {
    let suffix = SUFFIXES.iter().find(|(suffix, _)| {
        // `1E` is a quintillion, `1E3` a thousand.
        text.ends_with(suffix)
    });
    match suffix {
        Some((suffix, factor)) => {
            let number: f64 = text.strip_suffix(suffix)?.parse().ok()?;
            Some(number * factor)
        }
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::scaled;

    #[test]
    fn every_way_of_writing_is_read() {
        let milli = |text: &str| scaled(text, 1000.0);
        let whole = |text: &str| scaled(text, 1.0);
        assert_eq!(
            ["100m", "0.1", "1", "1500000u", "1e3", "2E0", "0.1m", ""].map(milli),
            [100, 100, 1000, 1500, 1_000_000, 2000, 1, 0]
        );
        assert_eq!(
            [
                "64Mi",
                "1G",
                "128974848",
                "1.5Gi",
                "129e6",
                "123Ki",
                "128974848000m"
            ]
            .map(whole),
            [
                67_108_864,
                1_000_000_000,
                128_974_848,
                1_610_612_736,
                129_000_000,
                125_952,
                128_974_848
            ]
        );
    }
}
