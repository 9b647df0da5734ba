//! Live use of containers: two samples of each, all at once. From this host's
//! cgroup files when the engine is this host, else from the engine's statistics,
//! whose second sample the engine delays by a second.

use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

use futures_util::future::join_all;
use serde::Deserialize;

use super::Docker;
use super::fault;
use crate::backend::BackendError;
use crate::backend::Pending;
use crate::backend::Usage;
use crate::backend::Use;

/// Long enough for the kernel's counters to move, short enough not to be felt.
const LOCAL_TICK: Duration = Duration::from_millis(250);
const CGROUPS: &str = "/sys/fs/cgroup";

impl Usage for Docker {
    fn usage<'a>(&'a self, containers: &'a [String]) -> Pending<'a, BTreeMap<String, Use>> {
        Box::pin(async move {
            let all = join_all(containers.iter().map(|name| self.measure(name))).await;
            let mut uses = BTreeMap::new();
            for (name, found) in containers.iter().zip(all) {
                if let Some(found) = found? {
                    uses.insert(name.clone(), found);
                }
            }
            Ok(uses)
        })
    }
}

/// One sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sample {
    cpu_nanos: u64,
    memory: u64,
}

impl Docker {
    /// `None` for a container that does not run or is gone.
    async fn measure(&self, container: &str) -> Result<Option<Use>, BackendError> {
        if let Some(group) = self.local_cgroup(container).await?
            && let Some(first) = group.sample()
        {
            let start = Instant::now();
            tokio::time::sleep(LOCAL_TICK).await;
            return Ok(group
                .sample()
                .map(|second| between(first, second, start.elapsed())));
        }
        let start = Instant::now();
        let Some(first) = self.stats(container).await? else {
            return Ok(None);
        };
        let found = self.stats(container).await?;
        Ok(found.map(|second| between(first, second, start.elapsed())))
    }

    async fn stats(&self, container: &str) -> Result<Option<Sample>, BackendError> {
        let path = format!("/containers/{container}/stats?stream=false&one-shot=true");
        match self.get_json::<Stats>(&path).await {
            Ok(stats) => Ok(stats.sample()),
            Err(error) if matches!(fault::status(&error), Some(404 | 409)) => Ok(None),
            Err(error) => Err(self.fault("measure", &format!("container {container}"), error)),
        }
    }

    async fn local_cgroup(&self, container: &str) -> Result<Option<Group>, BackendError> {
        if !self.inner.local || !Path::new(CGROUPS).exists() {
            return Ok(None);
        }
        let found = self.inspect(container).await?;
        Ok(found
            .and_then(|found| found.id)
            .and_then(|id| Group::find(Path::new(CGROUPS), &id)))
    }
}

fn between(first: Sample, second: Sample, elapsed: Duration) -> Use {
    let used = Duration::from_nanos(second.cpu_nanos.saturating_sub(first.cpu_nanos));
    Use {
        cpu: used.as_secs_f64() / elapsed.as_secs_f64().max(f64::EPSILON),
        memory: second.memory,
    }
}

/// What of the engine's statistics counts.
#[derive(Deserialize)]
struct Stats {
    #[serde(default)]
    cpu_stats: CpuStats,
    #[serde(default)]
    memory_stats: MemoryStats,
}

#[derive(Default, Deserialize)]
struct CpuStats {
    #[serde(default)]
    cpu_usage: CpuUsage,
}

#[derive(Default, Deserialize)]
struct CpuUsage {
    #[serde(default)]
    total_usage: u64,
}

#[derive(Default, Deserialize)]
struct MemoryStats {
    usage: Option<u64>,
    #[serde(default)]
    stats: BTreeMap<String, u64>,
}

impl Stats {
    /// Page cache that can be dropped at any time is not counted, as in
    /// `docker stats`.
    fn sample(&self) -> Option<Sample> {
        let memory = &self.memory_stats;
        let cache = ["total_inactive_file", "inactive_file"]
            .iter()
            .find_map(|name| memory.stats.get(*name))
            .copied()
            .unwrap_or_default();
        Some(Sample {
            cpu_nanos: self.cpu_stats.cpu_usage.total_usage,
            memory: memory.usage?.saturating_sub(cache),
        })
    }
}

/// The files of one container's cgroup.
#[derive(Debug)]
enum Group {
    /// Version 1: a tree per controller.
    One { cpu: PathBuf, memory: PathBuf },
    /// Version 2: one tree.
    Two(PathBuf),
}

impl Group {
    /// With either of the engine's cgroup drivers.
    fn find(root: &Path, id: &str) -> Option<Self> {
        let names = [
            format!("docker/{id}"),
            format!("system.slice/docker-{id}.scope"),
        ];
        names.iter().find_map(|name| {
            let two = root.join(name);
            if two.join("cpu.stat").exists() {
                return Some(Self::Two(two));
            }
            let (cpu, memory) = (
                root.join("cpuacct").join(name),
                root.join("memory").join(name),
            );
            (cpu.join("cpuacct.usage").exists() && memory.exists())
                .then_some(Self::One { cpu, memory })
        })
    }

    fn sample(&self) -> Option<Sample> {
        let (cpu_nanos, usage, stat, cache) = match self {
            Self::One { cpu, memory } => (
                number(&cpu.join("cpuacct.usage"))?,
                number(&memory.join("memory.usage_in_bytes"))?,
                memory.join("memory.stat"),
                "total_inactive_file",
            ),
            Self::Two(group) => (
                field(&group.join("cpu.stat"), "usage_usec")?.checked_mul(1000)?,
                number(&group.join("memory.current"))?,
                group.join("memory.stat"),
                "inactive_file",
            ),
        };
        Some(Sample {
            cpu_nanos,
            memory: usage.saturating_sub(field(&stat, cache).unwrap_or_default()),
        })
    }
}

fn number(path: &Path) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn field(path: &Path, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| {
        let (found, value) = line.split_once(' ')?;
        (found == name).then(|| value.trim().parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, files: &[(&str, &str)]) {
        for (path, text) in files {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
    }

    const SAMPLE: Sample = Sample {
        cpu_nanos: 5000,
        memory: 70,
    };

    #[test]
    fn cgroups_of_both_versions_and_drivers_are_read() {
        let one = tempfile::tempdir().unwrap();
        let files = [
            ("cpuacct/docker/a/cpuacct.usage", "5000\n"),
            ("memory/docker/a/memory.usage_in_bytes", "100\n"),
            (
                "memory/docker/a/memory.stat",
                "cache 9\ntotal_inactive_file 30\n",
            ),
        ];
        write(one.path(), &files);
        let two = tempfile::tempdir().unwrap();
        let files = [
            (
                "system.slice/docker-a.scope/cpu.stat",
                "usage_usec 5\nuser_usec 1\n",
            ),
            ("system.slice/docker-a.scope/memory.current", "100\n"),
            (
                "system.slice/docker-a.scope/memory.stat",
                "inactive_file 30\n",
            ),
        ];
        write(two.path(), &files);
        for root in [one, two] {
            let group = Group::find(root.path(), "a").unwrap();
            assert_eq!(group.sample(), Some(SAMPLE), "{group:?}");
            assert!(Group::find(root.path(), "b").is_none());
        }
    }

    #[test]
    fn statistics_of_the_engine_are_read_alike() {
        let text = r#"{"cpu_stats":{"cpu_usage":{"total_usage":5000}},
            "memory_stats":{"usage":100,"stats":{"total_inactive_file":30,"inactive_file":1}}}"#;
        let stats: Stats = serde_json::from_str(text).unwrap();
        assert_eq!(stats.sample(), Some(SAMPLE));
        let ended = r#"{"cpu_stats":{"cpu_usage":{"total_usage":0}},"memory_stats":{}}"#;
        let stats: Stats = serde_json::from_str(ended).unwrap();
        assert_eq!(stats.sample(), None);
    }

    #[test]
    fn use_is_time_on_the_cpu_by_time() {
        let later = Sample {
            cpu_nanos: 500_005_000,
            memory: 80,
        };
        let found = between(SAMPLE, later, Duration::from_secs(1));
        assert!((found.cpu - 0.5).abs() < 1e-9);
        assert_eq!(found.memory, 80);
    }
}
