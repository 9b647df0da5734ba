//! Logs.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;
use shopctl::backend::BackendError;
use shopctl::backend::LogQuery;
use shopctl::backend::Logs as _;

use super::POD;
use super::otherwise;
use super::pod;
use super::server::Reply;
use super::server::Server;
use super::server::status;

/// A server whose log is given by the number of the question.
async fn server(log: impl Fn(usize) -> Reply + Send + Sync + 'static) -> Server {
    let times = AtomicUsize::new(0);
    Server::start(move |target| {
        if target.starts_with(&format!("{POD}/log")) {
            return log(times.fetch_add(1, Ordering::Relaxed));
        }
        otherwise(target)
    })
    .await
}

/// All lines of a log that ends by itself.
async fn read(server: &Server, query: LogQuery) -> Vec<String> {
    let cluster = server.cluster().await;
    let mut lines = cluster.logs("order-1", &query).await.unwrap();
    let mut found = Vec::new();
    let reading = async {
        while let Some(line) = lines.recv().await {
            assert_eq!((line.container.as_str(), line.stderr), ("order-1", false));
            found.push(line.text);
        }
    };
    let read = tokio::time::timeout(Duration::from_secs(20), reading).await;
    read.expect("the log ends");
    found
}

const ONE: &str = "2026-01-02T03:04:05.1Z one\n";
const TWO: &str = "2026-01-02T03:04:05.12Z two\r\n";
const THREE: &str = "2026-01-02T11:04:06+08:00 three\n";

#[tokio::test]
async fn lines_come_with_and_without_their_time() {
    let all = || {
        Reply::Whole(format!(
            "{ONE}{TWO}{THREE}no time\n2026-01-02T03:04:07Z end"
        ))
    };
    let server = server(move |_| all()).await;
    let found = read(&server, LogQuery::default()).await;
    assert_eq!(found, ["one", "two", "three", "no time", "end"]);
    let timed = LogQuery {
        timestamps: true,
        tail: Some(7),
        since: Some(1_767_323_045),
        ..LogQuery::default()
    };
    let found = read(&server, timed).await;
    let want = [
        "2026-01-02T03:04:05.100000000Z one",
        "2026-01-02T03:04:05.120000000Z two",
        "2026-01-02T03:04:06.000000000Z three",
        "no time",
        "2026-01-02T03:04:07.000000000Z end",
    ];
    assert_eq!(found, want);
    // So they can be merged as texts.
    assert!(found[0] < found[1] && found[1] < found[2]);
    assert_eq!(
        server.queries("/log"),
        [
            "&container=order&timestamps=true",
            "&container=order&sinceTime=2026-01-02T03%3A04%3A05Z&tailLines=7&timestamps=true",
        ]
    );
}

#[tokio::test]
async fn since_and_until_are_kept_to_whatever_the_server_does() {
    let server = server(|_| Reply::Whole(format!("{ONE}{TWO}{THREE}"))).await;
    let query = |since, until, tail| LogQuery {
        since,
        until,
        tail,
        ..LogQuery::default()
    };
    let found = read(&server, query(Some(1_767_323_046), None, None)).await;
    assert_eq!(found, ["three"]);
    let found = read(&server, query(None, Some(1_767_323_045), None)).await;
    assert_eq!(found, Vec::<String>::new());
    let found = read(&server, query(None, Some(1_767_323_046), None)).await;
    assert_eq!(found, ["one", "two", "three"]);
    // The last ones before the end that is asked for are others than the server's.
    let late = Some(1_767_323_046);
    assert_eq!(
        read(&server, query(None, late, Some(2))).await,
        ["two", "three"]
    );
    assert!(read(&server, query(None, late, Some(0))).await.is_empty());
    let queries = server.queries("/log");
    assert!(
        !queries.iter().any(|it| it.contains("tailLines")),
        "{queries:?}"
    );
}

#[tokio::test]
async fn a_stream_that_is_cut_goes_on_where_it_was_and_nothing_comes_twice() {
    let same = "2026-01-02T03:04:05.12Z again\n";
    for follow in [false, true] {
        let server = server(move |time| match time {
            // In the middle of a line.
            0 => Reply::Cut(format!("{ONE}{TWO}2026-01-02T03:04:05.12Z aga")),
            1 => status(503, "busy"),
            // Nothing at all.
            2..=4 => Reply::Cut(String::new()),
            _ if follow => Reply::Cut(format!("{ONE}{TWO}{same}{same}{THREE}")),
            _ => Reply::Whole(format!("{ONE}{TWO}{same}{same}{THREE}")),
        })
        .await;
        let query = LogQuery {
            follow,
            tail: Some(9),
            // By which one that is followed ends.
            until: follow.then_some(1_767_323_046),
            ..LogQuery::default()
        };
        let cluster = server.cluster().await;
        let mut lines = cluster.logs("order-1", &query).await.unwrap();
        let mut found = Vec::new();
        while found.len() < 5 {
            let line = tokio::time::timeout(Duration::from_secs(20), lines.recv()).await;
            found.push(line.expect("in time").expect("more to come").text);
        }
        assert_eq!(found, ["one", "two", "again", "again", "three"]);
        let queries = server.queries("/log");
        assert!(queries[0].contains("tailLines=9"), "{queries:?}");
        let rest = &queries[1..];
        let since = "sinceTime=2026-01-02T03%3A04%3A05Z";
        let good = |it: &String| it.contains(since) && !it.contains("tailLines");
        assert!(rest.iter().all(good), "{queries:?}");
        if follow {
            // It waits for more, until nobody listens.
            assert!(lines.try_recv().is_err());
        } else {
            assert!(lines.recv().await.is_none(), "it ended");
        }
    }
}

#[tokio::test]
async fn following_ends_with_the_pod() {
    let times = AtomicUsize::new(0);
    let server = Server::start(move |target| {
        if target.starts_with(&format!("{POD}/log")) {
            return match times.fetch_add(1, Ordering::Relaxed) {
                0 => Reply::Whole(ONE.to_owned()),
                _ => Reply::Whole(format!("{ONE}{THREE}")),
            };
        }
        if target.starts_with(POD) && times.load(Ordering::Relaxed) > 1 {
            let ended = json!({ "terminated": { "exitCode": 0 } });
            return Reply::Json(200, pod("Succeeded", &ended));
        }
        otherwise(target)
    })
    .await;
    let query = LogQuery {
        follow: true,
        ..LogQuery::default()
    };
    // Its container was started once more meanwhile.
    assert_eq!(read(&server, query).await, ["one", "three"]);
}

#[tokio::test]
async fn a_pod_that_has_not_begun_has_no_log_yet() {
    let times = AtomicUsize::new(0);
    let server = Server::start(move |target| {
        let waits = json!({ "waiting": { "reason": "ContainerCreating" } });
        if target.starts_with(&format!("{POD}/log")) {
            return match times.fetch_add(1, Ordering::Relaxed) {
                0..=2 => status(400, "container is waiting to start"),
                _ => Reply::Whole(ONE.to_owned()),
            };
        }
        if target.starts_with(POD) {
            return match times.load(Ordering::Relaxed) {
                0..=3 => Reply::Json(200, pod("Pending", &waits)),
                _ => status(404, "gone"),
            };
        }
        otherwise(target)
    })
    .await;
    assert!(read(&server, LogQuery::default()).await.is_empty());
    let query = LogQuery {
        follow: true,
        ..LogQuery::default()
    };
    assert_eq!(read(&server, query).await, ["one"]);
}

#[tokio::test]
async fn what_the_server_refuses_is_said() {
    let server = server(|_| status(403, "pods/log is forbidden")).await;
    let cluster = server.cluster().await;
    let refused = cluster.logs("order-1", &LogQuery::default()).await;
    let refused = refused.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the cluster refused to read the log of pod order-1: pods/log is forbidden"
    );
    let nodeless = self::server(|_| status(404, "there is no node")).await;
    let nodeless = nodeless.cluster().await;
    let refused = nodeless.logs("order-1", &LogQuery::default()).await;
    let refused = refused.unwrap_err().to_string();
    assert!(refused.ends_with("there is no node"), "{refused}");
    let missing = cluster.logs("gone", &LogQuery::default()).await;
    let missing = missing.unwrap_err();
    assert!(
        matches!(missing, BackendError::NotFound { .. }),
        "{missing}"
    );
}
