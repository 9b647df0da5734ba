//! Volumes: create and remove. Creating one that exists is success for the engine.

use bollard::models::VolumeCreateRequest;
use bollard::query_parameters::RemoveVolumeOptions;

use super::Docker;
use super::networks::labels;
use crate::backend::BackendError;
use crate::backend::Context;
use crate::backend::docker::fault;
use crate::backend::docker::observe::of_stack;
use crate::state::names;
use crate::state::spec::VolumeSpec;

impl Docker {
    pub(super) async fn create_volume(
        &self,
        context: &Context,
        key: &str,
        spec: &VolumeSpec,
    ) -> Result<(), BackendError> {
        let subject = format!("volume {}", spec.name);
        let request = VolumeCreateRequest {
            name: Some(spec.name.clone()),
            driver: spec.driver.clone(),
            driver_opts: (!spec.options.is_empty())
                .then(|| spec.options.clone().into_iter().collect()),
            labels: Some(labels(context, names::COMPOSE_VOLUME, key, &spec.labels)),
            cluster_volume_spec: None,
        };
        let made = self
            .api()
            .create_volume(request)
            .await
            .map_err(|error| self.fault("create", &subject, error))?;
        if of_stack(&context.stack, &made.labels) {
            Ok(())
        } else {
            Err(BackendError::Conflict { what: subject })
        }
    }

    pub(super) async fn remove_volume(&self, name: &str) -> Result<(), BackendError> {
        match self
            .api()
            .remove_volume(name, None::<RemoveVolumeOptions>)
            .await
        {
            Ok(()) => Ok(()),
            Err(error) if fault::is_missing(&error) => Ok(()),
            Err(error) => Err(self.fault("remove", &format!("volume {name}"), error)),
        }
    }
}
