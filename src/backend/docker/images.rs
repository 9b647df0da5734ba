//! Images: look up, pull, push, load; builds stand in [`super::build`].

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashMap;

use bollard::errors::Error;
use bollard::models::ImageInspect;
use bollard::models::ProgressDetail;
use bollard::query_parameters::CreateImageOptionsBuilder;
use bollard::query_parameters::ImportImageOptions;
use bollard::query_parameters::ListImagesOptionsBuilder;
use bollard::query_parameters::PushImageOptionsBuilder;
use bollard::query_parameters::RemoveImageOptions;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::TryStreamExt as _;
use time::OffsetDateTime;
use tokio::sync::mpsc;

use super::Docker;
use super::credentials;
use super::fault;
use crate::backend::BackendError;
use crate::backend::BuildRequest;
use crate::backend::Images;
use crate::backend::Pending;
use crate::state::digest;
use crate::state::names;
use crate::state::observed::ImageInfo;

/// Seconds since an image got its reference; the engine writes year 1 for "never".
fn age(tagged: Option<OffsetDateTime>) -> Option<u64> {
    let tagged = tagged.filter(|at| at.year() > 1)?;
    let seconds = (OffsetDateTime::now_utc() - tagged).whole_seconds();
    u64::try_from(seconds).ok()
}

impl Images for Docker {
    fn image<'a>(&'a self, reference: &'a str) -> Pending<'a, Option<ImageInfo>> {
        Box::pin(self.find_image(reference))
    }

    fn digest<'a>(&'a self, reference: &'a str) -> Pending<'a, String> {
        Box::pin(async move {
            let login = credentials::of_image(self.inner.config_dir.clone(), reference).await;
            let known = login.is_some();
            let name = tagged(reference);
            let found = self.api().inspect_registry_image(&name, login).await;
            let found = found.map_err(|error| self.not_available(reference, known, error))?;
            found
                .descriptor
                .digest
                .ok_or_else(|| BackendError::ImageMissing {
                    reference: reference.to_owned(),
                    reason: "its registry names no digest".to_owned(),
                })
        })
    }

    fn built<'a>(&'a self, stack: &'a str) -> Pending<'a, BTreeSet<String>> {
        Box::pin(async move {
            let label = format!("{}={stack}", names::IMAGE);
            let filters = HashMap::from([("label", vec![label])]);
            let options = ListImagesOptionsBuilder::new().filters(&filters).build();
            let list = self
                .api()
                .list_images(Some(options))
                .await
                .map_err(|error| self.fault("list", "images", error))?;
            Ok(list.into_iter().flat_map(|image| image.repo_tags).collect())
        })
    }

    fn remove_image<'a>(&'a self, tag: &'a str) -> Pending<'a, ()> {
        Box::pin(async move {
            match self
                .api()
                .remove_image(tag, None::<RemoveImageOptions>, None)
                .await
            {
                Ok(_) => Ok(()),
                Err(error) if fault::is_missing(&error) => Ok(()),
                // A container uses it.
                Err(error) if fault::status(&error) == Some(409) => Ok(()),
                Err(error) => Err(self.fault("remove", &format!("image {tag}"), error)),
            }
        })
    }

    fn build(
        &self,
        request: BuildRequest,
        progress: mpsc::Sender<String>,
    ) -> Pending<'_, ImageInfo> {
        Box::pin(self.build_image(request, progress))
    }

    fn pull<'a>(
        &'a self,
        reference: &'a str,
        platform: Option<&'a str>,
        progress: mpsc::Sender<String>,
    ) -> Pending<'a, ImageInfo> {
        Box::pin(self.pull_image(reference, platform, progress))
    }

    fn tag<'a>(&'a self, image: &'a str, name: &'a str) -> Pending<'a, ()> {
        Box::pin(self.tag_image(image, name))
    }

    fn push<'a>(&'a self, reference: &'a str, progress: mpsc::Sender<String>) -> Pending<'a, ()> {
        Box::pin(self.push_image(reference, progress))
    }

    fn load(&self, archive: Bytes) -> Pending<'_, ()> {
        Box::pin(async move {
            let body = bollard::body_full(archive);
            self.api()
                .import_image(ImportImageOptions::default(), body, None)
                .try_for_each(|_| async { Ok(()) })
                .await
                .map_err(|error| self.fault("load", "an image", error))
        })
    }
}

impl Docker {
    pub(super) async fn find_image(
        &self,
        reference: &str,
    ) -> Result<Option<ImageInfo>, BackendError> {
        match self.api().inspect_image(reference).await {
            Ok(found) => Ok(Some(ImageInfo {
                content: content(&found),
                id: found.id.unwrap_or_default(),
                repo_digests: found.repo_digests.unwrap_or_default(),
                age_secs: found.metadata.and_then(|known| age(known.last_tag_time)),
            })),
            Err(error) if fault::is_missing(&error) => Ok(None),
            Err(error) => Err(self.fault("inspect", &format!("image {reference}"), error)),
        }
    }

    async fn pull_image(
        &self,
        reference: &str,
        platform: Option<&str>,
        progress: mpsc::Sender<String>,
    ) -> Result<ImageInfo, BackendError> {
        let name = tagged(reference);
        let mut options = CreateImageOptionsBuilder::new().from_image(&name);
        if let Some(platform) = platform {
            options = options.platform(platform);
        }
        let login = credentials::of_image(self.inner.config_dir.clone(), reference).await;
        let mut stream = self
            .api()
            .create_image(Some(options.build()), None, login.clone());
        let mut lines = Lines::default();
        while let Some(step) = stream.next().await {
            let step = match step {
                Ok(step) => step,
                Err(error) => return Err(self.not_available(reference, login.is_some(), error)),
            };
            if let Some(detail) = step.error_detail {
                let error = detail.message.unwrap_or_default();
                let error = Error::DockerStreamError { error };
                return Err(self.not_available(reference, login.is_some(), error));
            }
            let line = lines.next(step.id, step.status, step.progress_detail);
            if let Some(line) = line {
                // Nobody may be listening.
                let _ = progress.send(line).await;
            }
        }
        if !reference.contains('@') {
            // The engine notes when a name was given, and no pull; so it is given again.
            // Who cannot is only asked for it once more.
            let _ = self.tag_image(&name, &name).await;
        }
        self.find_image(reference)
            .await?
            .ok_or_else(|| BackendError::ImageMissing {
                reference: reference.to_owned(),
                reason: "the engine does not have it after the pull".to_owned(),
            })
    }

    fn not_available(&self, reference: &str, logged_in: bool, error: Error) -> BackendError {
        let reason = match error {
            Error::DockerResponseServerError { message, .. } => message,
            Error::DockerStreamError { error } => error,
            error => return self.fault("pull", &format!("image {reference}"), error),
        };
        if reason.contains("no space left on device") {
            return BackendError::DiskFull { reason };
        }
        let registry = credentials::registry(reference);
        let denied = [
            "denied",
            "unauthorized",
            "authentication required",
            "no basic auth credentials",
        ]
        .iter()
        .any(|word| reason.contains(word));
        let hint = if denied && !logged_in {
            format!("; if it is private, try: docker login {registry}")
        } else {
            String::new()
        };
        BackendError::ImageMissing {
            reference: reference.to_owned(),
            reason: format!("{reason}{hint}"),
        }
    }

    async fn push_image(
        &self,
        reference: &str,
        progress: mpsc::Sender<String>,
    ) -> Result<(), BackendError> {
        let subject = format!("image {reference}");
        let full = tagged(reference);
        let (name, tag) = full.rsplit_once(':').unwrap_or((&full, "latest"));
        let options = PushImageOptionsBuilder::new().tag(tag).build();
        let login = credentials::of_image(self.inner.config_dir.clone(), reference).await;
        let refused = |error| {
            let reason = match error {
                Error::DockerResponseServerError { message, .. } => message,
                Error::DockerStreamError { error } => error,
                error => return self.fault("push", &subject, error),
            };
            BackendError::NotPushed {
                reference: reference.to_owned(),
                reason,
            }
        };
        let mut stream = self.api().push_image(name, Some(options), login);
        let mut lines = Lines::default();
        while let Some(step) = stream.next().await {
            let step = step.map_err(refused)?;
            if let Some(detail) = step.error_detail {
                let error = detail.message.unwrap_or_default();
                return Err(refused(Error::DockerStreamError { error }));
            }
            if let Some(line) = lines.next(None, step.status, step.progress_detail) {
                let _ = progress.send(line).await;
            }
        }
        Ok(())
    }
}

/// Without a tag or digest the engine would pull every tag there is.
fn tagged(reference: &str) -> String {
    let last = reference.rsplit('/').next().unwrap_or(reference);
    if last.contains([':', '@']) {
        reference.to_owned()
    } else {
        format!("{reference}:latest")
    }
}

/// Turns the engine's flood of progress into a line per change of state.
#[derive(Default)]
struct Lines {
    last: BTreeMap<String, String>,
}

impl Lines {
    fn next(
        &mut self,
        id: Option<String>,
        status: Option<String>,
        detail: Option<ProgressDetail>,
    ) -> Option<String> {
        let status = status?;
        let id = id.unwrap_or_default();
        if self.last.get(&id) == Some(&status) && !id.is_empty() {
            return None;
        }
        self.last.insert(id.clone(), status.clone());
        let size = detail
            .and_then(|detail| detail.total)
            .filter(|total| *total > 0)
            .map_or_else(String::new, |total| format!(" ({} kB)", total / 1000));
        let mark = if id.is_empty() { "" } else { ": " };
        Some(format!("{id}{mark}{status}{size}"))
    }
}

/// Digest of an image's layers and of what it says of its containers, whoever built it:
/// builders add labels, and say nothing in more than one way.
fn content(found: &ImageInspect) -> String {
    let layers = found.root_fs.as_ref().and_then(|root| root.layers.as_ref());
    let Some(layers) = layers.filter(|layers| !layers.is_empty()) else {
        return String::new();
    };
    let mut config = found.config.clone().unwrap_or_default();
    config.labels = None;
    config.args_escaped = None;
    let lists = [&mut config.exposed_ports, &mut config.volumes];
    for list in lists.into_iter().flatten() {
        list.sort();
    }
    let mut config = serde_json::to_value(config).unwrap_or_default();
    if let Some(map) = config.as_object_mut() {
        map.retain(|_, value| {
            let said = !value.is_null();
            said && *value != serde_json::json!("") && *value != serde_json::json!([])
        });
    }
    digest::of(&(layers, config, &found.os, &found.architecture))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_name_means_latest() {
        assert_eq!(tagged("nginx"), "nginx:latest");
        assert_eq!(tagged("host:5000/nginx"), "host:5000/nginx:latest");
        assert_eq!(tagged("nginx:1"), "nginx:1");
        assert_eq!(tagged("nginx@sha256:0"), "nginx@sha256:0");
    }

    #[test]
    fn progress_is_a_line_per_change() {
        let mut lines = Lines::default();
        let mut line = |status: &str| lines.next(Some("ab".into()), Some(status.into()), None);
        assert_eq!(line("Downloading").as_deref(), Some("ab: Downloading"));
        assert_eq!(line("Downloading"), None);
        assert_eq!(line("Extracting").as_deref(), Some("ab: Extracting"));
    }
}
