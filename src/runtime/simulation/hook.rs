//! A hook that does with a deed as its parameters say, and notes that it was called.

use serde_json::Value;

use super::deed::{Deed, Hooked, panic_quietly};
use super::world::world;
use crate::runtime::{Context, Hook};
use crate::vocabulary::OpError;

pub(super) struct Watching;

impl Watching {
    fn what_to_do(context: &Context) -> Hooked {
        let deed: Deed = serde_json::from_str(context.opcode().params.as_json()).unwrap();
        deed.hooked
    }
}

impl Hook for Watching {
    fn before(&self, context: &Context) -> Result<(), OpError> {
        let (job, op) = (context.job(), context.op_index() as usize);
        world(|world| world.asked.insert((job, op), context.fencing_token()));
        match Self::what_to_do(context) {
            Hooked::Refused => Err(OpError::exec("as asked")),
            Hooked::Panic => panic_quietly(),
            Hooked::Fine | Hooked::FailsAfter => Ok(()),
        }
    }

    fn after(&self, context: &Context, _: &Value) -> Result<(), OpError> {
        let (job, op) = (context.job(), context.op_index() as usize);
        world(|world| world.succeeded.push((job, op, context.fencing_token())));
        match Self::what_to_do(context) {
            Hooked::FailsAfter => Err(OpError::exec("as asked")),
            _ => Ok(()),
        }
    }
}
