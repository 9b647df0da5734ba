//! Readiness: how a pod is asked, and for how long it may take.

use k8s_openapi::api::core::v1::ExecAction;
use k8s_openapi::api::core::v1::HTTPGetAction;
use k8s_openapi::api::core::v1::Probe;
use k8s_openapi::api::core::v1::TCPSocketAction;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::pod;
use crate::state::desired::ReadyGate;
use crate::state::desired::ServiceSpec;
use crate::state::spec::Healthcheck;

const NANOS: i64 = 1_000_000_000;
/// Seconds between questions while a replica serves, where the file names none.
const PERIOD: i32 = 5;
/// Seconds that an answer may take, where the file names none.
const TIMEOUT: i32 = 2;
/// So many wrong answers take a replica out.
const FAILURES: i32 = 3;
/// The engine's own defaults of a health check.
const CHECK_PERIOD: i32 = 30;
const CHECK_FAILURES: i32 = 3;

/// Whether requests may be sent, and whether it has come up.
#[derive(Debug, Default)]
pub(super) struct Probes {
    pub(super) readiness: Option<Probe>,
    pub(super) startup: Option<Probe>,
    pub(super) liveness: Option<Probe>,
}

/// The probes of a service. What `x-shop.ready` asks says whether requests may come; what
/// a health check asks says also whether the container must be started anew, as it does
/// for whoever watches an engine.
pub(super) fn of(service: &ServiceSpec) -> Probes {
    let check = service.container.healthcheck.as_ref().and_then(checked);
    let asked = match &service.ready {
        ReadyGate::Probe { port, http, .. } => Some(question(*port, http.as_deref())),
        _ => None,
    };
    let readiness = asked.clone().or_else(|| check.clone());
    let startup = readiness.clone().map(|probe| patient(probe, service));
    Probes {
        readiness,
        startup,
        liveness: check,
    }
}

fn question(port: u16, http: Option<&str>) -> Probe {
    let port = IntOrString::Int(port.into());
    let mut probe = Probe {
        period_seconds: Some(PERIOD),
        timeout_seconds: Some(TIMEOUT),
        failure_threshold: Some(FAILURES),
        ..Probe::default()
    };
    match http {
        Some(path) => {
            probe.http_get = Some(HTTPGetAction {
                path: Some(path.to_owned()),
                port,
                ..HTTPGetAction::default()
            });
        }
        None => {
            probe.tcp_socket = Some(TCPSocketAction {
                port,
                ..TCPSocketAction::default()
            });
        }
    }
    probe
}

/// The engine's check as a probe; none where it is switched off or only the image has it.
fn checked(check: &Healthcheck) -> Option<Probe> {
    let (kind, words) = check.test.split_first()?;
    let command = match kind.as_str() {
        "CMD" => words.iter().map(|word| pod::literal(word)).collect(),
        "CMD-SHELL" => {
            let shell = ["/bin/sh", "-c"].map(str::to_owned);
            let words = words.iter().map(|word| pod::literal(word));
            shell.into_iter().chain(words).collect()
        }
        _ => return None,
    };
    Some(Probe {
        exec: Some(ExecAction {
            command: Some(command),
        }),
        period_seconds: Some(seconds(check.interval_ns).unwrap_or(CHECK_PERIOD)),
        timeout_seconds: Some(seconds(check.timeout_ns).unwrap_or(CHECK_PERIOD)),
        failure_threshold: Some(
            check
                .retries
                .and_then(|count| i32::try_from(count).ok())
                .filter(|count| *count > 0)
                .unwrap_or(CHECK_FAILURES),
        ),
        ..Probe::default()
    })
}

/// The same question each second, for as long as the gate may take.
fn patient(probe: Probe, service: &ServiceSpec) -> Probe {
    let deadline = service.ready.deadline_ms().unwrap_or(60_000).div_ceil(1000);
    Probe {
        period_seconds: Some(1),
        failure_threshold: Some(i32::try_from(deadline.max(1)).unwrap_or(i32::MAX)),
        ..probe
    }
}

/// Whole seconds, at least one.
fn seconds(nanos: Option<i64>) -> Option<i32> {
    let nanos = nanos.filter(|nanos| *nanos > 0)?;
    i32::try_from((nanos + NANOS - 1) / NANOS).ok()
}
