//! `deploy`, with the older keys folded in.

use super::Decoder;
use super::cpus;
use super::int;
use super::list;
use super::number;
use super::pairs;
use super::text;
use super::texts;
use crate::stack::model::Deploy;
use crate::stack::model::DeployMode;
use crate::stack::model::DeviceRequest;
use crate::stack::model::FailureAction;
use crate::stack::model::Limits;
use crate::stack::model::Placement;
use crate::stack::model::Reservations;
use crate::stack::model::Resources;
use crate::stack::model::RestartCondition;
use crate::stack::model::RestartPolicy;
use crate::stack::model::UpdateConfig;
use crate::stack::model::UpdateOrder;
use crate::stack::report::At;
use crate::stack::source::Span;
use crate::stack::units::Ratio;
use crate::stack::yaml::Node;
use crate::stack::yaml::Value;

impl Decoder<'_> {
    pub(super) fn deploy(&mut self, service: &Node, at: &At<'_>) -> Deploy {
        let empty = Node::new(Value::Null, Span::default());
        let node = service.get("deploy").unwrap_or(&empty);
        let at = at.key("deploy");
        let replicas_at = service
            .get("scale")
            .or_else(|| node.get("replicas"))
            .map_or(node.span, |count| count.span);
        Deploy {
            mode: self.mode(node, &at),
            replicas: number(service, "scale").or_else(|| number(node, "replicas")),
            resources: self.resources(service, node, &at),
            update_config: node
                .get("update_config")
                .map(|update| self.update(update, &at.key("update_config"))),
            rollback_config: node
                .get("rollback_config")
                .map(|update| self.update(update, &at.key("rollback_config"))),
            restart_policy: node
                .get("restart_policy")
                .map(|policy| self.restart_policy(policy, &at.key("restart_policy"))),
            placement: placement(node.get("placement")),
            endpoint_mode: text(node, "endpoint_mode"),
            labels: pairs(node, "labels"),
            place: self.place(replicas_at),
        }
    }

    fn mode(&mut self, node: &Node, at: &At<'_>) -> DeployMode {
        let Some(mode) = node.get("mode") else {
            return DeployMode::Replicated;
        };
        match mode.as_text() {
            Some("global") => DeployMode::Global,
            Some("replicated-job") => DeployMode::ReplicatedJob,
            Some("global-job") => DeployMode::GlobalJob,
            Some("replicated") | None => DeployMode::Replicated,
            Some(_) => {
                self.unfit(
                    mode,
                    &at.key("mode"),
                    "a mode",
                    "write replicated, global, replicated-job or global-job",
                );
                DeployMode::Replicated
            }
        }
    }

    fn resources(&mut self, service: &Node, deploy: &Node, at: &At<'_>) -> Resources {
        let empty = Node::new(Value::Null, Span::default());
        let node = deploy.get("resources").unwrap_or(&empty);
        let limits = node.get("limits").unwrap_or(&empty);
        let reserved = node.get("reservations").unwrap_or(&empty);
        let at = at.key("resources");
        let (limits_at, reserved_at) = (at.key("limits"), at.key("reservations"));
        let positive = |bytes: Option<u64>| bytes.filter(|bytes| *bytes > 0);
        let old = ["mem_limit", "mem_reservation", "cpus", "pids_limit"]
            .iter()
            .find_map(|key| service.get(key));
        let mut devices: Vec<DeviceRequest> =
            list(service, "gpus").iter().map(device_request).collect();
        for request in &mut devices {
            if !request.capabilities.iter().any(|known| known == "gpu") {
                request.capabilities.push("gpu".to_owned());
            }
        }
        devices.extend(list(reserved, "devices").iter().map(device_request));
        Resources {
            limits: Limits {
                cpus: cpus(limits, "cpus").or_else(|| cpus(service, "cpus")),
                memory: positive(
                    self.bytes(limits, "memory", &limits_at)
                        .or_else(|| self.bytes(service, "mem_limit", &limits_at)),
                ),
                pids: int(limits, "pids")
                    .or_else(|| int(service, "pids_limit"))
                    .filter(|pids| *pids != 0),
            },
            reservations: Reservations {
                cpus: cpus(reserved, "cpus"),
                memory: positive(
                    self.bytes(reserved, "memory", &reserved_at)
                        .or_else(|| self.bytes(service, "mem_reservation", &reserved_at)),
                ),
                devices,
                generic: list(reserved, "generic_resources")
                    .iter()
                    .filter_map(|resource| {
                        let spec = resource.get("discrete_resource_spec")?;
                        Some((text(spec, "kind")?, int(spec, "value")?))
                    })
                    .collect(),
            },
            place: self.place(
                deploy
                    .get("resources")
                    .or(old)
                    .map_or(Span::default(), |node| node.span),
            ),
        }
    }

    fn update(&mut self, node: &Node, at: &At<'_>) -> UpdateConfig {
        let action = node.get("failure_action");
        let failure_action = action.and_then(|action| match action.as_text()? {
            "continue" => Some(FailureAction::Continue),
            "pause" => Some(FailureAction::Pause),
            "rollback" => Some(FailureAction::Rollback),
            _ => {
                self.unfit(
                    action,
                    &at.key("failure_action"),
                    "a failure action",
                    "write continue, pause or rollback",
                );
                None
            }
        });
        UpdateConfig {
            parallelism: number(node, "parallelism"),
            delay: self.duration(node, "delay", at),
            failure_action,
            monitor: self.duration(node, "monitor", at),
            max_failure_ratio: self.failure_ratio(node, at),
            order: match node.text_of("order") {
                Some("start-first") => Some(UpdateOrder::StartFirst),
                Some("stop-first") => Some(UpdateOrder::StopFirst),
                _ => None,
            },
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a share between 0 and 1 in millionths"
    )]
    fn failure_ratio(&mut self, node: &Node, at: &At<'_>) -> Option<Ratio> {
        let value = node.get("max_failure_ratio")?;
        let ratio = match value.value {
            Value::Int(number) => number as f64,
            Value::Float(number) => number,
            _ => return None,
        };
        if (0.0..=1.0).contains(&ratio) {
            return Some(Ratio((ratio * 1e6).round() as u32));
        }
        self.unfit(
            value,
            &at.key("max_failure_ratio"),
            "a share from 0 to 1",
            "write 0.1 for every tenth replica",
        );
        None
    }

    fn restart_policy(&mut self, node: &Node, at: &At<'_>) -> RestartPolicy {
        let condition = match node.get("condition").and_then(Node::as_text) {
            Some("none") => RestartCondition::None,
            Some("on-failure") => RestartCondition::OnFailure,
            Some("any" | "") | None => RestartCondition::Any,
            Some(_) => {
                if let Some(condition) = node.get("condition") {
                    self.unfit(
                        condition,
                        &at.key("condition"),
                        "a condition",
                        "write none, on-failure or any",
                    );
                }
                RestartCondition::Any
            }
        };
        RestartPolicy {
            condition,
            delay: self.duration(node, "delay", at),
            max_attempts: number(node, "max_attempts"),
            window: self.duration(node, "window", at),
        }
    }
}

fn placement(node: Option<&Node>) -> Placement {
    let Some(node) = node else {
        return Placement::default();
    };
    Placement {
        constraints: texts(node, "constraints"),
        spread: list(node, "preferences")
            .iter()
            .filter_map(|preference| text(preference, "spread"))
            .collect(),
        max_replicas_per_node: number(node, "max_replicas_per_node").filter(|count| *count > 0),
    }
}

fn device_request(node: &Node) -> DeviceRequest {
    DeviceRequest {
        capabilities: texts(node, "capabilities"),
        driver: text(node, "driver"),
        count: int(node, "count"),
        device_ids: texts(node, "device_ids"),
        options: pairs(node, "options"),
    }
}
