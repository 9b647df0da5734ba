//! `events`: what happens to the stack, as it happens, until Ctrl-C.

use std::time::Duration;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use clap::Args;

use super::args::Files;
use super::desk::Desk;
use super::error::CliError;
use super::exit::Exit;
use super::moment::Since;
use super::moment::since;
use super::signals::Signals;
use crate::backend::Backend;
use crate::backend::EventQuery;
use crate::report::Format;
use crate::report::happenings;

/// `events`.
#[derive(Debug, Clone, Default, Args)]
#[command(
    after_help = "On an engine these are its events of the stack's containers, on a cluster the events about the stack's objects. With -o json each is an object on a line of its own.\n\nExample:\n  shopctl events --since 10m order"
)]
pub struct EventsArgs {
    /// Services to follow; all of the stack when none is named
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
    /// Begin with what happened since then: seconds since the epoch, a date, or a time ago such as 10m
    #[arg(long, value_name = "TIME", value_parser = since)]
    pub since: Option<Since>,
    /// End with what happened until then
    #[arg(long, value_name = "TIME", value_parser = since)]
    pub until: Option<Since>,
    /// Stack files.
    #[command(flatten)]
    pub files: Files,
}

/// Prints them.
pub(super) async fn run<B: Backend>(
    desk: &Desk<'_>,
    backend: &B,
    args: &EventsArgs,
) -> Result<Exit, CliError> {
    let loaded = desk.load(&args.services)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let (since, until) = bounds(args, now.unwrap_or_default())?;
    let query = EventQuery {
        stack: loaded.stack.name.clone(),
        services: loaded.stack.services.keys().cloned().collect(),
        since,
        until,
    };
    let mut signals = Signals::new();
    tokio::select! {
        done = print(desk, backend, args, &query) => done.map(|()| Exit::Done),
        exit = signals.next() => Ok(exit),
    }
}

async fn print<B: Backend>(
    desk: &Desk<'_>,
    backend: &B,
    args: &EventsArgs,
    query: &EventQuery,
) -> Result<(), CliError> {
    let mut happenings = backend.events(query).await?;
    while let Some(one) = happenings.recv().await {
        if !args.services.is_empty() && !args.services.contains(&one.service) {
            continue;
        }
        let text = match desk.settings.format {
            Format::Json => happenings::json(one),
            _ => happenings::line(&one, desk.console),
        };
        desk.console.out(&text)?;
    }
    Ok(())
}

/// From when to when, in seconds since the epoch.
fn bounds(args: &EventsArgs, now: Duration) -> Result<(Option<i64>, Option<i64>), CliError> {
    let until = args.until.map(|until| until.end(now));
    let since = args.since.map(|since| since.seconds(now));
    match (since, until) {
        (Some(since), Some(until)) if since > until => {
            Err(CliError::usage("--since is later than --until"))
        }
        // What is over by then is all that is still known of.
        (None, Some(until)) if until <= Since::Ago(Duration::ZERO).end(now) => {
            Ok((Some(0), Some(until)))
        }
        other => Ok(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_is_asked_for_from_the_beginning() {
        let of = |since: Option<Since>, until: Option<Since>| {
            let args = EventsArgs {
                since,
                until,
                ..EventsArgs::default()
            };
            bounds(&args, Duration::from_secs(1000))
        };
        let ago = |seconds| Some(Since::Ago(Duration::from_secs(seconds)));
        assert_eq!(of(None, None), Ok((None, None)));
        assert_eq!(of(ago(60), None), Ok((Some(940), None)));
        assert_eq!(of(None, Some(Since::At(1500))), Ok((None, Some(1500))));
        assert_eq!(of(None, ago(60)), Ok((Some(0), Some(940))));
        assert_eq!(of(ago(90), ago(60)), Ok((Some(910), Some(940))));
        assert_eq!(of(ago(30), ago(60)).unwrap_err().exit, Exit::Usage);
    }
}
