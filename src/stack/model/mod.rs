//! The typed stack: plain data, every short form resolved.
//!
//! Values stand as the file (after interpolation and merging) declares them;
//! defaults that belong to the engine are `None`. Places are not serialized,
//! so a digest over the serialized form does not change when a line moves.

mod blkio;
mod build;
mod deploy;
mod files;
mod health;
mod hooks;
mod mount;
mod network;
mod port;
mod rollout;
mod service;
mod shop;
mod volume;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::Serialize;

pub use self::blkio::Blkio;
pub use self::build::Build;
pub use self::build::BuildSecret;
pub use self::deploy::Deploy;
pub use self::deploy::DeployMode;
pub use self::deploy::DeviceRequest;
pub use self::deploy::FailureAction;
pub use self::deploy::Limits;
pub use self::deploy::Placement;
pub use self::deploy::Reservations;
pub use self::deploy::Resources;
pub use self::deploy::RestartCondition;
pub use self::deploy::RestartPolicy;
pub use self::deploy::UpdateConfig;
pub use self::deploy::UpdateOrder;
pub use self::files::FileObject;
pub use self::files::FileSource;
pub use self::files::Grant;
pub use self::health::HealthTest;
pub use self::health::Healthcheck;
pub use self::hooks::Hooks;
pub use self::hooks::ShopHook;
pub use self::mount::BindOptions;
pub use self::mount::Mount;
pub use self::mount::MountSource;
pub use self::mount::SeLinux;
pub use self::network::Attachment;
pub use self::network::Ipam;
pub use self::network::IpamPool;
pub use self::network::Network;
pub use self::network::NetworkMode;
pub use self::port::Port;
pub use self::port::PortMode;
pub use self::port::Protocol;
pub use self::rollout::ShopRollout;
pub use self::rollout::Strategy;
pub use self::service::Condition;
pub use self::service::Dependency;
pub use self::service::Device;
pub use self::service::ExposedPorts;
pub use self::service::Hook;
pub use self::service::Logging;
pub use self::service::PreStart;
pub use self::service::PullPolicy;
pub use self::service::Restart;
pub use self::service::Service;
pub use self::service::Ulimit;
pub use self::shop::Autoscale;
pub use self::shop::BackendKind;
pub use self::shop::CapacityMode;
pub use self::shop::Class;
pub use self::shop::Mesh;
pub use self::shop::Prepare;
pub use self::shop::Ready;
pub use self::shop::Route;
pub use self::shop::Schedule;
pub use self::shop::SecretStore;
pub use self::shop::ServiceShop;
pub use self::shop::Slo;
pub use self::shop::StackShop;
pub use self::shop::VolumeAccess;
pub use self::volume::Volume;

/// One stack, ready to be resolved: the services that the active profiles
/// select, and the networks, volumes, secrets and configs they may use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stack {
    /// The project name, normalised.
    pub name: String,
    /// The selected services by name.
    pub services: BTreeMap<String, Service>,
    /// Networks that the selected services use, `default` included.
    pub networks: BTreeMap<String, Network>,
    /// Named volumes that the selected services use.
    pub volumes: BTreeMap<String, Volume>,
    /// Secrets that the selected services or their builds use.
    pub secrets: BTreeMap<String, FileObject>,
    /// Configs that the selected services use.
    pub configs: BTreeMap<String, FileObject>,
    /// The stack's own `x-shop`.
    pub shop: StackShop,
    /// Services that exist in the file, but whose profiles are not active.
    pub inactive: BTreeSet<String>,
    /// Those of them whose images selected services are built from.
    pub bases: BTreeMap<String, Service>,
    /// Every profile that the file names.
    pub profiles: BTreeSet<String>,
    /// Relative paths of the file were resolved against this folder.
    pub working_dir: PathBuf,
    /// The stack files in the order they were merged; empty entries never.
    pub files: Vec<PathBuf>,
    /// The `--env-file`s that were read.
    pub env_files: Vec<PathBuf>,
}

impl Stack {
    /// How `service` may share the named volume: what its `x-shop` says, then
    /// the stack's, then the default of its class.
    pub fn volume_access(&self, service: &Service, volume: &str) -> VolumeAccess {
        let declared = service
            .shop
            .as_ref()
            .and_then(|shop| shop.volumes.get(volume))
            .or_else(|| self.shop.volumes.get(volume));
        match (declared, &service.shop) {
            (Some(access), _) => *access,
            (None, Some(shop)) if shop.class != Some(Class::Stateful) => VolumeAccess::Shared,
            (None, _) => VolumeAccess::Single,
        }
    }
}
