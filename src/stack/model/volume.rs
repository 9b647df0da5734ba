//! Named volumes.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::stack::Place;

/// A named volume of the stack.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Volume {
    /// Its name on the engine: `<stack>_<key>`, or as declared.
    pub name: String,
    /// Exists already and is not ours to make or remove.
    pub external: bool,
    /// Driver; the engine's default when absent.
    pub driver: Option<String>,
    /// Options of the driver.
    pub driver_opts: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Where it is declared.
    #[serde(skip)]
    pub place: Place,
}
