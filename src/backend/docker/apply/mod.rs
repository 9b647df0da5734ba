//! Does one action. Every action may be done again after a lost reply: what it
//! wants is then found done, and counts as success.

mod body;
mod containers;
mod endpoints;
mod files;
mod fill;
pub(super) mod helpers;
mod live;
mod networks;
mod program;
mod volumes;

use tokio::sync::mpsc;

pub(super) use fill::Fills;
use helpers::Helper;

use super::Docker;
use crate::backend::Apply;
use crate::backend::BackendError;
use crate::backend::Context;
use crate::backend::Images as _;
use crate::backend::Pending;
use crate::plan::action::Action;

impl Apply for Docker {
    fn apply<'a>(&'a self, context: &'a Context, action: &'a Action) -> Pending<'a, ()> {
        Box::pin(self.act(context, action))
    }
}

impl Docker {
    async fn act(&self, context: &Context, action: &Action) -> Result<(), BackendError> {
        match action {
            Action::PullImage {
                reference,
                platform,
            } => {
                let (progress, _) = mpsc::channel(1);
                self.pull(reference, platform.as_deref(), progress).await?;
                Ok(())
            }
            Action::CreateNetwork { key, spec } => self.create_network(context, key, spec).await,
            Action::RemoveNetwork { name } => self.remove_network(name).await,
            Action::CreateVolume { key, spec } => self.create_volume(context, key, spec).await,
            Action::RemoveVolume { name } => self.remove_volume(name).await,
            Action::SeedFiles {
                set,
                volume,
                memory,
            } => self.seed_files(context, set, volume, *memory).await,
            Action::CreateInstance { instance } => self.create_instance(context, instance).await,
            Action::CreateHelper {
                name,
                role,
                listens,
                networks,
                names,
            } => {
                let helper = Helper {
                    name,
                    role: *role,
                    listens,
                    networks,
                    names,
                    volume: None,
                };
                self.create_helper(context, &helper).await
            }
            Action::StoreProgram { program } => self.store_program(context, program).await,
            Action::ConnectNetwork {
                container,
                network,
                aliases,
            } => {
                let endpoint = endpoints::named(aliases.clone());
                self.connect_network(container, network, endpoint).await
            }
            Action::DisconnectNetwork { container, network } => {
                self.disconnect_network(container, network).await
            }
            Action::StartContainer { container } => self.start_container(container).await,
            Action::StopContainer {
                container,
                grace_secs,
            } => self.stop_container(container, *grace_secs).await,
            Action::RestartContainer { container } => self.restart_container(container).await,
            Action::RemoveContainer { container } => self.remove_for_good(container).await,
            Action::UpdateLive { container, live } => self.update_live(container, live).await,
            Action::BuildImage { .. }
            | Action::RunTask { .. }
            | Action::UpgradeGateway { .. }
            | Action::SetListeners { .. }
            | Action::AddTarget { .. }
            | Action::SetSplit { .. }
            | Action::RemoveTarget { .. }
            | Action::RecordScale { .. }
            | Action::ApplyObject { .. }
            | Action::DeleteObject { .. }
            | Action::RestartWorkload { .. } => Err(BackendError::Unsupported(name_of(action))),
        }
    }
}

/// The action's name in plan files.
fn name_of(action: &Action) -> String {
    serde_json::to_value(action)
        .ok()
        .and_then(|value| Some(value.get("action")?.as_str()?.to_owned()))
        .unwrap_or_default()
}
