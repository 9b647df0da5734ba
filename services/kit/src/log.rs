//! JSON logs on standard output, one object a line. `LOG` filters them (`info` by default).

use tracing_subscriber::EnvFilter;

use crate::env::{BadSetting, Env};

/// Starts the log of the process; a second call changes nothing.
pub fn start(env: &Env) -> Result<(), BadSetting> {
    let filter = env.get_or("LOG", "info");
    let parsed = EnvFilter::try_new(filter)
        .map_err(|_| BadSetting::new("LOG", filter, "a log filter such as info"))?;
    let json = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_span_list(false)
        .with_env_filter(parsed);
    _ = json.try_init();
    Ok(())
}
