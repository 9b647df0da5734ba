//! The folder that a target works in. A fuzzer ends without a farewell, so the folder
//! stays, and the next run of the target takes it over.

use std::path::Path;
use std::path::PathBuf;
use std::sync::OnceLock;

/// The folder of a target, made at the first input.
pub(crate) fn of(target: &str) -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = std::env::temp_dir().join(format!("shopctl-fuzz-{target}"));
        std::fs::create_dir_all(&folder).expect("a folder for temporary files");
        folder
    })
}
