//! Building images through the backend's builder.

use std::collections::BTreeMap;

use tokio::sync::Mutex;
use tokio::sync::mpsc;

use super::context::Files;
use super::identity;
use super::lend;
use super::recipe::Recipe;
use super::recipe::Source;
use crate::backend::BackendError;
use crate::backend::BuildContext;
use crate::backend::BuildImages;
use crate::backend::BuildRequest;
use crate::backend::Images;
use crate::backend::Lent;
use crate::backend::Pending;
use crate::state::names;
use crate::state::observed::ImageInfo;

/// Builds the images of a stack, each by its recipe.
pub struct Builder<'a, I> {
    images: &'a I,
    recipes: &'a BTreeMap<String, Recipe>,
    tags: &'a BTreeMap<String, String>,
    /// Of images that others are built from: who needs one first builds it.
    turns: BTreeMap<&'a str, Mutex<()>>,
}

impl<'a, I: Images> Builder<'a, I> {
    /// A builder for these recipes, with the tag of each service's image.
    pub fn new(
        images: &'a I,
        recipes: &'a BTreeMap<String, Recipe>,
        tags: &'a BTreeMap<String, String>,
    ) -> Self {
        let bases = recipes.values().flat_map(Recipe::bases);
        Self {
            images,
            recipes,
            tags,
            turns: bases.map(|base| (base, Mutex::default())).collect(),
        }
    }

    fn find(&self, service: &str) -> Result<(&'a Recipe, &'a String), BackendError> {
        let recipe = self.recipes.get(service);
        recipe
            .zip(self.tags.get(service))
            .ok_or_else(|| BackendError::NotFound {
                what: format!("the build of {service}"),
            })
    }

    /// The build of one service, ready to be handed to an engine.
    fn request(&self, service: &str, lent: Lent) -> Result<BuildRequest, BackendError> {
        let (recipe, tag) = self.find(service)?;
        let unreadable = |error: super::BuildError| BackendError::Other {
            doing: format!("read the build context of {service}"),
            source: error.into(),
        };
        let files = Files::find(recipe).map_err(unreadable)?;
        let (archive, main) = files.archive(service).map_err(unreadable)?;
        let (contexts, digests) = self.beside(recipe).map_err(unreadable)?;
        let content = identity::together(main, &digests);
        // The tag promises a content: one that changed since must not get it.
        if identity::name(recipe, &files.dockerfile, &content) != *tag {
            return Err(BackendError::Build {
                tag: tag.clone(),
                reason: "its files changed after the plan was made".to_owned(),
                output: Vec::new(),
            });
        }
        let mut labels = recipe.labels.clone();
        labels.insert(names::IMAGE.to_owned(), recipe.stack.clone());
        Ok(BuildRequest {
            tag: tag.clone(),
            context: archive,
            dockerfile: files.dockerfile,
            contexts,
            args: recipe.args.clone(),
            target: recipe.target.clone(),
            labels,
            extra_tags: recipe.tags.clone(),
            cache_from: recipe.cache_from.clone(),
            no_cache: recipe.no_cache,
            pull: recipe.pull,
            network: recipe.network.clone(),
            platform: recipe.platform.clone(),
            shm_size: recipe.shm_size,
            extra_hosts: recipe.extra_hosts.clone(),
            lent,
        })
    }

    /// The contexts beside the main one.
    fn beside(&self, recipe: &'a Recipe) -> Result<Beside<'a>, super::BuildError> {
        let (mut contexts, mut digests) = (BTreeMap::new(), BTreeMap::new());
        for (name, source) in &recipe.contexts {
            let (context, digest) = match source {
                Source::Remote(place) => (BuildContext::Remote(place.clone()), place.clone()),
                Source::Service(base) => {
                    // Without a tag this one has none, and was not found.
                    let tag = self.tags.get(base).cloned().unwrap_or_default();
                    let place = format!("docker-image://{tag}");
                    (BuildContext::Remote(place), tag)
                }
                Source::Folder(root) => {
                    let files = Files::beside(&recipe.service, root)?;
                    let (archive, digest) = files.archive(&recipe.service)?;
                    (BuildContext::Files(archive), digest)
                }
            };
            contexts.insert(name.clone(), context);
            digests.insert(name.as_str(), digest);
        }
        Ok((contexts, digests))
    }
}

/// Contexts by name, and what of each counts for the image's name.
type Beside<'a> = (BTreeMap<String, BuildContext>, BTreeMap<&'a str, String>);

impl<I: Images> BuildImages for Builder<'_, I> {
    fn build<'a>(
        &'a self,
        service: &'a str,
        progress: mpsc::Sender<String>,
    ) -> Pending<'a, ImageInfo> {
        Box::pin(async move {
            let (recipe, tag) = self.find(service)?;
            let turn = match self.turns.get(service) {
                Some(turn) => Some(turn.lock().await),
                None => None,
            };
            if turn.is_some()
                && let Some(there) = self.images.image(tag).await?
            {
                return Ok(there);
            }
            for base in recipe.bases() {
                self.build(base, progress.clone()).await?;
            }
            let unfit = |error: super::BuildError| BackendError::Build {
                tag: tag.clone(),
                reason: error.to_string(),
                output: Vec::new(),
            };
            let (lent, _agents) = lend::lend(recipe).await.map_err(unfit)?;
            let request = self.request(service, lent)?;
            self.images.build(request, progress).await
        })
    }
}
