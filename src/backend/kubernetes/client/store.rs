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

use super::Cluster;
use super::MANAGER;
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
            let mut records = self.records(&namespace).await?.unwrap_or_default();
            if let Some((number, document)) = edit(&mut records)? {
                self.write_release(&namespace, number, &document).await?;
            }
            let data = records.into_iter();
            let data = data.map(|(name, bytes)| (name, ByteString(bytes)));
            let secret = kept(&namespace, RECORDS, "records", data.collect());
            self.write(&namespace, &secret).await
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
            let found = self.secrets(&namespace).list(&only).await;
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
        let found = self.secrets(namespace).get_opt(RECORDS).await;
        let found = found.map_err(|error| self.failed("read the records", error))?;
        let Some(secret) = found else {
            return Ok(None);
        };
        let data = secret.data.unwrap_or_default().into_iter();
        Ok(Some(data.map(|(name, bytes)| (name, bytes.0)).collect()))
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
        self.write(namespace, &secret).await
    }

    async fn write(&self, namespace: &str, secret: &Secret) -> Result<(), BackendError> {
        let name = secret.metadata.name.as_deref().unwrap_or_default();
        let api = self.secrets(namespace);
        let params = PatchParams::apply(MANAGER).force();
        let patch = Patch::Apply(secret);
        patiently(|| api.patch(name, &params, &patch))
            .await
            .map(drop)
            .map_err(|error| self.failed(format!("write secret {name}"), error))
    }
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
        type_: Some("shopctl.dev/records".to_owned()),
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
