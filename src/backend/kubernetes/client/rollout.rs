//! How workloads come along.

use super::Cluster;
use crate::backend::Rollouts;

impl Rollouts for Cluster {}
