//! Which engine is meant: the settings and the Docker configuration's contexts,
//! resolved to something that can be dialled.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use serde::Deserialize;

use super::dial::Dial;
use super::dial::SshTarget;
use super::dial::tls_config;
use crate::backend::BackendError;
use crate::state::names;

const DEFAULT_SOCKET: &str = "unix:///var/run/docker.sock";

/// What the user's environment says about the engine. The CLI fills it from its
/// flags and the environment; nothing here reads the environment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// `DOCKER_HOST`: `unix://`, `tcp://`, `http://`, `https://` or `ssh://`.
    pub host: Option<String>,
    /// `DOCKER_CONTEXT`; the host goes before it.
    pub context: Option<String>,
    /// `DOCKER_CONFIG`, or `.docker` in the user's home.
    pub config_dir: Option<PathBuf>,
    /// `DOCKER_TLS_VERIFY` is set and not empty.
    pub tls_verify: bool,
    /// `DOCKER_CERT_PATH`; the configuration folder when absent.
    pub cert_path: Option<PathBuf>,
    /// `DOCKER_BUILDKIT=0`: builds use the classic builder.
    pub classic_builder: bool,
}

/// Something that can be dialled.
pub(super) struct Endpoint {
    /// For messages.
    pub(super) target: String,
    /// Host header and URL authority.
    pub(super) authority: String,
    pub(super) dial: Dial,
}

/// Resolves the settings.
pub(super) fn resolve(settings: &Settings) -> Result<Endpoint, BackendError> {
    if let Some(host) = settings.host.as_deref().filter(|host| !host.is_empty()) {
        let certs = settings
            .tls_verify
            .then(|| settings.cert_path.clone().or(settings.config_dir.clone()))
            .flatten();
        return of_host(host, certs.as_deref());
    }
    match context_name(settings)? {
        Some(name) => of_context(&name, settings),
        None => of_host(DEFAULT_SOCKET, None),
    }
}

#[derive(Deserialize)]
struct ConfigFile {
    #[serde(rename = "currentContext")]
    current_context: Option<String>,
}

fn context_name(settings: &Settings) -> Result<Option<String>, BackendError> {
    let mut name = settings.context.clone().filter(|name| !name.is_empty());
    if name.is_none()
        && let Some(folder) = &settings.config_dir
    {
        let path = folder.join("config.json");
        if let Ok(text) = fs::read_to_string(&path) {
            let file: ConfigFile = serde_json::from_str(&text)
                .map_err(|error| unusable(&path.display().to_string(), error))?;
            name = file.current_context.filter(|name| !name.is_empty());
        }
    }
    Ok(name.filter(|name| name != "default"))
}

#[derive(Deserialize)]
struct ContextMeta {
    #[serde(rename = "Endpoints")]
    endpoints: Endpoints,
}

#[derive(Deserialize)]
struct Endpoints {
    docker: DockerEndpoint,
}

#[derive(Deserialize)]
struct DockerEndpoint {
    #[serde(rename = "Host")]
    host: String,
}

fn of_context(name: &str, settings: &Settings) -> Result<Endpoint, BackendError> {
    let what = format!("Docker context {name}");
    let Some(folder) = &settings.config_dir else {
        return Err(unusable(&what, "no Docker configuration folder is known"));
    };
    let id = names::hex(name.as_bytes());
    let meta = folder.join("contexts/meta").join(&id).join("meta.json");
    let text =
        fs::read_to_string(&meta).map_err(|_| BackendError::NotFound { what: what.clone() })?;
    let meta: ContextMeta = serde_json::from_str(&text).map_err(|error| unusable(&what, error))?;
    let certs = folder.join("contexts/tls").join(&id).join("docker");
    of_host(
        &meta.endpoints.docker.host,
        certs.is_dir().then_some(certs.as_path()),
    )
}

fn of_host(host: &str, certs: Option<&Path>) -> Result<Endpoint, BackendError> {
    let target = host.to_owned();
    let (scheme, rest) = host
        .split_once("://")
        .ok_or_else(|| unusable(host, "it needs a scheme such as unix://, tcp:// or ssh://"))?;
    match scheme {
        "unix" => Ok(Endpoint {
            target,
            authority: "docker".to_owned(),
            dial: Dial::Unix(PathBuf::from(rest)),
        }),
        "ssh" => Ok(Endpoint {
            authority: "docker".to_owned(),
            dial: Dial::Ssh(SshTarget::parse(rest).ok_or_else(|| unusable(host, "no host name"))?),
            target,
        }),
        "tcp" | "http" | "https" => {
            let tls = scheme == "https" || (scheme == "tcp" && certs.is_some());
            let rest = rest.trim_end_matches('/');
            let (name, port) = split_port(rest, if tls { 2376 } else { 2375 })
                .ok_or_else(|| unusable(host, "no host name, or the port is not a number"))?;
            let authority = format!("{name}:{port}");
            let name = name
                .trim_start_matches('[')
                .trim_end_matches(']')
                .to_owned();
            let dial = if tls {
                let certs = certs.ok_or_else(|| {
                    unusable(host, "TLS needs DOCKER_TLS_VERIFY and certificates")
                })?;
                Dial::tls(
                    name,
                    port,
                    tls_config(certs).map_err(|error| unusable(host, error))?,
                )
            } else {
                Dial::Tcp(name, port)
            };
            Ok(Endpoint {
                target,
                authority,
                dial,
            })
        }
        other => Err(unusable(host, format!("{other}:// is not supported"))),
    }
}

/// Host name (an IPv6 address with its brackets) and port.
fn split_port(text: &str, default: u16) -> Option<(&str, u16)> {
    let after_address = text.rfind(']').map_or(0, |at| at + 1);
    let (name, port) = match text[after_address..].rfind(':') {
        Some(at) => {
            let at = after_address + at;
            (&text[..at], text[at + 1..].parse().ok()?)
        }
        None => (text, default),
    };
    (!name.is_empty()).then_some((name, port))
}

fn unusable(
    target: &str,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> BackendError {
    BackendError::Unreachable {
        target: target.to_owned(),
        source: source.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(folder: &Path) -> Settings {
        Settings {
            config_dir: Some(folder.to_owned()),
            ..Settings::default()
        }
    }

    fn write_context(folder: &Path, name: &str, host: &str) {
        let meta = folder
            .join("contexts/meta")
            .join(names::hex(name.as_bytes()));
        fs::create_dir_all(&meta).unwrap();
        let text = format!(
            r#"{{"Name":"{name}","Metadata":{{}},"Endpoints":{{"docker":{{"Host":"{host}","SkipTLSVerify":false}}}}}}"#
        );
        fs::write(meta.join("meta.json"), text).unwrap();
    }

    #[test]
    fn the_default_is_the_local_socket() {
        let folder = tempfile::tempdir().unwrap();
        let found = resolve(&settings(folder.path())).unwrap();
        assert_eq!(found.target, DEFAULT_SOCKET);
    }

    #[test]
    fn host_goes_before_context_and_context_before_the_current_one() {
        let folder = tempfile::tempdir().unwrap();
        write_context(folder.path(), "far", "tcp://far:2375");
        write_context(folder.path(), "near", "unix:///near.sock");
        let config = r#"{"currentContext":"far","auths":{}}"#;
        fs::write(folder.path().join("config.json"), config).unwrap();
        let mut settings = settings(folder.path());
        assert_eq!(resolve(&settings).unwrap().target, "tcp://far:2375");
        settings.context = Some("near".to_owned());
        assert_eq!(resolve(&settings).unwrap().target, "unix:///near.sock");
        settings.context = Some("default".to_owned());
        assert_eq!(resolve(&settings).unwrap().target, DEFAULT_SOCKET);
        settings.host = Some("tcp://host".to_owned());
        let found = resolve(&settings).unwrap();
        assert_eq!(
            (found.target.as_str(), found.authority.as_str()),
            ("tcp://host", "host:2375")
        );
    }

    #[test]
    fn an_unknown_context_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = settings(folder.path());
        settings.context = Some("lost".to_owned());
        let error = resolve(&settings).err().unwrap();
        assert_eq!(error.to_string(), "Docker context lost does not exist");
    }

    #[test]
    fn ports_are_split_from_names_and_addresses() {
        assert_eq!(split_port("host", 1), Some(("host", 1)));
        assert_eq!(split_port("host:7", 1), Some(("host", 7)));
        assert_eq!(split_port("[::1]:7", 1), Some(("[::1]", 7)));
        assert_eq!(split_port("[::1]", 1), Some(("[::1]", 1)));
        assert_eq!(split_port("host:x", 1), None);
        assert_eq!(split_port(":7", 1), None);
    }

    #[test]
    fn hosts_that_make_no_sense_are_refused() {
        for host in [
            "docker",
            "npipe:////./pipe",
            "tcp://",
            "ssh://",
            "https://host",
        ] {
            let error = of_host(host, None).err().unwrap();
            assert!(matches!(error, BackendError::Unreachable { .. }), "{host}");
        }
    }
}
