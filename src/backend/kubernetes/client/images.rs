//! Images are built by an engine, sent to a registry, and pulled by the cluster's nodes.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::PoisonError;

use serde_json::Value;
use tokio::sync::mpsc;

use super::Cluster;
use super::compare::stamp;
use crate::backend::BackendError;
use crate::backend::BuildRequest;
use crate::backend::Images;
use crate::backend::Pending;
use crate::backend::docker::Docker;
use crate::state::cluster::Manifest;
use crate::state::observed::ImageInfo;

impl Cluster {
    /// The engine that builds and sends images.
    pub(super) async fn engine(&self) -> Result<&Docker, BackendError> {
        let connect = || Docker::connect(&self.inner.engine);
        self.inner.docker.get_or_try_init(connect).await
    }

    /// A built image where the cluster finds it: in the registry, or without one on the
    /// engine, whose images the nodes are taken to have.
    pub(super) async fn pushed(&self, tag: &str) -> Result<Option<ImageInfo>, BackendError> {
        let Some(name) = self.pushed_name(tag) else {
            return self.engine().await?.image(tag).await;
        };
        match self.engine().await?.digest(&name).await {
            Ok(digest) => Ok(Some(ImageInfo {
                id: digest.clone(),
                repo_digests: vec![format!("{name}@{digest}")],
                ..ImageInfo::default()
            })),
            Err(BackendError::ImageMissing { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What is sent, with the digests of the images that this run has pushed.
    pub(super) fn with_pushed(&self, manifest: &Manifest) -> Manifest {
        let pushed = self.inner.pushed.lock();
        let pushed = pushed.unwrap_or_else(PoisonError::into_inner).clone();
        let mut object = manifest.0.clone();
        if pushed.is_empty() || !pin(&mut object, &pushed) {
            return manifest.clone();
        }
        stamp(&mut object);
        Manifest(object)
    }

    /// What an image that is built is called in the registry.
    pub(super) fn pushed_name(&self, tag: &str) -> Option<String> {
        let prefix = self.inner.registry.trim_end_matches('/');
        (!prefix.is_empty()).then(|| format!("{prefix}/{tag}"))
    }
}

/// Puts digests beside the names of images; whether there were any.
fn pin(object: &mut Value, pushed: &BTreeMap<String, String>) -> bool {
    let mut pinned = false;
    for kind in ["containers", "initContainers"] {
        let containers = object.pointer_mut(&format!("/spec/template/spec/{kind}"));
        let containers = containers.and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            let name = container["image"].as_str().unwrap_or_default().to_owned();
            if let Some(digest) = pushed.get(&name) {
                container["image"] = format!("{name}@{digest}").into();
                pinned = true;
            }
        }
    }
    pinned
}

impl Images for Cluster {
    fn image<'a>(&'a self, reference: &'a str) -> Pending<'a, Option<ImageInfo>> {
        Box::pin(async move { self.engine().await?.image(reference).await })
    }

    fn built<'a>(&'a self, _stack: &'a str) -> Pending<'a, BTreeSet<String>> {
        // What is in a registry is kept there by its own rules.
        Box::pin(async { Ok(BTreeSet::new()) })
    }

    fn remove_image<'a>(&'a self, _tag: &'a str) -> Pending<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    fn build(
        &self,
        request: BuildRequest,
        progress: mpsc::Sender<String>,
    ) -> Pending<'_, ImageInfo> {
        Box::pin(async move {
            let engine = self.engine().await?;
            let tag = request.tag.clone();
            let info = engine.build(request, progress.clone()).await?;
            if let Some(name) = self.pushed_name(&tag) {
                engine.tag(&tag, &name).await?;
                engine.push(&name, progress).await?;
                let digest = engine.digest(&name).await?;
                let pushed = self.inner.pushed.lock();
                let mut pushed = pushed.unwrap_or_else(PoisonError::into_inner);
                pushed.insert(name, digest);
            }
            Ok(info)
        })
    }

    fn pull<'a>(
        &'a self,
        reference: &'a str,
        platform: Option<&'a str>,
        progress: mpsc::Sender<String>,
    ) -> Pending<'a, ImageInfo> {
        Box::pin(async move {
            self.engine()
                .await?
                .pull(reference, platform, progress)
                .await
        })
    }

    fn digest<'a>(&'a self, reference: &'a str) -> Pending<'a, String> {
        Box::pin(async move { self.engine().await?.digest(reference).await })
    }

    fn tag<'a>(&'a self, image: &'a str, name: &'a str) -> Pending<'a, ()> {
        Box::pin(async move { self.engine().await?.tag(image, name).await })
    }

    fn push<'a>(&'a self, reference: &'a str, progress: mpsc::Sender<String>) -> Pending<'a, ()> {
        Box::pin(async move { self.engine().await?.push(reference, progress).await })
    }

    fn load(&self, archive: bytes::Bytes) -> Pending<'_, ()> {
        Box::pin(async move { self.engine().await?.load(archive).await })
    }
}
