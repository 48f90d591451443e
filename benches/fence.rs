//! Locks among processes, against flock(1) and plain `flock` in the same run:
//! `cargo bench --bench fence`.

use std::fs::{File, OpenOptions};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fs4::FileExt;
use lockmaster::runtime::{LockDir, LockOptions, Locks};
use lockmaster::vocabulary::{Hierarchy, LockMode, LockRequest, Scope};

/// How many commands are run under a lock, of each kind.
const COMMANDS: u32 = 300;
/// How many times a lock is taken and given back.
const TURNS: u32 = 20_000;
/// How many contend for one lock, and for how long.
const CONTENDERS: usize = 4;
const CONTENTION: Duration = Duration::from_secs(2);
/// What is done under a contended lock.
const WORK: Duration = Duration::from_micros(100);

fn main() {
    let directory = std::env::temp_dir().join(format!("lockmaster-bench-{}", std::process::id()));
    println!("lock directory {}", directory.display());
    commands(&directory);
    turns(&directory);
    for shared in [false, true] {
        fairness(&directory, shared);
    }
    // What is left there are empty files.
    let _ = std::fs::remove_dir_all(directory);
}

/// `true` under a lock, by flock(1) and by us, in turn.
fn commands(directory: &Path) {
    let file = directory.join("flock");
    std::fs::create_dir_all(directory).expect("the directory can be made");
    let ours = |names: &'static [&'static str]| {
        move || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_lockmaster"));
            command.args(["lock", "--without-daemon", "--lock-dir"]).arg(directory);
            command.args(names).args(["--", "true"]);
            command
        }
    };
    let flock = || {
        let mut command = Command::new("flock");
        command.arg(&file).arg("true");
        command
    };
    let one = ours(&["a"]);
    let four = ours(&["a", "b", "c", "d"]);
    let kinds: [(&str, &dyn Fn() -> Command); 4] = [
        ("true alone", &|| Command::new("true")),
        ("flock(1)", &flock),
        ("lockmaster lock, one", &one),
        ("lockmaster lock, four", &four),
    ];
    let mut took = [Duration::MAX; 4];
    for _ in 0..COMMANDS {
        for ((_, command), took) in kinds.iter().zip(&mut took) {
            let begin = Instant::now();
            let status = command().stdin(Stdio::null()).status().expect("it can be started");
            assert!(status.success());
            *took = begin.elapsed().min(*took);
        }
    }
    println!("\na command under a lock, best of {COMMANDS}, and against flock(1):");
    let flock = took[1].as_secs_f64();
    for ((name, _), took) in kinds.iter().zip(took) {
        let seconds = took.as_secs_f64();
        println!("  {name:24} {:8.3} ms {:6.2}", seconds * 1e3, seconds / flock);
    }
}

fn locks(directory: &Path, scope: Scope) -> (Locks, Hierarchy) {
    let hierarchy = Hierarchy::builder().scoped_level("lock", scope).build().expect("a level");
    let builder = Locks::builder(hierarchy.clone());
    let dir = LockDir::open(directory).expect("the directory can be used");
    (builder.dir(dir).open(), hierarchy)
}

fn request(hierarchy: &Hierarchy, names: &[&str], mode: LockMode) -> LockRequest {
    let level = hierarchy.level("lock").expect("there is one");
    let mut request = LockRequest::new();
    for name in names {
        request.add(level, name, mode).expect("a name");
    }
    request
}

fn open(directory: &Path) -> File {
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create(true).truncate(false);
    file.open(directory.join("plain")).expect("it can be opened")
}

/// Taking and giving back locks that nobody else wants.
fn turns(directory: &Path) {
    println!("\ntaking and giving back, of {TURNS}:");
    let time = |name: &str, turn: &dyn Fn()| {
        let begin = Instant::now();
        (0..TURNS).for_each(|_| turn());
        let each = begin.elapsed().as_secs_f64() / f64::from(TURNS);
        println!("  {name:36} {:8.2} us", each * 1e6);
    };
    time("open, flock, close", &|| {
        let file = open(directory);
        FileExt::lock(&file).expect("it is free");
    });
    for (scope, names) in
        [(Scope::Node, &["a"][..]), (Scope::Node, &["a", "b", "c", "d"]), (Scope::Process, &["a"])]
    {
        let (locks, hierarchy) = locks(directory, scope);
        let request = request(&hierarchy, names, LockMode::Exclusive);
        time(&format!("{} of scope {scope:?}", names.len()), &|| {
            locks.with(&request, LockOptions::default(), |_| ()).expect("they are free");
        });
    }
}

/// Several that want one lock again and again, each as a process would: by tables of their own.
/// With `shared`, all but the first share it.
fn fairness(directory: &Path, shared: bool) {
    let mode = |number: usize| {
        if shared && number > 0 { LockMode::Shared } else { LockMode::Exclusive }
    };
    let who = if shared { "one alone, the others shared" } else { "each alone" };
    println!("\n{CONTENDERS} that want one lock for {CONTENTION:?}, {who}; turns of each:");
    let ours = contend(&|number, over| {
        let (locks, hierarchy) = locks(directory, Scope::Node);
        let request = request(&hierarchy, &["contended"], mode(number));
        until(over, || locks.with(&request, LockOptions::default(), |_| work()).expect("in turn"))
    });
    let plain = contend(&|number, over| {
        until(over, || {
            let file = open(directory);
            let locked = match mode(number) {
                LockMode::Shared => FileExt::lock_shared(&file),
                LockMode::Exclusive => FileExt::lock(&file),
            };
            locked.expect("in turn");
            work();
            FileExt::unlock(&file).expect("it is held");
        })
    });
    println!("  ours         {ours:?}\n  plain flock  {plain:?}");
}

fn contend(contender: &(dyn Fn(usize, &AtomicBool) -> u64 + Sync)) -> Vec<u64> {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let over = &over;
        let threads: Vec<_> =
            (0..CONTENDERS).map(|number| scope.spawn(move || contender(number, over))).collect();
        thread::sleep(CONTENTION);
        over.store(true, Ordering::Relaxed);
        threads.into_iter().map(|thread| thread.join().expect("it does not panic")).collect()
    })
}

fn until(over: &AtomicBool, mut turn: impl FnMut()) -> u64 {
    let mut turns = 0;
    while !over.load(Ordering::Relaxed) {
        turn();
        turns += 1;
    }
    turns
}

fn work() {
    let begin = Instant::now();
    while begin.elapsed() < WORK {
        std::hint::spin_loop();
    }
}
