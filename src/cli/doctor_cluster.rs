//! `doctor` of a cluster: whether it answers, what its nodes have, and what we may do there.

use super::doctor::bad;
use super::doctor::ok;
use super::error::CliError;
use crate::backend::Backend;
use crate::backend::BackendError;
use crate::backend::Query;
use crate::report::documents::Check;
use crate::report::tables;
use crate::stack::Loaded;

/// From this version on, pods linger before they end.
const CURRENT: u32 = 30;
/// So many missing rights are named.
const NAMED: usize = 6;

/// Looks at everything.
pub(super) async fn look<B: Backend>(
    backend: Result<&B, BackendError>,
    loaded: Option<&Loaded>,
    checks: &mut Vec<Check>,
) {
    let backend = match backend {
        Ok(backend) => backend,
        Err(error) => {
            let finding = CliError::from(error).summary();
            let mend = "check KUBECONFIG and --context: kubectl config get-contexts";
            checks.push(bad("cluster", "failed", finding, mend));
            return;
        }
    };
    let stack = loaded.map_or_else(String::new, |loaded| loaded.stack.name.clone());
    let query = Query {
        stack: stack.clone(),
        foreign: true,
        ..Query::default()
    };
    match backend.observe(&query).await {
        Ok(observed) => {
            let engine = &observed.engine;
            checks.push(version(&engine.name, &engine.version));
            let nodes = observed.cluster.map(|it| it.nodes).unwrap_or_default();
            checks.push(if nodes.is_empty() {
                bad(
                    "nodes",
                    "warning",
                    "none to be seen: demand is not held against them",
                    "let an administrator apply: shopctl doctor --rights",
                )
            } else {
                let cores: u64 = nodes.iter().map(|node| node.cpu_milli).sum();
                let memory = nodes.iter().map(|node| node.memory).sum();
                let count = tables::plural(nodes.len(), "node");
                let whole = format!("{}.{}", cores / 1000, cores % 1000 / 100);
                ok(
                    "nodes",
                    format!("{count}, {whole} cores, {}", tables::bytes(memory)),
                )
            });
        }
        Err(error) => {
            let finding = CliError::from(error).summary();
            checks.push(bad("cluster", "failed", finding, "kubectl get nodes"));
        }
    }
    checks.push(rights(backend, &stack).await);
}

fn version(context: &str, version: &str) -> Check {
    let finding = format!("{context}, Kubernetes {version}");
    let minor = version.trim_start_matches('v').split('.').nth(1);
    let minor: u32 = minor.and_then(|text| text.parse().ok()).unwrap_or(0);
    if minor >= CURRENT {
        return ok("cluster", finding);
    }
    bad(
        "cluster",
        "warning",
        format!(
            "{finding}: before 1.{CURRENT} no pod lingers before it ends, so a rollout may lose requests"
        ),
        "upgrade the cluster",
    )
}

async fn rights<B: Backend>(backend: &B, stack: &str) -> Check {
    let name = "rights";
    let mend = "let an administrator apply what this prints: shopctl doctor --rights";
    match backend.forbidden(stack).await {
        Ok(missing) if missing.is_empty() => ok(name, "all that a deploy takes"),
        Ok(missing) => {
            let more = missing.len().saturating_sub(NAMED);
            let mut text = missing[..missing.len().min(NAMED)].join(", ");
            if more > 0 {
                text = format!("{text} and {more} more");
            }
            bad(name, "failed", format!("may not {text}"), mend)
        }
        Err(error) => bad(name, "failed", CliError::from(error).summary(), mend),
    }
}
