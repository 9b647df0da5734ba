//! The history of a stack, as data and as a table.

use std::collections::BTreeMap;
use std::time::Duration;
use std::time::SystemTime;

use serde::Serialize;

use super::documents::VERSION;
use super::plain;
use super::tables::View;
use crate::state::history::Outcome;
use crate::state::history::Release;

/// `history -o json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct HistoryDocument {
    /// Version of this format.
    pub version: String,
    /// Name of the stack.
    pub stack: String,
    /// Number of the release that serves; null when none was ever stable.
    pub serving: Option<u64>,
    /// The releases that are kept, newest first.
    pub releases: Vec<ReleaseStatus>,
}

/// One release.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ReleaseStatus {
    /// Its number.
    pub number: u64,
    /// When it began, in milliseconds since the epoch.
    pub at: u64,
    /// Who began it, as `user@host`.
    pub by: String,
    /// The run that carried it out.
    pub run: String,
    /// `running`, `deployed`, `rolled_back`, `failed` or `interrupted`.
    pub outcome: String,
    /// Everything once was as it asks for.
    pub stable: bool,
    /// The release it goes back to, where it is a rollback that was asked for.
    pub back_to: Option<u64>,
    /// How long it took in milliseconds.
    pub took_ms: u64,
    /// Why it failed; empty where it did not.
    pub reason: String,
    /// Its services.
    pub services: Vec<ReleasedService>,
}

/// One service of a release.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ReleasedService {
    /// Its name.
    pub name: String,
    /// Replicas that the file asked for.
    pub replicas: u32,
    /// Reference of its image.
    pub image: String,
    /// Image id, where it was seen.
    pub image_id: Option<String>,
    /// The name by which its registry gives the image; null where it was not pulled.
    pub repo_digest: Option<String>,
}

/// The history as data.
pub fn document(stack: &str, releases: &BTreeMap<u64, Release>) -> HistoryDocument {
    let newest = || releases.values().rev();
    HistoryDocument {
        version: VERSION.to_owned(),
        stack: stack.to_owned(),
        serving: newest()
            .find(|one| one.is_stable())
            .map(|one| one.summary.number),
        releases: newest().map(one).collect(),
    }
}

fn one(release: &Release) -> ReleaseStatus {
    let summary = &release.summary;
    let services = release.desired.services.values().map(|service| {
        let image = summary.images.get(&service.name);
        ReleasedService {
            name: service.name.clone(),
            replicas: service.replicas,
            image: service.container.image.clone(),
            image_id: image.and_then(|image| image.id.clone()),
            repo_digest: image.and_then(|image| image.repo_digest.clone()),
        }
    });
    ReleaseStatus {
        number: summary.number,
        at: summary.at * 1000,
        by: summary.by.clone(),
        run: summary.run.clone(),
        outcome: summary.outcome.word().replace(' ', "_"),
        stable: summary.outcome == Outcome::Deployed,
        back_to: summary.back_to,
        took_ms: summary.took_ms,
        reason: summary.reason.clone(),
        services: services.collect(),
    }
}

/// The history as a table.
pub fn view(document: &HistoryDocument) -> View {
    if document.releases.is_empty() {
        return View::default().text(format!("{}: no release is recorded", document.stack));
    }
    let rows = document.releases.iter().map(|release| {
        let images: Vec<&str> = release
            .services
            .iter()
            .map(|service| service.image.as_str())
            .collect();
        let mut outcome = release.outcome.replace('_', " ");
        if let Some(to) = release.back_to {
            outcome = format!("{outcome} (back to {to})");
        }
        if Some(release.number) == document.serving {
            outcome.push_str(", serves");
        }
        vec![
            release.number.to_string(),
            time(release.at),
            release.by.clone(),
            outcome,
            plain::seconds(release.took_ms),
            images.join(" "),
        ]
    });
    let columns = [
        ">RELEASE",
        "WHEN (UTC)",
        "WHO",
        "OUTCOME",
        ">TOOK",
        "IMAGES",
    ];
    let reasons: Vec<String> = document
        .releases
        .iter()
        .filter(|release| !release.reason.is_empty())
        .map(|release| format!("{}: {}", release.number, release.reason))
        .collect();
    View::default()
        .table(&columns, rows.collect())
        .lines(&reasons)
}

/// Milliseconds since the epoch as `2026-11-23 04:49:02`.
fn time(at: u64) -> String {
    let when = SystemTime::UNIX_EPOCH + Duration::from_millis(at);
    let text = humantime::format_rfc3339_seconds(when).to_string();
    text.replace('T', " ").trim_end_matches('Z').to_owned()
}
