//! Whether what the clients were told, what the queue says, and what really happened agree.

use std::collections::HashMap;
use std::process::Command;

use lockmaster::vocabulary::Status;

use crate::Counts;
use crate::client::{Ended, Story};
use crate::daemon::Place;
use crate::ledger::{self, Deeds};

/// Asserts all of it, and counts.
pub(crate) fn check(place: &Place, clients: &[Story], jobs: &[Ended], counts: &mut Counts) {
    let deeds = ledger::read(&place.path("ledger"));
    ids_have_no_gaps_and_labels_no_doubles(jobs);
    for story in clients {
        nothing_told_is_lost(story, jobs, &deeds);
        counts.submissions += story.submitted.len() as u64;
        counts.repeated += story.repeated;
        counts.canceled += story.canceled.len() as u64;
    }
    let submitted: usize = clients.iter().flat_map(|it| &it.submitted).map(|it| it.1.len()).sum();
    assert_eq!(submitted, jobs.len(), "a job that nobody has submitted, or somebody twice");
    jobs.iter().for_each(|job| ran_as_it_says(job, &deeds, counts));
    chains_keep_their_order(&deeds);
    the_log_is_whole(place);
    counts.jobs += jobs.len() as u64;
    counts.executions += deeds.values().map(|deeds| deeds.begun.len() as u64).sum::<u64>();
}

fn ids_have_no_gaps_and_labels_no_doubles(jobs: &[Ended]) {
    let mut labels = HashMap::new();
    for (job, expected) in jobs.iter().zip(1..) {
        assert_eq!(job.id, expected, "ids are contiguous");
        let other = labels.insert(&job.label, job.id);
        assert_eq!(other, None, "{} was submitted twice", job.label);
    }
}

/// Ids that were acknowledged are those of the right jobs; what was told to be so stays so.
fn nothing_told_is_lost(story: &Story, jobs: &[Ended], deeds: &HashMap<String, Deeds>) {
    let job = |id: u64| &jobs[usize::try_from(id).unwrap() - 1];
    for (key, ids) in &story.submitted {
        for (place, id) in ids.iter().enumerate() {
            assert_eq!(*id, ids[0] + place as u64, "the ids of {key} are contiguous");
            assert_eq!(job(*id).label, format!("{key}-{place}"), "job {id}");
        }
    }
    for id in &story.canceled {
        let job = job(*id);
        assert_eq!(job.status, Status::Canceled, "job {id} was said to be cancelled");
        let ran = deeds.contains_key(&format!("{}.0", job.label));
        assert!(!ran || job.ops != ["OP_ONCE"], "job {id} was cancelled and ran");
    }
    for (id, status) in &story.ended {
        assert_eq!(job(*id).status, *status, "job {id} had ended otherwise");
    }
}

fn ran_as_it_says(job: &Ended, deeds: &HashMap<String, Deeds>, counts: &mut Counts) {
    let none = Deeds::default();
    for (place, (op, status)) in job.ops.iter().zip(&job.op_status).enumerate() {
        let did = deeds.get(&format!("{}.{place}", job.label)).unwrap_or(&none);
        let (begun, ended) = (did.begun.len(), did.ended.len());
        let told = format!("{job:?}: {did:?}");
        counts.interrupted += u64::from(begun > ended || begun > 1);
        match op.as_str() {
            "OP_ONCE" => assert!(begun <= 1, "it ran twice: {told}"),
            "OP_UNDONE" => was_undone(did, &told),
            _ => {}
        }
        match status.as_str() {
            _ if op == "OP_FAIL" || op == "OP_TEST_DELAY" => assert_eq!(begun, 0),
            "success" => assert!(ended >= 1, "it did not run: {told}"),
            _ => {}
        }
    }
}

/// It fails always, so what it did is taken back, and not done again after that.
fn was_undone(did: &Deeds, told: &str) {
    assert!(did.begun.len() <= 1, "it ran twice: {told}");
    let last = did.begun.iter().chain(&did.ended).max();
    assert!(
        last.is_none_or(|last| did.undone.iter().any(|undo| undo > last)),
        "not undone: {told}"
    );
}

/// The second job of a chain ran after the first, which may be repeated but not after that.
fn chains_keep_their_order(deeds: &HashMap<String, Deeds>) {
    for (second, did) in deeds.iter().filter(|(name, _)| name.ends_with("-1.0")) {
        let first = second.replace("-1.0", "-0.0");
        let Some(begun) = did.begun.first() else { continue };
        let before = &deeds[&first];
        assert!(!before.ended.is_empty(), "{second} ran without {first}");
        let mut lines = before.begun.iter().chain(&before.ended);
        assert!(lines.all(|line| line < begun), "{first} ran after {second}");
    }
}

fn the_log_is_whole(place: &Place) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lockmaster"));
    let output = command.arg("check").arg("--state-dir").arg(place.path("state")).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}
