//! One stack of its own per test, whose namespace is removed also when the test fails.

use std::any::Any;
use std::path::PathBuf;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::DeleteParams;
use shopctl::backend::BackendError;
use shopctl::backend::Context;
use shopctl::backend::Holder;
use shopctl::backend::Lease as _;
use shopctl::backend::Lock;
use shopctl::backend::kubernetes::client::Cluster;
use shopctl::backend::kubernetes::client::Settings;

/// A stack and a connection.
pub(crate) struct World {
    pub(crate) cluster: Cluster,
    /// Beside it.
    pub(crate) client: kube::Client,
    /// Name of the stack, and of its namespace.
    pub(crate) stack: String,
    pub(crate) context: Context,
    kubeconfig: PathBuf,
    /// Ends with the test.
    _server: Option<Box<dyn Any + Send + Sync>>,
}

impl World {
    pub(crate) async fn at(
        kubeconfig: PathBuf,
        server: Option<Box<dyn Any + Send + Sync>>,
    ) -> Self {
        let random = uuid::Uuid::now_v7().simple().to_string();
        let stack = format!("t-{}", &random[20..]);
        Self {
            cluster: connect(&kubeconfig, None).await,
            client: client(&kubeconfig).await,
            context: Context {
                stack: stack.clone(),
                run: format!("run-{random}"),
                ..Context::default()
            },
            stack,
            kubeconfig,
            _server: server,
        }
    }

    /// Another process that reaches the cluster, whose locks outlive it so long.
    pub(crate) async fn another(&self, lease: Option<Duration>) -> Cluster {
        connect(&self.kubeconfig, lease).await
    }

    pub(crate) fn kubeconfig(&self) -> &std::path::Path {
        &self.kubeconfig
    }

    /// Takes the lock.
    pub(crate) async fn take(&self, run: &str) -> Result<Box<dyn Lock>, BackendError> {
        self.take_by(&self.cluster, run).await
    }

    pub(crate) async fn take_by(
        &self,
        cluster: &Cluster,
        run: &str,
    ) -> Result<Box<dyn Lock>, BackendError> {
        let holder = Holder {
            who: "ana".to_owned(),
            host: "laptop".to_owned(),
            run: run.to_owned(),
            since: 0,
        };
        cluster.acquire(&self.context, &holder).await
    }

    pub(crate) fn leases(&self) -> Api<Lease> {
        Api::namespaced(self.client.clone(), &self.stack)
    }

    pub(crate) fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.stack)
    }

    pub(crate) fn namespaces(&self) -> Api<Namespace> {
        Api::all(self.client.clone())
    }

    /// Does something in the middle of a call that waits for nothing.
    pub(crate) fn at_once<T, F>(&self, task: impl FnOnce(kube::Client) -> F + Send) -> T
    where
        T: Send,
        F: Future<Output = T>,
    {
        let kubeconfig = &self.kubeconfig;
        std::thread::scope(|scope| {
            let thread =
                scope.spawn(|| runtime().block_on(async { task(client(kubeconfig).await).await }));
            thread.join().expect("it did not fail")
        })
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let stack = self.stack.clone();
        self.at_once(async |client| {
            let namespaces: Api<Namespace> = Api::all(client);
            // A test may have left none.
            let _ = namespaces.delete(&stack, &DeleteParams::default()).await;
        });
    }
}

fn runtime() -> tokio::runtime::Runtime {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().expect("a runtime")
}

async fn connect(kubeconfig: &std::path::Path, lease: Option<Duration>) -> Cluster {
    let settings = Settings {
        kubeconfig: vec![kubeconfig.to_owned()],
        lease,
        ..Settings::default()
    };
    Cluster::connect(&settings)
        .await
        .expect("the cluster answers")
}

async fn client(kubeconfig: &std::path::Path) -> kube::Client {
    let read = kube::config::Kubeconfig::read_from(kubeconfig).expect("a kubeconfig");
    let options = kube::config::KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(read, &options).await;
    kube::Client::try_from(config.expect("a cluster")).expect("a client")
}
