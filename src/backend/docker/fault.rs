//! The engine's refusals, told apart by status and words.

use std::error::Error as StdError;

use bollard::errors::Error;

use super::Docker;
use crate::backend::BackendError;

impl Docker {
    /// Maps a failed call: `verb` and `subject` are the words of the message, e.g.
    /// `create` and `container shop-order-1-3f9a1c`.
    pub(super) fn fault(&self, verb: &str, subject: &str, error: Error) -> BackendError {
        match error {
            Error::DockerResponseServerError {
                status_code,
                message,
            } => refusal(verb, subject, status_code, message),
            Error::DockerStreamError { error } => refusal(verb, subject, 500, error),
            error if is_transport(&error) => BackendError::Unreachable {
                target: self.inner.target.clone(),
                source: root_cause(&error).into(),
            },
            error => BackendError::Other {
                doing: format!("{verb} {subject}"),
                source: Box::new(error),
            },
        }
    }

    /// A time limit of ours that passed.
    pub(super) fn late(&self, verb: &str, subject: &str) -> BackendError {
        BackendError::Unreachable {
            target: self.inner.target.clone(),
            source: format!("no answer in time to {verb} {subject}").into(),
        }
    }
}

/// Whether the engine says that the thing is not there.
pub(super) fn is_missing(error: &Error) -> bool {
    status(error) == Some(404)
}

/// Status of a refusal.
pub(super) fn status(error: &Error) -> Option<u16> {
    match error {
        Error::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

/// Words of a refusal.
pub(super) fn message(error: &Error) -> &str {
    match error {
        Error::DockerResponseServerError { message, .. } => message,
        _ => "",
    }
}

/// Whether the engine's runtime lost its own helper before the container's program had
/// begun: seen about once in some thousand starts, and never twice in a row. A program
/// that cannot be executed is refused in other words.
pub(super) fn is_hiccup(error: &Error) -> bool {
    let message = message(error);
    status(error) == Some(500)
        && ["OCI runtime create failed", "write init-p: broken pipe"]
            .iter()
            .all(|part| message.contains(part))
}

fn is_transport(error: &Error) -> bool {
    matches!(
        error,
        Error::HyperLegacyError { .. }
            | Error::HyperResponseError { .. }
            | Error::IOError { .. }
            | Error::RequestTimeoutError
            | Error::SocketNotFoundError(_)
    )
}

/// The innermost words; the wrappers only repeat that a request failed.
fn root_cause(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = inner.to_string();
        cause = inner.source();
    }
    text
}

fn refusal(verb: &str, subject: &str, status: u16, message: String) -> BackendError {
    let lower = message.to_lowercase();
    let has = |words: &str| lower.contains(words);
    if has("no space left on device") {
        return BackendError::DiskFull { reason: message };
    }
    if has("port is already allocated") || has("address already in use") || has("bind: address") {
        return BackendError::PortTaken {
            port: port_in(&message),
            reason: message,
        };
    }
    if status == 404 && has("no such image") {
        return BackendError::ImageMissing {
            reference: image_in(&message).unwrap_or(subject).to_owned(),
            reason: message,
        };
    }
    if status == 404 && !has("network") && !has("volume") {
        return BackendError::NotFound {
            what: subject.to_owned(),
        };
    }
    BackendError::Engine {
        doing: format!("{verb} {subject}"),
        status,
        message,
    }
}

/// The host port in `Bind for 0.0.0.0:8000 failed: port is already allocated` or
/// `listen tcp4 0.0.0.0:8000: bind: address already in use`.
fn port_in(message: &str) -> String {
    for mark in [
        "Bind for ",
        "listen tcp4 ",
        "listen tcp6 ",
        "listen tcp ",
        "listen udp4 ",
        "listen udp ",
    ] {
        let Some((_, rest)) = message.split_once(mark) else {
            continue;
        };
        let address = rest.split_whitespace().next().unwrap_or_default();
        let address = address.trim_end_matches(':');
        if let Some((_, port)) = address.rsplit_once(':')
            && port.bytes().all(|byte| byte.is_ascii_digit())
            && !port.is_empty()
        {
            return port.to_owned();
        }
    }
    "?".to_owned()
}

fn image_in(message: &str) -> Option<&str> {
    let at = message.to_lowercase().find("no such image: ")?;
    message
        .get(at + "no such image: ".len()..)?
        .split_whitespace()
        .next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: u16, message: &str) -> BackendError {
        refusal(
            "start",
            "container shop-gateway-1",
            status,
            message.to_owned(),
        )
    }

    #[test]
    fn a_taken_port_is_named() {
        let allocated = "driver failed programming external connectivity on endpoint \
            shop-gateway-1 (4bb8): Bind for 127.0.0.1:8000 failed: port is already allocated";
        let in_use = "driver failed programming external connectivity on endpoint x (5): Error \
            starting userland proxy: listen tcp4 0.0.0.0:8000: bind: address already in use";
        for message in [allocated, in_use] {
            match of(500, message) {
                BackendError::PortTaken { port, .. } => assert_eq!(port, "8000"),
                other => panic!("{other}"),
            }
        }
    }

    #[test]
    fn only_a_start_that_the_runtime_has_bungled_is_tried_again() {
        let of = |status_code, message: &str| {
            is_hiccup(&Error::DockerResponseServerError {
                status_code,
                message: message.to_owned(),
            })
        };
        let bungled = "failed to create shim task: OCI runtime create failed: runc create failed: \
            unable to start container process: error during container init: writing syncT \
            \"procResume\": write init-p: broken pipe: unknown";
        assert!(of(500, bungled));
        assert!(!of(409, bungled));
        assert!(!of(
            500,
            "OCI runtime create failed: runc create failed: exec /app: exec format error"
        ));
    }

    #[test]
    fn refusals_are_told_apart() {
        assert!(matches!(
            of(500, "mkdir /var/lib/docker/x: no space left on device"),
            BackendError::DiskFull { .. }
        ));
        match of(404, "No such image: shop-order:1") {
            BackendError::ImageMissing { reference, .. } => assert_eq!(reference, "shop-order:1"),
            other => panic!("{other}"),
        }
        assert_eq!(
            of(404, "No such container: shop-gateway-1").to_string(),
            "container shop-gateway-1 does not exist"
        );
        assert_eq!(
            of(404, "network shop_default not found").to_string(),
            "the engine refused to start container shop-gateway-1: network shop_default not found"
        );
    }
}
