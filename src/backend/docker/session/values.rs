//! Values that a builder asks for by name, and the sign of life it asks for each second.

use std::collections::BTreeMap;
use std::collections::HashMap;

use bollard::auth::DockerCredentials;
use bollard::health::HealthCheckRequest;
use bollard::health::HealthCheckResponse;
use bollard::health::HealthListRequest;
use bollard::health::HealthListResponse;
use bollard::health::health_check_response::ServingStatus;
use bollard::health::health_server::Health;
use bollard::health::health_server::HealthServer;
use bollard::moby::buildkit::secrets::v1::GetSecretRequest;
use bollard::moby::buildkit::secrets::v1::GetSecretResponse;
use bollard::moby::buildkit::secrets::v1::secrets_server::Secrets;
use bollard::moby::buildkit::secrets::v1::secrets_server::SecretsServer;
use bollard::moby::filesync::v1::CredentialsRequest;
use bollard::moby::filesync::v1::CredentialsResponse;
use bollard::moby::filesync::v1::FetchTokenRequest;
use bollard::moby::filesync::v1::FetchTokenResponse;
use bollard::moby::filesync::v1::GetTokenAuthorityRequest;
use bollard::moby::filesync::v1::GetTokenAuthorityResponse;
use bollard::moby::filesync::v1::VerifyTokenAuthorityRequest;
use bollard::moby::filesync::v1::VerifyTokenAuthorityResponse;
use bollard::moby::filesync::v1::auth_server::Auth;
use bollard::moby::filesync::v1::auth_server::AuthServer;
use futures_util::stream::Empty;
use tonic::Request;
use tonic::Response;
use tonic::Status;

use super::super::credentials;

/// Secrets by the id in the Dockerfile.
pub(super) struct Values(pub(super) BTreeMap<String, Vec<u8>>);

impl Values {
    pub(super) fn server(self) -> SecretsServer<Self> {
        SecretsServer::new(self)
    }
}

#[tonic::async_trait]
impl Secrets for Values {
    async fn get_secret(
        &self,
        request: Request<GetSecretRequest>,
    ) -> Result<Response<GetSecretResponse>, Status> {
        let id = &request.get_ref().id;
        // The builder goes on without one that a mount does not require.
        let data = self.0.get(id).cloned().ok_or_else(|| {
            let known: Vec<&str> = self.0.keys().map(String::as_str).collect();
            Status::not_found(format!("no secret {id} among {known:?}"))
        })?;
        Ok(Response::new(GetSecretResponse { data }))
    }
}

/// Passwords by registry, for images that a build starts from.
pub(super) struct Passwords(pub(super) HashMap<String, DockerCredentials>);

impl Passwords {
    pub(super) fn server(self) -> AuthServer<Self> {
        AuthServer::new(self)
    }
}

#[tonic::async_trait]
impl Auth for Passwords {
    /// Empty where there is none: the registry is asked without.
    async fn credentials(
        &self,
        request: Request<CredentialsRequest>,
    ) -> Result<Response<CredentialsResponse>, Status> {
        let host = format!("{}/", request.get_ref().host);
        let found = self.0.get(credentials::registry(&host));
        let found = found.cloned().unwrap_or_default();
        let answer = match found.identitytoken {
            // A secret without a user is a token.
            Some(secret) => CredentialsResponse {
                username: String::new(),
                secret,
            },
            None => CredentialsResponse {
                username: found.username.unwrap_or_default(),
                secret: found.password.unwrap_or_default(),
            },
        };
        Ok(Response::new(answer))
    }

    async fn fetch_token(
        &self,
        _: Request<FetchTokenRequest>,
    ) -> Result<Response<FetchTokenResponse>, Status> {
        Err(engine_asks_itself())
    }

    async fn get_token_authority(
        &self,
        _: Request<GetTokenAuthorityRequest>,
    ) -> Result<Response<GetTokenAuthorityResponse>, Status> {
        Err(engine_asks_itself())
    }

    async fn verify_token_authority(
        &self,
        _: Request<VerifyTokenAuthorityRequest>,
    ) -> Result<Response<VerifyTokenAuthorityResponse>, Status> {
        Err(engine_asks_itself())
    }
}

fn engine_asks_itself() -> Status {
    Status::unimplemented("the engine asks a registry for tokens itself")
}

/// An engine gives up a session that shows no sign of life.
pub(super) struct Alive;

impl Alive {
    pub(super) fn server() -> HealthServer<Self> {
        HealthServer::new(Self)
    }
}

#[tonic::async_trait]
impl Health for Alive {
    type WatchStream = Empty<Result<HealthCheckResponse, Status>>;

    async fn check(
        &self,
        _: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let status = ServingStatus::Serving.into();
        Ok(Response::new(HealthCheckResponse { status }))
    }

    async fn list(
        &self,
        _: Request<HealthListRequest>,
    ) -> Result<Response<HealthListResponse>, Status> {
        Err(Status::unimplemented("there is one service"))
    }

    async fn watch(
        &self,
        _: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("it is asked each second"))
    }
}
