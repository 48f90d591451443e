//! The archive over a simulated disk: whatever was put in is there, whatever happened since.

use std::path::PathBuf;

use super::Archive;
use super::archive::{PART_BYTES, name};
use super::segment::HEADER_BYTES;
use super::sim::{Fault, SimDisk};
use crate::vocabulary::{
    ErrorKind, FeedbackLog, Job, JobId, JobOp, JobTerms, OpCode, OpId, OpState, Outcome, Params,
    Timestamp,
};

fn job(id: u64, result: usize) -> Job {
    let opcode = OpCode::new(OpId::new("OP_X").unwrap(), Params::default());
    let state = OpState::Finished(Outcome::Success("x".repeat(result).into()));
    Job {
        id: JobId::new(id).unwrap(),
        label: None,
        received: Timestamp::from_micros(1),
        ops: vec![JobOp { state, ..JobOp::new(opcode) }; 2],
        feedback: FeedbackLog::default(),
        cancel_requested: None,
        origin: None,
        terms: JobTerms { keep_locks: true, ..JobTerms::default() },
    }
}

fn archive(disk: &SimDisk) -> Archive {
    archive_of(disk, PART_BYTES)
}

fn archive_of(disk: &SimDisk, part_bytes: u64) -> Archive {
    Archive::open_in(Box::new(disk.clone()), PathBuf::from("archive"), part_bytes)
}

fn get(disk: &SimDisk, id: u64) -> Option<Job> {
    archive(disk).get(JobId::new(id).unwrap()).unwrap()
}

#[test]
fn jobs_are_found_again_by_their_numbers_in_any_order() {
    let disk = SimDisk::default();
    let jobs = [5000, 999, 1000, 1, 1001, 4999].map(|id| job(id, 10));
    let archive = archive(&disk);
    archive.put(&jobs[..3]).unwrap();
    archive.put(&jobs[3..]).unwrap();
    for job in &jobs {
        assert_eq!(archive.get(job.id).unwrap().as_ref(), Some(job));
        assert_eq!(get(&disk, job.id.get()).as_ref(), Some(job), "also after a restart");
    }
    for other in [2, 1002, 777_777] {
        assert_eq!(get(&disk, other), None);
    }
    let in_memory = Archive::in_memory();
    in_memory.put(&jobs).unwrap();
    assert_eq!(in_memory.get(jobs[0].id).unwrap().as_ref(), Some(&jobs[0]));
}

#[test]
fn large_jobs_make_several_parts_and_frames() {
    let disk = SimDisk::default();
    let archive = archive_of(&disk, 2000);
    let mut jobs: Vec<Job> = (1..9).map(|id| job(id, 600)).collect();
    jobs.push(job(9, 10 << 20));
    for job in &jobs {
        archive.put(std::slice::from_ref(job)).unwrap();
    }
    for job in &jobs {
        assert!(get(&disk, job.id.get()).as_ref() == Some(job), "{}", job.id);
    }
    use super::file::Directory;
    let names = disk.list().unwrap();
    assert!(names.contains(&name(0, 4)) && names.len() == 5, "{names:?}");
}

#[test]
fn a_put_that_fails_or_is_killed_anywhere_loses_nothing_that_was_put_before() {
    let jobs: Vec<Job> = (998..1003).map(|id| job(id, 40)).collect();
    let clean = SimDisk::default();
    archive(&clean).put(&jobs[..2]).unwrap();
    let before = clean.operations();
    archive(&clean).put(&jobs[2..]).unwrap();
    let operations = clean.operations() - before;
    assert!(operations >= 6, "a new file, and an old one");
    for at in 0..operations {
        for fault in [Fault::Stop, Fault::Refuse, Fault::Tear(3), Fault::Tear(9)] {
            for seed in 0..8 {
                let disk = SimDisk::default();
                let first = archive(&disk);
                first.put(&jobs[..2]).unwrap();
                disk.set_fault(Some((at, fault)));
                let _: Option<_> = first.put(&jobs[2..]).err();
                if seed % 2 == 0 && fault != Fault::Stop {
                    // The same process tries again.
                    first.put(&jobs[2..]).unwrap();
                }
                disk.set_fault(None);
                disk.lose_power(seed);
                let again = archive(&disk);
                for job in &jobs[..2] {
                    assert_eq!(again.get(job.id).unwrap().as_ref(), Some(job), "{at} {fault:?}");
                }
                again.put(&jobs).unwrap();
                disk.lose_power(seed + 1);
                for job in &jobs {
                    assert_eq!(get(&disk, job.id.get()).as_ref(), Some(job), "{at} {fault:?}");
                }
            }
        }
    }
}

#[test]
fn any_flipped_bit_costs_at_most_one_job_and_says_where() {
    let disk = SimDisk::default();
    let jobs: Vec<Job> = (1..5).map(|id| job(id, 20)).collect();
    archive(&disk).put(&jobs).unwrap();
    let len = disk.content(&name(0, 0)).len();
    for bit in 0..len * 8 {
        let disk = disk.copy();
        disk.edit(&name(0, 0), |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
        let archive = archive(&disk);
        let mut lost = 0;
        for job in &jobs {
            match archive.get(job.id) {
                Ok(found) => assert_eq!(found.as_ref(), Some(job)),
                Err(error) => {
                    lost += 1;
                    assert_eq!(error.kind(), ErrorKind::Corrupt);
                    assert!(error.to_string().contains("00000000.jobs is damaged at"), "{error}");
                }
            }
        }
        let all = bit / 8 < HEADER_BYTES;
        assert_eq!(lost, if all { jobs.len() } else { 1 }, "bit {bit}");
    }
}

#[test]
fn a_file_under_another_name_is_refused() {
    let disk = SimDisk::default();
    archive(&disk).put(&[job(1, 1), job(1001, 1)]).unwrap();
    let other = disk.content(&name(1, 0));
    disk.edit(&name(0, 0), |bytes| *bytes = other);
    let error = archive(&disk).put(&[job(2, 1)]).unwrap_err();
    assert!(error.to_string().contains("the name of another file"), "{error}");
}

fn visited(disk: &SimDisk, from: u64) -> Vec<u64> {
    let mut ids = Vec::new();
    let from = JobId::new(from).unwrap();
    let each = &mut |found: Job| {
        assert_eq!(found, job(found.id.get(), 10));
        ids.push(found.id.get());
        Ok(())
    };
    archive(disk).visit(from, each).unwrap();
    ids.sort_unstable();
    ids
}

#[test]
fn all_jobs_of_a_file_are_visited_once_and_damage_hides_no_others() {
    let disk = SimDisk::default();
    let archive = archive(&disk);
    archive.put(&[5, 7, 999, 1000].map(|id| job(id, 10))).unwrap();
    archive.put(&[job(5, 10)]).unwrap();
    assert_eq!(visited(&disk, 1), [5, 7, 999], "a job that was put in twice is visited once");
    assert_eq!(visited(&disk, 1234), [1000]);
    assert_eq!(visited(&disk, 5000), [0; 0]);
    assert_eq!(Archive::together(JobId::new(1000).unwrap()).get(), 1999);
    let first = name(0, 0);
    let middle = disk.content(&first).len() / 2;
    disk.edit(&first, |bytes| bytes[middle] ^= 0xff);
    let left = visited(&disk, 1);
    assert!(left.len() >= 2 && left.contains(&5), "{left:?}");
    let refused =
        archive.visit(JobId::FIRST, &mut |_| Err(crate::vocabulary::Error::invalid("no")));
    assert_eq!(refused.unwrap_err().to_string(), "no", "who visits can stop");
}

#[test]
fn jobs_that_fill_one_part_and_begin_the_next_are_all_on_disk() {
    let jobs: Vec<Job> = (1..9).map(|id| job(id, 600)).collect();
    for seed in 0..20 {
        let disk = SimDisk::default();
        archive_of(&disk, 2000).put(&jobs).unwrap();
        disk.lose_power(seed);
        for job in &jobs {
            assert_eq!(get(&disk, job.id.get()).as_ref(), Some(job), "power lost, seed {seed}");
        }
    }
}

#[test]
fn what_is_put_into_a_file_whose_name_was_not_on_disk_yet_is_found_again() {
    let first = [job(1, 10)];
    let clean = SimDisk::default();
    archive(&clean).put(&first).unwrap();
    for at in 0..clean.operations() {
        for (fault, seed) in
            [Fault::Stop, Fault::Refuse].into_iter().flat_map(|fault| [(fault, 1), (fault, 2)])
        {
            let disk = SimDisk::default();
            let archive = archive(&disk);
            disk.set_fault(Some((at, fault)));
            assert!(archive.put(&first).is_err());
            disk.set_fault(None);
            archive.put(&first).unwrap();
            disk.lose_power(seed);
            assert_eq!(get(&disk, 1).as_ref(), Some(&first[0]), "{fault:?} at {at}");
        }
    }
}
