//! Long conversations: streams of events and switched protocols. One that the server
//! ends with a word and a proper close is fine; one that breaks off is lost.

use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::io::BufReader;
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::Ledger;
use super::ask;
use super::now_ms;

/// Has conversation after conversation until it is told to stop.
pub(crate) async fn customer(
    port: u16,
    number: u32,
    ledger: Ledger,
    mut stop: watch::Receiver<bool>,
) {
    let mut turn = 0;
    while !*stop.borrow() {
        turn += 1;
        let id = format!("stream-{number}-{turn}");
        let started = now_ms();
        // Half of them would never end by themselves.
        let (kind, outcome) = match number % 4 {
            0 => ("SSE", events(port, Some(20), &mut stop).await),
            1 => ("SSE", events(port, None, &mut stop).await),
            2 => ("UPGRADE", echo(port, Some(20), &mut stop).await),
            _ => ("UPGRADE", echo(port, None, &mut stop).await),
        };
        ledger.note(kind, &id, started, &outcome);
        if outcome.is_err() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

async fn events(
    port: u16,
    count: Option<u32>,
    stop: &mut watch::Receiver<bool>,
) -> Result<(), String> {
    let mut stream = ask::connect(port).await?;
    let query = count.map_or(String::new(), |count| format!("?n={count}"));
    let head = format!("GET /events{query} HTTP/1.1\r\nHost: shop\r\n\r\n");
    let sent = stream.get_mut().write_all(head.as_bytes()).await;
    sent.map_err(|error| format!("send: {error}"))?;
    let answer = ask::head_of(&mut stream).await?;
    if answer.status != 200 {
        return Err(format!("status {}", answer.status));
    }
    let (mut next, mut last) = (0, None);
    loop {
        let line = tokio::select! {
            line = ask::line(&mut stream) => line?,
            // Only the customer leaves a stream without an end.
            _ = stop.wait_for(|stop| *stop), if count.is_none() => return Ok(()),
        };
        match line.strip_prefix("data: ") {
            Some(word @ ("end" | "bye")) => last = Some(word.to_owned()),
            Some(number) if number.parse() == Ok(next) => next += 1,
            Some(other) => return Err(format!("event {other} after {next} events")),
            // The chunk without content closes the answer.
            None if line == "0" => break,
            None => {}
        }
    }
    match (last.as_deref(), count) {
        // Without a word the gateway ended it at the drain deadline, after a whole event.
        (Some("bye"), _) | (None, None) => Ok(()),
        (Some("end"), Some(count)) if next == count => Ok(()),
        other => Err(format!("ended after {next} events: {other:?}")),
    }
}

async fn echo(
    port: u16,
    count: Option<u32>,
    stop: &mut watch::Receiver<bool>,
) -> Result<(), String> {
    let mut stream = ask::connect(port).await?;
    let head =
        "GET /upgrade HTTP/1.1\r\nHost: shop\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let sent = stream.get_mut().write_all(head.as_bytes()).await;
    sent.map_err(|error| format!("send: {error}"))?;
    let answer = ask::head_of(&mut stream).await?;
    if answer.status != 101 {
        return Err(format!("status {}", answer.status));
    }
    for number in 0..count.unwrap_or(u32::MAX) {
        // Long enough that no length is a line feed.
        let said = format!("the number {number}");
        let sent = stream.get_mut();
        let length = u8::try_from(said.len() + 1).unwrap_or(u8::MAX);
        let frame = [&[0x81, length], said.as_bytes(), b"\n"].concat();
        let sent = sent.write_all(&frame).await;
        // Where the server has just ended, its last word tells.
        let back = frame_of(&mut stream).await?;
        if back == "bye" || back == GOING_AWAY {
            return Ok(());
        }
        sent.map_err(|error| format!("send: {error}"))?;
        if back != said {
            return Err(format!("{back:?} came back for {said:?}"));
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(100)) => {}
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
        }
    }
    Ok(())
}

/// What a close frame of a server that goes away says.
const GOING_AWAY: &str = "close 1001";

/// What the next WebSocket frame says.
async fn frame_of(stream: &mut BufReader<TcpStream>) -> Result<String, String> {
    let mut head = [0; 2];
    let read = stream.read_exact(&mut head).await;
    read.map_err(|error| format!("read: {error}"))?;
    let mut said = vec![0; usize::from(head[1])];
    let read = stream.read_exact(&mut said).await;
    read.map_err(|error| format!("read: {error}"))?;
    Ok(match (head[0], said.as_slice()) {
        (0x88, [high, low, ..]) => format!("close {}", u16::from_be_bytes([*high, *low])),
        _ => String::from_utf8_lossy(&said).trim_end().to_owned(),
    })
}
