//! The lock's process ends with its holder, or when the holder falls silent.

use std::io::Write;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;

use shop_gateway::LockOptions;
use shop_gateway::lock_on;
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;
use tokio::time::advance;

use crate::support::until;

/// The options' default is what the holders rely on.
#[tokio::test(start_paused = true)]
async fn silence_of_15_seconds_ends_it_and_a_byte_before_that_does_not() {
    let (mut holder, input) = tokio::io::duplex(64);
    let options = LockOptions::default();
    let started = Instant::now();
    let lock = tokio::spawn(async move { lock_on(input, std::io::sink(), &options).await });
    for _ in 0..10 {
        advance(Duration::from_secs(14)).await;
        holder.write_all(b".").await.expect("sent");
        tokio::task::yield_now().await;
        assert!(!lock.is_finished());
    }
    lock.await.expect("joined");
    assert_eq!(started.elapsed().as_secs(), 140 + 15);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_input_ends_it_at_once() {
    let started = Instant::now();
    let options = LockOptions {
        silence: Duration::from_hours(1),
    };
    let mut heard = Vec::new();
    lock_on(&b"..."[..], &mut heard, &options).await;
    assert_eq!(started.elapsed(), Duration::ZERO);
    assert_eq!(heard, b"...", "it gives back what it gets");
}

fn start(subcommand: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_shop-gateway"))
        .arg(subcommand)
        .stdin(Stdio::piped())
        .spawn()
        .expect("started")
}

async fn ends_well(child: &mut Child) {
    until("it ends", async || {
        child.try_wait().expect("waited").is_some()
    })
    .await;
    let status = child.wait().expect("waited");
    assert!(status.success(), "{status}");
}

fn terminate(child: &Child) {
    let killed = Command::new("kill").arg(child.id().to_string()).status();
    assert!(killed.expect("started").success());
}

/// A process that catches the signal says so in its mask of caught signals.
fn catches_sigterm(child: &Child) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id()));
    let status = status.expect("it runs");
    let caught = status
        .lines()
        .find_map(|line| line.strip_prefix("SigCgt:"))
        .expect("a mask");
    let caught = u64::from_str_radix(caught.trim(), 16).expect("a number");
    caught & (1 << (15 - 1)) != 0
}

#[tokio::test]
async fn the_program_ends_when_its_input_does() {
    let mut lock = start("lock");
    let mut stdin = lock.stdin.take().expect("a pipe");
    stdin.write_all(b".").expect("sent");
    until("it runs", async || catches_sigterm(&lock)).await;
    assert!(lock.try_wait().expect("waited").is_none());
    drop(stdin);
    ends_well(&mut lock).await;
}

#[tokio::test]
async fn the_programs_that_only_last_end_at_a_signal() {
    for subcommand in ["lock", "keep"] {
        let mut child = start(subcommand);
        until("it runs", async || catches_sigterm(&child)).await;
        terminate(&child);
        ends_well(&mut child).await;
    }
}

/// The keeper lives in 6 MiB, page cache of its own file included.
#[tokio::test]
async fn the_keeper_is_tiny() {
    let mut keeper = start("keep");
    until("it runs", async || catches_sigterm(&keeper)).await;
    let status = std::fs::read_to_string(format!("/proc/{}/status", keeper.id()));
    let status = status.expect("it runs");
    let kib = |name: &str| -> u64 {
        let value = status.lines().find_map(|line| line.strip_prefix(name));
        let value = value.expect("a size").trim().trim_end_matches(" kB");
        value.parse().expect("a number")
    };
    assert!(kib("RssAnon:") < 512, "{status}");
    assert!(kib("Threads:") == 1, "{status}");
    terminate(&keeper);
    ends_well(&mut keeper).await;
}
