//! Parameters that nobody is told.
//!
//! The log keeps them, because an opcode has to be carried out after a crash too. What the master
//! answers with, and what goes into the archive, has a mark in their place.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::Value;

use crate::vocabulary::{Job, OpCode, OpId, Params};

/// What stands where a secret was.
const MARK: &str = "<secret>";

/// The names of the secret parameters, by opcode.
#[derive(Default)]
pub(super) struct Secrets(BTreeMap<OpId, Vec<String>>);

impl Secrets {
    pub(super) fn add(&mut self, id: &OpId, names: impl IntoIterator<Item = String>) {
        let mut names = names.into_iter().peekable();
        if names.peek().is_some() {
            self.0.entry(id.clone()).or_default().extend(names);
        }
    }

    /// The job without its secrets. Costs nothing where its opcodes have none.
    pub(super) fn redacted(&self, mut job: Job) -> Job {
        if self.concern(&job) {
            job.ops.iter_mut().for_each(|op| self.redact(&mut op.opcode));
        }
        job
    }

    /// The same of several jobs, which are copied only if that is needed.
    pub(super) fn all_redacted<'j>(&self, jobs: &'j [Job]) -> Cow<'j, [Job]> {
        match jobs.iter().any(|job| self.concern(job)) {
            true => jobs.iter().map(|job| self.redacted(job.clone())).collect(),
            false => Cow::Borrowed(jobs),
        }
    }

    fn concern(&self, job: &Job) -> bool {
        !self.0.is_empty() && job.ops.iter().any(|op| self.0.contains_key(&op.opcode.id))
    }

    fn redact(&self, opcode: &mut OpCode) {
        let Some(names) = self.0.get(&opcode.id) else { return };
        let mut params = opcode.params.to_object();
        for (_, value) in params.iter_mut().filter(|(name, _)| names.contains(name)) {
            if !value.is_null() {
                *value = Value::String(MARK.to_owned());
            }
        }
        opcode.params = Params::from_object(&params);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::{FeedbackLog, JobId, JobOp, Timestamp};

    fn job(id: &str, params: &str) -> Job {
        let opcode = OpCode::new(OpId::new(id).unwrap(), Params::from_json(params).unwrap());
        Job {
            id: JobId::FIRST,
            label: None,
            terms: Default::default(),
            received: Timestamp::from_micros(1),
            ops: vec![JobOp::new(opcode)],
            feedback: FeedbackLog::default(),
            cancel_requested: None,
            origin: None,
        }
    }

    #[test]
    fn secrets_are_replaced_and_nothing_else() {
        let mut secrets = Secrets::default();
        secrets.add(&OpId::new("OP_LOGIN").unwrap(), ["password".into(), "token".into()]);
        let login = r#"{"user":"me","password":"hunter2","token":null}"#;
        let redacted = secrets.redacted(job("OP_LOGIN", login));
        let expected = r#"{"password":"<secret>","token":null,"user":"me"}"#;
        let params: Value = serde_json::from_str(redacted.ops[0].opcode.params.as_json()).unwrap();
        assert_eq!(params, serde_json::from_str::<Value>(expected).unwrap());
        let others = [job("OP_OTHER", login)];
        assert!(matches!(secrets.all_redacted(&others), Cow::Borrowed(_)));
        assert_eq!(secrets.all_redacted(&[job("OP_LOGIN", login)])[0], redacted);
    }
}
