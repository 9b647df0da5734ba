//! Our own containers: gateway, keeper, prober. Hardened, small, from our image,
//! with the labels by which Docker Compose lists them.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use bollard::models::ContainerCreateBody;
use bollard::models::EndpointSettings;
use bollard::models::HostConfig;
use bollard::models::Mount;
use bollard::models::MountType;
use bollard::models::MountVolumeOptions;
use bollard::models::NetworkingConfig;
use bollard::models::PortMap;

use super::Docker;
use super::body::binding;
use super::body::restart_policy;
use super::containers::Making;
use super::containers::is_of_run;
use super::endpoints::named;
use super::files::PLACE;
use crate::backend::BackendError;
use crate::backend::Context;
use crate::backend::docker::store::FOLDER;
use crate::backend::docker::store::MOUNT;
use crate::plan::action::Listen;
use crate::state::names;
use crate::state::observed::Role;
use crate::state::spec::Restart;

const USER: &str = "65532:65532";
const GATEWAY_MEMORY: i64 = 32 << 20;
const KEEPER_MEMORY: i64 = 6 << 20;

/// A container of ours to make.
#[derive(Debug, Clone, Copy)]
pub(super) struct Helper<'h> {
    pub(super) name: &'h str,
    pub(super) role: Role,
    pub(super) listens: &'h [Listen],
    pub(super) networks: &'h [String],
    pub(super) names: &'h BTreeMap<String, BTreeSet<String>>,
    /// For a holder: its volume.
    pub(super) volume: Option<&'h str>,
}

impl Helper<'_> {
    /// How it is attached to a network.
    fn endpoint(&self, network: &str) -> EndpointSettings {
        let names = self.names.get(network).into_iter().flatten();
        named(names.cloned().collect())
    }
}

impl Docker {
    pub(super) async fn create_helper(
        &self,
        context: &Context,
        helper: &Helper<'_>,
    ) -> Result<(), BackendError> {
        let body = helper_body(context, helper)?;
        let name = helper.name;
        if helper.role == Role::Prober {
            // It holds nothing: one of a run that was killed makes way.
            let found = self.inspect(name).await?;
            if found.is_some_and(|found| !is_of_run(context, &found)) {
                self.remove_container(name).await?;
            }
        }
        self.create(context, name, &Making::default(), body).await?;
        for network in helper.networks.iter().skip(1) {
            self.connect_network(name, network, helper.endpoint(network))
                .await?;
        }
        self.start_container(name).await
    }
}

fn command(helper: &Helper<'_>) -> Result<Vec<String>, BackendError> {
    let Helper {
        name,
        role,
        listens,
        ..
    } = *helper;
    let mut command: Vec<String> = match role {
        Role::Gateway => {
            // Its own container name: what `gateway control` is told too.
            ["gateway", "run", "--name", name, "--dir", FOLDER]
                .map(ToOwned::to_owned)
                .to_vec()
        }
        Role::Keeper | Role::Prober | Role::Holder => {
            vec!["gateway".to_owned(), "keep".to_owned()]
        }
        Role::Service | Role::Lock | Role::Task | Role::Run => {
            return Err(BackendError::Unsupported(format!(
                "a helper of role {role:?}"
            )));
        }
    };
    for listen in listens {
        command.push("--listen".to_owned());
        command.push(format!("{}={}", listen.id, listen.inside));
    }
    if role == Role::Gateway && listens.is_empty() {
        // What is not published is for requests between services.
        command.push("--doors".to_owned());
    }
    Ok(command)
}

fn helper_body(
    context: &Context,
    helper: &Helper<'_>,
) -> Result<ContainerCreateBody, BackendError> {
    let Helper {
        name,
        role,
        listens,
        networks,
        ..
    } = *helper;
    let command = command(helper)?;
    let mut ports = PortMap::new();
    for listen in listens {
        ports
            .entry(format!("{}/tcp", listen.inside))
            .or_default()
            .get_or_insert_default()
            .push(binding(&listen.host_ip, listen.host_port));
    }
    let first = networks.first().cloned();
    let (mount, restart) = match (role, helper.volume) {
        (Role::Prober, _) => (None, None),
        (_, Some(volume)) => (Some(volume_mount(volume, PLACE, true)), None),
        _ => {
            let mount = volume_mount(&names::store(&context.stack), MOUNT, false);
            (Some(mount), Some(Restart::UnlessStopped))
        }
    };
    let labels = labels(context, name, role, listens, &command);
    Ok(ContainerCreateBody {
        image: Some(context.helper_image.clone()),
        cmd: Some(command),
        user: Some(USER.to_owned()),
        labels: Some(labels.into_iter().collect()),
        exposed_ports: (!ports.is_empty()).then(|| ports.keys().cloned().collect()),
        networking_config: first.clone().map(|network| NetworkingConfig {
            endpoints_config: Some([(network.clone(), helper.endpoint(&network))].into()),
        }),
        host_config: Some(HostConfig {
            network_mode: Some(first.unwrap_or_else(|| "none".to_owned())),
            port_bindings: (!ports.is_empty()).then_some(ports),
            mounts: mount.map(|mount| vec![mount]),
            // A holder that has ended holds nothing: nobody is to start it again.
            auto_remove: matches!(role, Role::Prober | Role::Holder).then_some(true),
            restart_policy: restart.map(|restart| restart_policy(&restart)),
            memory_reservation: Some(if role == Role::Gateway {
                GATEWAY_MEMORY
            } else {
                KEEPER_MEMORY
            }),
            ..hardened()
        }),
        ..ContainerCreateBody::default()
    })
}

/// What every container of ours gives up.
pub(in crate::backend::docker) fn hardened() -> HostConfig {
    HostConfig {
        readonly_rootfs: Some(true),
        cap_drop: Some(vec!["ALL".to_owned()]),
        security_opt: Some(vec!["no-new-privileges:true".to_owned()]),
        ..HostConfig::default()
    }
}

/// A volume of ours; one that holds files gets none of the image's.
pub(super) fn volume_mount(volume: &str, target: &str, no_copy: bool) -> Mount {
    Mount {
        target: Some(target.to_owned()),
        source: Some(volume.to_owned()),
        typ: Some(MountType::VOLUME),
        volume_options: no_copy.then(|| MountVolumeOptions {
            no_copy: Some(true),
            ..MountVolumeOptions::default()
        }),
        ..Mount::default()
    }
}

fn labels(
    context: &Context,
    name: &str,
    role: Role,
    listens: &[Listen],
    command: &[String],
) -> BTreeMap<String, String> {
    let role = match role {
        Role::Gateway => "gateway",
        Role::Keeper => "keeper",
        Role::Prober => "prober",
        Role::Service => "service",
        Role::Lock => "lock",
        Role::Task => "task",
        Role::Run => "run",
        Role::Holder => "holder",
    };
    let number = name
        .rsplit_once('-')
        .and_then(|(_, number)| number.parse::<u32>().ok())
        .unwrap_or(1);
    let hash = names::hex(format!("{} {}", context.helper_image, command.join(" ")).as_bytes());
    let mut labels: BTreeMap<String, String> = [
        (names::STACK, context.stack.clone()),
        (names::ROLE, role.to_owned()),
        (names::RUN, context.run.clone()),
        (names::COMPOSE_PROJECT, context.stack.clone()),
        // A user's service cannot be called that: the prefix is ours.
        (names::COMPOSE_SERVICE, format!("shopctl-{role}")),
        (names::COMPOSE_NUMBER, number.to_string()),
        (names::COMPOSE_ONEOFF, "False".to_owned()),
        (names::COMPOSE_HASH, format!("shopctl:{hash}")),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect();
    if !listens.is_empty() {
        let map: BTreeMap<&str, u16> = listens
            .iter()
            .map(|listen| (listen.id.as_str(), listen.inside))
            .collect();
        let text = serde_json::to_string(&map).unwrap_or_default();
        labels.insert(names::LISTENS.to_owned(), text);
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context() -> Context {
        Context {
            stack: "shop".to_owned(),
            run: "run-1".to_owned(),
            helper_image: "shopctl-gateway:0123456789ab".to_owned(),
            ..Context::default()
        }
    }

    fn golden(body: ContainerCreateBody) -> serde_json::Value {
        serde_json::to_value(body).unwrap()
    }

    #[test]
    fn a_gateway_on_two_networks() {
        let listens = [
            ("127.0.0.1:8000/tcp", "127.0.0.1", Some(8000), 10_001),
            ("*:/tcp", "", None, 10_002),
        ]
        .map(|(id, host_ip, host_port, inside)| Listen {
            id: id.to_owned(),
            host_ip: host_ip.to_owned(),
            host_port,
            inside,
        });
        let networks = ["shop_back", "shop_default"].map(ToOwned::to_owned);
        let helper = Helper {
            name: "shop-gateway-2",
            role: Role::Gateway,
            listens: &listens,
            networks: &networks,
            names: &BTreeMap::new(),
            volume: None,
        };
        let body = helper_body(&context(), &helper);
        let mut body = golden(body.unwrap());
        body["ExposedPorts"].sort_all_objects();
        insta::with_settings!({ sort_maps => true }, { insta::assert_json_snapshot!(body) });
    }

    #[test]
    fn a_keeper_a_prober_and_a_holder() {
        let keeper = Helper {
            name: "shop-keeper",
            role: Role::Keeper,
            listens: &[],
            networks: &[],
            names: &BTreeMap::new(),
            volume: None,
        };
        let prober = Helper {
            name: "shop-prober",
            role: Role::Prober,
            networks: &["shop_default".to_owned()],
            ..keeper
        };
        let holder = Helper {
            name: "shop-files-order-secrets-0123456789ab-holder",
            role: Role::Holder,
            volume: Some("shop-files-order-secrets-0123456789ab"),
            ..keeper
        };
        let bodies = [keeper, prober, holder].map(|one| helper_body(&context(), &one));
        let bodies = bodies.map(|body| golden(body.unwrap()));
        insta::with_settings!({ sort_maps => true }, { insta::assert_json_snapshot!(bodies) });
    }
}
