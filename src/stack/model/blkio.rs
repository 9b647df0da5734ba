//! Block I/O of a service.

use serde::Serialize;

/// The `blkio_config` section; devices are paths on the host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Blkio {
    /// Weight, 10 to 1000.
    pub weight: Option<u16>,
    /// Weights on single devices.
    pub weight_device: Vec<(String, u16)>,
    /// Bytes a second that are read at most.
    pub device_read_bps: Vec<(String, i64)>,
    /// Operations a second that read at most.
    pub device_read_iops: Vec<(String, i64)>,
    /// Bytes a second that are written at most.
    pub device_write_bps: Vec<(String, i64)>,
    /// Operations a second that write at most.
    pub device_write_iops: Vec<(String, i64)>,
}
