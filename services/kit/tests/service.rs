//! A service that is nothing but the kit: its start, its drain, and its calls to another of its kind.
#![expect(clippy::unwrap_used, reason = "a test may end on a surprise")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::routing::{any, get};
use serde_json::{Value, json};
use shop_kit::client::{Call, CallError, Client, Limits};
use shop_kit::testing::{Running, eventually, folder};
use shop_kit::{About, Host, Problem, probe};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::sync::Notify;

const ABOUT: About = About {
    name: "sample",
    version: "0",
    port: 1,
};

/// Serves a router; the folder is not used.
fn serve(settings: &[(&str, &str)], router: Router) -> Running {
    Running::start(
        ABOUT,
        folder().path(),
        settings,
        async move |_: &mut Host| Ok(router),
    )
}

fn client(urls: &str) -> Client {
    let limits = Limits {
        connect: Duration::from_millis(500),
        attempt: Duration::from_secs(1),
        total: Duration::from_secs(5),
    };
    Client::new("TEST", urls, limits).unwrap()
}

/// Returns an address where nobody listens.
async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// Takes connections and breaks each after the request; counts them.
async fn breaks_every_connection() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let count = Arc::new(AtomicUsize::new(0));
    let counter = count.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counter.fetch_add(1, Ordering::SeqCst);
            _ = stream.read(&mut [0; 1024]).await;
        }
    });
    (url, count)
}

#[tokio::test]
async fn readiness_follows_the_start_and_the_probe_sees_it() {
    let open = Arc::new(Notify::new());
    let gate = open.clone();
    let service = Running::start(ABOUT, folder().path(), &[], async move |_: &mut Host| {
        gate.notified().await;
        Ok(Router::new().route("/", get(async || axum::Json("hello"))))
    });
    assert_eq!(service.admin("/healthz").await.0, 200);
    let (status, body) = service.admin("/readyz").await;
    assert_eq!(
        (
            status,
            serde_json::from_str::<Value>(&body).unwrap()["detail"].clone()
        ),
        (503, json!("starting"))
    );
    let admin = service.admin;
    assert!(
        !tokio::task::spawn_blocking(move || probe::ready(admin))
            .await
            .unwrap()
            .unwrap()
    );
    open.notify_one();
    assert_eq!(
        service.get("/").await.expect(200),
        "hello",
        "the first request waited for the start"
    );
    assert_eq!(service.admin("/readyz").await.0, 200);
    assert!(
        tokio::task::spawn_blocking(move || probe::ready(admin))
            .await
            .unwrap()
            .unwrap()
    );
    service.stop();
    assert!(
        tokio::task::spawn_blocking(move || probe::ready(admin))
            .await
            .unwrap()
            .is_err()
    );
}

#[tokio::test]
async fn a_drain_waits_for_what_is_in_flight_but_not_for_ever() {
    for (timeout, finishes) in [("8s", true), ("100ms", false)] {
        let (entered, leave) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let signals = (entered.clone(), leave.clone());
        let slow = async |State((entered, leave)): State<(Arc<Notify>, Arc<Notify>)>| {
            entered.notify_one();
            leave.notified().await;
            axum::Json("done")
        };
        let service = serve(
            &[("DRAIN_TIMEOUT", timeout)],
            Router::new().route("/", get(slow).with_state(signals)),
        );
        let (outcome, ()) = tokio::join!(service.try_call("GET", "/", &[], None), async {
            entered.notified().await;
            service.begin_stop();
            if finishes {
                eventually("readiness goes first", async || {
                    service.admin("/readyz").await.0 == 503
                })
                .await;
                leave.notify_one();
            }
        });
        assert_eq!(
            outcome.map(|told| told.body).ok(),
            finishes.then(|| json!("done"))
        );
        service.stop();
    }
}

#[tokio::test]
async fn while_the_drain_is_delayed_requests_are_still_taken() {
    let service = serve(
        &[("DRAIN_DELAY", "10s")],
        Router::new().route("/", get(async || axum::Json(1))),
    );
    service.get("/").await.expect(200);
    service.begin_stop();
    eventually("readiness goes first", async || {
        service.admin("/readyz").await.0 == 503
    })
    .await;
    service.get("/").await.expect(200);
}

#[tokio::test]
async fn what_no_route_takes_is_a_problem_too() {
    let service = serve(
        &[],
        Router::new().route("/here", get(async || axum::Json(1))),
    );
    assert_eq!(service.get("/there").await.slug(), "not-found");
    assert_eq!(
        service.call("POST", "/here", &[], None).await.slug(),
        "method-not-allowed"
    );
}

#[tokio::test]
async fn identity_is_passed_on_or_made() {
    let echo = async |headers: HeaderMap| {
        let shown = ["x-request-id", "traceparent"].map(|name| {
            headers
                .get(name)
                .map(|value| value.to_str().unwrap().to_owned())
        });
        axum::Json(shown)
    };
    let behind = serve(&[], Router::new().route("/", get(echo)));
    let to_behind = client(&format!("http://{}", behind.address));
    let relay = async move |State(client): State<Client>| -> Result<axum::Json<Value>, Problem> {
        let answer = client
            .send(&Call::new(Method::GET, "/"))
            .await
            .map_err(Problem::internal)?;
        answer.json().map(axum::Json)
    };
    let front = serve(
        &[],
        Router::new().route("/", get(relay).with_state(to_behind)),
    );
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let told = front
        .call(
            "GET",
            "/",
            &[("x-request-id", "r-1"), ("traceparent", trace)],
            None,
        )
        .await
        .expect(200);
    assert_eq!(told, json!(["r-1", trace]));
    let made = front
        .call("GET", "/", &[("traceparent", "rubbish")], None)
        .await
        .expect(200);
    assert_eq!(made[0].as_str().unwrap().len(), 36);
    assert!(made[1].as_str().unwrap().starts_with("00-"));
}

#[tokio::test]
async fn a_connect_that_fails_is_retried_at_another_replica() {
    let service = serve(&[], Router::new().route("/", any(async || axum::Json(1))));
    let to_both = client(&format!("{},http://{}", nobody().await, service.address));
    for _ in 0..4 {
        assert_eq!(
            to_both
                .send(&Call::new(Method::POST, "/"))
                .await
                .unwrap()
                .status,
            200
        );
    }
    let to_nobody = client(&nobody().await);
    assert!(matches!(
        to_nobody.send(&Call::new(Method::POST, "/")).await,
        Err(CallError::Connect(_))
    ));
}

#[tokio::test]
async fn a_broken_connection_is_retried_only_for_what_may_be_repeated() {
    let (broken, count) = breaks_every_connection().await;
    let outcome = client(&broken).send(&Call::new(Method::POST, "/")).await;
    assert!(matches!(outcome, Err(CallError::Broken(_))), "{outcome:?}");
    assert_eq!(
        count.load(Ordering::SeqCst),
        1,
        "sent once, since it may have been carried out"
    );

    let service = serve(&[], Router::new().route("/", any(async || axum::Json(1))));
    let to_both = client(&format!("{broken},http://{}", service.address));
    for _ in 0..4 {
        let call = Call::new(Method::POST, "/").key("k");
        assert_eq!(to_both.send(&call).await.unwrap().status, 200);
    }
    assert!(count.load(Ordering::SeqCst) > 1, "the broken one was tried");
}

#[tokio::test]
async fn unavailable_is_retried_until_it_is_not() {
    let left = Arc::new(AtomicUsize::new(3));
    let busy = async |State(left): State<Arc<AtomicUsize>>| {
        let refuse = left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                left.checked_sub(1)
            })
            .is_ok();
        if refuse {
            StatusCode::SERVICE_UNAVAILABLE
        } else {
            StatusCode::NO_CONTENT
        }
    };
    let service = serve(
        &[],
        Router::new().route("/", any(busy).with_state(left.clone())),
    );
    let to_it = client(&format!("http://{}", service.address));
    assert_eq!(
        to_it
            .send(&Call::new(Method::POST, "/"))
            .await
            .unwrap()
            .status,
        503
    );
    assert_eq!(left.load(Ordering::SeqCst), 2);
    assert_eq!(
        to_it
            .send(&Call::new(Method::POST, "/").key("k"))
            .await
            .unwrap()
            .status,
        204
    );
}

#[tokio::test]
async fn a_name_is_followed_when_it_moves() {
    let first = serve(&[], Router::new().route("/", any(async || axum::Json(1))));
    let port = first.address.port();
    let to_name = client(&format!("http://localhost:{port}/"));
    assert_eq!(
        to_name
            .send(&Call::new(Method::GET, "/"))
            .await
            .unwrap()
            .json::<i64>()
            .unwrap(),
        1
    );
    first.stop();
    let again = serve(
        &[("PORT", &format!("127.0.0.1:{port}"))],
        Router::new().route("/", any(async || axum::Json(2))),
    );
    assert_eq!(
        to_name
            .send(&Call::new(Method::GET, "/"))
            .await
            .unwrap()
            .json::<i64>()
            .unwrap(),
        2
    );
    again.stop();
}

#[test]
fn settings_that_cannot_be_used_end_the_start() {
    for urls in ["", "goods:8001", "https://goods", "http://"] {
        assert!(
            Client::new("GOODS_URL", urls, Limits::default()).is_err(),
            "{urls}"
        );
    }
}
