//! Scripts: each command, and below it, indented, everything that follows from it: the records,
//! complete but for times, and what the caller learns.
//!
//! `check` carries the commands out and compares the whole text; where it differs, it prints what
//! it found, which can be put in its place once it was read and is right. After each command the
//! queue made from the records alone is the same as the live one.
//!
//! | command | meaning |
//! |---|---|
//! | `submit x x / x<#0=error` | two jobs: one of two opcodes; one that waits for the first (`#0`; `<7` for job 7) to fail |
//! | `take`, `put-back 1` | a worker takes the next job up; it lets go of it |
//! | `start 1 undo retry` | its opcode begins to execute; it can be undone; its crash policy |
//! | `finish 1 error`, `finish 1 refused` | it ends so; `refused` did nothing |
//! | `start-undo 1` | the undo that is due begins |
//! | `undone 1`, `undone 1 error` | an undo has ended |
//! | `cancel 1`, `hurry 1 -5`, `say 1 text`, `drain on` | what others do |
//! | `crash` | what is in records is read back, and recovery decides |
//! | `status` | how all jobs and their opcodes stand |

mod cases;

use super::*;
use crate::vocabulary::{FeedbackEntry, FeedbackKind};

/// Carries out the commands of a script, and compares all that follows with what it says.
fn check(script: &str) {
    let mut live = Live::new();
    let mut found = String::new();
    let lines = script.lines().map(str::trim_end).filter(|line| !line.is_empty());
    for command in lines.filter(|line| !line.starts_with(' ')) {
        found.push_str(command);
        found.push('\n');
        for effect in live.carry_out(command) {
            found.push_str(&format!("    {effect}\n"));
        }
    }
    let expected: String = script
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| format!("{line}\n"))
        .collect();
    assert!(found == expected, "expected:\n{expected}\nfound:\n{found}");
}

impl Live {
    fn carry_out(&mut self, command: &str) -> Vec<String> {
        let words: Vec<&str> = command.split_whitespace().collect();
        let id = words.get(1).and_then(|word| word.parse::<JobId>().ok()).unwrap_or(JobId::FIRST);
        match words[0] {
            "submit" => {
                let jobs = command["submit".len()..].split('/').map(new_job).collect();
                match self.queue.submit(jobs, None, &bounds(), NOW) {
                    Ok((ids, records)) => self.kept(records, Some(format!("ids {ids:?}"))),
                    Err(refusal) => vec![format!("refused: {refusal}")],
                }
            }
            "take" => match self.queue.take_next(NOW) {
                Some(Next::Ended(id, records)) => self.kept(records, Some(format!("{id} ended"))),
                Some(Next::Take(id)) => vec![format!("takes {id}")],
                None => vec!["nothing".to_owned()],
            },
            "put-back" => {
                self.queue.put_back(id);
                self.kept(Vec::new(), None)
            }
            "start" => self.begin(id, &words),
            "finish" => {
                let outcome = outcome(words[2]);
                let records = self.queue.finish(id, outcome, words[2] != "refused", NOW);
                self.kept(records, None)
            }
            "start-undo" => match self.queue.start_undo(id, NOW) {
                Some((token, records)) => self.kept(records, Some(format!("token {token}"))),
                None => vec!["nothing is to be undone".to_owned()],
            },
            "undone" => {
                let error = words.get(2).map(|word| OpError::exec(*word));
                let records = self.queue.undone(id, error, NOW);
                self.kept(records, None)
            }
            "cancel" => match self.queue.cancel(id, NOW) {
                Ok((how, records)) => self.kept(records, Some(format!("{how:?}"))),
                Err(refusal) => vec![format!("refused: {refusal}")],
            },
            "hurry" => {
                let priority = Priority::new(words[2].parse().unwrap()).unwrap();
                match self.queue.change_priority(id, priority) {
                    Ok(records) => self.kept(records, None),
                    Err(refusal) => vec![format!("refused: {refusal}")],
                }
            }
            "say" => {
                let records = self.queue.feedback(id, vec![line(words[2])]);
                self.kept(records, None)
            }
            "drain" => {
                let records = self.queue.set_drained(words[1] == "on", NOW);
                self.kept(records, None)
            }
            "crash" => {
                self.queue = self.replayed();
                let records = self.queue.recover(NOW);
                self.kept(records, None)
            }
            "status" => self.queue.jobs().map(|job| self.standing(&job)).collect(),
            other => panic!("{other} is no command"),
        }
    }

    fn begin(&mut self, id: JobId, words: &[&str]) -> Vec<String> {
        let on_crash = match words {
            _ if words.contains(&"retry") => CrashPolicy::Retry,
            _ if words.contains(&"undo-it") => CrashPolicy::Undo,
            _ => CrashPolicy::Fail,
        };
        let start = Start { taken: NOW, undo: words.contains(&"undo"), on_crash };
        match self.queue.start(id, start, NOW) {
            Some((token, records)) => self.kept(records, Some(format!("token {token}"))),
            None => vec!["must not start".to_owned()],
        }
    }

    /// The records as text, and what the caller learns.
    fn kept(&mut self, records: Vec<Record>, learns: Option<String>) -> Vec<String> {
        let mut effects: Vec<String> = records.iter().map(shown).collect();
        effects.extend(learns.map(|learns| plain(&learns)));
        self.keep(records);
        effects
    }

    fn standing(&self, job: &Job) -> String {
        let op = |op: usize| {
            let undo = match &job.ops[op].undo {
                UndoState::None => "",
                UndoState::Possible => " (can be undone)",
                UndoState::Wanted => " (to be undone)",
                UndoState::Done => " (undone)",
                UndoState::Failed(_) => " (not undone)",
            };
            format!("{}{undo}", self.queue.op_status(job, op))
        };
        let ops: Vec<String> = (0..job.ops.len()).map(op).collect();
        format!("{} {}: {}", job.id, self.queue.status(job), ops.join(", "))
    }
}

/// `x x<#0=error` is a job of two opcodes, of which the second waits.
fn new_job(text: &str) -> NewJob {
    NewJob::of(text.split_whitespace().map(|word| match word.split_once('<') {
        Some((_, on)) => op().after(dependency(on)),
        None => op(),
    }))
}

fn dependency(text: &str) -> Dependency {
    let (on, statuses) = text.split_once('=').unwrap_or((text, ""));
    let on = match on.strip_prefix('#') {
        Some(place) => JobRef::Batch(place.parse().unwrap()),
        None => JobRef::Id(on.parse().unwrap()),
    };
    let statuses = statuses.split(',').filter(|word| !word.is_empty()).map(|word| match word {
        "success" => Status::Success,
        "error" => Status::Error,
        "canceled" => Status::Canceled,
        other => panic!("{other} is no final status"),
    });
    Dependency { on, statuses: statuses.collect() }
}

fn outcome(word: &str) -> Outcome {
    match word {
        "success" => success(),
        "canceled" => Outcome::Canceled,
        _ => failure(),
    }
}

fn line(text: &str) -> FeedbackEntry {
    FeedbackEntry { serial: 0, time: NOW, op: 0, kind: FeedbackKind::Message, text: text.into() }
}

/// A record in one line, with all its fields but the times, which are all the same.
fn shown(record: &Record) -> String {
    let Record::Submitted { first, jobs, origin, .. } = record else {
        return plain(&format!("{record:?}"));
    };
    let op = |op: &OpCode| match &op.depends[..] {
        [] => "x".to_owned(),
        depends => format!("x<{depends:?}"),
    };
    let job = |job: &NewJob| job.ops.iter().map(op).collect::<Vec<_>>().join(" ");
    let jobs: Vec<String> = jobs.iter().map(job).collect();
    plain(&format!(
        "Submitted {{ first: {first}, jobs: {}, origin: {origin:?} }}",
        jobs.join(" / ")
    ))
}

/// Without the names of types that wrap a number, and without times.
fn plain(text: &str) -> String {
    let mut text = text.replace("time: Timestamp(1), ", "").replace(", time: Timestamp(1)", "");
    text = text.replace("taken: Timestamp(1), ", "");
    for name in ["JobId", "Priority", "Id"] {
        while let Some(start) = text.find(&format!("{name}(")) {
            let end = start + text[start..].find(')').unwrap();
            let number = text[start + name.len() + 1..end].to_owned();
            text.replace_range(start..=end, &number);
        }
    }
    text
}
