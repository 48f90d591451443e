//! Which logical unit carries out which opcode.

use std::collections::BTreeMap;
use std::fmt;

use super::contained::Contained;
use super::logical_unit::{LogicalUnit, TypedOp};
use super::secrets::Secrets;
use crate::vocabulary::{Error, OpCode, OpError, OpErrorKind, OpId, Params};

type Make = Box<dyn Fn(&Params) -> Result<Box<dyn LogicalUnit>, OpError> + Send + Sync>;

/// How many ids are named to somebody who asked for one that is not known.
const SHOWN_IDS: usize = 20;

/// The logical units a master knows, by opcode id.
#[derive(Default)]
pub struct Registry {
    makers: BTreeMap<OpId, Make>,
    secrets: Secrets,
}

impl Registry {
    /// Adds the units of type `U`, made by reading the parameters into its fields.
    ///
    /// # Errors
    ///
    /// `Invalid` where its id is malformed or taken.
    pub fn add_typed<U: TypedOp>(&mut self) -> Result<(), Error> {
        self.add(OpId::new(U::ID)?, |params| {
            let unit: U = serde_json::from_str(params.as_json()).map_err(|error| {
                OpError::prereq(format!("wrong parameters for {}: {error}", U::ID))
                    .with_code("wrong_input")
            })?;
            Ok(Box::new(unit))
        })
    }

    /// Adds the units that `make` makes out of the parameters of an opcode.
    ///
    /// `make` runs when an opcode is submitted and again whenever it is taken up. It should
    /// check the form of the parameters and touch nothing else.
    ///
    /// # Errors
    ///
    /// `Invalid` where the id is taken.
    pub fn add<F>(&mut self, id: OpId, make: F) -> Result<(), Error>
    where
        F: Fn(&Params) -> Result<Box<dyn LogicalUnit>, OpError> + Send + Sync + 'static,
    {
        if self.makers.contains_key(&id) {
            return Err(Error::invalid(format!("the opcode {id} is declared twice")));
        }
        self.makers.insert(id, Box::new(make));
        Ok(())
    }

    /// Says that nobody is to be told the values of those parameters: what the master answers
    /// with, and what goes into the archive, has a mark in their place. The unit gets them, and
    /// the log keeps them, since an opcode has to be carried out after a crash too.
    pub fn keep_secret(&mut self, id: &OpId, names: impl IntoIterator<Item = String>) {
        self.secrets.add(id, names);
    }

    pub(super) const fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// The ids known, in order.
    pub fn ids(&self) -> impl Iterator<Item = &OpId> {
        self.makers.keys()
    }

    /// Which ids are known, for people: the first of them.
    pub(super) fn known(&self) -> String {
        let some: Vec<&str> = self.ids().take(SHOWN_IDS).map(OpId::as_str).collect();
        let more = if self.makers.len() > some.len() { ", ..." } else { "" };
        format!("the opcodes known here are {}{more}", some.join(", "))
    }

    /// The unit for that opcode.
    ///
    /// # Errors
    ///
    /// `Unknown` where no unit is registered under its id, or what its maker says.
    pub fn make(&self, opcode: &OpCode) -> Result<Box<dyn LogicalUnit>, OpError> {
        let make = self.makers.get(&opcode.id).ok_or_else(|| {
            OpError::new(OpErrorKind::Unknown, format!("unknown opcode {}", opcode.id))
        })?;
        make(&opcode.params)
    }

    /// The same, with its panics contained.
    pub(super) fn contained(&self, opcode: &OpCode) -> Result<Contained, OpError> {
        Contained::made(|| self.make(opcode))
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.makers.keys()).finish()
    }
}
