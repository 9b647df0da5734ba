//! Whole commands against the cluster. Where its nodes are pretended, no container runs; its
//! API server, scheduler and controllers are what they are everywhere.

mod capacity;
mod deploy;
mod events;
mod hooks;
mod killed;
mod others;
mod proxy;
mod release;
mod run;
mod stages;
mod support;
