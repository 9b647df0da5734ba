//! A step in words, the same in progress, logs and JSON.

use crate::plan::action::Action;
use crate::plan::action::Step;
use crate::state::observed::Role;

/// What a step does, e.g. `start shop-order-1-3f9a1c`.
pub fn describe(step: &Step) -> String {
    match &step.action {
        Action::BuildImage { service, tag } => match tag {
            Some(tag) => format!("build {tag}"),
            None => format!("build the image of {service}"),
        },
        Action::PullImage { reference, .. } => format!("pull {reference}"),
        Action::CreateNetwork { spec, .. } => format!("create network {}", spec.name),
        Action::RemoveNetwork { name } => format!("remove network {name}"),
        Action::CreateVolume { spec, .. } => format!("create volume {}", spec.name),
        Action::RemoveVolume { name } => format!("remove volume {name}"),
        Action::SeedFiles { set, .. } => format!("seed files {set}"),
        Action::CreateInstance { instance } => format!("create {}", instance.name),
        Action::CreateHelper { name, role, .. } => match role {
            Role::Gateway => format!("start gateway {name}"),
            _ => format!("start {name}"),
        },
        Action::ConnectNetwork {
            container, network, ..
        } => format!("attach {container} to {network}"),
        Action::DisconnectNetwork { container, network } => {
            format!("detach {container} from {network}")
        }
        Action::StartContainer { container } => format!("start {container}"),
        Action::StopContainer { container, .. } => format!("stop {container}"),
        Action::RestartContainer { container } => format!("restart {container}"),
        Action::RemoveContainer { container } => format!("remove {container}"),
        Action::UpdateLive { container, .. } => format!("update {container} while it runs"),
        Action::SetListeners { listeners } => {
            format!("set {} published ports at the gateway", listeners.len())
        }
        Action::AddTarget { service, alias } => format!("route {service} to {alias}"),
        Action::RemoveTarget { service, alias, .. } => format!("drain {alias} of {service}"),
        Action::RecordScale { overrides } => {
            let services: Vec<&str> = overrides.keys().map(String::as_str).collect();
            format!("record the scale of {}", services.join(", "))
        }
    }
}
