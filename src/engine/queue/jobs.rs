//! The jobs of a queue by id, in little room: one that has only been submitted, which most of a
//! long queue are, is kept without room for what is yet to become of it.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::sync::Arc;

use super::paged::Paged;
use crate::vocabulary::{
    Job, JobId, JobOp, JobTerms, NewJob, OpCode, OpId, OpTerms, Params, Priority, Timestamp,
};

/// Jobs by id.
#[derive(Clone, Debug, Default)]
pub(super) struct Jobs(Paged<Kept>);

/// A job as it is kept.
#[derive(Clone, Debug)]
enum Kept {
    /// As submitted, and whole where somebody has looked at it.
    Plain(Plain, OnceCell<Box<Job>>),
    Whole(Box<Job>),
}

/// A job that waits for nothing but its turn, as it was submitted.
#[derive(Clone, Debug)]
struct Plain {
    received: Timestamp,
    label: Option<Box<str>>,
    origin: Option<Arc<str>>,
    ops: Box<[PlainOp]>,
}

#[derive(Clone, Debug)]
struct PlainOp {
    id: OpId,
    params: Params,
    priority: Priority,
    dry_run: bool,
}

impl Plain {
    /// The job, if all that is said of it has a place here.
    fn of(job: &NewJob, received: Timestamp, origin: Option<&Arc<str>>) -> Option<Self> {
        let NewJob { label, ops, terms } = job;
        let ops = ops.iter().map(PlainOp::of).collect();
        let plain = Self::made(ops, label.as_deref(), received, origin.cloned());
        plain.filter(|_| *terms == JobTerms::default())
    }

    fn made(
        ops: Option<Box<[PlainOp]>>,
        label: Option<&str>,
        received: Timestamp,
        origin: Option<Arc<str>>,
    ) -> Option<Self> {
        let ops = ops.filter(|ops| !ops.is_empty())?;
        Some(Self { received, label: label.map(Box::from), origin, ops })
    }

    fn whole(&self, id: JobId) -> Box<Job> {
        let text = |text: &str| text.to_owned();
        let ops = self.ops.iter().map(|op| JobOp::new(op.opcode())).collect();
        let (label, origin) = (self.label.as_deref().map(text), self.origin.as_deref().map(text));
        Box::new(Job { label, origin, ..Job::submitted(id, self.received, ops) })
    }

    fn priority(&self) -> Priority {
        self.ops.iter().map(|op| op.priority).min().unwrap_or_default()
    }

    /// What [`Job::bytes`] says of the whole.
    fn bytes(&self) -> usize {
        let texts = [self.label.as_deref(), self.origin.as_deref()];
        let texts: usize = texts.into_iter().flatten().map(str::len).sum();
        let ops = self.ops.iter().map(|op| JobOp::plain_bytes(&op.id, &op.params));
        Job::BYTES + texts + ops.sum::<usize>()
    }
}

impl PlainOp {
    fn of(opcode: &OpCode) -> Option<Self> {
        let OpCode { id, params, priority, depends, comment, reason, dry_run, terms } = opcode;
        let alone = depends.is_empty() && *terms == OpTerms::default();
        let plain = alone && comment.is_none() && reason.is_empty();
        let (priority, dry_run) = (*priority, *dry_run);
        plain.then(|| Self { id: id.clone(), params: params.clone(), priority, dry_run })
    }

    fn opcode(&self) -> OpCode {
        let Self { id, params, priority, dry_run } = self;
        let opcode = OpCode::new(id.clone(), params.clone()).with_priority(*priority);
        OpCode { dry_run: *dry_run, ..opcode }
    }
}

impl Kept {
    fn get(&self, id: JobId) -> &Job {
        match self {
            Self::Plain(plain, whole) => whole.get_or_init(|| plain.whole(id)),
            Self::Whole(job) => job,
        }
    }

    /// For a look at many: nothing is kept of it.
    fn peek(&self, id: JobId) -> Cow<'_, Job> {
        match self {
            Self::Plain(plain, whole) => match whole.get() {
                Some(job) => Cow::Borrowed(job),
                None => Cow::Owned(*plain.whole(id)),
            },
            Self::Whole(job) => Cow::Borrowed(job),
        }
    }
}

impl Jobs {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn contains_key(&self, id: &JobId) -> bool {
        self.0.contains_key(id)
    }

    /// The job of that id.
    pub(super) fn get(&self, id: &JobId) -> Option<&Job> {
        self.0.get(id).map(|kept| kept.get(*id))
    }

    /// The job of that id, to be changed.
    pub(super) fn get_mut(&mut self, id: &JobId) -> Option<&mut Job> {
        let kept = self.0.get_mut(id)?;
        if let Kept::Plain(plain, whole) = kept {
            let job = whole.take().unwrap_or_else(|| plain.whole(*id));
            *kept = Kept::Whole(job);
        }
        match kept {
            Kept::Whole(job) => Some(job),
            Kept::Plain(..) => None,
        }
    }

    /// When a job was submitted.
    pub(super) fn received(&self, id: JobId) -> Option<Timestamp> {
        match self.0.get(&id)? {
            Kept::Plain(plain, _) => Some(plain.received),
            Kept::Whole(job) => Some(job.received),
        }
    }

    pub(super) fn insert(&mut self, job: Job) {
        let (id, origin) = (job.id, job.origin.as_deref().map(Arc::from));
        let ops = job.ops.iter().map(|op| PlainOp::of(&op.opcode)).collect();
        let plain = Plain::made(ops, job.label.as_deref(), job.received, origin);
        self.0.insert(
            id,
            match plain.filter(|plain| *plain.whole(id) == job) {
                Some(plain) => Kept::Plain(plain, OnceCell::new()),
                None => Kept::Whole(Box::new(job)),
            },
        );
    }

    /// How urgent a job is of which nothing is known but how it was submitted, and that waits for
    /// nothing but its turn.
    pub(super) fn plain_priority(&self, id: JobId) -> Option<Priority> {
        match self.0.get(&id)? {
            Kept::Plain(plain, _) => Some(plain.priority()),
            Kept::Whole(_) => None,
        }
    }

    /// Gives back the room of jobs that were looked at, and of which nothing is known but how they
    /// were submitted.
    pub(super) fn forget_looks(&mut self) {
        for kept in self.0.values_mut() {
            if let Kept::Plain(_, whole) = kept {
                _ = whole.take();
            }
        }
    }

    /// Takes a job in as it was submitted, if it waits for nothing but its turn. Whether it does.
    pub(super) fn insert_plain(
        &mut self,
        id: JobId,
        job: &NewJob,
        received: Timestamp,
        origin: Option<&Arc<str>>,
    ) -> bool {
        let plain = Plain::of(job, received, origin).map(|it| Kept::Plain(it, OnceCell::new()));
        plain.map(|kept| self.0.insert(id, kept)).is_some()
    }

    pub(super) fn remove(&mut self, id: &JobId) {
        self.0.remove(id);
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = JobId> {
        self.0.iter().map(|(id, _)| id)
    }

    /// All jobs, by id. Looks at each without keeping anything of it.
    pub(super) fn values(&self) -> impl DoubleEndedIterator<Item = Cow<'_, Job>> {
        self.0.iter().map(|(id, kept)| kept.peek(id))
    }

    /// The ids from that one on.
    pub(super) fn keys_from(&self, first: JobId) -> impl Iterator<Item = JobId> {
        self.0.starting_at(first).map(|(id, _)| id)
    }

    /// The jobs from that id on.
    pub(super) fn starting_at(&self, first: JobId) -> impl Iterator<Item = Cow<'_, Job>> {
        self.0.starting_at(first).map(|(id, kept)| kept.peek(id))
    }

    /// Those jobs of which something is known that was not submitted with them.
    pub(super) fn touched(&self) -> impl Iterator<Item = &Job> {
        self.0.iter().filter_map(|(_, kept)| match kept {
            Kept::Plain(..) => None,
            Kept::Whole(job) => Some(&**job),
        })
    }

    /// About how many bytes they take in the log.
    pub(super) fn bytes(&self) -> u64 {
        let of = |kept: &Kept| match kept {
            Kept::Plain(plain, _) => plain.bytes(),
            Kept::Whole(job) => job.bytes(),
        };
        self.0.iter().map(|(_, kept)| of(kept) as u64).sum()
    }
}

impl PartialEq for Jobs {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.values().eq(other.values())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(id: u64) -> (JobId, NewJob) {
        let op = |text: &str| {
            let params = Params::from_json(text).unwrap();
            let opcode = OpCode::new(OpId::new("OP_PLAIN").unwrap(), params);
            OpCode { dry_run: true, ..opcode.with_priority(Priority::new(3).unwrap()) }
        };
        (JobId::new(id).unwrap(), NewJob::of([op("{}"), op(r#"{"a":1}"#)]).labelled("plain"))
    }

    #[test]
    fn a_job_is_the_same_however_it_is_kept() {
        let (id, new) = plain(7);
        let (received, origin) = (Timestamp::from_micros(5), Arc::from("here"));
        let mut jobs = Jobs::default();
        assert!(jobs.insert_plain(id, &new, received, Some(&origin)));
        let ops = new.ops.iter().cloned().map(JobOp::new).collect();
        let (label, origin) = (new.label.clone(), Some("here".to_owned()));
        let job = Job { label, origin, ..Job::submitted(id, received, ops) };
        assert!(jobs.values().map(Cow::into_owned).eq([job.clone()]));
        let expected = (Some(job.priority()), Some(received));
        assert_eq!((jobs.plain_priority(id), jobs.received(id)), expected);
        assert_eq!(jobs.bytes(), job.bytes() as u64);
        assert_eq!(jobs.touched().count(), 0);
        assert_eq!(jobs.get(&id), Some(&job));
        jobs.forget_looks();
        assert_eq!(jobs.get_mut(&id), Some(&mut job.clone()));
        assert_eq!(jobs.touched().count(), 1);
        assert_eq!((jobs.get(&id), jobs.bytes()), (Some(&job), job.bytes() as u64));
        jobs.insert(job.clone());
        assert_eq!((jobs.plain_priority(id), jobs.get(&id)), (Some(job.priority()), Some(&job)));
        let stopped = Job { cancel_requested: Some(received), ..job };
        jobs.insert(stopped.clone());
        assert_eq!((jobs.plain_priority(id), jobs.get(&id)), (None, Some(&stopped)));
    }

    #[test]
    fn what_has_more_to_it_is_not_kept_as_plain() {
        let (id, mut new) = plain(1);
        new.ops[1].comment = Some("look".to_owned());
        let mut jobs = Jobs::default();
        assert!(!jobs.insert_plain(id, &new, Timestamp::default(), None));
        assert!(!jobs.insert_plain(id, &NewJob::default(), Timestamp::default(), None));
        assert_eq!(jobs.len(), 0);
    }

    #[test]
    fn a_plain_job_takes_little_room() {
        assert!(size_of::<Option<Kept>>() <= 72, "{}", size_of::<Option<Kept>>());
        assert!(size_of::<PlainOp>() <= 40, "{}", size_of::<PlainOp>());
    }
}
