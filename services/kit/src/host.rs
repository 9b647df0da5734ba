//! The life of a service process: listen, start, serve, drain.
//!
//! Both ports listen before anything else happens. The admin port answers at once; requests to the main port wait in the
//! kernel's queue until the service has started. On SIGTERM readiness goes first, then the listener, then what is in
//! flight gets until the deadline to finish, and last the background tasks stop.
//!
//! Settings: `PORT`, `ADMIN_PORT` (9090), `LOG`, `DRAIN_DELAY` (0s: how long to go on accepting after readiness went),
//! `DRAIN_TIMEOUT` (8s). To test a service in its own process, use [`Server`] with `PORT=127.0.0.1:0`.

use std::error::Error;
use std::future::Future;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::admin::{self, Life, Phase};
use crate::env::Env;
use crate::metrics::Metrics;
use crate::problem::{Kind, Problem};
use crate::{body, log, probe, telemetry};

const ADMIN_PORT: u16 = 9090;

const TASKS_END_WITHIN: Duration = Duration::from_secs(2);

/// Why a service did not start.
pub type StartError = Box<dyn Error + Send + Sync>;

/// What a service is.
#[derive(Debug, Clone, Copy)]
pub struct About {
    /// Its name.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// Its main port, unless `PORT` says otherwise.
    pub port: u16,
}

/// What a service gets from its process when it starts.
#[derive(Debug)]
pub struct Host {
    /// The settings.
    pub env: Env,
    /// The metrics, served on the admin port.
    pub metrics: Metrics,
    tasks: JoinSet<()>,
    stop: watch::Receiver<bool>,
}

/// Tells a background task when to stop.
#[derive(Debug, Clone)]
pub struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Waits for at most `period`; returns whether the task should stop.
    pub async fn within(&mut self, period: Duration) -> bool {
        tokio::time::timeout(period, self.requested()).await.is_ok()
    }

    /// Waits until the task should stop.
    pub async fn requested(&mut self) {
        _ = self.0.wait_for(|stop| *stop).await;
    }
}

impl Host {
    /// Runs a background task. It must end soon after its [`Stop`] says so.
    pub fn spawn<F>(&mut self, task: impl FnOnce(Stop) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.tasks.spawn(task(Stop(self.stop.clone())));
    }
}

/// The whole `main` of a service: the subcommand `healthcheck`, or the service until SIGTERM.
pub fn main(
    about: About,
    start: impl AsyncFnOnce(&mut Host) -> Result<Router, StartError>,
) -> ExitCode {
    let env = Env::process();
    let outcome = match std::env::args().nth(1).as_deref() {
        None => serve(about, env, start),
        Some("healthcheck") => check(&env),
        Some(other) => {
            Err(format!("unknown argument {other:?}; there is only `healthcheck`").into())
        }
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            tracing::error!(service = about.name, %error, "ended with an error");
            ExitCode::FAILURE
        }
    }
}

fn check(env: &Env) -> Result<ExitCode, StartError> {
    let admin = env.listen("ADMIN_PORT", ADMIN_PORT)?;
    let ready = probe::ready(admin).unwrap_or(false);
    Ok(if ready {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn serve(
    about: About,
    env: Env,
    start: impl AsyncFnOnce(&mut Host) -> Result<Router, StartError>,
) -> Result<ExitCode, StartError> {
    log::start(&env)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut terminate =
            tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        let mut interrupt =
            tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())?;
        let shutdown = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        let server = Server::listen(about, env).await?;
        server.run(shutdown, start).await
    })?;
    runtime.shutdown_background();
    Ok(ExitCode::SUCCESS)
}

/// A service that listens and does not answer yet.
#[derive(Debug)]
pub struct Server {
    about: About,
    env: Env,
    main: TcpListener,
    admin: TcpListener,
    drain: Drain,
}

#[derive(Debug, Clone, Copy)]
struct Drain {
    delay: Duration,
    timeout: Duration,
}

impl Server {
    /// Listens on both ports.
    pub async fn listen(about: About, env: Env) -> Result<Self, StartError> {
        let drain = Drain {
            delay: env.duration("DRAIN_DELAY", Duration::ZERO)?,
            timeout: env.duration("DRAIN_TIMEOUT", Duration::from_secs(8))?,
        };
        let main = bind(env.listen("PORT", about.port)?).await?;
        let admin = bind(env.listen("ADMIN_PORT", ADMIN_PORT)?).await?;
        Ok(Self {
            about,
            env,
            main,
            admin,
            drain,
        })
    }

    /// Returns the address of the main port.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.main.local_addr()
    }

    /// Returns the address of the admin port.
    pub fn admin_address(&self) -> std::io::Result<SocketAddr> {
        self.admin.local_addr()
    }

    /// Starts the service and serves it until `shutdown`, then drains it.
    pub async fn run(
        self,
        shutdown: impl Future<Output = ()>,
        start: impl AsyncFnOnce(&mut Host) -> Result<Router, StartError>,
    ) -> Result<(), StartError> {
        let (address, admin_address) = (self.address()?, self.admin_address()?);
        tracing::info!(service = self.about.name, version = self.about.version, %address, admin = %admin_address, "listening");
        let life = Life::default();
        let (stop, stopped) = watch::channel(false);
        let mut host = Host {
            env: self.env,
            metrics: Metrics::default(),
            tasks: JoinSet::new(),
            stop: stopped.clone(),
        };

        let admin = axum::serve(
            self.admin,
            admin::routes(life.clone(), host.metrics.clone()),
        );
        let admin = tokio::spawn(admin.into_future());
        let mut shutdown = std::pin::pin!(shutdown);
        let router = tokio::select! {
            router = start(&mut host) => router?,
            () = &mut shutdown => return Ok(()),
        };
        let listener = self.main.tap_io(|stream| _ = stream.set_nodelay(true));
        let (close, closing) = watch::channel(false);
        let serving = axum::serve(listener, finish(router, &host.metrics))
            .with_graceful_shutdown(async move { Stop(closing).requested().await });
        let mut serving = tokio::spawn(serving.into_future());
        life.enter(Phase::Ready);
        tracing::info!(service = self.about.name, "ready");

        tokio::select! {
            ended = &mut serving => return Err(format!("the listener ended: {ended:?}").into()),
            () = shutdown => {}
        }
        life.enter(Phase::Draining);
        tracing::info!(service = self.about.name, "draining");
        tokio::time::sleep(self.drain.delay).await;
        close.send_replace(true);
        if tokio::time::timeout(self.drain.timeout, serving)
            .await
            .is_err()
        {
            tracing::warn!(
                service = self.about.name,
                "the deadline passed with requests in flight"
            );
        }
        stop.send_replace(true);
        let tasks = std::mem::take(&mut host.tasks);
        if tokio::time::timeout(TASKS_END_WITHIN, tasks.join_all())
            .await
            .is_err()
        {
            tracing::warn!(service = self.about.name, "a background task did not end");
        }
        admin.abort();
        tracing::info!(service = self.about.name, "stopped");
        Ok(())
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address)
        .await
        .map_err(|error| format!("cannot listen on {address}: {error}").into())
}

/// Puts around a router what every service has.
fn finish(router: Router, metrics: &Metrics) -> Router {
    router
        .fallback(async |uri: axum::http::Uri| {
            Problem::new(Kind::NotFound, format!("no route {}", uri.path()))
        })
        .method_not_allowed_fallback(async || {
            Problem::new(Kind::MethodNotAllowed, "see /openapi.json")
        })
        .layer(DefaultBodyLimit::max(body::LARGEST))
        .layer(axum::middleware::from_fn_with_state(
            metrics.clone(),
            telemetry::follow,
        ))
}
