//! Which status may follow which: the one table of it. `design/queue.md` shows the same, and a
//! test compares the two.

use super::status::Status;
use super::status::Status::{Canceled, Canceling, Error, Queued, Running, Success, Waiting};

/// What a transition is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// An opcode only.
    Opcode,
    /// A job only.
    Job,
    /// Both.
    Both,
}

/// A status that may follow another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The status before.
    pub from: Status,
    /// The status after.
    pub to: Status,
    /// Whose.
    pub of: Subject,
    /// What has happened.
    pub when: &'static str,
}

const fn both(from: Status, to: Status, when: &'static str) -> Transition {
    Transition { from, to, of: Subject::Both, when }
}

const fn opcode(from: Status, to: Status, when: &'static str) -> Transition {
    Transition { from, to, of: Subject::Opcode, when }
}

const fn job(from: Status, to: Status, when: &'static str) -> Transition {
    Transition { from, to, of: Subject::Job, when }
}

impl Transition {
    /// Every legal transition. Nothing leads out of a final status.
    pub const ALL: &'static [Self] = &[
        both(Queued, Waiting, "the processor takes it up"),
        both(Queued, Canceled, "it is cancelled"),
        both(Queued, Error, "its deadline passes, or a dependency or a preceding opcode failed"),
        job(Queued, Canceling, "it is cancelled, and what its opcodes did is taken back"),
        job(Queued, Running, "it has failed, and what its opcodes did is taken back"),
        both(Waiting, Queued, "it is put back: for later, or because the master stops"),
        both(Waiting, Running, "all locks are held; of a job, also: as from queued"),
        both(Waiting, Canceled, "it is cancelled"),
        both(Waiting, Error, "arguments or locks are wrong, or as from queued"),
        job(Waiting, Canceling, "it is cancelled, and what its opcodes did is taken back"),
        both(Running, Success, "it is done"),
        both(Running, Error, "it has failed; a job, when all is taken back"),
        both(Running, Canceled, "it says that it was cancelled"),
        both(Running, Canceling, "it is told to stop, because it is cancelled"),
        both(
            Running,
            Waiting,
            "locks are declared again; of a job, also: one of its opcodes is done",
        ),
        both(Running, Queued, "the master died, and it is to run again"),
        both(Canceling, Success, "it was done all the same"),
        both(Canceling, Error, "it has failed meanwhile"),
        both(Canceling, Canceled, "it has stopped; a job, when all is taken back"),
        opcode(Canceling, Queued, "the master died, and it will not run again"),
    ];

    /// Whether it is about opcodes, or about jobs.
    #[must_use]
    pub fn is_of(&self, subject: Subject) -> bool {
        self.of == Subject::Both || self.of == subject
    }
}

impl Status {
    /// Whether that status may follow this one directly.
    #[must_use]
    pub fn may_become(self, next: Self, of: Subject) -> bool {
        let mut all = Transition::ALL.iter();
        all.any(|each| (each.from, each.to) == (self, next) && each.is_of(of))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// For each status, those that may follow it: of an opcode, and of a job. The columns and rows
    /// are in the order of [`Status::ALL`].
    const LEGAL: [(&str, &str); 7] = [
        // queued     waiting    canceling  running  canceled  success  error
        (".W..C.E", ".WkRC.E"), // queued
        ("Q..RC.E", "Q.kRC.E"), // waiting
        ("Q...CSE", "....CSE"), // canceling
        ("QWk.CSE", "QWk.CSE"), // running
        (".......", "......."), // canceled
        (".......", "......."), // success
        (".......", "......."), // error
    ];

    #[test]
    fn of_all_pairs_exactly_those_in_the_table_are_legal() {
        for (from, (opcode, job)) in Status::ALL.into_iter().zip(LEGAL) {
            for (subject, row) in [(Subject::Opcode, opcode), (Subject::Job, job)] {
                for (to, mark) in Status::ALL.into_iter().zip(row.chars()) {
                    let legal = from.may_become(to, subject);
                    assert_eq!(legal, mark != '.', "{subject:?}: {from} -> {to}");
                }
            }
        }
    }

    #[test]
    fn no_pair_stands_twice_and_none_leads_out_of_an_end() {
        for (place, each) in Transition::ALL.iter().enumerate() {
            let same = |other: &&Transition| (other.from, other.to) == (each.from, each.to);
            assert_eq!(Transition::ALL[..place].iter().find(same), None, "{each:?}");
            assert!(!each.from.is_final() && each.from != each.to, "{each:?}");
        }
    }

    #[test]
    fn the_design_page_has_the_same_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/design/queue.md");
        let page = std::fs::read_to_string(path).unwrap();
        let name = |of| match of {
            Subject::Opcode => "opcode",
            Subject::Job => "job",
            Subject::Both => "both",
        };
        let row = |each: &Transition| {
            format!("| {} | {} | {} | {} |", each.from, each.to, name(each.of), each.when)
        };
        let expected: Vec<String> = Transition::ALL.iter().map(row).collect();
        let table = page.lines().skip_while(|line| !line.starts_with("| from | to | of |")).skip(2);
        let found: Vec<&str> = table.take_while(|line| line.starts_with('|')).collect();
        assert_eq!(found, expected, "design/queue.md and this table differ");
    }
}
