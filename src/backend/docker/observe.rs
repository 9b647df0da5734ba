//! One look: a list, inspects in parallel, and one archive of the store, which is
//! the slowest part and so starts with the list.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashMap;
use std::time::Duration;

use bollard::models::ContainerInspectResponse;
use bollard::models::ContainerSummary;
use bollard::query_parameters::InspectContainerOptions;
use bollard::query_parameters::InspectNetworkOptions;
use bollard::query_parameters::ListContainersOptionsBuilder;
use bollard::query_parameters::ListNetworksOptionsBuilder;
use bollard::query_parameters::ListVolumesOptionsBuilder;
use futures_util::StreamExt as _;
use futures_util::TryStreamExt as _;
use futures_util::stream;

use super::Docker;
use super::fault;
use super::instance;
use super::instance::Labels;
use super::instance::plain_name;
use super::ports;
use super::store::Bundle;
use super::store::LIVE;
use super::store::likely_holders;
use crate::backend::BackendError;
use crate::backend::Observe;
use crate::backend::Pending;
use crate::backend::Query;
use crate::state::names;
use crate::state::observed::Engine;
use crate::state::observed::Foreign;
use crate::state::observed::ImageInfo;
use crate::state::observed::Instance;
use crate::state::observed::InstanceState;
use crate::state::observed::ObservedNetwork;
use crate::state::observed::ObservedState;
use crate::state::observed::ObservedVolume;
use crate::state::observed::Role;
use crate::state::observed::StoreSnapshot;
use crate::state::records;

const LIMIT: Duration = Duration::from_mins(1);

impl Observe for Docker {
    fn observe<'a>(&'a self, query: &'a Query) -> Pending<'a, ObservedState> {
        Box::pin(async move {
            tokio::time::timeout(LIMIT, self.look(query))
                .await
                .map_err(|_| self.late("look at", &format!("stack {}", query.stack)))?
        })
    }

    fn reach(&self) -> Pending<'_, ()> {
        Box::pin(self.knock())
    }
}

type Files = BTreeMap<String, Vec<u8>>;

/// Bytes that are left in the file system of a folder.
fn disk_free(folder: &str) -> Option<u64> {
    let stat = rustix::fs::statvfs(folder).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

impl Docker {
    async fn look(&self, query: &Query) -> Result<ObservedState, BackendError> {
        let likely = likely_holders(&query.stack);
        let (files, containers, engine, networks, volumes, images) = tokio::try_join!(
            self.records_of(&query.stack, &likely),
            self.containers(query),
            self.engine(),
            self.networks(query),
            self.volumes(query),
            self.find_images(query.images.clone()),
        )?;
        let (mut instances, mut foreign) = containers;
        instances.sort_by(|a, b| a.name.cmp(&b.name));
        foreign.sort_by(|a, b| a.name.cmp(&b.name));
        for one in instances.iter_mut().filter(|_| engine.no_swap_limit) {
            // It reports -1 whatever it was asked for.
            one.live.memory_swap = None;
        }
        let store = self.store(query, files, &mut instances).await?;
        let (busy_ports, disk_free) = if self.inner.local && ports::is_this_host(&engine.name) {
            (ports::busy(&query.ports), disk_free(&engine.root))
        } else {
            (BTreeSet::new(), None)
        };
        self.look_into_images(&images, &mut instances).await?;
        let mut observed = ObservedState {
            engine,
            instances,
            foreign,
            networks,
            volumes,
            images,
            busy_ports,
            disk_free,
            store,
            cluster: None,
        };
        observed.know_taken_over();
        Ok(observed)
    }

    /// What is in the images of containers that Docker Compose made, each looked at once.
    async fn look_into_images(
        &self,
        known: &BTreeMap<String, ImageInfo>,
        instances: &mut [Instance],
    ) -> Result<(), BackendError> {
        let others = || instances.iter().filter(|one| !one.ours);
        let is_known = |id: &&String| known.values().any(|image| image.id == **id);
        let ids: BTreeSet<String> = others().map(|one| &one.image_id).cloned().collect();
        let unknown = ids.iter().filter(|id| !is_known(id)).cloned().collect();
        let looked = self.find_images(unknown).await?;
        let all: BTreeMap<&String, &String> = known
            .values()
            .chain(looked.values())
            .map(|image| (&image.id, &image.content))
            .collect();
        for one in instances.iter_mut().filter(|one| !one.ours) {
            one.image_content = all.get(&one.image_id).copied().cloned().unwrap_or_default();
        }
        Ok(())
    }

    async fn containers(
        &self,
        query: &Query,
    ) -> Result<(Vec<Instance>, Vec<Foreign>), BackendError> {
        let mut options = ListContainersOptionsBuilder::new().all(true);
        if !query.foreign {
            options = options.filters(&stack_filter(query));
        }
        let list = self
            .api()
            .list_containers(Some(options.build()))
            .await
            .map_err(|error| self.fault("list", "containers", error))?;
        let wanted: Vec<(String, bool)> = list
            .into_iter()
            .filter_map(|found| wanted(&query.stack, found))
            .filter(|(_, of_stack)| *of_stack || query.foreign)
            .collect();
        let inspected: Vec<(Option<ContainerInspectResponse>, bool)> = stream::iter(wanted)
            .map(|(id, of_stack)| async move { Ok((self.inspect(&id).await?, of_stack)) })
            .buffer_unordered(self.inner.parallel)
            .try_collect()
            .await?;
        let (mut instances, mut foreign) = (Vec::new(), Vec::new());
        for (found, of_stack) in inspected {
            match (found, of_stack) {
                (Some(found), true) => instances.push(instance::instance(&query.stack, found)),
                (Some(found), false) => foreign.push(instance::foreign(found)),
                // Gone between the list and the look.
                (None, _) => {}
            }
        }
        Ok((instances, foreign))
    }

    /// A container by name or id, if it exists.
    pub(super) async fn inspect(
        &self,
        container: &str,
    ) -> Result<Option<ContainerInspectResponse>, BackendError> {
        match self
            .api()
            .inspect_container(container, None::<InspectContainerOptions>)
            .await
        {
            Ok(found) => Ok(Some(found)),
            Err(error) if fault::is_missing(&error) => Ok(None),
            Err(error) => Err(self.fault("inspect", &format!("container {container}"), error)),
        }
    }

    /// Names of the stack's own helpers.
    pub(super) async fn names_of_role(
        &self,
        stack: &str,
        roles: &[&str],
    ) -> Result<Vec<String>, BackendError> {
        let label = format!("{}={stack}", names::STACK);
        let filters = HashMap::from([("label", vec![label])]);
        let options = ListContainersOptionsBuilder::new()
            .all(true)
            .filters(&filters)
            .build();
        let list = self
            .api()
            .list_containers(Some(options))
            .await
            .map_err(|error| self.fault("list", "containers", error))?;
        let mut names: Vec<String> = list
            .into_iter()
            .filter(|found| {
                let role = found.labels.as_ref().and_then(|all| all.get(names::ROLE));
                role.is_some_and(|role| roles.contains(&role.as_str()))
            })
            .filter_map(|found| Some(plain_name(found.names?.first().map(String::as_str))))
            .collect();
        names.sort();
        Ok(names)
    }

    /// The engine itself, asked once: it takes longer than all the rest.
    pub(super) async fn engine(&self) -> Result<Engine, BackendError> {
        let ask = async {
            let info = self
                .api()
                .info()
                .await
                .map_err(|error| self.fault("describe", "the engine", error))?;
            let cgroup = info.cgroup_version.map(|version| version.to_string());
            let architecture = match info.architecture.as_deref() {
                Some("x86_64") | None => "amd64",
                Some("aarch64") => "arm64",
                Some(other) => other,
            };
            Ok(Engine {
                name: info.name.unwrap_or_default(),
                version: info.server_version.unwrap_or_default(),
                api: self.api_version(),
                cpus: unsigned(info.ncpu),
                memory: unsigned(info.mem_total),
                cgroup: if cgroup.as_deref() == Some("2") { 2 } else { 1 },
                platform: format!(
                    "{}/{architecture}",
                    info.os_type.as_deref().unwrap_or("linux")
                ),
                root: info.docker_root_dir.unwrap_or_default(),
                no_swap_limit: info.swap_limit == Some(false),
            })
        };
        self.inner.engine.get_or_try_init(|| ask).await.cloned()
    }

    async fn networks(
        &self,
        query: &Query,
    ) -> Result<BTreeMap<String, ObservedNetwork>, BackendError> {
        let options = ListNetworksOptionsBuilder::new()
            .filters(&stack_filter(query))
            .build();
        let list = self
            .api()
            .list_networks(Some(options))
            .await
            .map_err(|error| self.fault("list", "networks", error))?;
        let mut networks: BTreeMap<String, ObservedNetwork> = list
            .into_iter()
            .filter_map(|found| {
                let labels = found.labels.unwrap_or_default();
                let network = network(&query.stack, found.id, &labels);
                Some((found.name?, network))
            })
            .collect();
        for name in &query.networks {
            if networks.contains_key(name) {
                continue;
            }
            let found = self
                .api()
                .inspect_network(name, None::<InspectNetworkOptions>)
                .await;
            match found {
                // The engine also matches by prefix of the id.
                Ok(found) if found.name.as_ref() == Some(name) => {
                    let labels = found.labels.unwrap_or_default();
                    networks.insert(name.clone(), network(&query.stack, found.id, &labels));
                }
                Ok(_) => {}
                Err(error) if fault::is_missing(&error) => {}
                Err(error) => {
                    return Err(self.fault("inspect", &format!("network {name}"), error));
                }
            }
        }
        Ok(networks)
    }

    async fn volumes(
        &self,
        query: &Query,
    ) -> Result<BTreeMap<String, ObservedVolume>, BackendError> {
        let options = ListVolumesOptionsBuilder::new()
            .filters(&stack_filter(query))
            .build();
        let list = self
            .api()
            .list_volumes(Some(options))
            .await
            .map_err(|error| self.fault("list", "volumes", error))?;
        let mut volumes: BTreeMap<String, ObservedVolume> = list
            .volumes
            .unwrap_or_default()
            .into_iter()
            .map(|found| (found.name, ObservedVolume { of_stack: true }))
            .collect();
        for name in &query.volumes {
            if volumes.contains_key(name) {
                continue;
            }
            match self.api().inspect_volume(name).await {
                Ok(found) => {
                    let of_stack = of_stack(&query.stack, &found.labels);
                    volumes.insert(name.clone(), ObservedVolume { of_stack });
                }
                Err(error) if fault::is_missing(&error) => {}
                Err(error) => {
                    return Err(self.fault("inspect", &format!("volume {name}"), error));
                }
            }
        }
        Ok(volumes)
    }

    /// Images by reference or id, those that exist.
    async fn find_images(
        &self,
        wanted: BTreeSet<String>,
    ) -> Result<BTreeMap<String, ImageInfo>, BackendError> {
        let found: Vec<(String, Option<ImageInfo>)> = stream::iter(wanted)
            .map(|name| async move {
                let found = self.find_image(&name).await?;
                Ok((name, found))
            })
            .buffer_unordered(self.inner.parallel)
            .try_collect()
            .await?;
        Ok(found
            .into_iter()
            .filter_map(|(name, info)| Some((name, info?)))
            .collect())
    }

    /// The files of the store, and the container that leads to them where one was asked.
    async fn records_of(
        &self,
        stack: &str,
        likely: &[String],
    ) -> Result<Option<(Option<String>, Files)>, BackendError> {
        if let Some(files) = self.nearby_files(stack, LIVE).await {
            return Ok(Some((None, files)));
        }
        let found = self.store_files(likely).await?;
        Ok(found.map(|(holder, files)| (Some(holder), files)))
    }

    /// What the store holds. The likely holders were asked before the list was
    /// there; an unlikely one is asked now.
    async fn store(
        &self,
        query: &Query,
        found: Option<(Option<String>, Files)>,
        instances: &mut [Instance],
    ) -> Result<Option<StoreSnapshot>, BackendError> {
        let holders: Vec<String> = instances
            .iter()
            .filter(|one| matches!(one.role, Role::Gateway | Role::Keeper))
            .map(|one| one.name.clone())
            .collect();
        // A volume that nothing mounts is what a stack has left behind.
        let found = match (found, holders.first()) {
            (Some((Some(holder), files)), _) => Some((holder, files)),
            (Some((None, files)), Some(holder)) => Some((holder.clone(), files)),
            (Some((None, _)), None) => None,
            (None, _) => self.store_files(&holders).await?,
        };
        let Some((holder, files)) = found else {
            return Ok(None);
        };
        let mut stats: Vec<&[u8]> = Vec::new();
        for one in instances.iter_mut().filter(|one| one.role == Role::Gateway) {
            let Some(said) = files.get(&format!("stats/{}.json", one.name)) else {
                continue;
            };
            // One that is started again runs what it did before.
            (one.program, one.refused) = records::programs(said);
            // What a gateway that does not run wrote last says nothing else about now.
            if one.state == InstanceState::Running {
                stats.push(said);
            }
        }
        let routes = files.get("routes.json").map(Vec::as_slice);
        let bundle = Bundle::newest(&files);
        let snapshot = records::snapshot(&bundle.records, routes, &stats);
        self.remember(&query.stack, &holder, bundle);
        Ok(Some(snapshot))
    }
}

/// Containers worth an inspect: those of the stack, and others that run.
fn wanted(stack: &str, found: ContainerSummary) -> Option<(String, bool)> {
    let labels = found.labels.unwrap_or_default();
    let is = |name: &str, value: &str| labels.get(name).is_some_and(|found| found == value);
    // One-off containers of Docker Compose are somebody else's; ours may be left over.
    let one_off = is(names::COMPOSE_ONEOFF, "True") && !is(names::STACK, stack);
    let of_stack = is(names::COMPOSE_PROJECT, stack) && !one_off;
    let runs = found
        .state
        .is_some_and(|state| state.to_string() == "running");
    // Our own lock is neither a replica nor somebody else's load.
    let lock = is(names::STACK, stack) && is(names::ROLE, "lock");
    (of_stack || (runs && !lock)).then_some((found.id?, of_stack))
}

fn stack_filter(query: &Query) -> HashMap<&'static str, Vec<String>> {
    let label = format!("{}={}", names::COMPOSE_PROJECT, query.stack);
    HashMap::from([("label", vec![label])])
}

fn network(stack: &str, id: Option<String>, labels: &Labels) -> ObservedNetwork {
    ObservedNetwork {
        id: id.unwrap_or_default(),
        of_stack: of_stack(stack, labels),
        ours: labels.get(names::STACK).is_some_and(|name| name == stack),
    }
}

/// Whether labels are those of this stack.
pub(super) fn of_stack(stack: &str, labels: &Labels) -> bool {
    [names::STACK, names::COMPOSE_PROJECT]
        .iter()
        .any(|label| labels.get(*label).is_some_and(|name| name == stack))
}

fn unsigned<T: TryFrom<i64> + Default>(value: Option<i64>) -> T {
    value
        .and_then(|number| T::try_from(number).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unlabelled_volume_of_an_old_engine_is_read() {
        let text = r#"{"Name":"v","Driver":"local","Mountpoint":"/v","Labels":null,
            "Options":null,"Scope":"local","CreatedAt":"2026-01-01T00:00:00+02:00"}"#;
        let found: bollard::models::Volume = serde_json::from_str(text).unwrap();
        assert!(!of_stack("shop", &found.labels));
    }

    #[test]
    fn of_the_list_only_the_stack_and_what_runs_is_inspected() {
        let summary = |state: &str, labels: &[(&str, &str)]| {
            let labels: Labels = labels
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect();
            let text = serde_json::json!({ "Id": "1", "State": state, "Labels": labels });
            wanted("shop", serde_json::from_value(text).unwrap()).map(|(_, of_stack)| of_stack)
        };
        let project = (names::COMPOSE_PROJECT, "shop");
        assert_eq!(summary("exited", &[project]), Some(true));
        assert_eq!(summary("running", &[]), Some(false));
        assert_eq!(summary("exited", &[]), None);
        let one_off = (names::COMPOSE_ONEOFF, "True");
        assert_eq!(summary("running", &[project, one_off]), Some(false));
        assert_eq!(summary("exited", &[project, one_off]), None);
        let task = [project, one_off, (names::STACK, "shop")];
        assert_eq!(summary("exited", &task), Some(true));
        let lock = [(names::STACK, "shop"), (names::ROLE, "lock")];
        assert_eq!(summary("running", &lock), None);
    }
}
