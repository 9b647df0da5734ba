//! The records of a stack: secrets in its namespace, since a release may hold values of
//! variables that are secret.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::io::Write as _;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::ListParams;
use kube::api::ObjectMeta;
use kube::api::Patch;
use kube::api::PatchParams;
use kube::api::PostParams;

use super::Cluster;
use super::MANAGER;
use super::connect::is_missing;
use super::retry::apply;
use super::retry::patiently;
use crate::backend::BackendError;
use crate::backend::Context;
use crate::backend::Edit;
use crate::backend::KEPT_RELEASES;
use crate::backend::Pending;
use crate::backend::Store;
use crate::backend::kubernetes::names;
use crate::state::observed::StoreSnapshot;
use crate::state::records;

/// Name of the records, and what their objects keep.
const RECORDS: &str = "shopctl-records";
const RELEASE: &str = "release";
/// Number of a release.
const NUMBER: &str = "shopctl.dev/release";
/// Key of its document, compressed: an object may have a mebibyte.
const DOCUMENT: &str = "release.json.gz";

/// So often a write is tried while something else at the object changes.
const TRIES: u32 = 10;
/// What an object holds at most.
const LARGEST: usize = 1 << 20;

type Records = BTreeMap<String, Vec<u8>>;

impl Store for Cluster {
    fn read<'a>(&'a self, stack: &'a str) -> Pending<'a, Option<Records>> {
        Box::pin(async move {
            let namespace = self.enter(stack);
            self.records(&namespace).await
        })
    }

    fn edit<'a>(&'a self, stack: &'a str, edit: Edit<'a>) -> Pending<'a, ()> {
        Box::pin(async move {
            let namespace = self.enter(stack);
            let found = self.records_object(&namespace).await?;
            let mut records = found.as_ref().map(records_in).unwrap_or_default();
            if let Some((number, document)) = edit(&mut records)? {
                self.write_release(&namespace, number, &document).await?;
            }
            self.write_records(&namespace, found, records).await
        })
    }

    fn seeded<'a>(
        &'a self,
        _context: &'a Context,
        _volume: &'a str,
    ) -> Pending<'a, BTreeMap<String, Vec<u8>>> {
        // Sets of files are objects there, and no volumes.
        Box::pin(async { Ok(BTreeMap::new()) })
    }

    fn releases<'a>(&'a self, stack: &'a str) -> Pending<'a, BTreeMap<u64, Vec<u8>>> {
        Box::pin(async move {
            let namespace = self.enter(stack);
            let only = ListParams::default().labels(&format!("{}={RELEASE}", names::KEEPS));
            let api = self.secrets(&namespace);
            let found = patiently(|| api.list(&only)).await;
            let found = found.map_err(|error| self.failed("list the releases", error))?;
            Ok(found.items.iter().filter_map(document).collect())
        })
    }
}

impl Cluster {
    fn secrets(&self, namespace: &str) -> Api<Secret> {
        Api::namespaced(self.client(), namespace)
    }

    /// What the store of a namespace says; `None` where there is none.
    pub(super) async fn snapshot(
        &self,
        namespace: &str,
    ) -> Result<Option<StoreSnapshot>, BackendError> {
        let records = self.records(namespace).await?;
        Ok(records.map(|records| records::snapshot(&records, None, &[])))
    }

    async fn records(&self, namespace: &str) -> Result<Option<Records>, BackendError> {
        let found = self.records_object(namespace).await?;
        Ok(found.as_ref().map(records_in))
    }

    async fn records_object(&self, namespace: &str) -> Result<Option<Secret>, BackendError> {
        let api = self.secrets(namespace);
        let found = patiently(|| api.get_opt(RECORDS)).await;
        found.map_err(|error| self.failed("read the records", error))
    }

    /// Writes the records over those that were found. Where others are there by now, who
    /// wrote them has the lock that was ours.
    async fn write_records(
        &self,
        namespace: &str,
        mut found: Option<Secret>,
        records: Records,
    ) -> Result<(), BackendError> {
        let before = found.as_ref().map(records_in);
        let mut secret = kept(namespace, RECORDS, "records", bytes(&records));
        fits("the records", &secret)?;
        let api = self.secrets(namespace);
        let params = PostParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PostParams::default()
        };
        let mut tries = 0;
        loop {
            tries += 1;
            let version = found.and_then(|it| it.metadata.resource_version);
            secret.metadata.resource_version = version;
            let written = match &secret.metadata.resource_version {
                Some(_) => patiently(|| api.replace(RECORDS, &params, &secret)).await,
                None => patiently(|| api.create(&params, &secret)).await,
            };
            match written {
                Ok(_) => return Ok(()),
                Err(kube::Error::Api(status)) if status.code == 409 && tries < TRIES => {}
                // A record without its namespace.
                Err(error) if is_missing(&error) => {
                    return Err(BackendError::NotFound {
                        what: format!("the store of stack {namespace}"),
                    });
                }
                Err(error) => return Err(self.failed("write the records", error)),
            }
            found = self.records_object(namespace).await?;
            let now = found.as_ref().map(records_in);
            // Ours, whose answer was lost.
            if now.as_ref() == Some(&records) {
                return Ok(());
            }
            // What else is at an object may change at any time: its labels, its owners.
            if now != before {
                return Err(BackendError::LockLost);
            }
        }
    }

    /// A release takes the place of the one that is oldest when there are enough.
    async fn write_release(
        &self,
        namespace: &str,
        number: u64,
        document: &[u8],
    ) -> Result<(), BackendError> {
        let name = format!("shopctl-release-{}", number % KEPT_RELEASES);
        let data = [(DOCUMENT.to_owned(), ByteString(packed(document)?))];
        let mut secret = kept(namespace, &name, RELEASE, data.into());
        let labels = secret.metadata.labels.get_or_insert_default();
        labels.insert(NUMBER.to_owned(), number.to_string());
        fits(&format!("release {number}"), &secret)?;
        let api = self.secrets(namespace);
        let params = PatchParams::apply(MANAGER).force();
        let patch = Patch::Apply(&secret);
        match apply(&api, &name, &params, &patch).await {
            Ok(_) => Ok(()),
            Err(error) if is_missing(&error) => Err(BackendError::NotFound {
                what: format!("the store of stack {namespace}"),
            }),
            Err(error) => Err(self.failed(format!("write release {number}"), error)),
        }
    }
}

fn records_in(secret: &Secret) -> Records {
    let data = secret.data.iter().flatten();
    data.map(|(name, bytes)| (name.clone(), bytes.0.clone()))
        .collect()
}

fn bytes(records: &Records) -> BTreeMap<String, ByteString> {
    let bytes = |bytes: &Vec<u8>| ByteString(bytes.clone());
    let records = records.iter();
    records
        .map(|(name, record)| (name.clone(), bytes(record)))
        .collect()
}

/// Servers say so too, of the whole request and in other words.
fn fits(what: &str, secret: &Secret) -> Result<(), BackendError> {
    let size: usize = secret.data.iter().flatten().map(|(_, it)| it.0.len()).sum();
    if size <= LARGEST {
        return Ok(());
    }
    let source = format!("{size} bytes are more than an object of a cluster holds, {LARGEST}");
    Err(BackendError::Other {
        doing: format!("write {what}"),
        source: source.into(),
    })
}

/// An object that keeps something of a stack and is no part of it.
fn kept(namespace: &str, name: &str, what: &str, data: BTreeMap<String, ByteString>) -> Secret {
    let labels = [
        (names::PART_OF, namespace),
        (names::MANAGED_BY, "shopctl"),
        (names::KEEPS, what),
    ];
    let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned()));
    Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(namespace.to_owned()),
            labels: Some(labels.into()),
            ..ObjectMeta::default()
        },
        data: Some(data),
        type_: Some(format!("shopctl.dev/{what}")),
        ..Secret::default()
    }
}

/// Number and document of a release. One that cannot be read counts as absent.
fn document(secret: &Secret) -> Option<(u64, Vec<u8>)> {
    let number = secret.metadata.labels.as_ref()?.get(NUMBER)?.parse().ok()?;
    let packed = secret.data.as_ref()?.get(DOCUMENT)?;
    let mut bytes = Vec::new();
    GzDecoder::new(packed.0.as_slice())
        .read_to_end(&mut bytes)
        .ok()?;
    Some((number, bytes))
}

fn packed(document: &[u8]) -> Result<Vec<u8>, BackendError> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder
        .write_all(document)
        .and_then(|()| encoder.finish())
        .map_err(|error| BackendError::Other {
            doing: "compress the release".to_owned(),
            source: error.into(),
        })
}
