//! One control connection: lines in, answers out, requests side by side.
//!
//! At the end of the input, requests that only wait are cancelled and the rest
//! is answered, so both `echo '{…}' | shopctl gateway control` and a holder that
//! was killed end at once. Test: here, and `tests/gateway/control.rs`.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use serde_json::Value;
use tokio::io::AsyncBufReadExt;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;
use tokio::io::BufReader;
use tokio::sync::mpsc;
use tokio::sync::oneshot;

use crate::protocol::Answer;
use crate::protocol::Cancelled;
use crate::protocol::Fault;
use crate::protocol::FaultKind;
use crate::protocol::Op;
use crate::protocol::Outcome;
use crate::protocol::Request;

/// Far more than the configuration of any stack.
const LONGEST_LINE: u64 = 16 * 1024 * 1024;

/// Does what is asked for; `cancel` excepted.
pub(crate) trait Operations: Send + Sync + 'static {
    fn perform(&self, op: Op) -> impl Future<Output = Result<Value, Fault>> + Send;
}

/// The answer's content.
pub(crate) fn content(value: &impl serde::Serialize) -> Result<Value, Fault> {
    serde_json::to_value(value).map_err(|error| Fault::internal(error.to_string()))
}

/// Serves a connection until its end.
pub(crate) async fn serve<R, W, O>(reader: R, writer: W, operations: Arc<O>) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
    O: Operations,
{
    let (answers, outbox) = mpsc::unbounded_channel();
    let requests = Arc::new(Requests::default());
    let reading = async {
        let result = read(reader, &requests, answers, operations).await;
        requests.cancel_all();
        result
    };
    let writing = async {
        let result = write(writer, outbox).await;
        requests.cancel_all();
        result
    };
    tokio::pin!(reading, writing);
    tokio::select! {
        result = &mut reading => result.and(writing.await),
        // Nobody listens any more.
        result = &mut writing => result,
    }
}

/// Requests under way that can be cancelled.
#[derive(Default)]
struct Requests(Mutex<BTreeMap<u64, oneshot::Sender<()>>>);

impl Requests {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, oneshot::Sender<()>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// None when the id is in use.
    fn open(&self, id: u64) -> Option<oneshot::Receiver<()>> {
        let mut open = self.lock();
        if open.contains_key(&id) {
            return None;
        }
        let (cancel, cancelled) = oneshot::channel();
        open.insert(id, cancel);
        Some(cancelled)
    }

    /// True when the request was under way.
    fn cancel(&self, id: u64) -> bool {
        let cancel = self.lock().remove(&id);
        cancel.is_some_and(|cancel| cancel.send(()).is_ok())
    }

    fn close(&self, id: u64) {
        self.lock().remove(&id);
    }

    fn cancel_all(&self) {
        for (_, cancel) in std::mem::take(&mut *self.lock()) {
            let _ = cancel.send(());
        }
    }
}

async fn read<R, O>(
    reader: R,
    requests: &Arc<Requests>,
    answers: mpsc::UnboundedSender<Answer>,
    operations: Arc<O>,
) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    O: Operations,
{
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    loop {
        line.clear();
        (&mut reader)
            .take(LONGEST_LINE)
            .read_until(b'\n', &mut line)
            .await?;
        if line.is_empty() {
            return Ok(());
        }
        if line.len() as u64 == LONGEST_LINE {
            let fault = Fault::invalid(format!("the line is longer than {LONGEST_LINE} bytes"));
            let _ = answers.send(answer(0, Err(fault)));
            return Ok(());
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        match parse(&line) {
            Ok(request) => begin(request, requests, &answers, &operations),
            Err((id, fault)) => {
                let _ = answers.send(answer(id, Err(fault)));
            }
        }
    }
}

fn begin<O: Operations>(
    request: Request,
    requests: &Arc<Requests>,
    answers: &mpsc::UnboundedSender<Answer>,
    operations: &Arc<O>,
) {
    let Request { id, op } = request;
    if let Op::Cancel { request } = op {
        let cancelled = requests.cancel(request);
        let _ = answers.send(answer(id, content(&Cancelled { cancelled })));
        return;
    }
    let Some(cancelled) = requests.open(id) else {
        let fault = Fault::invalid(format!("request {id} is still under way"));
        let _ = answers.send(answer(id, Err(fault)));
        return;
    };
    if matches!(op, Op::Apply { .. } | Op::Upgrade { .. }) {
        // Half a switch is none: it cannot be cancelled.
        requests.close(id);
        let (answers, operations) = (answers.clone(), Arc::clone(operations));
        tokio::spawn(async move {
            let _ = answers.send(answer(id, operations.perform(op).await));
        });
        return;
    }
    let (requests, answers) = (Arc::clone(requests), answers.clone());
    let operations = Arc::clone(operations);
    tokio::spawn(async move {
        let result = tokio::select! {
            biased;
            result = operations.perform(op) => result,
            _ = cancelled => Err(Fault::new(FaultKind::Cancelled, "cancelled")),
        };
        requests.close(id);
        let _ = answers.send(answer(id, result));
    });
}

fn answer(id: u64, result: Result<Value, Fault>) -> Answer {
    let outcome = match result {
        Ok(value) => Outcome::Ok(value),
        Err(fault) => Outcome::Error(fault),
    };
    Answer { id, outcome }
}

/// The request, or what to answer to which id instead.
fn parse(line: &[u8]) -> Result<Request, (u64, Fault)> {
    let value: Value = serde_json::from_slice(line)
        .map_err(|error| (0, Fault::invalid(format!("not a JSON object: {error}"))))?;
    let id = value.get("id").and_then(Value::as_u64).unwrap_or(0);
    let op = value.get("op").and_then(Value::as_str).unwrap_or_default();
    if !op.is_empty() && !Op::NAMES.contains(&op) {
        let message = format!("no operation `{op}`");
        return Err((id, Fault::new(FaultKind::Unsupported, message)));
    }
    serde_json::from_value(value).map_err(|error| (id, Fault::invalid(error.to_string())))
}

async fn write<W>(mut writer: W, mut outbox: mpsc::UnboundedReceiver<Answer>) -> io::Result<()>
where
    W: AsyncWrite + Unpin,
{
    while let Some(answer) = outbox.recv().await {
        let mut line = serde_json::to_vec(&answer)?;
        line.push(b'\n');
        writer.write_all(&line).await?;
        writer.flush().await?;
    }
    writer.shutdown().await
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    /// `drain` waits for as long as it may, everything else is an echo.
    struct Echo;

    impl Operations for Echo {
        async fn perform(&self, op: Op) -> Result<Value, Fault> {
            if let Op::Drain { deadline_ms, .. } = op {
                tokio::time::sleep(Duration::from_millis(deadline_ms)).await;
            }
            content(&op)
        }
    }

    async fn talk(lines: &str) -> Vec<Value> {
        let mut output = Vec::new();
        serve(lines.as_bytes(), &mut output, Arc::new(Echo))
            .await
            .expect("served");
        let text = String::from_utf8(output).expect("text");
        text.lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect()
    }

    fn drain(id: u64, deadline_ms: u64) -> String {
        json!({"id": id, "op": "drain", "target": "x", "deadline_ms": deadline_ms}).to_string()
    }

    #[tokio::test]
    async fn what_is_no_request_is_answered_as_such() {
        let answers = talk(
            "nonsense\n\n{\"id\":7,\"op\":\"fly\"}\n{\"id\":8}\n{\"id\":9,\"op\":\"drain\"}\n",
        )
        .await;
        let faults: Vec<_> = answers
            .iter()
            .map(|answer| {
                let kind = answer["error"]["kind"].as_str().expect("a fault");
                (answer["id"].as_u64().expect("an id"), kind)
            })
            .collect();
        let expected = [
            (0, "invalid"),
            (7, "unsupported"),
            (8, "invalid"),
            (9, "invalid"),
        ];
        assert_eq!(faults, expected);
    }

    #[tokio::test]
    async fn the_end_of_the_input_cancels_who_waits_and_answers_who_does_not() {
        let lines = format!("{}\n{{\"id\":2,\"op\":\"stats\"}}", drain(1, 3_600_000));
        let mut answers = talk(&lines).await;
        answers.sort_by_key(|answer| answer["id"].as_u64());
        assert_eq!(answers[0]["error"]["kind"], "cancelled");
        assert_eq!(answers[1]["ok"]["op"], "stats");
    }

    #[tokio::test(start_paused = true)]
    async fn answers_come_as_they_are_ready_and_a_request_can_be_cancelled() {
        let (near, far) = tokio::io::duplex(1 << 16);
        let (reader, writer) = tokio::io::split(far);
        let served = tokio::spawn(serve(reader, writer, Arc::new(Echo)));
        let (reader, mut writer) = tokio::io::split(near);
        let mut lines = BufReader::new(reader).lines();
        let cancel = |request| json!({"id": 9, "op": "cancel", "request": request});
        let requests = format!(
            "{}\n{}\n{}\n{}\n",
            drain(1, 300_000),
            drain(2, 200_000),
            drain(3, 100_000),
            drain(2, 1)
        );
        writer.write_all(requests.as_bytes()).await.expect("sent");
        let mut next = async || -> Value {
            let line = lines.next_line().await.expect("read").expect("a line");
            serde_json::from_str(&line).expect("JSON")
        };
        let clash = next().await;
        assert_eq!(
            (&clash["id"], &clash["error"]["kind"]),
            (&json!(2), &json!("invalid"))
        );
        assert_eq!(next().await["id"], 3);
        let line = format!("{}\n{}\n", cancel(1), cancel(77));
        writer.write_all(line.as_bytes()).await.expect("sent");
        let mut answers = [next().await, next().await, next().await];
        answers.sort_by_key(ToString::to_string);
        assert_eq!(answers[0]["error"]["kind"], "cancelled");
        assert_eq!(answers[1]["ok"]["cancelled"], false);
        assert_eq!(answers[2]["ok"]["cancelled"], true);
        assert_eq!(next().await["id"], 2);
        writer.shutdown().await.expect("shut down");
        served.await.expect("joined").expect("served");
    }
}
