//! What happens to a stack's containers, for people to read.

use std::collections::BTreeMap;

use tokio::sync::mpsc;

use super::Docker;
use super::stream::Event;
use super::stream::NANOS;
use crate::backend::EventQuery;
use crate::backend::Events;
use crate::backend::Pending;
use crate::state::happening::Happening;
use crate::state::names;

const BUFFERED: usize = 256;
/// What begins with this is a command inside: of a health check, each few seconds.
const COMMANDS: &str = "exec_";
/// Somebody looked or copied; nothing became of the container.
const LOOKS: [&str; 9] = [
    "archive-path",
    "attach",
    "commit",
    "copy",
    "detach",
    "export",
    "extract-to-dir",
    "resize",
    "top",
];

impl Events for Docker {
    fn events<'a>(&'a self, query: &'a EventQuery) -> Pending<'a, mpsc::Receiver<Happening>> {
        Box::pin(async move {
            let after = match query.since {
                Some(since) => i128::from(since) * NANOS - 1,
                None => self.engine_time().await?,
            };
            let stream = self.stream(&query.stack, after, query.until).await?;
            let (sender, receiver) = mpsc::channel(BUFFERED);
            tokio::spawn(stream.pass_on(sender, happening));
            Ok(receiver)
        })
    }
}

/// An event that is worth telling.
fn happening(event: Event) -> Option<Happening> {
    if event.action.starts_with(COMMANDS) || LOOKS.contains(&event.action.as_str()) {
        return None;
    }
    let mut attributes = event.actor.attributes;
    let label = |name: &str| attributes.get(name).cloned();
    let ours = attributes.contains_key(names::STACK);
    let (service, slot) = if ours {
        (label(names::SERVICE), label(names::SLOT))
    } else {
        (label(names::COMPOSE_SERVICE), label(names::COMPOSE_NUMBER))
    };
    let one_off = label(names::COMPOSE_ONEOFF).is_some_and(|it| it == "True");
    let slot = slot.filter(|_| !one_off);
    let told = [
        ("exitCode", "exit_code", true),
        ("signal", "signal", true),
        ("oldName", "old_name", true),
        // Of each event of a container, and new with the first one alone.
        ("image", "image", event.action == "create"),
    ];
    let details: BTreeMap<String, String> = told
        .into_iter()
        .filter(|(.., worth)| *worth)
        .filter_map(|(known, name, _)| Some((name.to_owned(), attributes.remove(known)?)))
        .collect();
    Some(Happening {
        at: u64::try_from(event.time_nano / 1_000_000).unwrap_or(0),
        service: service.unwrap_or_default(),
        replica: slot.and_then(|slot| slot.parse().ok()),
        object: attributes.remove("name").unwrap_or(event.actor.id),
        action: event.action,
        details,
        ..Happening::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::docker::stream::Actor;

    fn event(action: &str, attributes: &[(&str, &str)]) -> Event {
        let known = [("name", "shop-order-2-3f9a1c"), ("image", "order:1")];
        Event {
            action: action.to_owned(),
            actor: Actor {
                id: "1".to_owned(),
                attributes: known
                    .iter()
                    .chain(attributes)
                    .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                    .collect(),
            },
            time_nano: 1_767_323_045_123_999_999,
        }
    }

    const OURS: [(&str, &str); 4] = [
        (names::STACK, "shop"),
        (names::SERVICE, "order"),
        (names::SLOT, "2"),
        (names::COMPOSE_ONEOFF, "False"),
    ];

    #[test]
    fn an_event_tells_of_a_replica_and_what_matters() {
        let of = |action: &str, more: &[(&str, &str)]| {
            let attributes = [OURS.as_slice(), more].concat();
            happening(event(action, &attributes)).expect("it is told")
        };
        let want = |action: &str, details: &[(&str, &str)]| Happening {
            at: 1_767_323_045_123,
            service: "order".to_owned(),
            replica: Some(2),
            object: "shop-order-2-3f9a1c".to_owned(),
            action: action.to_owned(),
            details: details
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            ..Happening::default()
        };
        assert_eq!(of("create", &[]), want("create", &[("image", "order:1")]));
        assert_eq!(
            of("die", &[("exitCode", "137")]),
            want("die", &[("exit_code", "137")])
        );
        assert_eq!(
            of("kill", &[("signal", "15")]),
            want("kill", &[("signal", "15")])
        );
        let ill = "health_status: unhealthy";
        assert_eq!(of(ill, &[]), want(ill, &[]));
    }

    #[test]
    fn commands_inside_and_looks_are_not_told() {
        for action in [
            "exec_create: /check",
            "exec_start: /check",
            "exec_die",
            "attach",
            "resize",
            "top",
        ] {
            assert_eq!(happening(event(action, &OURS)), None, "{action}");
        }
    }

    #[test]
    fn what_is_no_replica_has_no_number() {
        let who = |attributes: &[(&str, &str)]| {
            let found = happening(event("start", attributes)).expect("it is told");
            (found.service, found.replica)
        };
        let run = [
            (names::STACK, "shop"),
            (names::SERVICE, "order"),
            (names::COMPOSE_NUMBER, "1"),
            (names::COMPOSE_ONEOFF, "True"),
        ];
        assert_eq!(who(&run), ("order".to_owned(), None));
        let compose = [
            (names::COMPOSE_SERVICE, "db"),
            (names::COMPOSE_NUMBER, "1"),
            (names::COMPOSE_ONEOFF, "False"),
        ];
        assert_eq!(who(&compose), ("db".to_owned(), Some(1)));
        let gateway = [(names::STACK, "shop"), (names::COMPOSE_SERVICE, "gateway")];
        assert_eq!(who(&gateway), (String::new(), None));
    }
}
