//! A stack of a test's own on the cluster.

use std::process::Command;
use std::process::Output;
use std::process::Stdio;

use serde_json::Value;
use tempfile::TempDir;

use crate::kubeconfig;

/// A stack in a namespace of its own, which goes with it.
pub(crate) struct Stack {
    pub(crate) name: String,
    pub(crate) dir: TempDir,
}

/// What a command said.
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    /// Fails the test unless the command ended so.
    #[track_caller]
    pub(crate) fn ends(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}\n{}", self.out, self.err);
        self
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }
}

impl Stack {
    /// A stack of this test and process; `services` is the file below `services:`.
    pub(crate) fn new(test: &str, services: &str) -> Self {
        let stack = Self {
            name: format!("t-{test}-{}", std::process::id()),
            dir: tempfile::tempdir().unwrap(),
        };
        stack.write(services);
        stack
    }

    /// Another file.
    pub(crate) fn write(&self, services: &str) {
        let text = format!("name: {}\nservices:\n{services}", self.name);
        std::fs::write(self.dir.path().join("stack.yaml"), text).unwrap();
    }

    /// A command that has yet to start.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shopctl"));
        command
            // What follows a `--` is a command's own.
            .args(["--backend", "kubernetes", "--progress", "plain"])
            .args(args)
            .current_dir(self.dir.path())
            .env("KUBECONFIG", kubeconfig())
            .env_remove("SHOPCTL_REGISTRY")
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Said {
        said(self.command(args).output().unwrap())
    }

    /// The same as a user without rights, who is impersonated.
    pub(crate) fn run_as_viewer(&self, args: &[&str]) -> Said {
        let text = std::fs::read_to_string(kubeconfig()).unwrap();
        let mut config: Value = serde_yaml::from_str(&text).unwrap();
        for one in config["users"].as_array_mut().unwrap() {
            one["user"]["as"] = "viewer".into();
        }
        let path = self.dir.path().join("kubeconfig");
        std::fs::write(&path, config.to_string()).unwrap();
        let mut command = self.command(args);
        said(command.env("KUBECONFIG", path).output().unwrap())
    }

    /// `kubectl` without kubectl: one call to the server.
    pub(crate) fn api(&self) -> Server {
        Server::new(&self.name)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        self.api().remove();
    }
}

pub(crate) fn said(output: Output) -> Said {
    Said {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A connection as the tests have it.
pub(crate) async fn client() -> kube::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = kube::config::Kubeconfig::read_from(kubeconfig()).unwrap();
    let options = kube::config::KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(config, &options).await;
    kube::Client::try_from(config.unwrap()).unwrap()
}

/// The server, asked by hand.
pub(crate) struct Server {
    runtime: tokio::runtime::Runtime,
    client: kube::Client,
    namespace: String,
}

impl Server {
    fn new(namespace: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let client = runtime.block_on(client());
        Self {
            runtime,
            client,
            namespace: namespace.to_owned(),
        }
    }

    fn call(&self, method: &str, path: &str, kind: &str, body: Vec<u8>) -> Result<Value, String> {
        let request = http::Request::builder()
            .method(method)
            .uri(path.replace("NS", &self.namespace))
            .header("content-type", kind)
            .body(body)
            .unwrap();
        self.runtime
            .block_on(self.client.request::<Value>(request))
            .map_err(|error| error.to_string())
    }

    /// An object or a list; `NS` stands for the namespace.
    pub(crate) fn get(&self, path: &str) -> Value {
        self.call("GET", path, "application/json", Vec::new())
            .unwrap()
    }

    /// Whether there is such a thing.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.call("GET", path, "application/json", Vec::new())
            .is_ok()
    }

    pub(crate) fn create(&self, path: &str, object: &Value) {
        let body = serde_json::to_vec(object).unwrap();
        self.call("POST", path, "application/json", body).unwrap();
    }

    /// A change by somebody else.
    pub(crate) fn patch(&self, path: &str, change: &Value) {
        let body = serde_json::to_vec(change).unwrap();
        let kind = "application/strategic-merge-patch+json";
        self.call("PATCH", path, kind, body).unwrap();
    }

    pub(crate) fn delete(&self, path: &str) {
        let kind = "application/json";
        self.call("DELETE", path, kind, Vec::new()).unwrap();
    }

    fn remove(&self) {
        let kind = "application/json";
        let _ = self.call("DELETE", "/api/v1/namespaces/NS", kind, Vec::new());
    }

    /// Names of the objects in a list, but for those that are on their way out.
    pub(crate) fn names(&self, path: &str) -> Vec<String> {
        let list = self.get(path);
        let items = list["items"].as_array().unwrap();
        let stays = |one: &&Value| one["metadata"]["deletionTimestamp"].is_null();
        let names = items
            .iter()
            .filter(stays)
            .map(|one| one["metadata"]["name"].as_str().unwrap());
        names.map(str::to_owned).collect()
    }
}

pub(crate) const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/NS/deployments/order";
pub(crate) const PODS: &str = "/api/v1/namespaces/NS/pods";

/// A service that a cluster has ready in a moment.
pub(crate) fn order(image: &str, more: &str) -> String {
    format!(
        "  order:
    image: {image}
    deploy: {{ replicas: 2, update_config: {{ monitor: 0s, order: start-first }} }}
{more}"
    )
}
