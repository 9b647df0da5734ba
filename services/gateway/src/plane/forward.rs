//! One HTTP request: take a target, pass the request on, pass the response back.
//!
//! What is tried again, and what never is:
//! * a failed connect: once, on another target. Nothing was sent, so any method.
//! * an idle connection that turned out closed before it took the request: on a
//!   fresh one, any method, for the same reason.
//! * an idle connection that closed after it took the request: on a fresh one,
//!   only for an idempotent method without a body. The server may have acted.
//!
//! A target that breaks off a request is left out for a while: a process that is
//! killed closes its connections before its listener, so a client who tries again
//! at once would meet the same dying process.
//!
//! Test: `tests/gateway/http.rs`, `tests/gateway/retry.rs`.

use std::rc::Rc;
use std::sync::Arc;

use hyper::Request;
use hyper::Response;
use hyper::StatusCode;
use hyper::body::Body;
use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::upgrade::OnUpgrade;
use tokio::sync::watch;
use tokio::time::Instant;

use super::body::Relay;
use super::body::Reply;
use super::headers;
use super::problem::Problem;
use super::replay::Replay;
use super::upgrade;
use super::worker::Phase;
use crate::routing::service::Meter;
use crate::routing::table::Refusal;
use crate::routing::table::Table;
use crate::routing::target::Lease;
use crate::upstream::pool::Connection;
use crate::upstream::pool::Pool;
use crate::upstream::upload::Upload;

/// What a request finds on its thread.
pub(crate) struct Front {
    pub(crate) table: Arc<Table>,
    pub(crate) pool: Rc<Pool>,
    /// The listener's id.
    pub(crate) listener: Rc<str>,
    /// Whoever holds a front keeps its worker waiting when that ends.
    pub(crate) phase: watch::Receiver<Phase>,
}

/// How one attempt went.
enum Attempt {
    Answered(Response<Incoming>, Connection),
    /// An idle connection had ended: the request may go over a fresh one.
    Stale(Request<Upload>),
    /// The target cannot be reached; nothing was sent.
    Unreached(Request<Upload>),
    /// The target has the request, or a part of it.
    Broken {
        /// The client's body ended too early, which is not the target's fault.
        by_client: bool,
    },
    /// The target had to go first.
    Cut,
}

/// A response, and by which connection under which lease it came.
struct Exchange {
    response: Response<Incoming>,
    connection: Connection,
    lease: Lease,
}

impl Front {
    /// The same for another listener.
    pub(crate) fn of(&self, listener: &str) -> Self {
        Self {
            table: Arc::clone(&self.table),
            pool: Rc::clone(&self.pool),
            listener: Rc::from(listener),
            phase: self.phase.clone(),
        }
    }

    /// Answers a request, whatever happens.
    pub(crate) async fn answer(
        self: Rc<Self>,
        mut request: Request<Incoming>,
        client: &HeaderValue,
    ) -> Response<Reply> {
        let started = Instant::now();
        let lease = self.take(&request, None);
        let protocol = headers::upgrade(&request);
        let from_client = protocol.is_some().then(|| hyper::upgrade::on(&mut request));
        let (mut head, body) = request.into_parts();
        let id = headers::prepare_request(&mut head, client, protocol);
        let lease = match lease {
            Ok(lease) => lease,
            Err(Refusal::NoRoute) => return Problem::NoRoute.response(id),
            Err(Refusal::NoTarget(meter)) => {
                meter.count_request();
                return refuse(Problem::NoHealthyUpstream, &meter, started, id);
            }
        };
        let meter = Arc::clone(&lease.meter);
        meter.count_request();
        let body = if body.is_end_stream() {
            Upload::Empty
        } else {
            Upload::Stream(body)
        };
        let request = Request::from_parts(head, body);
        match self.exchange(request, lease).await {
            Ok(exchange) => {
                let failed = exchange.response.status().is_server_error();
                exchange.lease.count_answer(started.elapsed(), failed);
                self.relay(exchange, from_client, id)
            }
            Err(problem) => refuse(problem, &meter, started, id),
        }
    }

    fn take<B>(&self, request: &Request<B>, not: Option<&Lease>) -> Result<Lease, Refusal> {
        self.table.take_http(
            &self.listener,
            headers::authority(request).map(headers::host),
            request.uri().path(),
            not.map(|lease| &*lease.target),
            request.headers(),
        )
    }

    async fn exchange(
        &self,
        mut request: Request<Upload>,
        mut lease: Lease,
    ) -> Result<Exchange, Problem> {
        let mut may_change_target = true;
        let mut may_reuse = true;
        loop {
            let attempt = tokio::select! {
                biased;
                attempt = self.attempt(request, &lease, may_reuse) => attempt,
                () = lease.target.was_cut() => Attempt::Cut,
            };
            match attempt {
                Attempt::Cut => return Err(Problem::Drained),
                Attempt::Answered(response, connection) => {
                    return Ok(Exchange {
                        response,
                        connection,
                        lease,
                    });
                }
                Attempt::Stale(again) => {
                    request = again;
                    may_reuse = false;
                }
                Attempt::Unreached(again) => {
                    lease.count_error();
                    self.table.eject(&lease.target, lease.port);
                    if !may_change_target {
                        return Err(Problem::BadUpstream);
                    }
                    let other = self.take(&again, Some(&lease));
                    lease = other.map_err(|_| Problem::BadUpstream)?;
                    request = again;
                    may_change_target = false;
                    may_reuse = true;
                }
                Attempt::Broken { by_client } => {
                    if by_client {
                        lease.target.count_error();
                    } else {
                        lease.count_error();
                        lease.target.break_off();
                        self.table.eject(&lease.target, lease.port);
                    }
                    return Err(Problem::BadUpstream);
                }
            }
        }
    }

    async fn attempt(&self, request: Request<Upload>, lease: &Lease, may_reuse: bool) -> Attempt {
        let idle = may_reuse.then(|| self.pool.checkout(lease)).flatten();
        let mut connection = match idle {
            Some(connection) => connection,
            None => match self.pool.connect(lease).await {
                Ok(connection) => connection,
                Err(_) => return Attempt::Unreached(request),
            },
        };
        let reused = connection.reused;
        let replay = reused.then(|| Replay::of(&request)).flatten();
        match connection.sender.try_send_request(request).await {
            Ok(response) => Attempt::Answered(response, connection),
            Err(mut error) => match error.take_message() {
                Some(unsent) if reused => Attempt::Stale(unsent),
                Some(unsent) => Attempt::Unreached(unsent),
                None => match replay.and_then(Replay::request) {
                    Some(again) => Attempt::Stale(again),
                    None => Attempt::Broken {
                        by_client: error.error().is_user(),
                    },
                },
            },
        }
    }

    fn relay(
        self: Rc<Self>,
        exchange: Exchange,
        from_client: Option<OnUpgrade>,
        id: HeaderValue,
    ) -> Response<Reply> {
        let Exchange {
            mut response,
            connection,
            lease,
        } = exchange;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let Some(from_client) = from_client else {
                // Nobody asked for another protocol.
                lease.target.count_error();
                lease.meter.count_5xx();
                return Problem::BadUpstream.response(id);
            };
            let from_target = hyper::upgrade::on(&mut response);
            let speaks = upgrade::Protocol::of(response.headers());
            tokio::task::spawn_local(async move {
                upgrade::join(from_client, from_target, speaks, lease).await;
                drop(self);
            });
            let (mut head, _) = response.into_parts();
            headers::prepare_response(head.status, &mut head.headers, id);
            return Response::from_parts(head, Reply::Full(None));
        }
        let (mut head, body) = response.into_parts();
        headers::prepare_response(head.status, &mut head.headers, id);
        if let Some((name, value)) = &lease.cookie {
            headers::set_cookie(&mut head.headers, name, value);
        }
        let may_end = headers::is_event_stream(&head.headers);
        let relay = Relay::new(body, connection, Rc::clone(&self.pool), lease, may_end);
        Response::from_parts(head, Reply::Stream(relay))
    }
}

fn refuse(problem: Problem, meter: &Meter, started: Instant, id: HeaderValue) -> Response<Reply> {
    meter.count_5xx();
    meter.record(started.elapsed());
    problem.response(id)
}
