//! Catalogues as people write them: what they become, and how they are refused.

use serde_json::json;

use super::*;
use crate::runtime::{DeclaredLocks, LogicalUnit};
use crate::vocabulary::{CrashPolicy, LockMode, LockRequest, OpCode, Params};

fn parse(text: &str) -> Result<Catalogue, Error> {
    Catalogue::parse("c.toml", text, &Hierarchy::default())
}

fn unit(catalogue: &Catalogue, params: &Value) -> Result<Box<dyn LogicalUnit>, OpError> {
    let mut registry = Registry::default();
    catalogue.register(&mut registry, "state").unwrap();
    let params = Params::from_object(params.as_object().unwrap());
    registry.make(&OpCode::new(OpId::new("OP_X").unwrap(), params))
}

/// The locks a unit declares, level by level, as text.
fn locks(unit: &mut dyn LogicalUnit) -> Vec<String> {
    let hierarchy = Hierarchy::default();
    let mut request = LockRequest::new();
    for level in hierarchy.levels().skip(1) {
        let mut declared = DeclaredLocks::new(level, &mut request);
        unit.declare_locks(hierarchy.name(level), &mut declared).unwrap();
    }
    let mut text = vec![format!("big {}", unit.big_lock())];
    for (level, locks) in request.levels() {
        let level = hierarchy.name(level);
        text.extend(locks.all().map(|mode| format!("{level} all {mode}")));
        text.extend(locks.names().map(|(name, mode)| format!("{level}/{name} {mode}")));
    }
    text
}

#[test]
fn locks_are_named_by_the_parameters_each_once_in_the_stronger_mode() {
    let catalogue = parse(
        r#"
        [[opcode]]
        id = "OP_X"
        argv = ["true"]
        params = { instance = "string", from = "string", to = "strings" }
        [opcode.locks]
        cluster = "shared"
        instance = { exclusive = "{instance}", all = "shared" }
        node = { shared = ["{from}", "{to...}", "spare"], exclusive = "{from}" }
        "#,
    )
    .unwrap();
    let params = json!({"instance": "web1", "from": "n1", "to": ["n3", "n2", "n1"]});
    let mut unit = unit(&catalogue, &params).unwrap();
    assert!(unit.locks_known_at_once());
    let expected = [
        "big shared",
        "instance all shared",
        "instance/web1 exclusive",
        "node/n1 exclusive",
        "node/n2 shared",
        "node/n3 shared",
        "node/spare shared",
    ];
    assert_eq!(locks(&mut *unit), expected);
}

#[test]
fn a_cluster_wide_opcode_holds_the_big_lock_alone() {
    let catalogue = parse(
        r#"
        [[opcode]]
        id = "OP_X"
        argv = ["true"]
        undo = ["true"]
        on_crash = "undo"
        locks.cluster = "exclusive"
        "#,
    )
    .unwrap();
    let mut unit = unit(&catalogue, &json!({})).unwrap();
    assert_eq!(locks(&mut *unit), ["big exclusive"]);
    assert_eq!((unit.can_undo(), unit.on_crash()), (true, CrashPolicy::Undo));
}

#[test]
fn what_parameters_make_of_locks_and_arguments_is_checked_when_a_unit_is_made() {
    let catalogue = parse(
        r#"
        [[opcode]]
        id = "OP_X"
        params = { name = "string", level = { type = "string", default = "9" } }
        locks.node = { shared = "n-{name}" }
        argv = ["gzip", "-{level}", "{name}"]
        undo = ["rm", "--", "{name}.gz"]
        "#,
    )
    .unwrap();
    assert!(unit(&catalogue, &json!({"name": "a b"})).is_ok());
    for (params, complaint) in [
        (json!({"name": "-rf"}), "OP_X: the parameter \"name\" is \"-rf\", which would be taken"),
        (json!({"name": "../x"}), "could lead to another place"),
        (json!({"name": ""}), "the field \"name\" is empty"),
        (json!({"name": "{x}"}), "contains a brace"),
        (json!({"name": "x".repeat(254)}), "256 bytes long; at most 255"),
        (json!({"name": 5}), "OP_X: the parameter \"name\" has to be a text, not 5"),
        (json!({"name": "a", "nam": 1}), "OP_X has no parameter \"nam\" (did you mean \"name\"?)"),
        (json!({}), "OP_X needs the parameter \"name\""),
    ] {
        let error = unit(&catalogue, &params).err().unwrap();
        assert!(error.message.contains(complaint), "{error}");
        assert_eq!(error.code.as_deref(), Some("wrong_input"));
    }
}

#[test]
fn every_mistake_in_a_catalogue_is_named_with_its_place_and_what_to_do() {
    for (fields, place, complaint) in [
        ("", "1:1", "an opcode needs the field \"argv\""),
        ("argv = []", "3:8", "found an empty list"),
        ("argv = \"true\"", "3:8", "expected a list: the program and its arguments"),
        ("argv = [\"true\", 5]", "3:17", "found the number 5"),
        ("argv = [\"no-such-program\"]", "3:9", "there is no program \"no-such-program\""),
        ("argv = [\"/etc/passwd\"]", "3:9", "/etc/passwd is not executable"),
        ("argv = [\"{p}\"]", "3:9", "the program itself cannot come from a parameter"),
        ("argv = [\"true\", \"{q}\"]", "3:17", "names no parameter: \"q\""),
        ("argv = [\"true\", \"{p\"]", "3:17", "a { without its } at byte 0"),
        ("argv = [\"sh\", \"-ec\", \"ls {p}\"]", "3:22", "would run what is in a parameter"),
        ("argv = [\"env\", \"sh\", \"-c\", \"-e\", \"{p}\"]", "3:34", "sh would run"),
        ("argv = [\"sh\", \"-ce\", \"ls {p}\"]", "3:22", "sh would run"),
        ("argv = [\"env\", \"python3.11\", \"-c\", \"{p}\"]", "3:36", "python would run"),
        ("argv = [\"env\", \"perl\", \"-e{p}\"]", "3:24", "perl would run"),
        ("argv = [\"env\", \"node\", \"--eval={p}\"]", "3:24", "node would run"),
        ("argv = [\"env\", \"sh\", \"x\", \"bash\", \"-c\", \"{p}\"]", "3:41", "would run what is"),
        ("argv = [\"true\"]\nstdin = \"x\"", "4:9", "no standard input"),
        ("argv = [\"true\"]\ntimeout = 5", "4:11", "expected a duration such as \"30s\""),
        ("argv = [\"true\"]\ntimeout = \"0s\"", "4:11", "longer than nothing"),
        ("argv = [\"true\"]\ngrace = \"5 sec\"", "4:9", "\"5 sec\" is not a duration"),
        ("argv = [\"true\"]\nsuccess_codes = [256]", "4:18", "0 to 255, found 256"),
        ("argv = [\"true\"]\nsuccess_codes = []", "4:17", "at least one exit code"),
        (
            "argv = [\"true\"]\nretry_codes = [75, 0]",
            "4:15",
            "the exit code 0 says that it has succ",
        ),
        ("argv = [\"true\"]\nretries = 3", "4:11", "without retry_codes"),
        ("argv = [\"true\"]\non_crash = \"undo\"", "4:12", "has no undo"),
        ("argv = [\"true\"]\non_crash = \"ignore\"", "4:12", "found \"ignore\""),
        ("argv = [\"true\"]\nundo_timeout = \"1s\"", "4:16", "there is no undo"),
        ("argv = [\"true\"]\nlocks.nod = {}", "4:7", "did you mean \"node\"?"),
        ("argv = [\"true\"]\nlocks.cluster = {}", "4:17", "only the big lock"),
        ("argv = [\"true\"]\nlocks.node = \"{p}\"", "4:14", "{ shared = "),
        ("argv = [\"true\"]\nlocks.node = { all = \"no\" }", "4:22", "\"shared\" or \"exclusive\""),
        ("argv = [\"true\"]\nlocks.node = { shared = \"a{{\" }", "4:25", "contains a brace"),
        (
            "argv = [\"true\"]\nenvironment = { \"A=\" = \"x\" }",
            "4:17",
            "not the name of a variable",
        ),
        ("argv = [\"true\"]\nenvironment.LOCKMASTER_JOB = \"x\"", "4:13", "set by the master"),
        ("argv = [\"true\"]\nenvironment.PATH = \"{p}\"", "4:20", "no parameter can be in it"),
        ("argv = [\"true\"]\ndirectory = \"{t}\"", "4:13", "which is any text"),
        ("argv = [\"true\"]\ndirectory = \"\"", "4:13", "found the empty text"),
        ("argv = [\"true\"]\nparams.priority = \"integer\"", "4:8", "every opcode has"),
        ("argv = [\"true\"]\nparams.\"a b\" = \"integer\"", "4:8", "only letters, digits"),
    ] {
        let params = "params.p = \"string\"\nparams.t = \"text\"\n";
        let text = format!("[[opcode]]\nid = \"OP_X\"\n{fields}\n{params}");
        let error = parse(&text).unwrap_err();
        let shown = format!("{error} | {}", error.hint_text().unwrap_or("-"));
        assert!(shown.starts_with(&format!("c.toml:{place}: ")), "{text}\n{shown}");
        assert!(shown.contains(complaint), "{text}\n{shown}");
    }
}

#[test]
fn settings_are_read_and_those_of_a_later_file_stand_over_the_earlier() {
    let settings = |text: &str| parse(text).map(|catalogue| catalogue.settings().clone());
    let first = settings(
        "[settings]\nworkers = 3\ndirectory = \"d\"\nenvironment = { A = \"1\", B = \"2\" }\n\
         pass_environment = [\"C\"]",
    )
    .unwrap();
    assert_eq!((first.workers, first.environment.len()), (Some(3), 2));
    for bad in [
        "workers = 0",
        "workers = 1001",
        "directory = \"\"",
        "worker = 1",
        "environment.LOCKMASTER_X = \"\"",
    ] {
        let error = settings(&format!("[settings]\n{bad}")).unwrap_err().to_string();
        assert!(error.starts_with("c.toml:2:"), "{error}");
    }
    let directory = tempfile::tempdir().unwrap();
    let later = directory.path().join("later.toml");
    std::fs::write(&later, "[settings]\nworkers = 5\nenvironment.B = \"3\"").unwrap();
    let earlier =
        parse("[settings]\nworkers = 3\ndirectory = \"d\"\nenvironment.A = \"1\"").unwrap();
    let both = earlier.and_file(&later).unwrap().settings().clone();
    assert_eq!((both.workers, both.directory), (Some(5), Some("d".into())));
    assert_eq!(both.environment.len(), 2);
}

#[test]
fn an_opcode_is_described_once_and_levels_cannot_change_below_it() {
    let opcode = "[[opcode]]\nid = \"OP_X\"\nargv = [\"true\"]\n";
    let twice = parse(&format!("{opcode}{opcode}")).unwrap_err().to_string();
    assert_eq!(twice, "c.toml:4:1: the opcode OP_X is described twice");

    let known = parse(opcode).unwrap();
    let document = Document::parse("d", "levels = [\"site\", \"rack\"]", Format::Toml).unwrap();
    let fields = document.root().fields("a catalogue", &CATALOGUE_FIELDS).unwrap();
    let error = known.extended(&fields).unwrap_err().to_string();
    assert!(error.starts_with("d:1:10: these levels are not those"), "{error}");
}

#[test]
fn a_level_can_say_how_many_may_share_one_lock_of_it() {
    let levels = |last: &str| parse(&format!("levels = [\"cluster\", \"node\", {last}]"));
    let counted = levels("{ name = \"node-res\", capacity = 4 }").unwrap();
    let capacity = |name| {
        let level = counted.hierarchy().level(name).unwrap();
        counted.hierarchy().get(level).capacity().map(u8::from)
    };
    assert_eq!((capacity("node"), capacity("node-res")), (None, Some(4)));
    let refused = [
        (
            "{ name = \"x\", capacity = 0 }",
            "c.toml:1:55: expected how many may share a lock, 1 to 255",
        ),
        ("{ name = \"x\", capacity = 256 }", "c.toml:1:55: expected how many may share a lock"),
        ("{ capacity = 2 }", "c.toml:1:30: a level needs the field \"name\""),
        ("{ name = \"x\", places = 2 }", "places"),
    ];
    for (last, expected) in refused {
        let error = levels(last).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_command_runs_where_and_with_what_the_catalogue_says() {
    let work = parse(
        r#"
        [[opcode]]
        id = "OP_X"
        params = { name = "string", files = "paths", level = { type = "integer", default = 6 } }
        argv = ["tar", "-czf", "{name}.tgz", "--", "{files...}"]
        environment.GZIP = "-{level}"
        directory = "in/{name}"
        timeout = "2m"
        success_codes = [0, 1]
        undo = ["rm", "{name}.tgz"]
        "#,
    )
    .unwrap()
    .get(&OpId::new("OP_X").unwrap())
    .unwrap()
    .work(json!({"name": "a", "files": ["x y", "z/w"]}).as_object().unwrap())
    .unwrap();
    let run = &work.run;
    assert!(run.program.is_absolute() && run.program.ends_with("tar"));
    assert_eq!(run.arguments, ["-czf", "a.tgz", "--", "x y", "z/w"]);
    assert_eq!(run.environment["GZIP"], "-6");
    assert_eq!(run.directory.as_deref(), Some(Path::new("in/a")));
    assert_eq!((run.timeout.unwrap().as_secs(), run.grace.as_secs()), (120, 5));
    assert_eq!(run.success_codes, [0, 1]);
    let undo = work.undo.unwrap();
    assert_eq!(undo.arguments, ["a.tgz"]);
    assert_eq!((undo.directory, undo.success_codes), (run.directory.clone(), vec![0]));
    assert_eq!(undo.timeout.unwrap().as_secs(), 300);
    assert_eq!(work.big_lock, LockMode::Shared);
}
