//! Logs of pods.

use tokio::sync::mpsc;

use super::Cluster;
use crate::backend::BackendError;
use crate::backend::LogLine;
use crate::backend::LogQuery;
use crate::backend::Logs;
use crate::backend::Pending;

impl Logs for Cluster {
    fn logs<'a>(
        &'a self,
        _container: &'a str,
        _query: &'a LogQuery,
    ) -> Pending<'a, mpsc::Receiver<LogLine>> {
        Box::pin(async { Err(BackendError::Unsupported("logs".to_owned())) })
    }
}
