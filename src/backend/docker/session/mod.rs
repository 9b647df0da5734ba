//! What a builder asks its client for while it builds: secrets, ssh agents, passwords
//! of registries, files of contexts.
//!
//! The asking goes the other way round: the client opens a connection, and the engine
//! calls over it. What is lent is known to nobody but the one build that names the
//! session, and is gone with it. bollard serves passwords alone this way.

mod agents;
mod folders;
mod values;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use bollard::errors::Error;
use bollard::moby::buildkit::secrets::v1::secrets_server;
use bollard::moby::filesync::v1::auth_server;
use bollard::moby::filesync::v1::file_sync_server;
use bollard::moby::sshforward::v1::ssh_server;
use hyper::server::conn::http2;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioExecutor;
use hyper_util::service::TowerToHyperService;
use tonic::service::Routes;
use uuid::Uuid;

use self::agents::Agents;
pub(super) use self::folders::Folder;
use self::folders::Folders;
use self::values::Alive;
use self::values::Passwords;
use self::values::Values;
use super::Docker;
use super::credentials;
use crate::backend::BuildRequest;

/// A session that an engine knows.
pub(super) struct Session {
    /// What a build names it by.
    pub(super) id: String,
    connection: Upgraded,
    routes: Routes,
}

impl Docker {
    /// Opens a session for a build, with folders by the name that it fetches them by.
    pub(super) async fn open_session(
        &self,
        request: &BuildRequest,
        folders: BTreeMap<String, Folder>,
    ) -> Result<Session, Error> {
        let logins = credentials::all(self.inner.config_dir.clone()).await;
        let folders = folders.into_iter();
        let folders = folders.map(|(name, folder)| (name, Arc::new(folder)));
        let lent = &request.lent;
        let id = Uuid::now_v7().to_string();
        let methods = [
            (secrets_server::SERVICE_NAME, "GetSecret"),
            (ssh_server::SERVICE_NAME, "CheckAgent"),
            (ssh_server::SERVICE_NAME, "ForwardAgent"),
            (auth_server::SERVICE_NAME, "Credentials"),
            (file_sync_server::SERVICE_NAME, "DiffCopy"),
        ];
        let methods: Vec<String> = methods
            .iter()
            .map(|(service, method)| format!("/{service}/{method}"))
            .collect();
        let routes = Routes::new(Alive::server())
            .add_service(Values(lent.secrets.clone()).server())
            .add_service(Agents(lent.agents.clone()).server())
            .add_service(Passwords(logins).server())
            .add_service(Folders(folders.collect()).server())
            .prepare();
        let connection = self.hijack_session(&id, &request.tag, &methods).await?;
        Ok(Session {
            id,
            connection,
            routes,
        })
    }
}

impl Session {
    /// Does the work with the session open; it ends with it.
    pub(super) async fn during<T>(self, work: impl Future<Output = T>) -> T {
        let serve = async move {
            let service = TowerToHyperService::new(self.routes);
            let server = http2::Builder::new(TokioExecutor::new());
            // A builder that hangs up says itself what it misses.
            let _ = server.serve_connection(self.connection, service).await;
            std::future::pending::<Infallible>().await
        };
        tokio::select! {
            done = work => done,
            never = serve => match never {},
        }
    }
}
