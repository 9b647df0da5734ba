//! What a build is lent: secrets, and agents that hold ssh keys.
//!
//! Both come from this machine, are there for the commands of one build, and count for
//! nothing in the name of its image but their own names: who changes a token wants no
//! other image.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;
use std::path::PathBuf;

use serde::Serialize as _;
use serde::Serializer;

use super::BuildError;
use super::agent::KeyAgent;
use super::recipe::Recipe;
use super::recipe::Source;
use crate::backend::Lent;

/// The builder takes no larger secret.
const LARGEST_SECRET: usize = 500 << 10;

/// A secret, or why there is none.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub Result<Vec<u8>, String>);

impl std::fmt::Debug for Secret {
    /// Never the value.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Ok(_) => out.write_str("Secret"),
            Err(why) => write!(out, "Secret({why})"),
        }
    }
}

/// Serialises what is lent by its names alone.
pub(super) fn names<T, S: Serializer>(
    lent: &BTreeMap<String, T>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let names: Vec<&String> = lent.keys().collect();
    names.serialize(serializer)
}

/// Whether everything that a build is lent is there.
///
/// # Errors
/// The first secret, ssh agent or context that is missing, and why.
pub fn check(recipe: &Recipe) -> Result<(), BuildError> {
    for (id, secret) in &recipe.secrets {
        value(recipe, id, secret)?;
    }
    for (id, place) in &recipe.ssh {
        holder(recipe, id, place.as_deref())?;
    }
    for (name, source) in &recipe.contexts {
        if let Source::Remote(place) = source
            && let Some(why) = out_of_reach(place)
        {
            return Err(BuildError::Lent {
                service: recipe.service.clone(),
                what: format!("context {name}"),
                why: format!("{place}: {why}"),
            });
        }
    }
    Ok(())
}

/// Why a context cannot be had, where that is known before the engine is asked.
fn out_of_reach(place: &str) -> Option<&'static str> {
    let why = "layouts of images on this machine are not handed out in this version";
    place.starts_with("oci-layout:").then_some(why)
}

/// Makes ready what a build is lent. Agents for key files live as long as what comes
/// with it.
pub(super) async fn lend(recipe: &Recipe) -> Result<(Lent, Vec<KeyAgent>), BuildError> {
    let mut lent = Lent::default();
    let mut agents = Vec::new();
    for (id, secret) in &recipe.secrets {
        let value = value(recipe, id, secret)?.clone();
        lent.secrets.insert(id.clone(), value);
    }
    for (id, place) in &recipe.ssh {
        let socket = match holder(recipe, id, place.as_deref())? {
            Holder::Agent(socket) => socket.to_owned(),
            Holder::Key(path) => {
                let failed = |error: io::Error| missing_agent(recipe, id, error.to_string());
                let agent = KeyAgent::holding(path).await.map_err(failed)?;
                let socket = agent.socket().to_owned();
                agents.push(agent);
                socket
            }
        };
        lent.agents.insert(id.clone(), socket);
    }
    Ok((lent, agents))
}

fn value<'a>(recipe: &Recipe, id: &str, secret: &'a Secret) -> Result<&'a Vec<u8>, BuildError> {
    let found = secret.0.as_ref().map_err(Clone::clone);
    let fitting = found.and_then(|value| {
        let (length, most) = (value.len(), LARGEST_SECRET);
        if length > most {
            return Err(format!("{length} bytes, and a builder takes {most}"));
        }
        Ok(value)
    });
    fitting.map_err(|why| BuildError::Lent {
        service: recipe.service.clone(),
        what: format!("secret {id}"),
        why,
    })
}

/// What holds the keys.
enum Holder<'a> {
    /// A running agent's socket.
    Agent(&'a Path),
    /// A file with one key.
    Key(&'a Path),
}

fn holder<'a>(
    recipe: &Recipe,
    id: &str,
    place: Option<&'a Path>,
) -> Result<Holder<'a>, BuildError> {
    let unset = "no agent runs, SSH_AUTH_SOCK is not set";
    let path = place.ok_or_else(|| missing_agent(recipe, id, unset.to_owned()))?;
    let metadata = fs::metadata(path).map_err(|error| {
        let why = format!("{}: {error}", path.display());
        missing_agent(recipe, id, why)
    })?;
    if metadata.file_type().is_socket() {
        Ok(Holder::Agent(path))
    } else {
        Ok(Holder::Key(path))
    }
}

fn missing_agent(recipe: &Recipe, id: &str, why: String) -> BuildError {
    BuildError::Lent {
        service: recipe.service.clone(),
        what: format!("ssh agent {id}"),
        why,
    }
}

/// Where the keys of `build.ssh` are: each at its path, or with the agent that runs.
pub fn places(
    ssh: &BTreeMap<String, Option<String>>,
    agent: Option<&String>,
) -> BTreeMap<String, Option<PathBuf>> {
    let place = |path: &Option<String>| {
        let path = path.as_ref().filter(|path| !path.is_empty());
        let agent = agent.filter(|path| !path.is_empty());
        path.or(agent).map(PathBuf::from)
    };
    ssh.iter()
        .map(|(id, path)| (id.clone(), place(path)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe() -> Recipe {
        Recipe {
            service: "web".into(),
            ..Recipe::default()
        }
    }

    #[test]
    fn what_is_missing_is_named_and_no_value_is() {
        let mut recipe = recipe();
        let secret = Secret(Ok(b"canary".to_vec()));
        assert!(!format!("{secret:?}").contains("canary"));
        recipe.secrets.insert("here".into(), secret);
        check(&recipe).expect("nothing is missing");
        let why = "the variable TOKEN is not set".to_owned();
        recipe.secrets.insert("token".into(), Secret(Err(why)));
        assert_eq!(
            check(&recipe).expect_err("one is missing").to_string(),
            "secret token for the build of web: the variable TOKEN is not set"
        );
        let large = Secret(Ok(vec![0; LARGEST_SECRET + 1]));
        recipe.secrets = BTreeMap::from([("big".to_owned(), large)]);
        assert_eq!(
            check(&recipe).expect_err("it is too large").to_string(),
            "secret big for the build of web: 512001 bytes, and a builder takes 512000"
        );
    }

    #[test]
    fn keys_are_at_their_path_or_with_the_agent_that_runs() {
        let ssh = BTreeMap::from([
            ("default".to_owned(), None),
            ("empty".to_owned(), Some(String::new())),
            ("own".to_owned(), Some("/keys/own".to_owned())),
        ]);
        let agent = "/run/agent".to_owned();
        let path = |text: &str| Some(PathBuf::from(text));
        let found = places(&ssh, Some(&agent));
        assert_eq!(
            found.into_values().collect::<Vec<_>>(),
            [path("/run/agent"), path("/run/agent"), path("/keys/own")]
        );
        let mut recipe = recipe();
        recipe.ssh = places(&ssh, None);
        assert_eq!(
            check(&recipe).expect_err("none runs").to_string(),
            "ssh agent default for the build of web: no agent runs, SSH_AUTH_SOCK is not set"
        );
        recipe.ssh = BTreeMap::from([("own".to_owned(), path("/keys/own"))]);
        let error = check(&recipe).expect_err("no such file").to_string();
        assert!(error.contains("ssh agent own") && error.contains("/keys/own: No such file"));
    }
}
