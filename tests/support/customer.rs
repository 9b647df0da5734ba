//! Somebody who asks for a page all the time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use super::get;

/// A customer at work, until it is asked what it saw.
pub struct Customer {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Seen>,
}

/// What a customer saw.
#[derive(Debug, Default)]
pub struct Seen {
    /// Requests without an answer, or with another status than 200.
    pub failures: u64,
    /// Answers of status 200, by the first word of the page: the version.
    pub answers: BTreeMap<String, u64>,
}

impl Customer {
    /// Begins.
    pub fn of(port: u16) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut seen = Seen::default();
            while !stopped.load(Ordering::Relaxed) {
                match get(port, "/") {
                    Ok((200, page)) => {
                        let version = page.split_whitespace().next().unwrap_or_default();
                        *seen.answers.entry(version.to_owned()).or_default() += 1;
                    }
                    _ => seen.failures += 1,
                }
            }
            seen
        });
        Self { stop, thread }
    }

    /// Ends; what was seen.
    pub fn end(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the customer lives")
    }

    /// Ends; every request must have been answered well.
    #[track_caller]
    pub fn was_served(self) -> Seen {
        let seen = self.end();
        let answers: u64 = seen.answers.values().sum();
        assert!(answers > 20, "only {answers} answers");
        assert_eq!(seen.failures, 0, "{seen:?}");
        seen
    }
}
