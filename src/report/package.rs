//! Objects of a cluster as files: one each, as they are, or with a list of them for
//! Kustomize. A chart for Helm is made in [`super::helm`].

use serde_json::Value;
use serde_json::json;

use super::output;

/// A file, its path relative to the folder that all go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Parts are separated by slashes.
    pub path: String,
    /// What is in it.
    pub text: String,
}

/// A file per object; their names are in the order in which they are applied.
pub fn plain(objects: &[Value]) -> Vec<File> {
    let files = (1..).zip(objects).map(|(number, object)| File {
        path: name(number, object),
        text: output::yaml(object),
    });
    files.collect()
}

/// The same, and the list that makes a base of them.
pub fn kustomize(objects: &[Value]) -> Vec<File> {
    let mut files = plain(objects);
    let resources: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
    let list = json!({
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": resources,
    });
    files.insert(
        0,
        File {
            path: "kustomization.yaml".to_owned(),
            text: output::yaml(&list),
        },
    );
    files
}

/// `007-deployment-order.yaml`.
pub(super) fn name(number: usize, object: &Value) -> String {
    let kind = object["kind"].as_str().unwrap_or_default().to_lowercase();
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    format!("{number:03}-{kind}-{name}.yaml")
}
