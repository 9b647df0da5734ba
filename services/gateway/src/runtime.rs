//! The runtime that suits every subcommand: one thread, few helpers.

use std::time::Duration;

use tokio::runtime::Builder;

use crate::error::Error;

/// Helpers for files and look-ups; they live only while they are needed.
const HELPERS: usize = 16;

/// Runs a subcommand to its end. Work that hangs, like a look-up, is left behind.
pub fn block_on<T>(subcommand: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(HELPERS)
        .thread_keep_alive(Duration::from_secs(2))
        .build()
        .map_err(Error::system("starting the runtime"))?;
    let result = runtime.block_on(subcommand);
    runtime.shutdown_background();
    result
}
