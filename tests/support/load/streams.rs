//! Long conversations: streams of events and switched protocols. One that the server
//! ends with a word and a proper close is fine; one that breaks off is lost.

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
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
        (Some("bye"), _) => Ok(()),
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
        "GET /upgrade HTTP/1.1\r\nHost: shop\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
    let sent = stream.get_mut().write_all(head.as_bytes()).await;
    sent.map_err(|error| format!("send: {error}"))?;
    let answer = ask::head_of(&mut stream).await?;
    if answer.status != 101 {
        return Err(format!("status {}", answer.status));
    }
    for number in 0..count.unwrap_or(u32::MAX) {
        let said = format!("line {number}");
        let sent = stream.get_mut();
        let sent = sent.write_all(format!("{said}\n").as_bytes()).await;
        // Where the server has just ended, its last word tells.
        let back = ask::line(&mut stream).await?;
        if back == "bye" {
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
