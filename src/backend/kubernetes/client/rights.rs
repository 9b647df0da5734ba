//! Whether we may do what deploying a stack takes: the server is asked, right by right.

use futures_util::stream;
use futures_util::stream::StreamExt as _;
use k8s_openapi::api::authorization::v1::ResourceAttributes;
use k8s_openapi::api::authorization::v1::SelfSubjectAccessReview;
use k8s_openapi::api::authorization::v1::SelfSubjectAccessReviewSpec;
use kube::Api;
use kube::api::PostParams;
use serde_json::Value;

use super::Cluster;
use super::observe::PARALLEL;
use crate::backend::BackendError;
use crate::backend::kubernetes::names::dns;
use crate::backend::kubernetes::rbac;

impl Cluster {
    /// What of the rights that are printed for a stack we do not have.
    pub(super) async fn missing_rights(&self, stack: &str) -> Result<Vec<String>, BackendError> {
        let roles = rbac(stack, &self.inner.server.apis());
        let questions: Vec<ResourceAttributes> = roles
            .iter()
            .flat_map(|role| questions(role, &dns(stack)))
            .collect();
        let asked = stream::iter(questions)
            .map(async |question| self.may(&question).await.map(|may| (question, may)))
            .buffered(PARALLEL);
        let answers: Vec<Result<(ResourceAttributes, bool), BackendError>> = asked.collect().await;
        let mut missing = Vec::new();
        for answer in answers {
            let (question, may) = answer?;
            if !may {
                missing.push(words(&question));
            }
        }
        Ok(missing)
    }

    async fn may(&self, question: &ResourceAttributes) -> Result<bool, BackendError> {
        let api: Api<SelfSubjectAccessReview> = Api::all(self.client());
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(question.clone()),
                ..SelfSubjectAccessReviewSpec::default()
            },
            ..SelfSubjectAccessReview::default()
        };
        let answer = api.create(&PostParams::default(), &review).await;
        let answer = answer.map_err(|error| self.failed("ask what we may do", error))?;
        Ok(answer.status.is_some_and(|status| status.allowed))
    }
}

/// One question for each verb and resource of a role.
fn questions(role: &Value, namespace: &str) -> Vec<ResourceAttributes> {
    let list = |value: &Value| -> Vec<String> {
        let all = value.as_array().into_iter().flatten();
        all.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let within = (role["kind"] == "Role").then(|| namespace.to_owned());
    let mut all = Vec::new();
    for rule in role["rules"].as_array().into_iter().flatten() {
        let name = list(&rule["resourceNames"]).into_iter().next();
        for group in list(&rule["apiGroups"]) {
            for resource in list(&rule["resources"]) {
                let (resource, part) = match resource.split_once('/') {
                    Some((resource, part)) => (resource.to_owned(), Some(part.to_owned())),
                    None => (resource, None),
                };
                all.extend(
                    list(&rule["verbs"])
                        .into_iter()
                        .map(|verb| ResourceAttributes {
                            group: Some(group.clone()),
                            resource: Some(resource.clone()),
                            subresource: part.clone(),
                            verb: Some(verb),
                            namespace: within.clone(),
                            name: name.clone(),
                            ..ResourceAttributes::default()
                        }),
                );
            }
        }
    }
    all
}

fn words(question: &ResourceAttributes) -> String {
    let text = |part: &Option<String>| part.clone().unwrap_or_default();
    let part = question.subresource.as_ref();
    let part = part.map_or_else(String::new, |part| format!("/{part}"));
    format!(
        "{} {}{part}",
        text(&question.verb),
        text(&question.resource)
    )
}
