//! A customer who asks the shop all the time, and notes every answer that was not
//! the one expected.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;
use std::time::Instant;

use super::get;

/// Asks this often.
const PAUSE: Duration = Duration::from_millis(20);
/// Asks beside one another, so that one slow answer does not stop the asking.
const THREADS: usize = 2;

/// The customer; gone when dropped.
pub struct Client {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    since: Instant,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    asked: AtomicUsize,
    failures: Mutex<Vec<String>>,
}

/// What a customer saw.
pub struct Seen {
    /// Requests.
    pub asked: usize,
    /// Requests a second.
    pub rate: f64,
    /// What went wrong, in words.
    pub failures: Vec<String>,
}

impl Client {
    /// Asks for `/` on this port, over a new connection each time.
    pub fn start(port: u16) -> Self {
        let shared = Arc::new(Shared::default());
        let threads = (0..THREADS).map(|_| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || shared.ask(port))
        });
        Self {
            threads: threads.collect(),
            shared,
            since: Instant::now(),
        }
    }

    /// What was seen since the start or the last call.
    pub fn seen(&mut self) -> Seen {
        let failures = &self.shared.failures;
        let failures =
            std::mem::take(&mut *failures.lock().unwrap_or_else(PoisonError::into_inner));
        let asked = self.shared.asked.swap(0, Ordering::SeqCst);
        let since = std::mem::replace(&mut self.since, Instant::now());
        Seen {
            asked,
            #[expect(clippy::cast_precision_loss, reason = "a count of requests")]
            rate: asked as f64 / since.elapsed().as_secs_f64(),
            failures,
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn ask(&self, port: u16) {
        while !self.stop.load(Ordering::SeqCst) {
            let asked = Instant::now();
            let failure = match get(port, "/") {
                Ok((200, _)) => None,
                Ok((status, body)) => Some(format!("{status} {body}")),
                Err(error) => Some(error.to_string()),
            };
            self.asked.fetch_add(1, Ordering::SeqCst);
            if let Some(failure) = failure {
                let failure = format!("{failure} after {:?}", asked.elapsed());
                let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
                failures.push(failure);
            }
            std::thread::sleep(PAUSE.saturating_sub(asked.elapsed()));
        }
    }
}
