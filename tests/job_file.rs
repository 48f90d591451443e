//! What a job file becomes, and how it is refused.
#![cfg(feature = "commands")]
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the answer")]

use lockmaster::interfaces::catalogue::Catalogue;
use lockmaster::interfaces::job_file::JobFile;
use lockmaster::runtime::Registry;
use lockmaster::vocabulary::{Dependency, Error, Hierarchy, JobId, JobRef, OpId, Priority, Status};

const OPCODES: &str = r#"
[[opcode]]
id = "OP_COPY"
params.instance = { type = "string", pattern = "[a-z0-9]+" }
params.node = "string"
params.count = { type = "integer", default = 1, min = 1 }
locks.instance = { exclusive = "{instance}" }
locks.node = { shared = "{node}" }
argv = ["echo", "{instance}", "{count}"]
"#;

fn known() -> Catalogue {
    Catalogue::new(Hierarchy::default())
}

fn parse(jobs: &str) -> Result<JobFile, Error> {
    JobFile::parse("f.toml", &format!("{jobs}{OPCODES}"), known())
}

fn refusal(jobs: &str) -> String {
    let error = parse(jobs).unwrap_err();
    format!("{error} | {}", error.hint_text().unwrap_or("-"))
}

#[test]
fn jobs_come_in_the_order_of_the_file_with_their_dependencies_by_place() {
    let file = parse(
        r#"
        [[job]]
        label = "late"
        depends = ["early", { on = "other", statuses = ["error", "success"] }]
        op = [{ OP_ID = "OP_COPY", instance = "a", node = "n", priority = 5, dry_run = true }]
        [[job]]
        label = "early"
        priority = "high"
        op = [{ OP_ID = "OP_COPY", instance = "a", node = "n", comment = "first" }]
        [[job]]
        label = "other"
        expect = "error"
        op = [
            { OP_ID = "OP_COPY", instance = "a", node = "n" },
            { OP_ID = "OP_COPY", instance = "b", node = "n", depends = "early" },
        ]
        "#,
    )
    .unwrap();
    let labels: Vec<_> = file.jobs.iter().map(|job| job.label.clone().unwrap()).collect();
    assert_eq!(labels, ["late", "early", "other"]);
    let late = &file.jobs[0].ops[0];
    assert_eq!(late.depends[0], Dependency::success(JobRef::Batch(1)));
    assert_eq!(late.depends[1].on, JobRef::Batch(2));
    assert_eq!(late.depends[1].statuses, [Status::Error, Status::Success]);
    assert_eq!((late.priority.get(), late.dry_run), (5, true));
    assert_eq!(late.params.as_json(), r#"{"instance":"a","node":"n"}"#);
    assert_eq!(file.jobs[1].ops[0].priority, Priority::HIGH);
    assert_eq!(file.jobs[1].ops[0].comment.as_deref(), Some("first"));
    assert_eq!(file.jobs[2].ops[1].depends, [Dependency::success(JobRef::Batch(1))]);
    let expected: Vec<_> = (0..3).map(|index| file.expected(index)).collect();
    assert_eq!(expected, [Status::Success, Status::Success, Status::Error]);
}

#[test]
fn a_repeated_job_is_one_job_for_every_row() {
    let file = parse(
        r#"
        [sets]
        placed = [{ instance = "a", node = "n1", n = 2 }, { instance = "b", node = "n2", n = 3 }]
        [[job]]
        label = "make-{instance}"
        for_each = "placed"
        op = [{ OP_ID = "OP_COPY", instance = "{instance}", node = "{node}", count = "{n}" }]
        [[job]]
        label = "check-{instance}"
        for_each = [{ instance = "b" }]
        depends = "make-{instance}"
        op = [{ OP_ID = "OP_COPY", instance = "x{instance}", node = "n" }]
        "#,
    )
    .unwrap();
    let text: Vec<_> = file
        .jobs
        .iter()
        .map(|job| format!("{} {}", job.label.as_ref().unwrap(), job.ops[0].params.as_json()))
        .collect();
    assert_eq!(
        text,
        [
            r#"make-a {"count":2,"instance":"a","node":"n1"}"#,
            r#"make-b {"count":3,"instance":"b","node":"n2"}"#,
            r#"check-b {"instance":"xb","node":"n"}"#,
        ]
    );
    assert_eq!(file.jobs[2].ops[0].depends, [Dependency::success(JobRef::Batch(1))]);
}

#[test]
fn ganetis_shape_is_one_job_or_several_with_dependencies_backwards_or_by_id() {
    let catalogue = Catalogue::parse("c.toml", OPCODES, &Hierarchy::default()).unwrap();
    let op = r#"{"OP_ID": "OP_COPY", "instance": "a", "node": "n", "debug_level": 0"#;
    let one = format!("[{op}}}, {op}}}]");
    let file = JobFile::parse("f.json", &one, catalogue.clone()).unwrap();
    assert_eq!((file.jobs.len(), file.jobs[0].ops.len()), (1, 2));

    let several = format!(
        r#"[[{op}, "reason": [["cli", "because", 5]]}}],
            [{op}, "depends": [[-1, ["success"]], [7, []], ["8", ["error"]]], "priority": -10}}]]"#
    );
    let file = JobFile::parse("-", &several, catalogue).unwrap();
    let (first, second) = (&file.jobs[0].ops[0], &file.jobs[1].ops[0]);
    assert_eq!((&*first.reason[0].source, first.reason[0].time_ns), ("cli", 5));
    assert_eq!(second.priority, Priority::HIGH);
    let on: Vec<_> = second.depends.iter().map(|dependency| dependency.on).collect();
    let id = |number| JobRef::Id(JobId::new(number).unwrap());
    assert_eq!(on, [JobRef::Batch(0), id(7), id(8)]);
    assert_eq!(second.depends[1].statuses, []);
}

#[test]
fn every_mistake_is_named_with_its_place_and_what_to_do() {
    let op = "op = [{ OP_ID = \"OP_COPY\", instance = \"a\", node = \"n\" }]";
    for (jobs, place, message) in [
        ("[[job]]\nop = [{ OP_ID = \"OP_COPI\" }]", "2:17", "did you mean \"OP_COPY\"?"),
        ("[[job]]\nop = [{ OP_ID = \"copy\" }]", "2:17", "is not the id of an opcode"),
        ("[[job]]\nop = [{ instance = \"a\" }]", "2:7", "needs the field \"OP_ID\""),
        ("[[job]]\nop = [{ OP_ID = \"OP_COPY\", instanc = \"a\" }]", "2:28", "\"instance\"?"),
        ("[[job]]\nop = [{ OP_ID = \"OP_COPY\", instance = \"a\" }]", "2:7", "needs the parameter"),
        (
            "[[job]]\nop = [{ OP_ID = \"OP_COPY\", node = 5 }]",
            "2:35",
            "the parameter \"node\" has to be a text, not 5",
        ),
        (
            "[[job]]\nop = [{ OP_ID = \"OP_COPY\", node = \"n\", instance = \"A\" }]",
            "2:51",
            "does not match the pattern",
        ),
        ("[[job]]\nop = []", "2:6", "at least one opcode"),
        ("[[job]]\nlabel = \"a\"", "1:1", "needs the field \"op\""),
        (&format!("[[job]]\n{op}\ndepend = \"a\""), "3:1", "did you mean \"depends\"?"),
        (&format!("[[job]]\n{op}\nexpect = \"fine\""), "3:10", "\"success\", \"error\""),
        (&format!("[[job]]\n{op}\npriority = 99"), "3:12", "not within -20 to 19"),
        (&format!("[[job]]\nlabel = \"one\"\n{op}\ndepends = \"on\""), "4:11", "mean \"one\"?"),
        (
            &format!("[[job]]\nlabel = \"a\"\n{op}\n[[job]]\nlabel = \"a\"\n{op}"),
            "4:1",
            "a second job with the label",
        ),
        (&format!("[[job]]\nfor_each = \"x\"\n{op}\n[sets]\ny = []"), "2:12", "no set \"x\""),
        (
            &format!("[[job]]\nlabel = \"{{b}}\"\nfor_each = [{{ a = 1 }}]\n{op}"),
            "2:9",
            "the fields are a",
        ),
        ("[[jobs]]", "1:3", "did you mean \"job\"?"),
        ("levels = [\"one\", \"one\"]", "1:10", "declared twice"),
        ("levels = [\"cluster\", \"pool\"]", "8:7", "no lock level \"instance\""),
        ("", "1:1", "there is no job in this file"),
    ] {
        let refusal = refusal(&format!("{jobs}\n"));
        assert!(refusal.starts_with(&format!("f.toml:{place}: ")), "{jobs}\n{refusal}");
        assert!(refusal.contains(message), "{jobs}\n{refusal}");
    }
}

#[test]
fn jobs_that_wait_for_each_other_are_refused_naming_the_round() {
    let job = |label: &str, on: &str| {
        format!(
            "[[job]]\nlabel = \"{label}\"\ndepends = \"{on}\"\n\
             op = [{{ OP_ID = \"OP_COPY\", instance = \"a\", node = \"n\" }}]\n"
        )
    };
    let jobs = [job("entry", "a"), job("a", "b"), job("b", "c"), job("c", "a")].concat();
    let refusal = refusal(&jobs);
    assert!(refusal.contains("a -> b -> c -> a"), "{refusal}");
    assert!(refusal.starts_with("f.toml:7:11: "), "{refusal}");
    let alone = parse(&job("a", "a")).unwrap_err().to_string();
    assert!(alone.ends_with("these jobs wait for each other: a -> a"), "{alone}");
}

#[test]
fn a_long_chain_of_jobs_is_taken_whatever_its_order() {
    let rows: String = (1..3000).map(|i| format!("{{ i = {i}, before = {} }},", i - 1)).collect();
    let op = "op = [{ OP_ID = \"OP_COPY\", instance = \"a\", node = \"n\" }]";
    let file = parse(&format!(
        "[[job]]\nlabel = \"j{{i}}\"\ndepends = \"j{{before}}\"\nfor_each = [{rows}]\n{op}\n\
         [[job]]\nlabel = \"j0\"\n{op}\n"
    ))
    .unwrap();
    assert_eq!(file.jobs.len(), 3000);
    assert_eq!(file.jobs[0].ops[0].depends, [Dependency::success(JobRef::Batch(2999))]);
}

#[test]
fn an_opcode_of_something_else_is_taken_where_the_caller_says_so() {
    let text = "[[job]]\nop = [{ OP_ID = \"OP_TEST_DELAY\", duration = 1 }]";
    assert!(JobFile::parse("f", text, known()).is_err());
    let id = OpId::new("OP_TEST_DELAY").unwrap();
    for catalogue in [known().with_other(id), known().with_any_other()] {
        let file = JobFile::parse("f", text, catalogue).unwrap();
        assert_eq!(file.jobs[0].ops[0].params.as_json(), r#"{"duration":1}"#);
    }
}

#[test]
fn a_registered_opcode_checks_its_parameters_when_a_unit_is_made() {
    let file =
        parse("[[job]]\nop = [{ OP_ID = \"OP_COPY\", instance = \"a\", node = \"n\" }]\n").unwrap();
    let mut registry = Registry::default();
    file.catalogue.register(&mut registry, "state").unwrap();
    let mut opcode = file.jobs[0].ops[0].clone();
    assert!(registry.make(&opcode).is_ok());
    opcode.params = lockmaster::vocabulary::Params::from_json(r#"{"instance":"a"}"#).unwrap();
    let error = registry.make(&opcode).err().unwrap();
    assert_eq!(error.message, "OP_COPY needs the parameter \"node\"");
    assert_eq!(error.code.as_deref(), Some("wrong_input"));
}

#[test]
fn the_examples_in_ganetis_shape_are_read_with_their_catalogue() {
    let examples = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/ganeti");
    let catalogue = Catalogue::load(examples.join("opcodes.toml"), &Hierarchy::default()).unwrap();
    let file = JobFile::load(examples.join("reboot.json"), catalogue).unwrap();
    let ops: Vec<_> = file.jobs.iter().map(|job| job.ops.len()).collect();
    assert_eq!(ops, [2, 1, 2]);
    assert_eq!(file.jobs[1].ops[0].depends, [Dependency::success(JobRef::Batch(0))]);
}
