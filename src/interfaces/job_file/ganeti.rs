//! Jobs in JSON as Ganeti's clients write them: a list of opcodes is one job, a list of such
//! lists is several.

use super::super::catalogue::Catalogue;
use super::super::located::Located;
use super::depends::{self, Wait};
use super::{Budget, Draft, DraftOp, common};
use crate::vocabulary::{Error, JobId, JobRef, JobTerms, Priority, Status};

pub(super) fn read<'d>(root: Located<'d>, catalogue: &Catalogue) -> Result<Vec<Draft<'d>>, Error> {
    let what = "a list of opcodes, or a list of such lists";
    let elements: Vec<_> = root.list(what)?.collect();
    let several = elements.first().is_some_and(Located::is_list);
    let jobs = match (several, elements.is_empty()) {
        (true, _) => elements,
        (false, true) => Vec::new(),
        (false, false) => vec![root],
    };
    let mut budget = Budget::default();
    jobs.into_iter()
        .enumerate()
        .map(|(index, job)| {
            let draft = read_job(job, index, catalogue)?;
            budget.take(job, draft.ops.len())?;
            Ok(draft)
        })
        .collect()
}

fn read_job<'d>(at: Located<'d>, index: usize, catalogue: &Catalogue) -> Result<Draft<'d>, Error> {
    let ops = at
        .list("a job: a list of opcodes")?
        .map(|op| read_op(op, index, catalogue))
        .collect::<Result<Vec<_>, Error>>()?;
    match ops.is_empty() {
        true => Err(at.error("a job needs at least one opcode")),
        false => {
            Ok(Draft { at, label: None, expect: Status::Success, terms: JobTerms::default(), ops })
        }
    }
}

fn read_op<'d>(at: Located<'d>, index: usize, catalogue: &Catalogue) -> Result<DraftOp<'d>, Error> {
    let opcode = common::opcode(at, catalogue, Priority::NORMAL, |value| Ok(value.to_json()))?;
    let depends = at.entries("an opcode")?.find(|(key, _)| key.as_str() == "depends");
    let waits = match depends.filter(|(_, value)| !value.is_null()) {
        Some((_, value)) => value
            .list("a list of [job, [statuses]]")?
            .map(|wait| read_wait(wait, index))
            .collect::<Result<_, Error>>()?,
        None => Vec::new(),
    };
    Ok(DraftOp { opcode, waits })
}

fn read_wait(at: Located<'_>, index: usize) -> Result<Wait<'_>, Error> {
    let parts: Vec<_> = at.list("[job, [statuses]]")?.collect();
    let [job, statuses] = &parts[..] else {
        return Err(at.error("expected [job, [statuses]]"));
    };
    Ok(Wait::on_job(at, read_job_ref(*job, index)?, depends::statuses(*statuses)?))
}

/// A positive number is the id of a job; a negative one counts back from this job.
fn read_job_ref(at: Located<'_>, index: usize) -> Result<JobRef, Error> {
    if let Some(text) = at.as_text() {
        return text.parse::<JobId>().map(JobRef::Id).map_err(|error| at.wrap(error));
    }
    let number = at.integer("the id of a job, or -1 for the job before this one")?;
    if let Some(id) = u64::try_from(number).ok().and_then(JobId::new) {
        return Ok(JobRef::Id(id));
    }
    let back = usize::try_from(number.unsigned_abs()).unwrap_or(usize::MAX);
    let before = index.checked_sub(back).filter(|_| back > 0);
    before.and_then(|before| u32::try_from(before).ok()).map(JobRef::Batch).ok_or_else(|| {
        at.error(format!("{number} is no job: this is job {index} of the file, counted from 0"))
    })
}
