//! The lock-order checker by hand: scripts of who takes what, and what it says to them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lockmaster::runtime::lock_order::{
    Access, Acquisition, Checker, ClassId, HeldSet, LockClass, Problem, Report,
};
use proptest::prelude::*;

/// Runs scripts of lines `who: step step ...`, a line after the other. A step is
///
/// - `+class` or `+class/name`: waits for it alone; `~` shared; `?` tries it without waiting
/// - `-class` or `-class/name`: releases it, in any order
/// - `*class`: waits for a notification under it; `!what`: does something that needs no locks held
///
/// A class whose name starts with `o.` is ordered by name, with `n.` by number, and with `r.`
/// reentrant.
#[derive(Default)]
struct Script {
    checker: Checker,
    classes: BTreeMap<String, ClassId>,
    holders: BTreeMap<String, HeldSet>,
}

impl Script {
    fn run(mut self, script: &str) -> (Self, Vec<Report>) {
        let lines = script.lines().map(str::trim).filter(|line| !line.is_empty());
        let mut found = Vec::new();
        for line in lines {
            let (who, steps) = line.split_once(": ").unwrap();
            for step in steps.split_whitespace() {
                found.extend(self.step(who, step));
            }
        }
        (self, found)
    }

    fn step(&mut self, who: &str, step: &str) -> Option<Report> {
        let (verb, lock) = step.split_at(1);
        let holder =
            self.holders.entry(who.to_owned()).or_insert_with(|| HeldSet::of(who.to_owned()));
        if verb == "!" {
            return self.checker.idle(holder, "before fsync");
        }
        let (class, name) = lock.split_once('/').map_or((lock, None), |(c, n)| (c, Some(n)));
        let id =
            *self.classes.entry(class.to_owned()).or_insert_with(|| declare(&self.checker, class));
        let number = name.map_or(0, |name| name.bytes().map(usize::from).sum());
        let access = if verb == "~" { Access::Shared } else { Access::Exclusive };
        let wanted = Acquisition::new(id, number).with_access(access);
        let wanted = if let Some(name) = name { wanted.named(name) } else { wanted };
        let report = match verb {
            "+" | "~" => self.checker.attempt(holder, &wanted),
            "?" => None,
            "-" => return holder.remove(id, number).map(|_| None).unwrap(),
            "*" => {
                let own = holder.remove(id, number).unwrap();
                self.checker.wait(holder, &own)
            }
            _ => panic!("there is no step {step:?}"),
        };
        holder.push(wanted);
        report
    }
}

fn declare(checker: &Checker, name: &str) -> ClassId {
    let class = LockClass::new(name.to_owned().leak());
    let class = match &name[..2.min(name.len())] {
        "o." => class.ordered_by(str::cmp),
        "n." => class.ordered_by(|a, b| a.parse::<u32>().unwrap().cmp(&b.parse().unwrap())),
        "r." => class.reentrant(),
        _ => class,
    };
    checker.register(&class).unwrap()
}

fn run(script: &str) -> Vec<Report> {
    Script::default().run(script).1
}

/// The one finding of a script: what it is, and the cycle.
fn finding(script: &str) -> (Problem, String) {
    let reports = run(script);
    assert_eq!(reports.len(), 1, "{reports:#?}");
    (reports[0].problem(), reports[0].cycle().join(" "))
}

fn inversion(cycle: &str) -> (Problem, String) {
    (Problem::Inversion, cycle.to_owned())
}

/// Ganeti 37d76f1e4: a worker checked dependencies under the queue lock, held shared; whoever
/// finished a job told its dependents under the manager's lock and took the queue lock for it.
#[test]
fn ganetis_queue_lock_against_dependency_manager_is_found_without_a_hang() {
    let found = finding(
        "worker:   ~queue +dependencies -dependencies -queue
         notifier: +dependencies +queue -queue -dependencies",
    );
    assert_eq!(found, inversion("dependencies queue dependencies"));
}

/// Stands for Ganeti 75d81fc8f, the second lock-order deadlock of its history. Which locks that one
/// was about is not known here; what the first one does not show is the indirect form: no two
/// places contradict each other, three together do.
#[test]
fn in_the_place_of_ganetis_second_deadlock_the_form_through_a_third_lock_is_found() {
    let found = finding(
        "worker:   +processor ~queue -queue -processor
         checker:  ~queue +dependencies -dependencies -queue
         notifier: +dependencies +processor -processor -dependencies",
    );
    assert_eq!(found, inversion("dependencies processor queue dependencies"));
}

#[test]
fn an_upgrade_is_found_with_one_owner_alone() {
    let found = finding("job1: ~instance/web +instance/web");
    assert_eq!(found, (Problem::Upgrade, "instance instance".to_owned()));
    let found = finding("job1: ~r.volume/v1 +r.volume/v1");
    assert_eq!(found.0, Problem::Upgrade, "a reentrant class may not upgrade either");
}

#[test]
fn taking_a_lock_twice_is_found_where_the_class_is_not_reentrant() {
    assert_eq!(finding("t1: +queue +queue").0, Problem::SameLock);
    assert_eq!(finding("t1: ~config ~config").0, Problem::SameLock, "a writer may wait between");
    assert_eq!(finding("t1: +node/a +node/b").0, Problem::SameClass);
    assert_eq!(finding("t1: +o.node/b +o.node/a").0, Problem::SameClass);
    assert_eq!(finding("t1: +o.node/a +o.node/c +o.node/b").0, Problem::SameClass);
}

#[test]
fn the_two_halves_of_an_inversion_may_be_seen_on_different_threads_at_different_times() {
    let (script, found) = Script::default().run("first: +a +b -a -b");
    assert!(found.is_empty());
    let script = std::thread::spawn(move || {
        let (script, found) = script.run("second: +b +a");
        assert_eq!(found.len(), 1);
        script
    });
    let (_, found) = script.join().unwrap().run("third: +b +a");
    assert!(found.is_empty(), "a pair is reported once");
}

#[test]
fn the_shortest_contradiction_is_reported() {
    let found = finding(
        "t1: +a +b -b -a
         t2: +b +c -c -b
         t3: +c +d -d -c
         t4: +a +c -c -a
         t5: +d +a",
    );
    assert_eq!(found, inversion("d a c d"));
}

#[test]
fn readers_count_as_writers() {
    assert_eq!(finding("t1: ~a ~b -b -a\nt2: ~b ~a"), inversion("b a b"));
}

#[test]
fn a_lock_got_by_trying_is_held_for_those_taken_after_it() {
    assert_eq!(finding("t1: ?a +b -b -a\nt2: +b +a"), inversion("b a b"));
}

#[test]
fn every_lock_held_counts_and_not_only_the_last() {
    assert_eq!(finding("t1: +a +b +c -c -b -a\nt2: +c +a"), inversion("c a c"));
    let found = run("t1: +a -a\nt1: +c +a -a -c\nt1: +c +b -b -c\nt2: +a +b +c");
    assert_eq!(found.len(), 1, "the first of two findings of one attempt speaks for both");
    assert_eq!(found[0].cycle().join(" "), "a c a");
}

#[test]
fn a_wait_with_another_lock_held_is_found_and_a_plain_wait_is_not() {
    assert_eq!(finding("t1: +table +queue *queue").0, Problem::WaitWhileHolding);
    assert!(run("t1: +queue *queue -queue +table -table").is_empty());
}

#[test]
fn work_that_needs_no_locks_held_is_found_where_one_is() {
    assert_eq!(finding("t1: +queue !fsync").0, Problem::HeldDuring("before fsync"));
    assert!(run("t1: +queue -queue !fsync").is_empty());
}

/// Everything here is right, and must stay silent.
const SILENT: &[(&str, &str)] = &[
    ("consistent nesting", "t1: +a +b +c -c -b -a\nt2: +a +c -c -a\nt3: +b +c -c -b"),
    ("one after the other", "t1: +a -a +b -b\nt2: +b -b +a -a"),
    ("release out of order", "t1: +a +b -a +c -b -c\nt2: +a +b +c -a -b -c"),
    ("lock again after release", "t1: +a -a +a -a\nt1: +a +b -b +b -b -a"),
    ("a back edge by trying", "t1: +a +b -b -a\nt2: +b ?a -a -b"),
    ("trying one's own lock", "t1: +a ?a -a -a"),
    ("hand over hand by name", "t1: +o.n/a +o.n/b -o.n/a +o.n/c -o.n/b +o.n/d -o.n/c -o.n/d"),
    ("hand over hand by number", "t1: +n.page/9 +n.page/10 -n.page/9 +n.page/11"),
    ("names of the same length", "job1: +o.node/ab +o.node/ba"),
    ("an ordered set", "job1: +o.node/a ~o.node/b +o.node/c\njob2: ~o.node/b +o.node/z"),
    ("reentrance", "job1: +r.pool/p +r.pool/p ~r.pool/p -r.pool/p -r.pool/p -r.pool/p"),
    ("shared again", "job1: ~r.pool/p ~r.pool/p -r.pool/p -r.pool/p"),
    ("two who hold one lock each", "job1: +node/a\njob2: +node/b\njob1: -node/a\njob2: -node/b"),
    ("one shared by two", "job1: ~node/a\njob2: ~node/a\njob2: -node/a\njob1: -node/a"),
    ("different owners, different orders", "job1: +a\njob2: +b\njob1: -a\njob2: +a"),
    ("levels top down", "job1: ~cluster/BGL +instance/i +node/n\njob2: ~cluster/BGL +node/n"),
    ("a mutex under job locks", "job1: +instance/i +table -table +node/n +table -table"),
    ("a wait in a loop", "t1: +queue *queue *queue -queue\nt2: +queue -queue"),
];

#[test]
fn what_cannot_deadlock_is_silent() {
    for (what, script) in SILENT {
        let found = run(script);
        assert!(found.is_empty(), "{what}: {}", found[0]);
    }
}

/// Two threads that take a gate first cannot deadlock behind it; the checker does not know.
#[test]
fn a_gate_is_reported_unless_an_exception_is_declared() {
    let script = "t1: +gate +a +b -b -a -gate\nt2: +gate +b +a -a -b -gate";
    assert_eq!(finding(script), inversion("b a b"));
    let (first, _) = Script::default().run("t0: +gate -gate +a -a +b -b");
    let (a, b) = (first.classes["a"], first.classes["b"]);
    first.checker.allow(b, a, "only under the gate");
    let (script, found) = first.run(script);
    assert!(found.is_empty());
    assert_eq!(script.checker.edge_count(), 3, "an exception proves nothing");
    assert!(script.checker.dot().contains("style=dotted label=\"only under the gate\""));
}

#[test]
fn an_exception_declared_late_takes_back_what_was_learnt() {
    let (script, _) = Script::default().run("t1: +b +a -a -b");
    script.checker.allow(script.classes["b"], script.classes["a"], "start-up only");
    assert!(script.run("t2: +a +b -b -a\nt3: +b +a").1.is_empty());
}

#[test]
fn a_report_names_both_orders_where_they_were_first_seen_and_by_whom() {
    let (script, found) =
        Script::default().run("worker: +queue +table -table -queue\nrpc: +table/t1 +queue");
    let text = found[0].to_string();
    for expected in [
        "\"queue\" is asked for while holding \"table\" (t1)",
        "table -> queue -> table",
        "1. rpc, holding table:",
        "2. worker, holding queue:",
        "tests/lock_order.rs:",
        "a_report_names_both_orders_where_they_were_first_seen_and_by_whom",
        "hint: take the locks in one order everywhere",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    assert!(!text.contains("seen "), "{text}");
    let lines = found[0].orders().iter().map(|order| (order.held, order.wanted));
    assert_eq!(lines.collect::<Vec<_>>(), [("table", "queue"), ("queue", "table")]);
    let (script, _) = script.run("rpc: -queue +queue -queue +queue");
    assert_eq!(script.checker.reports()[0].count(), 3);
    assert!(script.checker.reports()[0].to_string().contains("seen 3 times"));
}

#[test]
fn the_graph_is_exported_with_findings_and_their_count() {
    let (script, _) = Script::default().run("t1: +a +b -b -a\nt2: +b +a -a +a");
    let dot = script.checker.dot();
    assert!(dot.starts_with("digraph {"), "{dot}");
    assert!(dot.contains("label=\"a\"") && dot.contains("color=red label=\"2x\""), "{dot}");
    let json = script.checker.json();
    assert_eq!(json["classes"], serde_json::json!(["a", "b"]));
    assert_eq!(json["orders"][0]["held"], "a");
    assert_eq!(json["orders"].as_array().map(Vec::len), Some(1));
    assert_eq!(json["reports"][0]["cycle"], serde_json::json!(["b", "a", "b"]));
    assert_eq!(json["reports"][0]["count"], 2);
}

#[test]
fn what_is_not_about_two_locks_is_told_without_a_second_one_and_is_no_edge_of_the_graph() {
    let (script, found) = Script::default().run("t1: +queue !fsync");
    let text = found[0].to_string();
    assert!(text.contains("held  \"queue\"") && !text.contains("asked"), "{text}");
    let dot = script.checker.dot();
    assert!(dot.contains("label=\"queue\"") && !dot.contains("->"), "{dot}");
}

#[test]
fn exceptions_are_exported_with_their_reason() {
    let (script, _) = Script::default().run("t1: +a +b");
    script.checker.allow(script.classes["b"], script.classes["a"], "the gate");
    let allowed = &script.checker.json()["allowed"];
    let expected = serde_json::json!([{ "held": "b", "wanted": "a", "why": "the gate" }]);
    assert_eq!(allowed, &expected, "{}", script.checker.json());
}

#[test]
fn a_class_is_known_by_its_name_and_a_reaction_by_its_word() {
    use lockmaster::runtime::lock_order::Reaction;
    let class = LockClass::new("queue lock");
    assert_eq!(class.name(), "queue lock");
    assert!(format!("{class:?}").contains("queue lock"));
    assert!(format!("{:?}", Checker::new()).contains("Checker"));
    let known = ["off", "warn", "panic", "loud"].map(Reaction::from_name);
    assert_eq!(known, [Some(Reaction::Off), Some(Reaction::Warn), Some(Reaction::Panic), None]);
}

#[test]
fn one_class_too_many_turns_the_checker_off() {
    use lockmaster::runtime::lock_order::Reaction;
    let checker = Checker::with_capacity(2);
    let registered = |name| checker.register(&LockClass::new(name)).is_some();
    assert!(registered("a") && registered("b"));
    assert_eq!(checker.reaction(), Reaction::Warn);
    assert!(!registered("c"));
    assert_eq!(checker.reaction(), Reaction::Off);
}

#[test]
fn all_256_classes_have_their_own_bit() {
    let checker = Checker::new();
    let classes: Vec<ClassId> = (0..Checker::MAX_CLASSES)
        .map(|_| checker.register(&LockClass::new("c")).unwrap())
        .collect();
    let mut held = HeldSet::new();
    for class in &classes {
        assert!(checker.attempt(&held, &Acquisition::new(*class, 0)).is_none());
        held.push(Acquisition::new(*class, 0));
    }
    assert_eq!(checker.edge_count(), 256 * 255 / 2);
    assert!(checker.attempt(&held, &Acquisition::new(classes[0], 0)).is_some());
}

/// What the checker has to agree with: a set of orders, searched anew each time.
#[derive(Default)]
struct Naive {
    orders: BTreeSet<(u8, u8)>,
    reported: BTreeSet<(u8, u8)>,
}

impl Naive {
    fn reaches(&self, from: u8, to: u8, seen: &mut BTreeSet<u8>) -> bool {
        from == to
            || seen.insert(from)
                && self.orders.iter().any(|&(a, b)| a == from && self.reaches(b, to, seen))
    }

    /// Whether the checker should speak up.
    fn attempt(&mut self, held: &[u8], wanted: u8) -> bool {
        let mut speaks = false;
        for &one in held {
            if self.reaches(wanted, one, &mut BTreeSet::new()) {
                speaks |= self.reported.insert((one, wanted));
            } else {
                self.orders.insert((one, wanted));
            }
        }
        speaks
    }
}

proptest! {
    /// A failure prints the history; proptest keeps its seed.
    #[test]
    fn it_agrees_with_a_naive_search_on_every_history(
        history in prop::collection::vec((0_usize..3, 0_u8..7, any::<bool>()), 1..120),
    ) {
        let checker = Checker::with_capacity(7);
        let classes: Vec<ClassId> =
            (0..7).map(|_| checker.register(&LockClass::new("c")).unwrap()).collect();
        let mut naive = Naive::default();
        let mut sets = [const { HeldSet::new() }; 3];
        let mut held: [Vec<u8>; 3] = Default::default();
        for (who, class, release) in history {
            let id = classes[usize::from(class)];
            if release {
                held[who].iter().rposition(|&one| one == class).map(|at| held[who].remove(at));
                sets[who].remove(id, 0);
            } else if !held[who].contains(&class) {
                let wanted = Acquisition::new(id, 0);
                let speaks = checker.attempt(&sets[who], &wanted).is_some();
                prop_assert_eq!(speaks, naive.attempt(&held[who], class));
                sets[who].push(wanted);
                held[who].push(class);
            }
        }
        prop_assert_eq!(checker.edge_count(), naive.orders.len());
    }
}

#[test]
fn threads_that_learn_at_once_agree_in_the_end() {
    let checker = Arc::new(Checker::new());
    let classes: Vec<ClassId> =
        (0..40).map(|_| checker.register(&LockClass::new("c")).unwrap()).collect();
    std::thread::scope(|scope| {
        for offset in 0..4 {
            let (checker, classes) = (&checker, &classes);
            scope.spawn(move || {
                for (i, a) in classes.iter().enumerate().skip(offset) {
                    let mut held = HeldSet::new();
                    held.push(Acquisition::new(*a, 0));
                    for b in &classes[i + 1..] {
                        assert!(checker.attempt(&held, &Acquisition::new(*b, 0)).is_none());
                    }
                }
            });
        }
    });
    assert_eq!(checker.edge_count(), 40 * 39 / 2);
}
