//! The registry that a cluster pulls from: images are named there by their content.

use clap::Args;

/// `--registry`.
#[derive(Debug, Clone, Default, Args)]
pub struct Registry {
    /// Registry and path before the names of images that are built; what is there by its content is not sent again
    #[arg(
        long = "registry",
        value_name = "PREFIX",
        env = "SHOPCTL_REGISTRY",
        hide_env_values = true,
        default_value = "",
        hide_default_value = true
    )]
    pub prefix: String,
}

impl Registry {
    /// What an image is called there; `None` where no registry is named.
    pub fn name_of(&self, image: &str) -> Option<String> {
        let prefix = self.prefix.trim_end_matches('/');
        (!prefix.is_empty()).then(|| format!("{prefix}/{image}"))
    }
}
