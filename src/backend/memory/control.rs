//! The fake gateway: the control protocol as JSON lines over a session.

use shop_gateway::protocol::Answer;
use shop_gateway::protocol::Applied;
use shop_gateway::protocol::Cancelled;
use shop_gateway::protocol::Drained;
use shop_gateway::protocol::Fault;
use shop_gateway::protocol::FaultKind;
use shop_gateway::protocol::Hello;
use shop_gateway::protocol::Listen;
use shop_gateway::protocol::Op;
use shop_gateway::protocol::Outcome;
use shop_gateway::protocol::PROTOCOL;
use shop_gateway::protocol::Probed;
use shop_gateway::protocol::Request;
use shop_gateway::protocol::Stats;
use shop_gateway::protocol::Upgraded;
use tokio::io::AsyncBufReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::io::BufReader;
use tokio::io::DuplexStream;

use super::Memory;
use super::World;

/// Answers requests until the other end closes.
pub(super) async fn serve(
    memory: Memory,
    container: String,
    input: DuplexStream,
    mut output: DuplexStream,
) {
    let mut lines = BufReader::new(input).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let hangs_up = memory.world().faults.hangs_up();
        if hangs_up || memory.world().is_there().is_err() {
            return;
        }
        let answer = match serde_json::from_str::<Request>(&line) {
            Ok(request) => Answer {
                id: request.id,
                outcome: outcome(&mut memory.world(), &container, request.op),
            },
            Err(error) => Answer {
                id: 0,
                outcome: Outcome::Error(Fault::invalid(error.to_string())),
            },
        };
        let mut bytes = serde_json::to_vec(&answer).unwrap_or_default();
        bytes.push(b'\n');
        if output.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

fn outcome(world: &mut World, container: &str, op: Op) -> Outcome {
    let result = match op {
        Op::Hello => value(hello(world, container)),
        Op::Apply { config } => apply(world, container, config),
        Op::Drain { .. } => value(Drained { in_flight: 0 }),
        Op::Probe { target, .. } => probe(world, &target),
        Op::Cancel { .. } => value(Cancelled { cancelled: false }),
        Op::Upgrade { program, .. } => upgrade(world, container, program),
        Op::Stats => value(Stats {
            name: container.to_owned(),
            at_ms: 0,
            generation: 0,
            lock: 0,
            program: None,
            refused: None,
            services: std::collections::BTreeMap::new(),
        }),
    };
    match result {
        Ok(value) => Outcome::Ok(value),
        Err(fault) => Outcome::Error(fault),
    }
}

fn value<T: serde::Serialize>(answer: T) -> Result<serde_json::Value, Fault> {
    serde_json::to_value(answer).map_err(|error| Fault::internal(error.to_string()))
}

fn stack_of(world: &World, container: &str) -> String {
    world
        .containers
        .get(container)
        .map(|one| one.stack.clone())
        .unwrap_or_default()
}

fn hello(world: &World, container: &str) -> Hello {
    let config = world.routes.get(&stack_of(world, container));
    let listens = world
        .containers
        .get(container)
        .map(|one| one.instance.listens.clone())
        .unwrap_or_default();
    Hello {
        name: container.to_owned(),
        version: "memory".to_owned(),
        protocol: PROTOCOL,
        lock: config.map_or(0, |config| config.lock),
        generation: config.map_or(0, |config| config.generation),
        listens: listens
            .into_iter()
            .map(|(id, port)| Listen { id, port })
            .collect(),
        program: world
            .containers
            .get(container)
            .and_then(|one| one.instance.program.clone()),
    }
}

/// Only what was put into the store can be run.
fn upgrade(
    world: &mut World,
    container: &str,
    program: String,
) -> Result<serde_json::Value, Fault> {
    if world.noexec {
        if let Some(one) = world.containers.get_mut(container) {
            one.instance.refused = Some(program);
        }
        return Err(Fault::internal("Permission denied"));
    }
    let stack = stack_of(world, container);
    if !world.programs.contains(&(stack, program.clone())) {
        return Err(Fault::internal(format!("no program {program}")));
    }
    if let Some(one) = world.containers.get_mut(container) {
        one.instance.program = Some(program);
    }
    value(Upgraded { cut: 0 })
}

fn apply(
    world: &mut World,
    container: &str,
    config: shop_gateway::protocol::Config,
) -> Result<serde_json::Value, Fault> {
    let injected = |error: crate::backend::BackendError| Fault::internal(error.to_string());
    let fault = world.faults.wrap().map_err(injected)?;
    let stack = stack_of(world, container);
    if let Some(current) = world.routes.get(&stack) {
        let (old, new) = (
            (current.lock, current.generation),
            (config.lock, config.generation),
        );
        if new < old || (new == old && *current != config) {
            return Err(Fault::new(
                FaultKind::Stale,
                format!("{new:?} is not newer than {old:?}"),
            ));
        }
    }
    let generation = config.generation;
    world.routes.insert(stack, config);
    if fault.is_some() {
        return Err(Fault::internal("the reply was lost"));
    }
    value(Applied {
        generation,
        draining: Vec::new(),
    })
}

fn probe(world: &World, target: &str) -> Result<serde_json::Value, Fault> {
    let ready = world
        .containers
        .values()
        .any(|one| one.instance.alias == target && one.runs() && one.ready);
    if ready {
        value(Probed {
            attempts: 1,
            elapsed_ms: 0,
        })
    } else {
        Err(Fault::new(FaultKind::Timeout, "connection refused"))
    }
}
