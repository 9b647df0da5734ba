//! The gateway's files in the stack's store: `routes.json`, its last good copy,
//! and the statistics.
//!
//! A file is replaced by renaming a complete one over it, so a reader sees the
//! old or the new one. `routes.json` starts with a checksum over the bytes of
//! the configuration: a torn or changed file is known as such, and the last
//! good copy is used. All gateways of a stack share the files.
//!
//! Nothing here touches `state/`, which is shopctl's. Test: here, and
//! `tests/gateway/restart.rs`.

use std::fmt::Write as _;
use std::fs;
use std::fs::File;
use std::io;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;

use sha2::Digest;
use sha2::Sha256;

use crate::error::Error;
use crate::protocol::Config;
use crate::protocol::Fault;
use crate::protocol::FaultKind;
use crate::protocol::Stats;

const ROUTES: &str = "routes.json";
const LAST_GOOD: &str = "routes.last.json";
const STATS: &str = "stats";

/// `{"checksum":"sha256:…","config":…}`: what stands before and after.
const CHECKSUM: &str = r#"{"checksum":"sha256:"#;
const CONFIG: &str = r#"","config":"#;
const END: &str = "}\n";

/// The files of one gateway.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    directory: PathBuf,
    /// The gateway's name: others write beside it.
    name: String,
}

/// What was found at the start.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// No gateway of this stack was ever configured.
    Nothing,
    /// The current configuration.
    Current(Config),
    /// The current one cannot be used, its predecessor can.
    LastGood {
        config: Config,
        /// What is wrong with the current one.
        reason: String,
    },
    /// Neither can be used.
    Unusable {
        /// What is wrong with the current one.
        reason: String,
    },
}

impl Store {
    pub(crate) fn new(directory: &Path, name: &str) -> Self {
        Self {
            directory: directory.to_owned(),
            name: name.to_owned(),
        }
    }

    /// The newest usable configuration. Never fails: a gateway without routes
    /// says so to its clients and waits to be configured.
    pub(crate) fn load(&self) -> Found {
        let reason = match read(&self.directory.join(ROUTES)) {
            Ok(config) => return Found::Current(config),
            Err(error) => error,
        };
        match read(&self.directory.join(LAST_GOOD)) {
            Ok(config) => Found::LastGood {
                config,
                reason: reason.to_string(),
            },
            Err(_) if reason.kind() == io::ErrorKind::NotFound => Found::Nothing,
            Err(_) => Found::Unusable {
                reason: reason.to_string(),
            },
        }
    }

    /// Makes a configuration the current one, durably. Refuses to replace a newer
    /// one, which another gateway of the stack got from a later run.
    pub(crate) fn save(&self, config: &Config) -> Result<(), Fault> {
        let failed = |error: io::Error| Fault::internal(format!("cannot write {ROUTES}: {error}"));
        let current = self.directory.join(ROUTES);
        if let Ok(before) = read(&current) {
            if before == *config {
                return Ok(());
            }
            if (before.lock, before.generation) >= (config.lock, config.generation) {
                return Err(Fault::new(
                    FaultKind::Stale,
                    format!(
                        "the store holds generation {} of lock {}",
                        before.generation, before.lock
                    ),
                ));
            }
            let text = encode(&before).map_err(failed)?;
            self.replace(&self.directory.join(LAST_GOOD), &text, true)
                .map_err(failed)?;
        }
        let text = encode(config).map_err(failed)?;
        self.replace(&current, &text, true).map_err(failed)?;
        // The rename itself must survive too.
        File::open(&self.directory)
            .and_then(|directory| directory.sync_all())
            .map_err(failed)
    }

    /// Creates the folder of the statistics, which tells early that the store
    /// can be written.
    pub(crate) fn prepare(&self) -> Result<(), Error> {
        let path = self.directory.join(STATS);
        fs::create_dir_all(&path).map_err(|source| Error::File { path, source })
    }

    /// Replaces this gateway's statistics.
    pub(crate) fn write_stats(&self, stats: &Stats) -> io::Result<()> {
        let path = self
            .directory
            .join(STATS)
            .join(format!("{}.json", self.name));
        let mut text = serde_json::to_string(stats)?;
        text.push('\n');
        self.replace(&path, &text, false)
    }

    fn replace(&self, path: &Path, text: &str, durable: bool) -> io::Result<()> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.tmp", self.name));
        let temporary = path.with_file_name(name);
        let mut file = File::create(&temporary)?;
        file.write_all(text.as_bytes())?;
        if durable {
            file.sync_all()?;
        }
        drop(file);
        fs::rename(&temporary, path)
    }
}

fn encode(config: &Config) -> io::Result<String> {
    let config = serde_json::to_string(config)?;
    let checksum = checksum(config.as_bytes());
    Ok(format!("{CHECKSUM}{checksum}{CONFIG}{config}{END}"))
}

fn read(path: &Path) -> io::Result<Config> {
    let text = fs::read_to_string(path)?;
    let torn = || io::Error::new(io::ErrorKind::InvalidData, "the checksum does not match");
    let (found, config) = text
        .strip_prefix(CHECKSUM)
        .and_then(|rest| rest.strip_suffix(END))
        .and_then(|rest| rest.split_once(CONFIG))
        .ok_or_else(torn)?;
    if found != checksum(config.as_bytes()) {
        return Err(torn());
    }
    let config: Config = serde_json::from_str(config)?;
    crate::routing::snapshot::validate(&config)
        .map_err(|fault| io::Error::new(io::ErrorKind::InvalidData, fault))?;
    Ok(config)
}

/// SHA-256 in hex.
pub(crate) fn checksum(content: &[u8]) -> String {
    let digest = Sha256::digest(content);
    digest.iter().fold(String::new(), |mut hex, byte| {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::CONFIG_VERSION;

    fn config(lock: u64, generation: u64) -> Config {
        Config {
            version: CONFIG_VERSION,
            lock,
            generation,
            ..Config::default()
        }
    }

    fn store() -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().expect("a folder");
        let store = Store::new(directory.path(), "gateway-1");
        (directory, store)
    }

    #[test]
    fn a_saved_configuration_is_found_again() {
        let (directory, store) = store();
        assert_eq!(store.load(), Found::Nothing);
        store.save(&config(1, 1)).expect("saved");
        store.save(&config(1, 2)).expect("saved");
        assert_eq!(store.load(), Found::Current(config(1, 2)));
        let text = fs::read_to_string(directory.path().join(ROUTES)).expect("read");
        let value: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
        assert_eq!(value["config"]["generation"], 2);
    }

    #[test]
    fn a_torn_file_at_any_length_gives_the_last_good_one() {
        let (directory, store) = store();
        store.save(&config(1, 1)).expect("saved");
        store.save(&config(1, 2)).expect("saved");
        let path = directory.path().join(ROUTES);
        let whole = fs::read(&path).expect("read");
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).expect("written");
            let found = store.load();
            assert!(
                matches!(&found, Found::LastGood { config: found, .. } if *found == config(1, 1)),
                "{length}: {found:?}"
            );
        }
        let mut changed = whole.clone();
        let at = whole.len() - 30;
        changed[at] ^= 1;
        fs::write(&path, &changed).expect("written");
        assert!(matches!(store.load(), Found::LastGood { .. }));
        fs::remove_file(directory.path().join(LAST_GOOD)).expect("removed");
        assert!(matches!(store.load(), Found::Unusable { .. }));
    }

    #[test]
    fn a_torn_file_never_becomes_the_last_good_one() {
        let (directory, store) = store();
        store.save(&config(1, 1)).expect("saved");
        store.save(&config(1, 2)).expect("saved");
        fs::write(directory.path().join(ROUTES), "{").expect("written");
        store.save(&config(1, 3)).expect("saved");
        fs::write(directory.path().join(ROUTES), "{").expect("written");
        assert!(
            matches!(store.load(), Found::LastGood { config: found, .. } if found == config(1, 1))
        );
    }

    #[test]
    fn a_newer_one_of_another_gateway_is_not_replaced() {
        let (directory, store) = store();
        let other = Store::new(directory.path(), "gateway-2");
        other.save(&config(2, 1)).expect("saved");
        let fault = store.save(&config(1, 9)).expect_err("stale");
        assert_eq!(fault.kind, FaultKind::Stale);
        store.save(&config(2, 1)).expect("the same is fine");
        assert_eq!(store.load(), Found::Current(config(2, 1)));
    }
}
