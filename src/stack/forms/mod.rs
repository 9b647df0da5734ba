//! Short forms: what a text or a number stands for where the specification
//! also has a mapping.

mod hosts;
mod mount;
mod ports;
mod simple;
mod words;

pub(crate) use self::hosts::hosts;
pub(crate) use self::mount::finish_mount;
pub(crate) use self::mount::mount;
pub(crate) use self::ports::finish_port;
pub(crate) use self::ports::port_identity;
pub(crate) use self::ports::ports;
pub(crate) use self::simple::all_gpus;
pub(crate) use self::simple::build;
pub(crate) use self::simple::dependency;
pub(crate) use self::simple::device;
pub(crate) use self::simple::env_file;
pub(crate) use self::simple::extends;
pub(crate) use self::simple::external;
pub(crate) use self::simple::finish_build;
pub(crate) use self::simple::finish_name;
pub(crate) use self::simple::finish_volume;
pub(crate) use self::simple::grant;
pub(crate) use self::simple::include;
pub(crate) use self::simple::ulimit;
pub(crate) use self::words::health_test;
pub(crate) use self::words::words;
