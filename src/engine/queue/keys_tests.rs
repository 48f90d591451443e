//! Submissions with a key: what a repetition gives, and how long it is known.

use std::collections::BTreeMap;

use super::*;
use crate::vocabulary::{NewJob, SubmissionKey};

const NOW: Timestamp = Timestamp::from_micros(1);

fn bounds(queued_jobs: usize) -> Bounds {
    let most = usize::MAX;
    Bounds { queued_jobs, batch_jobs: most, batch_bytes: most, job_ops: most, job_bytes: most }
}

fn submit(queue: &mut Queue, key: &str, jobs: usize) -> Result<(Vec<u64>, usize), Refusal> {
    let (key, jobs) = (SubmissionKey::new(key).unwrap(), vec![NewJob::default(); jobs]);
    let (ids, records) = queue.submit_once(&key, jobs, &BTreeMap::new(), None, &bounds(9), NOW)?;
    queue.check();
    Ok((ids.iter().map(|id| id.get()).collect(), records.len()))
}

fn archive(queue: &mut Queue, ids: impl IntoIterator<Item = u64>) {
    queue.archive(ids.into_iter().filter_map(JobId::new));
    queue.check();
}

#[test]
fn the_same_key_again_gives_the_same_jobs_and_submits_nothing() {
    let mut queue = Queue::new(100);
    assert_eq!(submit(&mut queue, "a", 2), Ok((vec![1, 2], 2)));
    assert_eq!(submit(&mut queue, "b", 1), Ok((vec![3], 2)));
    assert_eq!(submit(&mut queue, "a", 2), Ok((vec![1, 2], 0)));
    archive(&mut queue, [1]);
    assert_eq!(submit(&mut queue, "a", 2), Ok((vec![1, 2], 0)), "also where one is archived");
    archive(&mut queue, [2]);
    assert_eq!(submit(&mut queue, "a", 2), Ok((vec![1, 2], 0)), "also where all are");
    assert_eq!(submit(&mut queue, "nothing", 0), Ok((vec![], 0)));
    assert_eq!(submit(&mut queue, "nothing", 1), Ok((vec![4], 2)), "nothing needs no key");
}

#[test]
fn a_key_of_another_number_of_jobs_is_refused_and_says_whose_it_is() {
    let mut queue = Queue::new(100);
    submit(&mut queue, "a", 2).unwrap();
    let refusal = submit(&mut queue, "a", 3).unwrap_err();
    let expected = "the key a belongs to another submission: 2 jobs, from job 1 on";
    assert_eq!(refusal.to_string(), expected);
}

#[test]
fn a_key_of_jobs_with_other_opcodes_parameters_or_label_is_refused_as_long_as_one_is_here() {
    let mut queue = Queue::new(100);
    let key = SubmissionKey::new("a").unwrap();
    let job = |id: &str, params: &str| {
        let params = crate::vocabulary::Params::from_json(params).unwrap();
        NewJob::of([crate::vocabulary::OpCode::new(id.parse().unwrap(), params)])
    };
    let mut submit = |job: NewJob| {
        let jobs = vec![job; 2];
        queue.submit_once(&key, jobs, &BTreeMap::new(), None, &bounds(9), NOW)
    };
    let ids = submit(job("OP_X", "{}")).unwrap().0;
    let labelled = job("OP_X", "{}").labelled("other");
    for other in [job("OP_Y", "{}"), job("OP_X", r#"{"a":1}"#), labelled] {
        assert!(matches!(submit(other), Err(Refusal::OtherSubmission { .. })));
    }
    assert_eq!(submit(job("OP_X", "{}")), Ok((ids, Vec::new())));
}

#[test]
fn a_full_queue_still_answers_repetitions() {
    let mut queue = Queue::new(100);
    let op = || crate::vocabulary::OpCode::new("OP_X".parse().unwrap(), Default::default());
    let key = SubmissionKey::new("a").unwrap();
    let mut submit = |key: &SubmissionKey| {
        let jobs = vec![NewJob::of([op()]); 9];
        queue.submit_once(key, jobs, &BTreeMap::new(), None, &bounds(9), NOW)
    };
    let (ids, _) = submit(&key).unwrap();
    assert!(submit(&SubmissionKey::new("b").unwrap()).is_err());
    assert_eq!(submit(&key), Ok((ids, Vec::new())));
}

#[test]
fn of_submissions_that_have_left_the_queue_the_newest_are_known() {
    let mut queue = Queue::new(100);
    queue.remember_keys(2);
    for (key, id) in [("a", 1), ("b", 2), ("c", 3), ("d", 4)] {
        assert_eq!(submit(&mut queue, key, 1), Ok((vec![id], 2)));
    }
    archive(&mut queue, [4, 2, 3]);
    for (key, id) in [("c", 3), ("d", 4), ("a", 1)] {
        assert_eq!(submit(&mut queue, key, 1), Ok((vec![id], 0)), "{key}");
    }
    assert_eq!(submit(&mut queue, "b", 1), Ok((vec![5], 2)), "the oldest was forgotten");
    archive(&mut queue, [1]);
    assert_eq!(submit(&mut queue, "a", 1), Ok((vec![6], 2)), "a was older than both that are");
}

#[test]
fn a_key_for_jobs_that_never_were_is_no_record_of_this_queue() {
    let mut queue = Queue::new(100);
    submit(&mut queue, "a", 2).unwrap();
    let key = SubmissionKey::new("b").unwrap();
    for (first, jobs) in [(2, 2), (1, 0), (u64::MAX, u32::MAX)] {
        let first = JobId::new(first).unwrap();
        let record = Record::Keyed { key: key.clone(), first, jobs };
        assert!(queue.apply(&record).is_err(), "{record:?}");
    }
    queue.check();
}
