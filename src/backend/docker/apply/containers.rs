//! Containers: create, start, stop, restart, remove.

use std::collections::BTreeMap;
use std::time::Duration;

use bollard::errors::Error;
use bollard::models::ContainerCreateBody;
use bollard::models::ContainerInspectResponse;
use bollard::query_parameters::CreateContainerOptionsBuilder;
use bollard::query_parameters::RemoveContainerOptionsBuilder;
use bollard::query_parameters::RestartContainerOptions;
use bollard::query_parameters::StartContainerOptions;
use bollard::query_parameters::StopContainerOptionsBuilder;
use futures_util::TryStreamExt as _;
use serde::Serialize;

use super::Docker;
use super::body::Surroundings;
use super::body::create_body;
use super::endpoints;
use super::endpoints::endpoints;
use super::fill;
use crate::backend::BackendError;
use crate::backend::Context;
use crate::backend::docker::fault;
use crate::backend::docker::raw::escape;
use crate::plan::action::InstanceSpec;
use crate::state::names;

/// A start that hangs for so long will not happen.
const START_LIMIT: Duration = Duration::from_mins(2);
/// Before a start is tried once more that the engine's runtime has bungled.
const AFTER_HICCUP: Duration = Duration::from_millis(200);
/// What a stop may take beyond its grace period.
const STOP_SLACK: Duration = Duration::from_mins(1);
/// The engine's own grace period, where nobody set one.
const DEFAULT_GRACE_SECS: i64 = 10;

/// What a container is made with beside its body.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Making<'m> {
    /// Platform of its image.
    pub(super) platform: Option<&'m str>,
    /// MAC address, for engines that take it as a setting of the container.
    pub(super) mac: Option<&'m str>,
}

/// A body with a field that bollard's model no longer has.
#[derive(Serialize)]
struct WithMac<'m> {
    #[serde(flatten)]
    body: ContainerCreateBody,
    #[serde(rename = "MacAddress")]
    mac: &'m str,
}

impl Docker {
    pub(super) async fn create_instance(
        &self,
        context: &Context,
        instance: &InstanceSpec,
    ) -> Result<(), BackendError> {
        let minor = self.inner.minor;
        let mut mountpoints = BTreeMap::new();
        for volume in Surroundings::wanted_mountpoints(minor, instance) {
            let found = self
                .api()
                .inspect_volume(volume)
                .await
                .map_err(|error| self.fault("inspect", &format!("volume {volume}"), error))?;
            mountpoints.insert(volume.to_owned(), found.mountpoint);
        }
        let around = Surroundings {
            run: context.run.clone(),
            minor,
            mountpoints,
        };
        let mut body = create_body(instance, &around);
        let has_image = match self.create_once(context, instance, body.clone()).await {
            Ok(()) => self.has_image(instance).await?,
            Err(BackendError::ImageMissing { .. }) if instance.image_id.is_some() => false,
            Err(error) => return Err(error),
        };
        if !has_image {
            // The reference means another image than the plan knew, or none; an id stays.
            self.remove_container(&instance.name).await?;
            body.image.clone_from(&instance.image_id);
            self.create_once(context, instance, body).await?;
        }
        for (network, endpoint) in endpoints(instance, minor).into_iter().skip(1) {
            self.connect_network(&instance.name, &network, endpoint)
                .await?;
        }
        Ok(())
    }

    async fn create_once(
        &self,
        context: &Context,
        instance: &InstanceSpec,
        body: ContainerCreateBody,
    ) -> Result<(), BackendError> {
        let making = Making {
            platform: instance.spec.platform.as_deref(),
            mac: endpoints::container_mac(instance, self.inner.minor),
        };
        let name = instance.name.as_str();
        match self.create(context, name, &making, body.clone()).await {
            // A hook of a run that was killed makes way.
            Err(BackendError::Conflict { .. }) if self.is_task(context, name).await? => {
                self.remove_container(name).await?;
                self.create(context, name, &making, body).await
            }
            other => other,
        }
    }

    /// Creates a container, or finds that an earlier call of this run did.
    pub(super) async fn create(
        &self,
        context: &Context,
        name: &str,
        making: &Making<'_>,
        body: ContainerCreateBody,
    ) -> Result<(), BackendError> {
        let subject = format!("container {name}");
        let volumes = fill::volumes(&body);
        let make = self.make(name, making, body);
        match Box::pin(self.inner.fills.in_turn(volumes, make)).await {
            Ok(()) => Ok(()),
            Err(error) if fault::status(&error) == Some(409) => match self.inspect(name).await? {
                Some(found) if is_of_run(context, &found) => Ok(()),
                Some(_) => Err(BackendError::Conflict { what: subject }),
                None => Err(self.fault("create", &subject, error)),
            },
            Err(error) => Err(self.fault("create", &subject, error)),
        }
    }

    async fn make(
        &self,
        name: &str,
        making: &Making<'_>,
        body: ContainerCreateBody,
    ) -> Result<(), Error> {
        if let Some(mac) = making.mac {
            let mut path = format!("/containers/create?name={}", escape(name));
            if let Some(platform) = making.platform {
                path.push_str("&platform=");
                path.push_str(&escape(platform));
            }
            return self.post_json(&path, &WithMac { body, mac }).await;
        }
        let mut options = CreateContainerOptionsBuilder::new().name(name);
        if let Some(platform) = making.platform {
            options = options.platform(platform);
        }
        let made = self.api().create_container(Some(options.build()), body);
        made.await.map(drop)
    }

    /// Whether a container is a hook of this stack.
    async fn is_task(&self, context: &Context, name: &str) -> Result<bool, BackendError> {
        let labels = self
            .inspect(name)
            .await?
            .and_then(|found| found.config?.labels)
            .unwrap_or_default();
        let is = |name: &str, value: &str| labels.get(name).is_some_and(|found| found == value);
        Ok(is(names::STACK, &context.stack) && is(names::ROLE, "task"))
    }

    /// Whether a container that was made has the image that the plan knows.
    async fn has_image(&self, instance: &InstanceSpec) -> Result<bool, BackendError> {
        let Some(planned) = &instance.image_id else {
            return Ok(true);
        };
        let found = self.inspect(&instance.name).await?;
        Ok(found.and_then(|found| found.image).as_ref() == Some(planned))
    }

    pub(in crate::backend::docker) async fn start_container(
        &self,
        container: &str,
    ) -> Result<(), BackendError> {
        let subject = format!("container {container}");
        let start = || async {
            let options = None::<StartContainerOptions>;
            let start = self.api().start_container(container, options);
            tokio::time::timeout(START_LIMIT, start)
                .await
                .map_err(|_| self.late("start", &subject))
        };
        let mut started = start().await?;
        if started.as_ref().is_err_and(fault::is_hiccup) {
            tokio::time::sleep(AFTER_HICCUP).await;
            started = start().await?;
        }
        started.map_err(|error| self.fault("start", &subject, error))
    }

    pub(super) async fn stop_container(
        &self,
        container: &str,
        grace_secs: Option<i64>,
    ) -> Result<(), BackendError> {
        let subject = format!("container {container}");
        let Some(found) = self.inspect(container).await? else {
            return Ok(());
        };
        if found.state.as_ref().and_then(|state| state.paused) == Some(true) {
            // A frozen process cannot act on its stop signal.
            self.unpause(container).await?;
        }
        let own = found.config.and_then(|config| config.stop_timeout);
        let grace = grace_secs.or(own).unwrap_or(DEFAULT_GRACE_SECS);
        let options = grace_secs.map(|secs| {
            let secs = i32::try_from(secs).unwrap_or(i32::MAX);
            StopContainerOptionsBuilder::new().t(secs).build()
        });
        let limit = Duration::from_secs(u64::try_from(grace).unwrap_or_default()) + STOP_SLACK;
        let stop = self.api().stop_container(container, options);
        match tokio::time::timeout(limit, stop).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) if fault::is_missing(&error) => Ok(()),
            Ok(Err(error)) => Err(self.fault("stop", &subject, error)),
            Err(_) => Err(self.late("stop", &subject)),
        }
    }

    pub(super) async fn restart_container(&self, container: &str) -> Result<(), BackendError> {
        let subject = format!("container {container}");
        let found = self.inspect(container).await?;
        let paused = found.and_then(|found| found.state?.paused);
        if paused == Some(true) {
            self.unpause(container).await?;
        }
        self.api()
            .restart_container(container, None::<RestartContainerOptions>)
            .await
            .map_err(|error| self.fault("restart", &subject, error))
    }

    async fn unpause(&self, container: &str) -> Result<(), BackendError> {
        self.api()
            .unpause_container(container)
            .await
            .map_err(|error| self.fault("unpause", &format!("container {container}"), error))
    }

    /// Removes a container of the stack. The anonymous volumes of what Docker Compose made
    /// stay: they may hold what nobody thought of naming.
    pub(super) async fn remove_for_good(&self, container: &str) -> Result<(), BackendError> {
        let Some(found) = self.inspect(container).await? else {
            return Ok(());
        };
        let labels = found.config.and_then(|config| config.labels);
        let ours = labels.is_some_and(|labels| labels.contains_key(names::STACK));
        self.remove_with(container, ours).await
    }

    /// Removes a container with its anonymous volumes, running or not.
    pub(in crate::backend::docker) async fn remove_container(
        &self,
        container: &str,
    ) -> Result<(), BackendError> {
        self.remove_with(container, true).await
    }

    async fn remove_with(&self, container: &str, volumes: bool) -> Result<(), BackendError> {
        let options = RemoveContainerOptionsBuilder::new()
            .force(true)
            .v(volumes)
            .build();
        match self.api().remove_container(container, Some(options)).await {
            Ok(()) => Ok(()),
            Err(error) if fault::is_missing(&error) => Ok(()),
            Err(error) if fault::message(&error).contains("already in progress") => {
                self.wait_removed(container).await
            }
            Err(error) => Err(self.fault("remove", &format!("container {container}"), error)),
        }
    }

    /// Waits until a container that is going is gone.
    pub(in crate::backend::docker) async fn wait_removed(
        &self,
        container: &str,
    ) -> Result<(), BackendError> {
        let options = bollard::query_parameters::WaitContainerOptionsBuilder::new()
            .condition("removed")
            .build();
        let wait = self
            .api()
            .wait_container(container, Some(options))
            .try_collect::<Vec<_>>();
        // An exit code other than 0 arrives as an error, a container that is
        // gone as 404; either way the wait is over.
        match tokio::time::timeout(STOP_SLACK, wait).await {
            Ok(_) => Ok(()),
            Err(_) => Err(self.late("remove", &format!("container {container}"))),
        }
    }
}

/// Whether a container was made by this run for this stack.
pub(super) fn is_of_run(context: &Context, found: &ContainerInspectResponse) -> bool {
    let labels = found
        .config
        .as_ref()
        .and_then(|config| config.labels.as_ref());
    let is = |name: &str, value: &str| {
        labels
            .and_then(|labels| labels.get(name))
            .is_some_and(|found| found == value)
    };
    is(names::STACK, &context.stack) && is(names::RUN, &context.run)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering;

    use tokio::io::AsyncReadExt as _;
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::UnixListener;

    use super::*;
    use crate::backend::docker::Settings;

    /// An engine that bungles so many starts; how many it was asked for.
    fn engine(socket: &Path, bungles: usize) -> Arc<AtomicUsize> {
        let listener = UnixListener::bind(socket).unwrap();
        let starts = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&starts);
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let starts = Arc::clone(&counted);
                tokio::spawn(async move {
                    let mut head = vec![0; 4096];
                    while let Ok(count @ 1..) = client.read(&mut head).await {
                        let text = String::from_utf8_lossy(&head[..count]).into_owned();
                        let fails = text.contains("/start")
                            && starts.fetch_add(1, Ordering::SeqCst) < bungles;
                        let (status, body) = if fails {
                            (
                                500,
                                r#"{"message":"OCI runtime create failed: write init-p: broken pipe"}"#,
                            )
                        } else if text.contains("/version") {
                            (
                                200,
                                r#"{"Version":"20.10.24","ApiVersion":"1.41","MinAPIVersion":"1.12"}"#,
                            )
                        } else {
                            (200, "OK")
                        };
                        let answer = format!(
                            "HTTP/1.1 {status} X\r\nApi-Version: 1.41\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                            body.len()
                        );
                        client.write_all(answer.as_bytes()).await.unwrap();
                    }
                });
            }
        });
        starts
    }

    async fn start(bungles: usize) -> (Result<(), BackendError>, usize) {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("docker.sock");
        let starts = engine(&socket, bungles);
        let settings = Settings {
            host: Some(format!("unix://{}", socket.display())),
            ..Settings::default()
        };
        let docker = Docker::connect(&settings).await.unwrap();
        let started = docker.start_container("x").await;
        (started, starts.load(Ordering::SeqCst))
    }

    #[tokio::test]
    async fn a_start_that_the_runtime_has_bungled_is_tried_once_more() {
        let (started, times) = start(1).await;
        assert_eq!((started.is_ok(), times), (true, 2));
        let (started, times) = start(2).await;
        assert_eq!((started.is_ok(), times), (false, 2));
    }
}
