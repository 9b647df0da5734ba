//! One action.

use super::Cluster;
use crate::backend::Apply;
use crate::backend::BackendError;
use crate::backend::Context;
use crate::backend::Pending;
use crate::plan::action::Action;

impl Apply for Cluster {
    fn apply<'a>(&'a self, _context: &'a Context, _action: &'a Action) -> Pending<'a, ()> {
        Box::pin(async { Err(BackendError::Unsupported("this".to_owned())) })
    }
}
