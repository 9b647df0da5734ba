//! Decode.
use super::{assemble::Environment, model::Stack, report::Report, source::Sources, yaml::Node};
pub(crate) fn stack(tree: &Node, _e: &Environment, _s: &Sources, _report: &mut Report) -> Stack {
    let _ = tree;
    Stack {
        name: String::new(),
        services: Default::default(),
        networks: Default::default(),
        volumes: Default::default(),
        secrets: Default::default(),
        configs: Default::default(),
        shop: Default::default(),
        inactive: Default::default(),
        profiles: Default::default(),
        working_dir: Default::default(),
        files: vec![],
        env_files: vec![],
    }
}
