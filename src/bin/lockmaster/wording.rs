//! Why a job waits, in words: from the daemon's answer, or from that of a master in this process.

use std::time::Duration;

use serde_json::Value;

use crate::follow::said;
use crate::times;

/// How many of those in the way are named.
const NAMED: usize = 4;

/// Makes a name of a job's number and label.
type Name<'a> = &'a dyn Fn(&Value, &Value) -> String;

/// A job for people: its number, and its label where it has one.
pub(crate) fn name(job: &Value, label: &Value) -> String {
    match label.as_str() {
        // No job, but somebody who locks from the command line.
        Some(_) if job.is_null() => said(label),
        Some(_) => format!("job {job} ({})", said(label)),
        None => format!("job {job}"),
    }
}

/// Why a job waits, to the end of the chain: a line for each who is in the way of the one above.
pub(crate) fn explained(why: &Value) -> String {
    let mut steps: Vec<&Value> = vec![why];
    steps.extend(list(&why["behind"]));
    let mut lines = Lines { now: &why["now"], text: Vec::new() };
    let (mut depth, mut next) = (0, 0);
    while let Some(step) = steps.get(next) {
        let subject = name(&step["job"], &step["label"]);
        lines.add(depth, &format!("{subject} {}", sentence(step, lines.now)));
        next += 1;
        if step["reason"] == "lock" {
            // How the chain of locks ends is said in its last line.
            let end = steps.get(next).filter(|end| end["reason"] != "lock");
            depth = lines.chain(depth + 1, step, end.copied());
            next += usize::from(end.is_some());
        }
        depth += 1;
    }
    lines.add(0, &prospect(why));
    lines.text.join("\n")
}

struct Lines<'a> {
    now: &'a Value,
    text: Vec<String>,
}

impl Lines<'_> {
    fn add(&mut self, depth: usize, line: &str) {
        if !line.is_empty() {
            self.text.push(format!("{:1$}{line}", "", 2 * depth));
        }
    }

    /// Who is in the way, and of that one, and so on. The depth of the last line.
    fn chain(&mut self, mut depth: usize, wait: &Value, end: Option<&Value>) -> usize {
        let links = list(&wait["chain"]);
        for (place, link) in links.iter().enumerate() {
            let goes_on = match (links.get(place + 1), end) {
                (Some(next), _) => {
                    format!(
                        ", and itself waits for {} ({})",
                        said(&next["lock"]),
                        said(&next["mode"])
                    )
                }
                (None, Some(end)) => format!("; it {}", brief(end, &name)),
                (None, None) => String::new(),
            };
            let it = if place == 0 { "it" } else { "that" };
            self.add(depth, &format!("{}{goes_on}", in_the_way(link, it, self.now)));
            if place == 0 {
                self.add(depth, &others(list(&wait["in_the_way"])));
            }
            depth += 1;
        }
        depth.saturating_sub(1)
    }
}

fn in_the_way(link: &Value, it: &str, now: &Value) -> String {
    let (who, held) = (name(&link["blocker"], &link["blocker_label"]), said(&link["held"]));
    match link["since"].is_null() {
        true => format!("{who} has waited too long and comes first: {it} is reserved ({held})"),
        false => {
            let long = times::said_between(&link["since"], now);
            format!("{who} has held {it} ({held}) for {long}")
        }
    }
}

/// Who is in the way beside the first.
fn others(all: &[Value]) -> String {
    let Some((_, rest)) = all.split_first().filter(|(_, rest)| !rest.is_empty()) else {
        return String::new();
    };
    let named: Vec<String> =
        rest.iter().take(NAMED).map(|who| name(&who["job"], &who["label"])).collect();
    let more = match rest.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("also in the way: {}{more}", named.join(", "))
}

/// What a job is doing or waiting for, as the rest of a sentence that begins with its name.
fn sentence(why: &Value, now: &Value) -> String {
    let since = || times::said_between(&why["since"], now);
    match why["reason"].as_str().unwrap_or_default() {
        "executing" => {
            let told = told_to_stop(why, now);
            format!("has been executing {} for {}{told}", said(&why["opcode"]), since())
        }
        "undoing" => {
            format!("has failed, and what {} did is being taken back", said(&why["opcode"]))
        }
        "lock" => {
            let (lock, mode) = (said(&why["lock"]), said(&why["mode"]));
            let limit = match why["capacity"].as_u64().filter(|_| why["mode"] == "shared") {
                Some(most) => format!(", as at most {most} may at once"),
                None => String::new(),
            };
            format!("has waited {} for the lock {lock} ({mode}{limit})", since())
        }
        "later" => later(why),
        "worker" => format!("could run: it waits for a free worker{}", before(why)),
        "rate-limit" => format!("{}{}", limited(why, &name), before(why)),
        _ => brief(why, &name),
    }
}

fn later(why: &Value) -> String {
    let tried = why["tried"].as_u64().unwrap_or_default();
    let (until, lacking) = (times::shown(&why["until"]), said(&why["lacking"]));
    format!("waits until {until} for its {} try: {lacking}", ordinal(tried + 1))
}

/// A place as a word, or with its ending: `second`, `12th`.
fn ordinal(place: u64) -> String {
    let word = match place {
        1 => "first",
        2 => "second",
        3 => "third",
        4 => "fourth",
        5 => "fifth",
        _ => match (place % 10, place % 100) {
            (1, rest) if rest != 11 => return format!("{place}st"),
            (2, rest) if rest != 12 => return format!("{place}nd"),
            (3, rest) if rest != 13 => return format!("{place}rd"),
            _ => return format!("{place}th"),
        },
    };
    word.to_owned()
}

fn before(why: &Value) -> String {
    match why["before"].as_u64() {
        None | Some(0) => String::new(),
        Some(1) => "; one job comes before it".to_owned(),
        Some(before) => format!("; {before} jobs come before it"),
    }
}

/// That it executes although it is told to stop, if it is.
fn told_to_stop(why: &Value, now: &Value) -> String {
    match &why["told"] {
        Value::Null => String::new(),
        told => {
            let ago = times::said_between(told, now);
            format!(", and was told to stop {ago} ago{}", killed_in(&why["killed"], now))
        }
    }
}

/// When it is killed, where that is yet to come.
fn killed_in(killed: &Value, now: &Value) -> String {
    match times::span(now, killed) {
        None | Some(Duration::ZERO) => String::new(),
        Some(left) => format!("; it is killed in {} unless it ends", times::said(left)),
    }
}

/// The same in short and without durations: a line that changes only when something happens.
/// Jobs are called what `name` makes of their number and label.
pub(crate) fn brief(why: &Value, name: Name<'_>) -> String {
    match why["reason"].as_str().unwrap_or_default() {
        "executing" if why["told"].is_null() => format!("executes {}", said(&why["opcode"])),
        "executing" => format!("executes {}, and was told to stop", said(&why["opcode"])),
        "undoing" => format!("takes back what {} did", said(&why["opcode"])),
        "final" => format!("has ended: {}", said(&why["status"])),
        "dependency" => format!("waits for {} to end", name(&why["on"], &why["on_label"])),
        "lock" => format!(
            "waits for {} ({}){}",
            said(&why["lock"]),
            said(&why["mode"]),
            holders(list(&why["in_the_way"]), name)
        ),
        "process" => format!(
            "waits for {} ({}), which {} holds",
            said(&why["lock"]),
            said(&why["mode"]),
            said(&why["holder"])
        ),
        "filter" => filtered(why),
        "rate-limit" => limited(why, name),
        // A time stays as it is: the line changes only when something happens.
        "later" => later(why),
        "starting" => "is about to start".to_owned(),
        "worker" => "waits for a free worker".to_owned(),
        "stopping" => "is not started: the queue is stopping".to_owned(),
        other => format!("waits: {other}"),
    }
}

fn filtered(why: &Value) -> String {
    let (rule, remark) = (said(&why["rule"]), said(&why["remark"]));
    let remark = if why["remark"].is_null() { String::new() } else { format!(" ({remark})") };
    match why["action"].as_str() {
        Some("REJECT") => format!("is about to be cancelled by filter rule {rule}{remark}"),
        _ => format!("is paused by filter rule {rule}{remark}"),
    }
}

fn limited(why: &Value, name: Name<'_>) -> String {
    let (most, running) = (&why["most"], &why["running"]);
    let what = match why["rule"].as_str() {
        Some(rule) => format!("filter rule {rule}"),
        None => format!("the rate limit {:?}", said(&why["bucket"])),
    };
    let inside = list(&why["inside"]).iter().take(NAMED);
    let inside: Vec<String> = inside.map(|who| name(&who["job"], &who["label"])).collect();
    let more = match why["running"].as_u64().unwrap_or_default().saturating_sub(NAMED as u64) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let who = if inside.is_empty() { String::new() } else { format!(": {}", inside.join(", ")) };
    format!("waits for its turn: {what} lets {most} run at once, {running} do{who}{more}")
}

fn holders(all: &[Value], name: Name<'_>) -> String {
    let Some((first, rest)) = all.split_first() else { return String::new() };
    let (who, mode) = (name(&first["job"], &first["label"]), said(&first["mode"]));
    let verb = if first["since"].is_null() { "comes first" } else { "holds it" };
    let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
    format!(": {who} {verb} ({mode}){more}")
}

/// What would let a job go on that a filter rule holds back; how long others may still come first,
/// where it waits for a lock.
fn prospect(why: &Value) -> String {
    if let ("filter", Some("PAUSE")) = (said(&why["reason"]).as_str(), why["action"].as_str()) {
        let rule = said(&why["rule"]);
        return format!(
            "it goes on when the rule is replaced or deleted: lockmaster filter delete {rule}"
        );
    }
    let passed = match why["passed"].as_u64().unwrap_or_default() {
        0 => "nobody was let in before it so far".to_owned(),
        1 => "one other request was granted meanwhile".to_owned(),
        passed => format!("{passed} other requests were granted meanwhile"),
    };
    let reserves = &why["reserves"];
    let from_now = match reserves["when"].as_str().unwrap_or_default() {
        "already" => "it has reserved its locks: nobody comes before it any more".to_owned(),
        "room" => "it is next to reserve its locks, and then nobody comes before it".to_owned(),
        "never" => "others may come before it as long as they fit".to_owned(),
        "after" => {
            let seconds = reserves["seconds"].as_f64().unwrap_or_default();
            let time = times::said(Duration::try_from_secs_f64(seconds).unwrap_or_default());
            let grants = &reserves["grants"];
            let more = if why["passed"].as_u64() > Some(0) { "more" } else { "others" };
            format!("after {grants} {more}, or in {time}, nobody is let in before it any more")
        }
        _ => return String::new(),
    };
    format!("{passed}; {from_now}")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn link(job: u64, lock: &str, blocker: u64, label: &str, since: &Value) -> Value {
        json!({
            "job": job, "lock": lock, "mode": "exclusive",
            "blocker": blocker, "blocker_label": label, "held": "shared", "since": since,
        })
    }

    #[test]
    fn a_wait_for_the_next_try_says_until_when_and_for_what() {
        let why = json!({
            "reason": "later", "until": [0, 0], "tried": 2, "lacking": "no room", "job": 7,
            "label": null, "behind": [], "now": [0, 0],
        });
        let text = explained(&why);
        assert!(text.starts_with("job 7 waits until 19"), "{text}");
        assert!(text.ends_with("for its third try: no room"), "{text}");
        let places = [1, 6, 11, 21, 22, 33, 112].map(ordinal);
        assert_eq!(places, ["first", "6th", "11th", "21st", "22nd", "33rd", "112th"]);
    }

    #[test]
    fn a_chain_of_locks_is_told_to_its_end() {
        let chain = [
            link(3, "instance/web1", 2, "snapshot web1", &json!([300, 0])),
            link(2, "node/n1", 1, "maintain n1", &json!([240, 0])),
        ];
        let others = json!([{"job": 2}, {"job": 7, "label": "seven"}, {"job": 8, "label": null}]);
        let why = json!({
            "job": 3, "label": "resize web1", "reason": "lock", "lock": "instance/web1",
            "mode": "exclusive", "since": [480, 0], "now": [600, 0], "chain": chain,
            "in_the_way": others, "passed": 3,
            "reserves": {"when": "after", "grants": 997, "seconds": 540.5},
            "behind": [{"job": 1, "reason": "executing", "opcode": "OP_MAINTAIN"}],
        });
        let expected = "\
job 3 (resize web1) has waited 2 min for the lock instance/web1 (exclusive)
  job 2 (snapshot web1) has held it (shared) for 5 min, and itself waits for node/n1 (exclusive)
  also in the way: job 7 (seven), job 8
    job 1 (maintain n1) has held that (shared) for 6 min; it executes OP_MAINTAIN
3 other requests were granted meanwhile; after 997 more, or in 9 min, nobody is let in before it any more";
        assert_eq!(explained(&why), expected);
    }

    #[test]
    fn that_only_so_many_may_share_a_lock_is_said() {
        let mut why = json!({
            "job": 3, "reason": "lock", "lock": "slot/n1", "mode": "shared", "capacity": 2,
            "since": [0, 0], "now": [1, 0],
        });
        let shared = "job 3 has waited 1 s for the lock slot/n1 (shared, as at most 2 may at once)";
        assert_eq!(explained(&why).lines().next(), Some(shared));
        why["mode"] = json!("exclusive");
        assert!(explained(&why).contains("(exclusive)"));
    }

    #[test]
    fn a_reservation_is_told_as_one() {
        let why = json!({
            "job": 3, "reason": "lock", "lock": "node/n1", "mode": "shared", "since": [0, 0],
            "now": [1, 0], "chain": [link(3, "node/n1", 2, "b", &Value::Null)],
            "passed": 0, "reserves": {"when": "never"}, "behind": [],
        });
        let expected = "\
job 3 has waited 1 s for the lock node/n1 (shared)
  job 2 (b) has waited too long and comes first: it is reserved (shared)
nobody was let in before it so far; others may come before it as long as they fit";
        assert_eq!(explained(&why), expected);
    }

    #[test]
    fn a_chain_of_jobs_goes_on_into_a_chain_of_locks() {
        let why = json!({
            "job": 5, "reason": "dependency", "on": 4, "on_label": "four", "now": [60, 0],
            "behind": [
                {"job": 4, "label": "four", "reason": "dependency", "on": 3},
                {
                    "job": 3, "reason": "lock", "lock": "node/n1", "mode": "exclusive",
                    "since": [50, 0], "chain": [link(3, "node/n1", 1, "one", &json!([0, 0]))],
                    "passed": 9, "reserves": {"when": "already"},
                },
                {"job": 1, "reason": "undoing", "opcode": "OP_X"},
            ],
        });
        let expected = "\
job 5 waits for job 4 (four) to end
  job 4 (four) waits for job 3 to end
    job 3 has waited 10 s for the lock node/n1 (exclusive)
      job 1 (one) has held it (shared) for 1 min; it takes back what OP_X did";
        assert_eq!(explained(&why), expected);
    }

    #[test]
    fn every_other_reason_is_one_line() {
        let cases = [
            (json!({"reason": "worker", "before": 0}), "could run: it waits for a free worker"),
            (
                json!({"reason": "worker", "before": 1}),
                "could run: it waits for a free worker; one job comes before it",
            ),
            (
                json!({"reason": "worker", "before": 12}),
                "could run: it waits for a free worker; 12 jobs come before it",
            ),
            (json!({"reason": "stopping"}), "is not started: the queue is stopping"),
            (
                json!({"reason": "filter", "rule": "r", "action": "REJECT", "remark": "no more"}),
                "is about to be cancelled by filter rule r (no more)",
            ),
            (
                json!({"reason": "filter", "rule": "r", "action": "PAUSE", "remark": null}),
                "is paused by filter rule r\n\
                 it goes on when the rule is replaced or deleted: lockmaster filter delete r",
            ),
            (
                json!({
                    "reason": "rate-limit", "rule": null, "bucket": "tape", "most": 2,
                    "running": 2, "before": 1,
                    "inside": [{"job": 4, "label": "four"}, {"job": 5, "label": null}],
                }),
                "waits for its turn: the rate limit \"tape\" lets 2 run at once, 2 do: \
                 job 4 (four), job 5; one job comes before it",
            ),
            (
                json!({
                    "reason": "rate-limit", "rule": "r", "bucket": null, "most": 9, "running": 6,
                    "before": 0, "inside": [
                        {"job": 1}, {"job": 2}, {"job": 3}, {"job": 4}, {"job": 5}, {"job": 6},
                    ],
                }),
                "waits for its turn: filter rule r lets 9 run at once, 6 do: \
                 job 1, job 2, job 3, job 4 and 2 more",
            ),
            (json!({"reason": "starting"}), "is about to start"),
            (json!({"reason": "final", "status": "error"}), "has ended: error"),
            (
                json!({"reason": "undoing", "opcode": "OP_X"}),
                "has failed, and what OP_X did is being taken back",
            ),
            (
                json!({"reason": "executing", "opcode": "OP_X", "since": [0, 0], "now": [3700, 0]}),
                "has been executing OP_X for 1 h 1 min",
            ),
            (
                json!({
                    "reason": "executing", "opcode": "OP_X", "since": [0, 0], "told": [3580, 0],
                    "now": [3700, 0],
                }),
                "has been executing OP_X for 1 h 1 min, and was told to stop 2 min ago",
            ),
            (
                json!({
                    "reason": "executing", "opcode": "OP_X", "since": [0, 0], "told": [3580, 0],
                    "killed": [3703, 0], "now": [3700, 0],
                }),
                "has been executing OP_X for 1 h 1 min, and was told to stop 2 min ago; it is \
                 killed in 3 s unless it ends",
            ),
            (
                json!({
                    "reason": "executing", "opcode": "OP_X", "since": [0, 0], "told": [3580, 0],
                    "killed": [3700, 0], "now": [3700, 0],
                }),
                "has been executing OP_X for 1 h 1 min, and was told to stop 2 min ago",
            ),
        ];
        for (mut why, expected) in cases {
            why["job"] = json!(9);
            assert_eq!(explained(&why), format!("job 9 {expected}"));
        }
    }

    #[test]
    fn what_a_screen_shows_names_who_holds_the_lock() {
        let name = |_: &Value, label: &Value| said(label);
        let mut why = json!({
            "reason": "lock", "lock": "node/n1", "mode": "exclusive", "in_the_way": [
                {"job": 1, "label": "one", "mode": "shared", "since": [0, 0]}, {"job": 2},
            ],
        });
        assert_eq!(
            brief(&why, &name),
            "waits for node/n1 (exclusive): one holds it (shared) and 1 more"
        );
        why["in_the_way"] = json!([{"job": 1, "label": "\u{1b}", "mode": "shared", "since": null}]);
        assert_eq!(
            brief(&why, &name),
            "waits for node/n1 (exclusive): \u{fffd} comes first (shared)"
        );
    }
}
