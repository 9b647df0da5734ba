//! Nodes, and what pods ask of them.

pub(super) fn nodes(
    _nodes: &[k8s_openapi::api::core::v1::Node],
    _pods: &[k8s_openapi::api::core::v1::Pod],
    _ns: &str,
) -> Vec<crate::state::cluster::Node> {
    Vec::new()
}
