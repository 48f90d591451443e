//! The bytes of every record, frozen, and what the codec makes of bytes that are none.

use std::num::NonZeroU32;
use std::time::Duration;

use proptest::prelude::*;

use super::codec::{OLDEST, VERSION, decode, encode};
use crate::vocabulary::{
    CloseCause, CrashPolicy, Dependency, FeedbackEntry, FeedbackKind, FeedbackLog, FilterAction,
    FilterId, FilterRule, Job, JobId, JobOp, JobRef, JobTerms, NewJob, OpCode, OpError,
    OpErrorKind, OpId, OpState, OpTerms, Outcome, Params, Priority, Reason, Record, Retries,
    Status, SubmissionKey, Timestamp, Tries, UndoState,
};

const TIME: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

fn job() -> JobId {
    JobId::new(300).unwrap()
}

fn opcode() -> OpCode {
    let on = JobRef::Id(JobId::FIRST);
    OpCode {
        id: OpId::new("OP_X").unwrap(),
        params: Params::from_json(r#"{"a":1}"#).unwrap(),
        priority: Priority::HIGH,
        depends: vec![
            Dependency::success(on),
            Dependency { on: JobRef::Batch(2), statuses: vec![Status::Error, Status::Canceled] },
        ],
        comment: Some("c".into()),
        reason: vec![Reason { source: "s".into(), text: "t".into(), time_ns: -1 }],
        dry_run: true,
        terms: OpTerms::default(),
    }
}

/// A job of two opcodes, one of which has ended.
fn copied(error: &OpError, entry: FeedbackEntry) -> Job {
    let mut feedback = FeedbackLog::default();
    feedback.push(entry, 1000);
    let ended = JobOp {
        state: OpState::Finished(Outcome::Error(error.clone())),
        undo: UndoState::Failed(error.clone()),
        on_crash: CrashPolicy::Undo,
        start_time: Some(TIME),
        exec_time: Some(TIME),
        end_time: Some(TIME),
        fencing_token: Some(9),
        ..JobOp::new(opcode())
    };
    Job {
        id: job(),
        label: Some("l".into()),
        received: TIME,
        ops: vec![ended, JobOp::new(OpCode::new(OpId::new("OP_Y").unwrap(), Params::default()))],
        feedback,
        cancel_requested: Some(TIME),
        origin: Some("o".into()),
        terms: JobTerms::default(),
    }
}

fn terms(job: JobId, error: &OpError) -> Record {
    let (short, long) = (Duration::from_millis(1500), Duration::from_secs(60));
    let retries = Some(Retries { tries: 3, first: short, most: long });
    let tries =
        Tries { count: 2, not_before: Some(TIME), lacking: Some(error.clone()), interrupted: true };
    Record::Terms {
        job,
        terms: JobTerms { within: Some(long), keep_locks: true },
        ops: vec![
            (0, OpTerms { within: Some(short), retries }, tries),
            (7, OpTerms::default(), Tries::default()),
        ],
    }
}

fn rule() -> FilterRule {
    FilterRule {
        id: FilterId::of_random(1),
        watermark: 300,
        priority: 7,
        predicates: r#"[["jobid",[">","id","watermark"]]]"#.parse().unwrap(),
        action: FilterAction::RateLimit(NonZeroU32::MIN),
        reason: opcode().reason,
        time: TIME,
    }
}

/// One record of each variant, rich in what it can contain.
fn samples() -> Vec<Record> {
    let (job, op, time) = (job(), 1, TIME);
    let error = OpError { kind: OpErrorKind::Exec, message: "m".into(), code: Some("e".into()) };
    let entry =
        FeedbackEntry { serial: 7, time, op, kind: FeedbackKind::Stderr, text: "é".into() };
    let labelled = NewJob::of([opcode()]).labelled("l");
    vec![
        Record::Submitted {
            time,
            first: job,
            jobs: vec![labelled, NewJob::default()],
            origin: Some("o".into()),
        },
        Record::Started {
            job,
            op,
            taken: time,
            time,
            token: 70_000,
            undo: true,
            on_crash: CrashPolicy::Retry,
        },
        Record::Feedback { job, entries: vec![entry.clone()] },
        Record::Finished { job, op, time, outcome: Outcome::Success("null".into()) },
        Record::Finished { job, op, time, outcome: Outcome::Error(error.clone()) },
        Record::Finished { job, op, time, outcome: Outcome::Canceled },
        Record::UndoWanted { job, except: Some(op) },
        Record::Undone { job, op, time, error: Some(error.clone()) },
        Record::Closed { job, time, cause: CloseCause::Canceled },
        Record::CancelRequested { job, time },
        Record::Requeued { job, op },
        Record::PriorityChanged { job, priority: Priority::MOST_URGENT },
        Record::DrainSet { time, drained: true },
        Record::Archived { job, status: Status::Success },
        Record::Recalled { ended: vec![(job, Status::Error)] },
        Record::CopyBegun { next_id: job, last_token: 70_000, drained: true },
        Record::Copied { job: Box::new(copied(&error, entry)), more: 1 },
        Record::CopiedOps { job, ops: vec![JobOp::new(opcode())] },
        Record::CopyDone { ended: vec![(job, Status::Canceled)] },
        terms(job, &error),
        Record::Returned { job, op },
        Record::Postponed { job, op, time, until: time, lacking: error },
        Record::Keyed { key: SubmissionKey::new("k").unwrap(), first: job, jobs: 2 },
        Record::FilterSet { rule: Box::new(rule()) },
        Record::FilterDeleted { id: rule().id, time },
        Record::UndoStarted { job, op, time, token: 70_001 },
    ]
}

/// The variant's name. The match is what makes a new variant fail here until it has a sample.
fn name(record: &Record) -> &'static str {
    match record {
        Record::Submitted { .. } => "Submitted",
        Record::Started { .. } => "Started",
        Record::Feedback { .. } => "Feedback",
        Record::Finished { .. } => "Finished",
        Record::UndoWanted { .. } => "UndoWanted",
        Record::Undone { .. } => "Undone",
        Record::Closed { .. } => "Closed",
        Record::CancelRequested { .. } => "CancelRequested",
        Record::Requeued { .. } => "Requeued",
        Record::PriorityChanged { .. } => "PriorityChanged",
        Record::DrainSet { .. } => "DrainSet",
        Record::Archived { .. } => "Archived",
        Record::Recalled { .. } => "Recalled",
        Record::CopyBegun { .. } => "CopyBegun",
        Record::Copied { .. } => "Copied",
        Record::CopiedOps { .. } => "CopiedOps",
        Record::CopyDone { .. } => "CopyDone",
        Record::Terms { .. } => "Terms",
        Record::Returned { .. } => "Returned",
        Record::Postponed { .. } => "Postponed",
        Record::Keyed { .. } => "Keyed",
        Record::FilterSet { .. } => "FilterSet",
        Record::FilterDeleted { .. } => "FilterDeleted",
        Record::UndoStarted { .. } => "UndoStarted",
    }
}

/// What a log written by this format version holds for the samples, transaction length first.
const GOLDEN: &str = "\
Submitted 0100fd00803c3048140c00fb2c010201016c01044f505f58077b2261223a317df60200010105010202060401016301017301740101000001016f
Started 0101fb2c0101fd00803c3048140c00fd00803c3048140c00fc701101000101
Feedback 0102fb2c010107fd00803c3048140c00010202c3a9
Finished 0103fb2c0101fd00803c3048140c0000046e756c6c
Finished 0103fb2c0101fd00803c3048140c000101016d010165
Finished 0103fb2c0101fd00803c3048140c0002
UndoWanted 0104fb2c010101
Undone 0105fb2c0101fd00803c3048140c000101016d010165
Closed 0106fb2c01fd00803c3048140c0001
CancelRequested 0107fb2c01fd00803c3048140c00
Requeued 0108fb2c0101
PriorityChanged 0109fb2c01ec
DrainSet 010afd00803c3048140c0001
Archived 010bfb2c0105
Recalled 010c01fb2c0106
CopyBegun 010dfb2c01fc7011010001
Copied 010efb2c0101016cfd00803c3048140c0002044f505f58077b2261223a317df60200010105010202060401016301017301740101f6020101016d0101650401016d0101650201fd00803c3048140c0001fd00803c3048140c0001fd00803c3048140c000109044f505f59027b7d000000000000000000000000000107fd00803c3048140c00010202c3a9072a0001fd00803c3048140c0001016f01
CopiedOps 010ffb2c0101044f505f58077b2261223a317df60200010105010202060401016301017301740101f600000000000000
CopyDone 011001fb2c0104
Terms 0111fb2c01013c000102000101fc0065cd1d010301fc0065cd1d3c000201fd00803c3048140c000101016d0101650107000000000000
Returned 0112fb2c0101
Postponed 0113fb2c0101fd00803c3048140c00fd00803c3048140c0001016d010165
Keyed 0114016bfb2c0102
FilterSet 0115fe01000000000000800040000000000000fb2c0107225b5b226a6f626964222c5b223e222c226964222c2277617465726d61726b225d5d5d0401010173017401fd00803c3048140c00
FilterDeleted 0116fe01000000000000800040000000000000fd00803c3048140c00
UndoStarted 0117fb2c0101fd00803c3048140c00fc71110100
";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes_of(transaction: &[Record]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(transaction, &mut bytes).unwrap();
    bytes
}

fn decoded(payload: &[u8]) -> Option<Vec<Record>> {
    let mut records = Vec::new();
    decode(VERSION, payload, &mut |record| records.push(record)).ok().map(|()| records)
}

#[test]
fn the_bytes_of_every_record_are_frozen() {
    let lines = samples().into_iter().map(|record| {
        let bytes = bytes_of(std::slice::from_ref(&record));
        format!("{} {}\n", name(&record), hex(&bytes))
    });
    let bytes: String = lines.collect();
    assert_eq!(bytes, GOLDEN, "logs written before could not be read: see design/log.md, versions");
}

#[test]
fn what_was_written_in_golden_bytes_reads_back() {
    for (line, record) in GOLDEN.lines().zip(samples()) {
        let hex = line.split(' ').nth(1).unwrap();
        let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        let bytes: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
        assert_eq!(decoded(&bytes), Some(vec![record]), "{line}");
    }
}

#[test]
fn what_earlier_versions_wrote_is_read_and_what_never_was_is_not() {
    let payload = bytes_of(&samples()[..19]);
    for version in 0..=VERSION + 1 {
        let mut count = 0;
        let read = decode(version, &payload, &mut |_| count += 1);
        assert_eq!(
            (read.is_ok(), count),
            match version {
                OLDEST..=VERSION => (true, 19),
                _ => (false, 0),
            },
            "version {version}"
        );
    }
}

#[test]
fn transactions_in_one_payload_read_back_in_order() {
    let (first, second) = (samples(), vec![samples().remove(2)]);
    let payload = [bytes_of(&first), bytes_of(&second)].concat();
    assert_eq!(decoded(&payload), Some([first, second].concat()));
    assert_eq!(decoded(&[]), Some(vec![]));
}

#[test]
fn a_payload_cut_anywhere_is_an_error() {
    let payload = bytes_of(&samples());
    for cut in 1..payload.len() {
        assert_eq!(decoded(&payload[..cut]), None, "cut at {cut}");
    }
}

#[test]
fn what_claims_to_be_larger_than_the_payload_justifies_is_refused_before_it_is_made() {
    // A transaction of one `Submitted` whose origin claims to have 2^40 and 2^29 bytes: zeros
    // for such a text would be taken from the system before the first byte is read.
    let head = |claim: u64| [&[1, 0, 0, 1, 0, 1, 253][..], &claim.to_le_bytes()].concat();
    for claim in [1 << 40, 1 << 29, 1 << 20] {
        let error = decode(VERSION, &head(claim), &mut |_| {}).unwrap_err().to_string();
        assert!(error.contains("LimitExceeded"), "{claim}: {error}");
    }
    // A transaction that claims 2^60 records.
    let records = [&[253][..], &(1_u64 << 60).to_le_bytes()].concat();
    assert_eq!(decoded(&records), None);
}

#[test]
fn the_largest_integers_stay_within_the_bound_of_a_small_payload() {
    let job = JobId::new(1).unwrap();
    let records = vec![Record::Requeued { job, op: 0 }; 2000];
    assert_eq!(decoded(&bytes_of(&records)), Some(records));
    let many = vec![Record::Requeued { job, op: 0 }; 1_000_000];
    assert!(decoded(&bytes_of(&many)) == Some(many), "a million tiny records");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5_000, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_are_records_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Some(records) = decoded(&bytes) {
            // What can be read can be written, and means the same again.
            prop_assert_eq!(decoded(&bytes_of(&records)), Some(records));
        }
    }

    #[test]
    fn damaged_records_are_records_or_an_error(
        which in 0..26_usize,
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = bytes_of(&samples()[which..=which]);
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if let Some(records) = decoded(&bytes) {
            prop_assert_eq!(decoded(&bytes_of(&records)), Some(records));
        }
    }
}
