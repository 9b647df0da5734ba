//! `blkio_config`.

use super::Decoder;
use super::list;
use super::number;
use super::signed_bytes;
use super::text;
use crate::stack::model::Blkio;
use crate::stack::report::At;
use crate::stack::yaml::Node;

impl Decoder<'_> {
    pub(super) fn blkio(&mut self, service: &Node, at: &At<'_>) -> Blkio {
        let Some(node) = service.get("blkio_config") else {
            return Blkio::default();
        };
        let at = at.key("blkio_config");
        let devices = list(node, "weight_device");
        Blkio {
            weight: self.weight(node, &at),
            weight_device: devices
                .iter()
                .enumerate()
                .filter_map(|(index, device)| {
                    let at = at.key("weight_device");
                    Some((
                        text(device, "path")?,
                        self.weight(device, &at.index(index))?,
                    ))
                })
                .collect(),
            device_read_bps: rates(node, "device_read_bps"),
            device_read_iops: rates(node, "device_read_iops"),
            device_write_bps: rates(node, "device_write_bps"),
            device_write_iops: rates(node, "device_write_iops"),
        }
    }

    /// 0 is no weight, as for the engine.
    fn weight(&mut self, node: &Node, at: &At<'_>) -> Option<u16> {
        let weight: u64 = number(node, "weight").filter(|weight| *weight > 0)?;
        if (10..=1000).contains(&weight) {
            return u16::try_from(weight).ok();
        }
        let value = node.get("weight")?;
        self.unfit(
            value,
            &at.key("weight"),
            "a weight from 10 to 1000",
            "write 500 for the weight of everybody else",
        );
        None
    }
}

fn rates(node: &Node, key: &str) -> Vec<(String, i64)> {
    list(node, key)
        .iter()
        .filter_map(|entry| Some((text(entry, "path")?, signed_bytes(entry, "rate")?)))
        .collect()
}
