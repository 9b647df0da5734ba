//! Credentials of registries, from the Docker configuration and its helpers.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

use bollard::auth::DockerCredentials;
use docker_credential::DockerCredential;
use serde::Deserialize;

/// The name under which Docker keeps the credentials of its own registry.
const HUB: &str = "https://index.docker.io/v1/";

/// Credentials for the registry of an image, if there are any. A helper may run, so
/// this does not happen on the runtime's own threads.
pub(super) async fn of_image(
    folder: Option<PathBuf>,
    reference: &str,
) -> Option<DockerCredentials> {
    let registry = registry(reference).to_owned();
    let folder = folder?;
    tokio::task::spawn_blocking(move || read(&folder, &registry))
        .await
        .ok()?
}

/// All credentials, for a build that may pull from anywhere.
pub(super) async fn all(folder: Option<PathBuf>) -> HashMap<String, DockerCredentials> {
    let Some(folder) = folder else {
        return HashMap::new();
    };
    let read_all = move || {
        registries(&folder)
            .into_iter()
            .filter_map(|registry| {
                let found = read(&folder, &registry)?;
                Some((registry, found))
            })
            .collect()
    };
    tokio::task::spawn_blocking(read_all)
        .await
        .unwrap_or_default()
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Config {
    auths: HashMap<String, serde_json::Value>,
    cred_helpers: HashMap<String, serde_json::Value>,
}

fn registries(folder: &Path) -> Vec<String> {
    let config: Config = fs::read(folder.join("config.json"))
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default();
    let mut names: Vec<String> = config
        .auths
        .into_keys()
        .chain(config.cred_helpers.into_keys())
        .collect();
    names.sort();
    names.dedup();
    names
}

fn read(folder: &Path, registry: &str) -> Option<DockerCredentials> {
    let file = fs::File::open(folder.join("config.json")).ok()?;
    let found = docker_credential::get_credential_from_reader(file, registry).ok()?;
    let server = Some(registry.to_owned());
    Some(match found {
        DockerCredential::UsernamePassword(username, password) => DockerCredentials {
            username: Some(username),
            password: Some(password),
            serveraddress: server,
            ..DockerCredentials::default()
        },
        DockerCredential::IdentityToken(token) => DockerCredentials {
            identitytoken: Some(token),
            serveraddress: server,
            ..DockerCredentials::default()
        },
    })
}

/// The registry in a reference: its first part, when that looks like a host.
pub(super) fn registry(reference: &str) -> &str {
    match reference.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => match host {
            "docker.io" | "index.docker.io" | "registry-1.docker.io" => HUB,
            host => host,
        },
        _ => HUB,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_are_told_from_folders() {
        assert_eq!(registry("nginx"), HUB);
        assert_eq!(registry("library/nginx:1"), HUB);
        assert_eq!(registry("docker.io/library/nginx"), HUB);
        assert_eq!(registry("localhost/x"), "localhost");
        assert_eq!(
            registry("registry.example:5000/a/b@sha256:1"),
            "registry.example:5000"
        );
    }

    #[tokio::test]
    async fn inline_credentials_are_found() {
        let folder = tempfile::tempdir().unwrap();
        // ana:secret
        let config = r#"{"auths":{"registry.example":{"auth":"YW5hOnNlY3JldA=="}}}"#;
        fs::write(folder.path().join("config.json"), config).unwrap();
        let place = Some(folder.path().to_owned());
        let found = of_image(place.clone(), "registry.example/a").await.unwrap();
        assert_eq!(found.username.as_deref(), Some("ana"));
        assert_eq!(found.password.as_deref(), Some("secret"));
        assert!(of_image(place.clone(), "other.example/a").await.is_none());
        assert_eq!(all(place).await.len(), 1);
    }
}
