//! Processes inside pods.

use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;

use super::Cluster;
use crate::backend::BackendError;
use crate::backend::Exec;
use crate::backend::ExecRequest;
use crate::backend::Pending;
use crate::backend::RunRequest;
use crate::backend::Session;

fn not_yet<T>(what: &str) -> Pending<'_, T> {
    Box::pin(async move { Err(BackendError::Unsupported(what.to_owned())) })
}

impl Exec for Cluster {
    fn session<'a>(&'a self, _container: &'a str, _command: &'a [String]) -> Pending<'a, Session> {
        not_yet("session")
    }

    fn exec<'a>(
        &'a self,
        _request: &'a ExecRequest,
        _stdin: Option<Box<dyn AsyncRead + Send + Unpin>>,
        _stdout: Box<dyn AsyncWrite + Send + Unpin>,
        _stderr: Box<dyn AsyncWrite + Send + Unpin>,
    ) -> Pending<'a, i64> {
        not_yet("exec")
    }

    fn run<'a>(
        &'a self,
        _request: &'a RunRequest,
        _stdin: Option<Box<dyn AsyncRead + Send + Unpin>>,
        _stdout: Box<dyn AsyncWrite + Send + Unpin>,
        _stderr: Box<dyn AsyncWrite + Send + Unpin>,
    ) -> Pending<'a, i64> {
        not_yet("run")
    }

    fn signal<'a>(&'a self, _container: &'a str, _name: &'a str) -> Pending<'a, ()> {
        not_yet("signal")
    }
}
