//! Answers for people: tables and lines, on a terminal and in Markdown.

use std::fmt::Write as _;

use comfy_table::CellAlignment;
use comfy_table::presets;

use super::documents::BuildDocument;
use super::documents::Capacities;
use super::documents::CapacityDocument;
use super::documents::DeploymentStatus;
use super::documents::DoctorDocument;
use super::documents::NodeCapacity;
use super::documents::PendingStep;
use super::documents::PlanDocument;
use super::documents::StatusDocument;
use crate::capacity::report::CapacityReport;

/// What one answer looks like.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct View {
    blocks: Vec<Block>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Block {
    /// A sentence.
    Text(String),
    /// Lines that keep their form.
    Lines(Vec<String>),
    /// A table.
    Table(Table),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Table {
    /// Headings; those that begin with `>` are aligned to the right.
    columns: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl View {
    pub(super) fn text(mut self, text: impl Into<String>) -> Self {
        self.blocks.push(Block::Text(text.into()));
        self
    }

    pub(super) fn lines(mut self, lines: &[String]) -> Self {
        if !lines.is_empty() {
            self.blocks.push(Block::Lines(lines.to_vec()));
        }
        self
    }

    pub(super) fn table(mut self, columns: &[&'static str], rows: Vec<Vec<String>>) -> Self {
        if !rows.is_empty() {
            self.blocks.push(Block::Table(Table {
                columns: columns.to_vec(),
                rows,
            }));
        }
        self
    }

    /// For a terminal or a pipe: columns by spaces, nothing drawn.
    pub fn human(&self) -> String {
        let blocks = self.blocks.iter().map(|block| match block {
            Block::Text(text) => format!("{text}\n"),
            Block::Lines(lines) => lines.iter().fold(String::new(), |mut all, line| {
                let _ = writeln!(all, "{line}");
                all
            }),
            Block::Table(table) => table.human(),
        });
        blocks.collect::<Vec<_>>().join("\n")
    }

    /// For a pull request or a wiki.
    pub fn markdown(&self) -> String {
        let blocks = self.blocks.iter().map(|block| match block {
            Block::Text(text) => format!("{text}\n"),
            Block::Lines(lines) => format!("```text\n{}\n```\n", lines.join("\n")),
            Block::Table(table) => table.markdown(),
        });
        blocks.collect::<Vec<_>>().join("\n")
    }
}

impl Table {
    fn human(&self) -> String {
        let mut table = comfy_table::Table::new();
        table
            .load_style(presets::NOTHING)
            .force_no_tty()
            .set_header(self.columns.iter().map(|name| name.trim_start_matches('>')))
            .add_rows(self.rows.iter());
        for (column, name) in table.column_iter_mut().zip(&self.columns) {
            column.set_padding((0, 2));
            if name.starts_with('>') {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        table.lines().fold(String::new(), |mut all, line| {
            let _ = writeln!(all, "{}", line.trim_end());
            all
        })
    }

    fn markdown(&self) -> String {
        let row = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        let heads = self.columns.iter();
        let mut text = row(heads
            .map(|name| name.trim_start_matches('>').to_owned())
            .collect());
        text += &row(self
            .columns
            .iter()
            .map(|name| if name.starts_with('>') { "---:" } else { "---" }.to_owned())
            .collect());
        for cells in &self.rows {
            text += &row(cells.iter().map(|cell| cell.replace('|', "\\|")).collect());
        }
        text
    }
}

/// `status`.
pub fn status(status: &StatusDocument) -> View {
    let rows = status
        .services
        .iter()
        .map(|service| {
            let performance = service.performance.as_ref();
            let number = |value: Option<f64>, unit: &str| {
                value.map_or_else(|| "-".to_owned(), |value| format!("{value:.1}{unit}"))
            };
            vec![
                service.name.clone(),
                format!("{}/{}", service.replicas.ready, service.replicas.desired),
                service.image.r#ref.clone(),
                if service.ports.is_empty() {
                    "-".to_owned()
                } else {
                    service.ports.join(" ")
                },
                format!(
                    "{:.2} {}",
                    service.ratio.dominant_ratio(),
                    service.ratio.dominant
                ),
                number(performance.map(|it| it.throughput_rps), "/s"),
                number(
                    performance
                        .and_then(|it| it.latency_ms.as_ref())
                        .map(|it| it.p95),
                    " ms",
                ),
                number(performance.and_then(|it| it.power), ""),
            ]
        })
        .collect();
    let instances = status.services.iter().flat_map(|service| {
        service.instances.iter().map(|instance| {
            vec![
                instance.name.clone(),
                instance.state.clone(),
                instance.restarts.to_string(),
                instance
                    .cpu
                    .map_or_else(|| "-".to_owned(), |cpu| format!("{cpu:.2}")),
                instance.memory.map_or_else(|| "-".to_owned(), bytes),
            ]
        })
    });
    let release = status
        .release
        .map_or_else(|| "none recorded".to_owned(), |number| number.to_string());
    let converged = if status.converged {
        "converged"
    } else {
        "not converged: shopctl plan says what is pending"
    };
    let mut view = View::default().text(format!(
        "{} on {}, release {release}, {converged}",
        status.stack, status.backend
    ));
    if let Some(deployment) = &status.deployment {
        view = view.text(self::deployment(deployment));
    }
    view = match status.drift.as_deref() {
        None => view,
        Some([]) => view.text("no drift: what runs is what was released"),
        Some(lines) => view
            .text(format!("drift, {}:", plural(lines.len(), "difference")))
            .lines(lines),
    };
    view.table(
        &[
            "SERVICE", "READY", "IMAGE", "PORTS", "R", ">T", ">N p95", ">P",
        ],
        rows,
    )
    .table(
        &["REPLICA", "STATE", ">RESTARTS", ">CPU", ">MEMORY"],
        instances.collect(),
    )
    .text(totals(&status.capacity))
    .lines(&status.notes)
}

/// What became of a release that is not the one that serves.
fn deployment(deployment: &DeploymentStatus) -> String {
    let DeploymentStatus { release, by, .. } = deployment;
    let end = match (deployment.outcome.as_str(), deployment.left) {
        ("running" | "interrupted", Some(left)) => format!(
            "is not finished: {left} of {} steps are left; shopctl deploy goes on{}",
            deployment.steps.max(left),
            deployment
                .next
                .as_ref()
                .map(interrupted)
                .unwrap_or_default()
        ),
        ("rolled_back", _) => format!("failed and was rolled back: {}", deployment.reason),
        _ => format!("failed: {}", deployment.reason),
    };
    format!("release {release} (by {by}) {end}")
}

/// Where a release was interrupted.
fn interrupted(step: &PendingStep) -> String {
    let PendingStep {
        service,
        what,
        cause,
    } = step;
    let whose = if service.is_empty() {
        String::new()
    } else {
        format!("{service}: ")
    };
    format!("\ninterrupted at: {whose}{what} ({cause})")
}

fn totals(capacity: &Capacities) -> String {
    format!(
        "cpu: M {:.2} / C {:.2} cores = R {:.2}; memory: M {} / C {} = R {:.2}",
        capacity.cpu.demand,
        capacity.cpu.capacity,
        capacity.cpu.ratio,
        bytes(capacity.memory.demand),
        bytes(capacity.memory.capacity),
        capacity.memory.ratio
    )
}

/// `plan`.
pub fn plan(plan: &PlanDocument) -> View {
    let view = View::default();
    let view = if plan.changes.is_empty() {
        view.text(format!("{}: nothing to do", plan.stack))
    } else {
        view.text(format!(
            "{}: {}",
            plan.stack,
            plural(plan.changes.len(), "change")
        ))
        .lines(&plan.changes)
    };
    let notes: Vec<String> = plan
        .notes
        .iter()
        .map(|note| {
            let label = if note.warning { "warning" } else { "note" };
            match note.service.as_str() {
                "" => format!("{label}: {}", note.message),
                service => format!("{label}: {service}: {}", note.message),
            }
        })
        .collect();
    view.lines(&notes).text(format!(
        "cpu: R {:.2}, at the height of the change {:.2}; memory: R {:.2}, at the height {:.2}",
        plan.capacity.cpu.ratio,
        plan.capacity.cpu.surge_ratio,
        plan.capacity.memory.ratio,
        plan.capacity.memory.surge_ratio
    ))
}

/// The figures of a capacity check by themselves, e.g. when it refuses.
pub fn capacity(report: &CapacityReport) -> View {
    self::capacities(&CapacityDocument::new("", report))
}

/// `capacity`.
pub fn capacities(document: &CapacityDocument) -> View {
    let (cpu, memory) = (&document.cpu, &document.memory);
    let cores = |value: f64| format!("{value:.2}");
    let resources = vec![
        vec![
            "cpu (cores)".to_owned(),
            cores(cpu.total),
            cores(cpu.reserve),
            cores(cpu.foreign),
            cores(cpu.capacity),
            cores(cpu.demand),
            cores(cpu.declared),
            cores(cpu.surge),
            cores(cpu.ratio),
        ],
        vec![
            "memory".to_owned(),
            bytes(memory.total),
            bytes(memory.reserve),
            bytes(memory.foreign),
            bytes(memory.capacity),
            bytes(memory.demand),
            bytes(memory.declared),
            bytes(memory.surge),
            cores(memory.ratio),
        ],
    ];
    let services = document
        .services
        .iter()
        .map(|service| {
            vec![
                service.name.clone(),
                service.replicas.to_string(),
                format!("{:.2} {}", service.cpu, service.cpu_source),
                format!("{} {}", bytes(service.memory), service.memory_source),
                cores(service.ratio.cpu),
                cores(service.ratio.memory),
                service.ratio.dominant.clone(),
            ]
        })
        .collect();
    let view = View::default()
        .table(
            &[
                "RESOURCE",
                ">TOTAL",
                ">RESERVE",
                ">FOREIGN",
                ">C",
                ">M",
                ">DECLARED",
                ">SURGE",
                ">R",
            ],
            resources,
        )
        .table(
            &[
                "SERVICE",
                ">REPLICAS",
                "CPU EACH",
                "MEMORY EACH",
                ">R CPU",
                ">R MEMORY",
                "DOMINANT",
            ],
            services,
        );
    let view = nodes(view, &document.nodes);
    if document.stack.is_empty() {
        return view;
    }
    let remedies: Vec<String> = document
        .remedies
        .iter()
        .map(|remedy| format!("remedy: {remedy}"))
        .collect();
    let verdict = match (&document.misfit, document.refused) {
        (Some(misfit), true) => {
            format!("the declared demand does not fit: {misfit}: deploy would refuse (exit 40)")
        }
        (None, true) => {
            "the declared demand does not fit: deploy would refuse (exit 40)".to_owned()
        }
        (_, false) => "deploy would not refuse".to_owned(),
    };
    view.text(verdict).lines(&remedies)
}

/// Nodes that a person is shown; a program has all.
const NODES: usize = 20;

/// The nodes of a cluster, the fullest first.
fn nodes(view: View, nodes: &[NodeCapacity]) -> View {
    if nodes.is_empty() {
        return view;
    }
    let row = |node: &NodeCapacity| {
        vec![
            node.name.clone(),
            node.pods.to_string(),
            format!("{:.2} of {:.2}", node.cpu_demand, node.cpu_capacity),
            format!(
                "{} of {}",
                bytes(node.memory_demand),
                bytes(node.memory_capacity)
            ),
            format!("{:.2}", node.ratio.cpu),
            format!("{:.2}", node.ratio.memory),
            node.ratio.dominant.clone(),
        ]
    };
    let view = view.table(
        &[
            "NODE",
            ">PODS",
            "CPU NOW",
            "MEMORY NOW",
            ">R CPU",
            ">R MEMORY",
            "DOMINANT",
        ],
        nodes.iter().take(NODES).map(row).collect(),
    );
    match nodes.len().saturating_sub(NODES) {
        0 => view,
        more => view.text(format!(
            "and {more} nodes with less on them (-o json has all)"
        )),
    }
}

/// `build`.
pub fn build(document: &BuildDocument) -> View {
    let rows: Vec<Vec<String>> = document
        .images
        .iter()
        .map(|image| {
            let state = match (image.built, image.pushed) {
                (true, false) => "built",
                (true, true) => "built, pushed",
                (false, false) => "unchanged",
                (false, true) => "unchanged, pushed",
            };
            vec![
                image.service.clone(),
                image.r#ref.clone(),
                image.id.clone(),
                state.to_owned(),
            ]
        })
        .collect();
    if rows.is_empty() {
        return View::default().text("no service of this stack is built");
    }
    View::default().table(&["SERVICE", "IMAGE", "ID", "STATE"], rows)
}

/// `doctor`.
pub fn doctor(document: &DoctorDocument) -> View {
    let rows = document
        .checks
        .iter()
        .map(|check| {
            vec![
                check.outcome.clone(),
                check.name.clone(),
                check.finding.clone(),
            ]
        })
        .collect();
    let mends: Vec<String> = document
        .checks
        .iter()
        .filter_map(|check| Some(format!("{}: {}", check.name, check.mend.as_ref()?)))
        .collect();
    View::default()
        .table(&["", "CHECK", "FINDING"], rows)
        .lines(&mends)
}

/// `config --variables`: name, whether it must be set, default, alternate value.
pub fn variables(rows: &[[String; 4]]) -> View {
    let rows = rows.iter().map(|row| row.to_vec()).collect();
    View::default().table(
        &["NAME", "REQUIRED", "DEFAULT VALUE", "ALTERNATE VALUE"],
        rows,
    )
}

/// Bytes as people write them, with one digit after the point where it says
/// something.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [(&str, u32); 4] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    for (unit, shift) in UNITS {
        if bytes >> shift > 0 {
            let tenths = (u128::from(bytes) * 10) >> shift;
            return match (tenths / 10, tenths % 10) {
                (whole, 0) => format!("{whole} {unit}"),
                (whole, tenth) => format!("{whole}.{tenth} {unit}"),
            };
        }
    }
    format!("{bytes} B")
}

/// `1 change`, `2 changes`.
pub fn plural(count: usize, thing: &str) -> String {
    match count {
        1 => format!("1 {thing}"),
        count => format!("{count} {thing}s"),
    }
}
