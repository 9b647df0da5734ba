//! Networks: create, remove, connect, disconnect.

use std::time::Duration;

use bollard::models::EndpointSettings;
use bollard::models::Ipam;
use bollard::models::IpamConfig;
use bollard::models::NetworkConnectRequest;
use bollard::models::NetworkCreateRequest;
use bollard::models::NetworkDisconnectRequest;
use bollard::query_parameters::InspectNetworkOptions;
use serde::Serialize;

use super::Docker;
use crate::backend::BackendError;
use crate::backend::Context;
use crate::backend::docker::fault;
use crate::backend::docker::instance::Labels;
use crate::backend::docker::observe::of_stack;
use crate::state::names;
use crate::state::spec::NetworkSpec;

/// Attempts to remove a network that the engine says is in use though it is empty.
const LAST_ATTEMPT: u32 = 10;
/// Pause between them.
const BETWEEN: Duration = Duration::from_millis(100);

/// Without the check, engines before API 1.44 make two networks of one name.
#[derive(Serialize)]
struct Checked {
    #[serde(flatten)]
    request: NetworkCreateRequest,
    #[serde(rename = "CheckDuplicate")]
    check_duplicate: bool,
}

impl Docker {
    pub(super) async fn create_network(
        &self,
        context: &Context,
        key: &str,
        spec: &NetworkSpec,
    ) -> Result<(), BackendError> {
        let subject = format!("network {}", spec.name);
        let body = Checked {
            request: network_body(context, key, spec),
            check_duplicate: true,
        };
        match self.post_json("/networks/create", &body).await {
            Ok(()) => Ok(()),
            Err(error) if fault::status(&error) == Some(409) => {
                let found = self
                    .api()
                    .inspect_network(&spec.name, None::<InspectNetworkOptions>)
                    .await
                    .map_err(|error| self.fault("inspect", &subject, error))?;
                if of_stack(&context.stack, &found.labels.unwrap_or_default()) {
                    Ok(())
                } else {
                    Err(BackendError::Conflict { what: subject })
                }
            }
            Err(error) => Err(self.fault("create", &subject, error)),
        }
    }

    pub(super) async fn remove_network(&self, name: &str) -> Result<(), BackendError> {
        for attempt in 1.. {
            let error = match self.api().remove_network(name).await {
                Ok(()) => return Ok(()),
                Err(error) if fault::is_missing(&error) => return Ok(()),
                Err(error) => error,
            };
            // The engine may still be letting go of a container that it said is gone.
            let used = fault::message(&error).contains("active endpoints");
            if !used || self.is_in_use(name).await? {
                return Err(self.fault("remove", &format!("network {name}"), error));
            }
            if attempt == LAST_ATTEMPT {
                break;
            }
            tokio::time::sleep(BETWEEN).await;
        }
        Err(BackendError::StuckNetwork {
            name: name.to_owned(),
        })
    }

    /// Whether the engine lists a container in a network.
    async fn is_in_use(&self, name: &str) -> Result<bool, BackendError> {
        match self
            .api()
            .inspect_network(name, None::<InspectNetworkOptions>)
            .await
        {
            Ok(found) => Ok(found.containers.is_some_and(|all| !all.is_empty())),
            Err(error) if fault::is_missing(&error) => Ok(false),
            Err(error) => Err(self.fault("inspect", &format!("network {name}"), error)),
        }
    }

    pub(super) async fn connect_network(
        &self,
        container: &str,
        network: &str,
        endpoint: EndpointSettings,
    ) -> Result<(), BackendError> {
        let request = NetworkConnectRequest {
            container: container.to_owned(),
            endpoint_config: Some(endpoint),
        };
        match self.api().connect_network(network, request).await {
            Ok(()) => Ok(()),
            Err(error) if fault::message(&error).contains("already exists in network") => Ok(()),
            Err(error) => {
                let subject = format!("container {container} to network {network}");
                Err(self.fault("connect", &subject, error))
            }
        }
    }

    pub(super) async fn disconnect_network(
        &self,
        container: &str,
        network: &str,
    ) -> Result<(), BackendError> {
        let request = NetworkDisconnectRequest {
            container: container.to_owned(),
            force: Some(true),
        };
        match self.api().disconnect_network(network, request).await {
            Ok(()) => Ok(()),
            Err(error)
                if fault::is_missing(&error)
                    || fault::message(&error).contains("is not connected to") =>
            {
                Ok(())
            }
            Err(error) => {
                let subject = format!("container {container} from network {network}");
                Err(self.fault("disconnect", &subject, error))
            }
        }
    }
}

fn network_body(context: &Context, key: &str, spec: &NetworkSpec) -> NetworkCreateRequest {
    let subnets: Vec<IpamConfig> = spec
        .subnets
        .iter()
        .map(|(subnet, gateway, range)| IpamConfig {
            subnet: subnet.clone(),
            gateway: gateway.clone(),
            ip_range: range.clone(),
            auxiliary_addresses: spec
                .reserved
                .get(subnet.as_deref().unwrap_or_default())
                .map(|addresses| addresses.clone().into_iter().collect()),
        })
        .collect();
    let managed =
        !subnets.is_empty() || spec.ipam_driver.is_some() || !spec.ipam_options.is_empty();
    NetworkCreateRequest {
        name: spec.name.clone(),
        driver: spec.driver.clone(),
        internal: spec.internal.then_some(true),
        attachable: spec.attachable.then_some(true),
        // Engines that do not know it are refused before, where it is off.
        enable_ipv4: spec.ipv4.filter(|on| !on),
        enable_ipv6: spec.ipv6,
        ipam: managed.then(|| Ipam {
            driver: spec.ipam_driver.clone(),
            config: (!subnets.is_empty()).then_some(subnets),
            options: (!spec.ipam_options.is_empty())
                .then(|| spec.ipam_options.clone().into_iter().collect()),
        }),
        options: (!spec.options.is_empty()).then(|| spec.options.clone().into_iter().collect()),
        labels: Some(labels(context, names::COMPOSE_NETWORK, key, &spec.labels)),
        ..NetworkCreateRequest::default()
    }
}

/// Labels of a network or volume: the user's, Docker Compose's and ours.
pub(super) fn labels(
    context: &Context,
    kind: &str,
    key: &str,
    users: &std::collections::BTreeMap<String, String>,
) -> Labels {
    let mut labels: Labels = users.clone().into_iter().collect();
    labels.extend(
        [
            (names::COMPOSE_PROJECT, context.stack.as_str()),
            (kind, key),
            (names::STACK, context.stack.as_str()),
            (names::RUN, context.run.as_str()),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_with_everything() {
        let context = Context {
            stack: "shop".to_owned(),
            run: "run-1".to_owned(),
            ..Context::default()
        };
        let spec = NetworkSpec {
            name: "shop_back".to_owned(),
            external: false,
            driver: Some("bridge".to_owned()),
            options: [("a".to_owned(), "b".to_owned())].into(),
            internal: true,
            attachable: true,
            ipv4: Some(false),
            ipv6: Some(true),
            subnets: vec![(
                Some("10.1.0.0/24".to_owned()),
                Some("10.1.0.1".to_owned()),
                None,
            )],
            reserved: [(
                "10.1.0.0/24".to_owned(),
                [("router".to_owned(), "10.1.0.254".to_owned())].into(),
            )]
            .into(),
            ipam_driver: Some("default".to_owned()),
            ipam_options: [("c".to_owned(), "d".to_owned())].into(),
            labels: [("team".to_owned(), "a".to_owned())].into(),
        };
        let body = Checked {
            request: network_body(&context, "back", &spec),
            check_duplicate: true,
        };
        insta::with_settings!({ sort_maps => true }, { insta::assert_json_snapshot!(body) });
    }
}
