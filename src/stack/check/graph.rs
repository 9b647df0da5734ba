//! `depends_on`: what does not exist, and what goes round in a circle.

use super::One;
use super::Whole;
use super::section;
use crate::stack::report::At;
use crate::stack::report::Report;
use crate::stack::report::did_you_mean;
use crate::stack::select::profiles_of;
use crate::stack::yaml::Node;
use crate::stack::yaml::Value;

pub(super) fn check(stack: &Whole<'_>, report: &mut Report) {
    let root = At::ROOT.key("services");
    for (name, entry) in section(stack.tree, "services") {
        let service = One {
            name,
            entry,
            node: &entry.node,
        };
        missing(stack, service, &root.key(name), report);
    }
    cycles(stack, report);
}

fn missing(stack: &Whole<'_>, service: One<'_>, at: &At<'_>, report: &mut Report) {
    let at = at.key("depends_on");
    let active = stack.tree.get("services").and_then(Node::as_map);
    for (wanted, entry) in service.map("depends_on") {
        if active.is_some_and(|map| map.contains_key(wanted)) {
            continue;
        }
        let required = entry
            .node
            .get("required")
            .is_none_or(|node| node.value != Value::Bool(false));
        if let Some(inactive) = stack.inactive.get(wanted) {
            if required {
                let profiles = profiles_of(&inactive.node);
                let profile = profiles.first().map_or("…", String::as_str);
                report
                    .error(
                        "inactive-service",
                        entry.key,
                        &at,
                        format!(
                            "services.{} depends on `{wanted}`, whose profile `{profile}` is not active",
                            service.name
                        ),
                    )
                    .related(inactive.key, "this service")
                    .hint(format!("add --profile {profile}, or write `required: false`"));
            }
            continue;
        }
        let names = active.into_iter().flatten().map(|(name, _)| name.as_str());
        let meant = did_you_mean(wanted, names);
        let finding = report.error(
            "unknown-service",
            entry.key,
            &at,
            format!(
                "services.{} depends on `{wanted}`, and there is no such service",
                service.name
            ),
        );
        finding.hint(match meant {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("add the service `{wanted}`, or remove the dependency"),
        });
    }
}

/// Names each circle once, beginning with its first service by name.
fn cycles(stack: &Whole<'_>, report: &mut Report) {
    let mut done: Vec<&str> = Vec::new();
    for (name, _) in section(stack.tree, "services") {
        let mut path = Vec::new();
        visit(stack, name, &mut path, &mut done, report);
    }
}

fn visit<'t>(
    stack: &Whole<'t>,
    name: &'t str,
    path: &mut Vec<&'t str>,
    done: &mut Vec<&'t str>,
    report: &mut Report,
) {
    if done.contains(&name) {
        return;
    }
    path.push(name);
    let service = stack
        .tree
        .get("services")
        .and_then(|services| services.get(name));
    let dependencies = service
        .and_then(|service| service.get("depends_on"))
        .and_then(Node::as_map);
    for (next, entry) in dependencies.into_iter().flatten() {
        match path.iter().position(|known| known == next) {
            Some(begin) => {
                let mut names = path[begin..].to_vec();
                names.push(next);
                let root = At::ROOT.key("services");
                let at = root.key(name);
                report
                    .error(
                        "dependency-cycle",
                        entry.key,
                        &at.key("depends_on"),
                        format!("the services wait for each other: {}", names.join(" -> ")),
                    )
                    .hint(format!("remove `{next}` from the depends_on of {name}"));
            }
            None => visit(stack, next, path, done, report),
        }
    }
    path.pop();
    done.push(name);
}
