//! Devices of the host: who gets which, and how much of a disk's time.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::Serialize;

/// A request for devices by what they can do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeviceRequest {
    /// Capabilities, like `gpu`; a device needs all of them.
    pub capabilities: Vec<String>,
    /// Driver; the engine chooses one where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// How many; -1 is all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<i64>,
    /// Certain devices, instead of a count.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<String>,
    /// Options of the driver.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
}

/// Block I/O: weights beside others, and upper bounds by device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Blkio {
    /// Weight, 10 to 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u16>,
    /// Weights on single devices.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub weight_device: Vec<(String, u16)>,
    /// Bytes a second that are read at most.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub read_bps: Vec<(String, i64)>,
    /// Bytes a second that are written at most.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub write_bps: Vec<(String, i64)>,
    /// Operations a second that read at most.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub read_iops: Vec<(String, i64)>,
    /// Operations a second that write at most.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub write_iops: Vec<(String, i64)>,
}

impl Blkio {
    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
