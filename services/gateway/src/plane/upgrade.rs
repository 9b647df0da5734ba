//! After `101 Switching Protocols`: bytes both ways until both sides are done.
//!
//! Test: `tests/gateway/upgrade.rs`.

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;

/// Ends when the conversation has ended.
pub(crate) async fn join(client: OnUpgrade, target: OnUpgrade) {
    if let Ok((client, target)) = tokio::try_join!(client, target) {
        // Either side may break off at any time; there is nobody to tell.
        let _ = copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(target)).await;
    }
}
