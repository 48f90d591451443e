//! The log over a simulated disk: every cut, every flipped bit, every failed or torn operation,
//! every power failure, and random histories of them, against what was acknowledged.

use std::path::PathBuf;

use super::segment::{self, HEADER_BYTES, Sizes};
use super::sim::{Fault, SimDisk};
use super::{LogStore, ReplayReport, Store};
use crate::vocabulary::{Error, ErrorKind, FeedbackEntry, FeedbackKind, JobId, Record, Timestamp};

/// Small, so that few records fill several segments.
const SIZES: Sizes = Sizes { segment: 400, fill: 64 };

/// A record of that number with a text of that length.
fn record(number: u64, len: usize) -> Record {
    let text = "x".repeat(len).into();
    let (time, kind) = (Timestamp::from_micros(1), FeedbackKind::Message);
    let entry = FeedbackEntry { serial: number, time, op: 0, kind, text };
    Record::Feedback { job: JobId::FIRST.plus(number), entries: vec![entry] }
}

/// Two transactions of two records each, numbered from `4 * append`.
fn batch(append: u64, len: usize) -> Vec<Vec<Record>> {
    let pair = |first: u64| vec![record(first, len), record(first + 1, 3)];
    vec![pair(4 * append), pair(4 * append + 2)]
}

fn flat(batches: &[Vec<Vec<Record>>]) -> Vec<Record> {
    batches.iter().flatten().flatten().cloned().collect()
}

fn open(disk: &SimDisk) -> Result<(LogStore, Vec<Record>, ReplayReport), Error> {
    let mut records = Vec::new();
    let path = PathBuf::from("log");
    let directory = Box::new(disk.clone());
    let (store, report) =
        LogStore::open_in(directory, path, SIZES, &mut |record| records.push(record))?;
    Ok((store, records, report))
}

/// A log of nine appends in several segments.
fn sample() -> (SimDisk, Vec<Vec<Vec<Record>>>) {
    let disk = SimDisk::default();
    let (mut store, ..) = open(&disk).unwrap();
    let batches: Vec<_> = (0..9).map(|append| batch(append, 10 + 7 * append as usize)).collect();
    batches.iter().for_each(|batch| store.append(batch).unwrap());
    (disk, batches)
}

fn last_segment(disk: &SimDisk) -> String {
    let numbers = (1..).take_while(|number| exists(disk, *number));
    segment::name(numbers.last().unwrap())
}

fn exists(disk: &SimDisk, number: u64) -> bool {
    use super::file::Directory;
    disk.list().unwrap().contains(&segment::name(number))
}

/// How much of `batches` is there, in whole appends.
fn whole_appends(records: &[Record], batches: &[Vec<Vec<Record>>]) -> usize {
    let all = flat(batches);
    assert_eq!(records, &all[..records.len()], "a prefix of what was appended");
    assert_eq!(records.len() % 4, 0, "appends are whole");
    records.len() / 4
}

#[test]
fn a_log_over_several_segments_is_replayed_whole() {
    let (disk, batches) = sample();
    let (_store, records, report) = open(&disk).unwrap();
    assert_eq!(records, flat(&batches));
    assert!(report.segments >= 3, "{report:?}");
    assert_eq!((report.records, report.torn), (36, None));
}

#[test]
fn a_log_cut_at_any_byte_keeps_the_frames_before_the_cut_and_goes_on() {
    let (disk, batches) = sample();
    let (last, before) = (last_segment(&disk), complete_before_last(&disk));
    let whole = disk.content(&last);
    let mut seen = Vec::new();
    for cut in HEADER_BYTES..whole.len() {
        let disk = disk.copy();
        disk.edit(&last, |bytes| bytes.truncate(cut));
        let (mut store, records, report) = open(&disk).unwrap();
        let kept = whole_appends(&records, &batches);
        assert!(kept >= before, "segments before the last are not touched");
        let torn = report.torn.map_or(0, |torn| usize::try_from(torn.offset + torn.bytes).unwrap());
        assert!(torn <= cut, "more cut than there was");
        seen.push(kept);
        store.append(&batch(100, 5)).unwrap();
        drop(store);
        let (_, again, report) = open(&disk).unwrap();
        assert_eq!(again, [records, flat(&[batch(100, 5)])].concat(), "cut at {cut}");
        assert_eq!(report.torn, None, "a tail is cut once");
    }
    assert!(seen.is_sorted() && seen.first() != seen.last() && seen.last() == Some(&9));
}

fn complete_before_last(disk: &SimDisk) -> usize {
    let disk = disk.copy();
    disk.edit(&last_segment(&disk), |bytes| bytes.truncate(HEADER_BYTES));
    open(&disk).unwrap().1.len() / 4
}

#[test]
fn any_flipped_bit_of_a_closed_log_is_harmless_or_refused_with_its_place() {
    let (disk, batches) = sample();
    let (mut refused, mut harmless) = (0, 0);
    for name in (1..).take_while(|number| exists(&disk, *number)).map(segment::name) {
        for bit in 0..disk.content(&name).len() * 8 {
            let disk = disk.copy();
            disk.edit(&name, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
            match open(&disk) {
                Ok((_, records, _)) => {
                    harmless += 1;
                    assert_eq!(records, flat(&batches), "{name}, bit {bit}");
                }
                Err(error) => {
                    refused += 1;
                    assert_eq!(error.kind(), ErrorKind::Corrupt);
                    let sentence = error.to_string();
                    assert!(sentence.contains(&format!("log/{name}")), "{sentence}");
                    assert!(sentence.contains("offset"), "{sentence}");
                    let place = sentence.split("offset ").nth(1).unwrap();
                    let place = place.split([',', ':']).next().unwrap();
                    assert!(place.parse::<usize>().unwrap() <= bit / 8, "{sentence}, bit {bit}");
                    assert!(error.hint_text().unwrap().contains("lockmaster check"));
                }
            }
        }
    }
    // All frames and headers; not the closing frame and the zeros.
    assert!(refused > 8 * 1000 && harmless > 8 * 17, "{refused} {harmless}");
}

#[test]
fn a_bit_flipped_in_a_log_that_was_not_closed_costs_at_most_the_last_append() {
    let (disk, batches) = sample();
    let last = last_segment(&disk);
    let closing = super::frame::HEADER_BYTES;
    let used = disk.content(&last).iter().rposition(|byte| *byte != 0).unwrap() + 1;
    disk.edit(&last, |bytes| bytes[used - closing..used].fill(0));
    assert_eq!(open(&disk.copy()).unwrap().1, flat(&batches));
    let mut lost = 0;
    for bit in 0..used * 8 {
        let disk = disk.copy();
        disk.edit(&last, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
        if let Ok((_, records, _)) = open(&disk) {
            assert!(whole_appends(&records, &batches) >= batches.len() - 1, "bit {bit}");
            lost += usize::from(records.len() < flat(&batches).len());
        }
    }
    assert!(lost > 0, "nobody can tell damage in the last frame from a torn one");
}

#[test]
fn a_missing_segment_is_named() {
    let (disk, _) = sample();
    disk.lose_file("00000002.log");
    let error = open(&disk).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("log/00000002.log is missing"), "{error}");
}

#[test]
fn a_segment_that_lost_its_last_frames_before_another_is_refused() {
    let (disk, _) = sample();
    disk.edit("00000001.log", |bytes| bytes.truncate(HEADER_BYTES));
    let sentence = open(&disk).unwrap_err().to_string();
    assert!(sentence.contains("ends with frame 0"), "{sentence}");
}

#[test]
fn a_segment_under_another_name_is_refused() {
    let (disk, _) = sample();
    let first = disk.content("00000001.log");
    disk.edit("00000002.log", |bytes| *bytes = first);
    let sentence = open(&disk).unwrap_err().to_string();
    assert!(sentence.contains("segment 1 under another name"), "{sentence}");
}

#[test]
fn a_log_of_a_newer_version_is_refused_and_not_touched() {
    let (disk, _) = sample();
    disk.edit("00000001.log", |bytes| {
        bytes[8] = 9;
        let checksum = crc32c::crc32c(&bytes[..HEADER_BYTES - 4]);
        bytes[HEADER_BYTES - 4..HEADER_BYTES].copy_from_slice(&checksum.to_le_bytes());
    });
    let before = disk.operations();
    let error = open(&disk).unwrap_err();
    let expected = "log/00000001.log was written by a newer lockmaster \
                    (format 9 of log; this one reads up to 1)";
    assert_eq!(error.to_string(), expected);
    assert_eq!(disk.operations(), before);
}

/// Opens and appends until something fails; what was acknowledged, and what was tried.
fn run(disk: &SimDisk, batches: &[Vec<Vec<Record>>]) -> (usize, usize) {
    let Ok((mut store, ..)) = open(disk) else { return (0, 0) };
    for (place, batch) in batches.iter().enumerate() {
        if store.append(batch).is_err() {
            let error = store.append(batch).unwrap_err().to_string();
            assert!(error.contains("simulated"), "the first cause is told again: {error}");
            return (place, place + 1);
        }
    }
    (batches.len(), batches.len())
}

/// Opens after trouble: at least what was acknowledged, at most what was tried, and whatever
/// was replayed stays, also when the power fails right after.
fn check_recovery(disk: &SimDisk, batches: &[Vec<Vec<Record>>], acked: usize, tried: usize) {
    disk.set_fault(None);
    let (store, records, _) = open(disk).unwrap();
    let kept = whole_appends(&records, batches);
    assert!((acked..=tried).contains(&kept), "{kept} kept, {acked} acknowledged, {tried} tried");
    std::mem::forget(store);
    for seed in 0..4 {
        let disk = disk.copy();
        disk.lose_power(seed);
        assert_eq!(open(&disk).unwrap().1, records, "replayed facts are durable");
    }
}

#[test]
fn after_any_operation_failed_or_tore_everything_acknowledged_is_there() {
    let (_, batches) = sample();
    let clean = SimDisk::default();
    run(&clean, &batches);
    let operations = clean.operations();
    assert!(operations > 30);
    let tears = [0, 1, 5, 8, 15, 16].map(Fault::Tear);
    for at in 0..operations {
        for fault in [Fault::Stop, Fault::Refuse].into_iter().chain(tears) {
            let disk = SimDisk::default();
            disk.set_fault(Some((at, fault)));
            let (acked, tried) = run(&disk, &batches);
            check_recovery(&disk.copy(), &batches, acked, tried);
            for seed in 0..6 {
                let disk = disk.copy();
                disk.lose_power(seed);
                check_recovery(&disk, &batches, acked, tried);
            }
        }
    }
}

#[test]
fn recovery_that_fails_or_is_killed_anywhere_can_be_repeated() {
    let (disk, batches) = sample();
    let last = last_segment(&disk);
    let used = disk.content(&last).iter().rposition(|byte| *byte != 0).unwrap();
    disk.edit(&last, |bytes| bytes.truncate(used - 30));
    let before = disk.operations();
    let expected = open(&disk.copy()).map(|(store, records, _)| {
        std::mem::forget(store);
        records.len() / 4
    });
    let expected = expected.unwrap();
    let operations = {
        let disk = disk.copy();
        std::mem::forget(open(&disk).unwrap().0);
        disk.operations() - before
    };
    assert!(operations >= 3, "cuts, writes, syncs");
    for at in 0..operations {
        for fault in [Fault::Stop, Fault::Refuse, Fault::Tear(8)] {
            let disk = disk.copy();
            disk.set_fault(Some((at, fault)));
            assert_eq!(open(&disk).unwrap_err().kind(), ErrorKind::Io);
            check_recovery(&disk.copy(), &batches, expected, expected);
            disk.lose_power(at as u64);
            check_recovery(&disk, &batches, expected, expected);
        }
    }
}

#[test]
fn a_transaction_that_is_too_large_is_refused_and_the_store_goes_on() {
    let disk = SimDisk::default();
    let (mut store, ..) = open(&disk).unwrap();
    let huge = vec![vec![record(1, 5)], vec![record(2, 65 << 20)]];
    let error = store.append(&huge).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let bound = format!("{} at most", super::MAX_TRANSACTION_BYTES);
    assert!(error.to_string().contains(&bound), "{error}");
    store.append(&batch(0, 5)).unwrap();
    drop(store);
    assert_eq!(open(&disk).unwrap().1, flat(&[batch(0, 5)]), "nothing of the refused one");
}

#[test]
fn a_batch_larger_than_a_frame_is_kept_in_several() {
    let disk = SimDisk::default();
    let (mut store, ..) = open(&disk).unwrap();
    let large: Vec<_> = (1..=3).map(|number| vec![record(number, 30 << 20)]).collect();
    store.append(&large).unwrap();
    drop(store);
    let (_, records, report) = open(&disk).unwrap();
    assert!(records == flat(&[large]), "all three are there");
    assert_eq!(report.segments, 3, "a segment takes one frame of any length");
}

/// Appends, copies everything kept behind a mark, forgets what stands before it, and appends
/// again. What is acknowledged in the end, and how many steps it came to.
fn forget_some(disk: &SimDisk) -> (Vec<Vec<Record>>, usize) {
    let Ok((mut store, ..)) = open(disk) else { return (vec![vec![]], 0) };
    let (old, copy, new) = (batch(0, 90), batch(1, 20), batch(2, 90));
    let flat = |batch: &Vec<Vec<Record>>| flat(std::slice::from_ref(batch));
    let mut may_be = vec![vec![]];
    let mut so_far = Vec::new();
    for batch in [&old, &old, &old] {
        so_far.extend(flat(batch));
        may_be.push(so_far.clone());
        if store.append(batch).is_err() {
            return (may_be, 0);
        }
    }
    let Ok(mark) = store.mark() else { return (may_be, 1) };
    may_be.push([so_far.clone(), flat(&copy)].concat());
    if store.append(&copy).is_err() {
        return (may_be, 1);
    }
    let whole = [so_far, flat(&copy)].concat();
    if store.forget_before(mark).is_err() {
        return (vec![whole, flat(&copy)], 2);
    }
    let also = |records: &[Record]| [records, &flat(&new)].concat();
    let after = vec![whole.clone(), flat(&copy), also(&whole), also(&flat(&copy))];
    match store.append(&new) {
        Ok(()) => (after[2..].to_vec(), 4),
        Err(_) => (after, 3),
    }
}

#[test]
fn what_was_forgotten_is_gone_and_the_log_begins_at_the_mark() {
    let disk = SimDisk::default();
    let (may_be, steps) = forget_some(&disk);
    assert_eq!(steps, 4);
    assert!(!exists(&disk, 1), "its segment is removed");
    let (store, records, report) = open(&disk).unwrap();
    assert_eq!(&records, &may_be[1], "the copy and what followed");
    assert_eq!(store.bytes(), report.bytes);
}

#[test]
fn forgetting_that_is_killed_anywhere_leaves_everything_or_the_copy_and_can_be_repeated() {
    let clean = SimDisk::default();
    forget_some(&clean);
    let mut seen = [0; 5];
    for at in 0..clean.operations() {
        for fault in [Fault::Stop, Fault::Refuse, Fault::Tear(8)] {
            for seed in 0..6 {
                let disk = SimDisk::default();
                disk.set_fault(Some((at, fault)));
                let (may_be, steps) = forget_some(&disk);
                seen[steps] += 1;
                disk.set_fault(None);
                if seed > 0 {
                    disk.lose_power(seed);
                }
                let (mut store, records, _) = open(&disk).unwrap();
                assert!(may_be.contains(&records), "step {at}: {fault:?}, seed {seed}");
                let mark = store.mark().unwrap();
                store.append(&batch(1, 20)).unwrap();
                store.forget_before(mark).unwrap();
                drop(store);
                assert_eq!(open(&disk).unwrap().1, flat(&[batch(1, 20)]));
                assert_eq!(segments(&disk), 1, "nothing old is left");
            }
        }
    }
    assert!(seen.iter().all(|count| *count > 0), "{seen:?}");
}

fn segments(disk: &SimDisk) -> usize {
    use super::file::Directory;
    disk.list().unwrap().iter().filter(|name| segment::number(name).is_some()).count()
}

#[test]
fn a_log_whose_first_segment_is_lost_does_not_begin_later() {
    let (disk, _) = sample();
    disk.lose_file("00000001.log");
    let sentence = open(&disk).unwrap_err().to_string();
    assert!(sentence.contains("00000001.log is missing"), "{sentence}");
}

mod random {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Append { len: usize },
        Kill,
        Close,
        LosePower { seed: u64 },
        Fail { after: usize, fault: Fault },
    }

    fn step() -> impl Strategy<Value = Step> {
        let fault = prop_oneof![
            Just(Fault::Stop),
            Just(Fault::Refuse),
            (0..=16_usize).prop_map(Fault::Tear)
        ];
        prop_oneof![
            8 => (0..200_usize).prop_map(|len| Step::Append { len }),
            1 => Just(Step::Kill),
            1 => Just(Step::Close),
            1 => any::<u64>().prop_map(|seed| Step::LosePower { seed }),
            2 => (0..12_usize, fault).prop_map(|(after, fault)| Step::Fail { after, fault }),
        ]
    }

    /// What the world has been told, and what may be there beside.
    struct World {
        disk: SimDisk,
        store: Option<LogStore>,
        kept: Vec<Record>,
        maybe: Vec<Record>,
        next: u64,
    }

    impl World {
        fn take(&mut self, step: &Step) {
            match step {
                Step::Append { len } => self.append(*len),
                Step::Kill => std::mem::forget(self.store.take()),
                Step::Close => drop(self.store.take()),
                Step::LosePower { seed } => {
                    std::mem::forget(self.store.take());
                    self.disk.lose_power(*seed);
                }
                Step::Fail { after, fault } => self.disk.set_fault(Some((*after, *fault))),
            }
            if self.store.is_none() {
                self.reopen();
            }
        }

        fn append(&mut self, len: usize) {
            let batch = batch(self.next, len);
            self.next += 1;
            let Some(store) = &mut self.store else { return };
            match store.append(&batch) {
                Ok(()) => self.kept.extend(flat(&[batch])),
                // After the first failure nothing more may be written.
                Err(_) if self.maybe.is_empty() => self.maybe = flat(&[batch]),
                Err(_) => {}
            }
        }

        fn reopen(&mut self) {
            let opened = open(&self.disk).or_else(|_| {
                self.disk.set_fault(None);
                open(&self.disk)
            });
            let (store, records, _) = opened.expect("without faults a log always opens");
            let all = [self.kept.clone(), std::mem::take(&mut self.maybe)].concat();
            let fits = records == self.kept || records == all;
            assert!(fits, "{} replayed, {} acknowledged", records.len(), self.kept.len());
            (self.kept, self.store) = (records, Some(store));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
        #[test]
        fn whatever_happens_exactly_what_was_acknowledged_is_replayed(steps in vec(step(), 1..60)) {
            let disk = SimDisk::default();
            let store = open(&disk).unwrap().0;
            let mut world =
                World { disk, store: Some(store), kept: vec![], maybe: vec![], next: 0 };
            steps.iter().for_each(|step| world.take(step));
            std::mem::forget(world.store.take());
            world.reopen();
        }
    }
}
