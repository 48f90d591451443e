//! Who may do what, and what nobody is told.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::process::Output;

use crate::process::{Daemon, Place, text};

/// A user that is nobody's.
const STRANGER: u32 = 64_123;

fn start(place: &Place, config: &str) -> Daemon {
    std::fs::write(place.path("config.toml"), config).unwrap();
    let mut command = place.command();
    command.arg("--config").arg(place.path("config.toml"));
    Daemon::start(command)
}

/// Runs the command line as another user of that group. Only root can.
fn run_as(place: &Place, uid: u32, gid: u32, args: &[&str]) -> Output {
    // Every directory above has to let that user through, and the program be readable.
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(place.path(""), open).unwrap();
    let program = place.path("lockmaster");
    if !program.exists() {
        // By a process of its own: a program that this one writes cannot be executed as long as
        // another test's child, forked meanwhile, has the file open.
        let mut copy = std::process::Command::new("cp");
        let copied = copy.arg(env!("CARGO_BIN_EXE_lockmaster")).arg(&program).status().unwrap();
        assert!(copied.success());
    }
    let mut command = std::process::Command::new(program);
    command.args(args).env("LOCKMASTER_SOCKET", place.path("socket")).uid(uid).gid(gid);
    command.output().unwrap()
}

fn is_root(place: &Place) -> bool {
    place.path("").metadata().unwrap().uid() == 0
}

#[test]
fn lists_say_who_may_ask_and_who_may_do() {
    let place = Place::new();
    let daemon = start(
        &place,
        &format!(
            "[access]\nsocket_mode = 0o666\nusers = [{STRANGER}]\nquery_groups = [{STRANGER}]\n"
        ),
    );
    assert_eq!(place.path("socket").metadata().unwrap().mode() & 0o777, 0o666);
    // The daemon's own user may do everything, whoever that is.
    place.expect(0, &["submit", "OP_TEST_DELAY", "duration=1e-6", "--wait"]);
    daemon.wait_for_log("method=\"LockmasterSubmit\"");
    if !is_root(&place) {
        return;
    }
    let submit = ["submit", "OP_TEST_DELAY", "duration=1e-6"];
    let did = run_as(&place, STRANGER, 1, &submit);
    assert_eq!((did.status.code(), text(&did.stdout)), (Some(0), "2\n".into()));
    daemon.wait_for_log(&format!("uid={STRANGER}"));
    let asked = run_as(&place, STRANGER + 1, STRANGER, &["list", "-o", "id"]);
    assert_eq!((asked.status.code(), text(&asked.stdout)), (Some(0), "ID\n1\n2\n".into()));
    let refused = run_as(&place, STRANGER + 1, STRANGER, &submit);
    assert_eq!(refused.status.code(), Some(1), "{}", text(&refused.stderr));
    let said = text(&refused.stderr);
    let user = STRANGER + 1;
    let expected = format!("user {user} may ask here, but not call LockmasterSubmit");
    assert!(said.contains(&expected) && said.contains("hint:"), "{said}");
    daemon.wait_for_log("refused");
    let nobody = run_as(&place, STRANGER + 1, 1, &["list"]);
    assert!(!nobody.status.success());
    let said = text(&nobody.stderr);
    assert!(said.contains(&format!("user {user} may not use this daemon")), "{said}");
}

#[test]
fn what_would_let_everybody_do_everything_is_refused() {
    let place = Place::new();
    std::fs::write(place.path("config.toml"), "[access]\nsocket_mode = 0o666\n").unwrap();
    let mut command = place.command();
    let output = command.arg("--config").arg(place.path("config.toml")).output().unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("everybody may do everything") && said.contains("hint:"), "{said}");
}

/// Whether a file below that directory holds that text.
fn holds(directory: &std::path::Path, what: &str) -> bool {
    std::fs::read_dir(directory).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => holds(&path, what),
            false => {
                let mode = path.metadata().unwrap().mode();
                assert_eq!(mode & 0o077, 0, "{} is readable by others", path.display());
                String::from_utf8_lossy(&std::fs::read(path).unwrap()).contains(what)
            }
        }
    })
}

#[test]
fn secrets_reach_the_command_and_nobody_else() {
    let place = Place::new();
    let opcode = "[[opcode]]\nid = 'OP_LOGIN'\nenvironment = { PASSWORD = '{password}' }\n\
                  argv = ['sh', '-c', 'test \"$PASSWORD\" = hunter2']\n\
                  params = { user = 'string', password = { type = 'string', secret = true } }\n";
    std::fs::write(place.path("login.toml"), opcode).unwrap();
    let daemon = start(&place, "catalogue = ['login.toml']\n");
    let login = ["submit", "OP_LOGIN", "user=me", "password=hunter2", "--wait"];
    place.expect(0, &login);
    let ops = place.expect(0, &["list", "1", "--json", "-o", "ops"]);
    assert!(ops.contains("<secret>") && ops.contains("\"me\""), "{ops}");
    let wrong = place.run(&["submit", "OP_LOGIN", "user=me", "password=hunter2\u{7}"]);
    let said = [ops, text(&wrong.stderr), place.expect(0, &["info", "1"])].concat();
    assert_eq!(wrong.status.code(), Some(2), "{said}");
    place.expect(0, &["archive", "1"]);
    let archived = place.expect(0, &["list", "1", "--json", "-o", "ops"]);
    assert!(!said.contains("hunter2") && !archived.contains("hunter2"), "{said}{archived}");
    assert!(holds(&place.path("state"), "hunter2"), "the log keeps what may have to be redone");
    assert!(!holds(&place.path("state/archive"), "hunter2"), "the archive does not");
    drop(daemon);
}
