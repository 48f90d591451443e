//! What rules and limits cost the queue: picking, starting and ending jobs with and without them,
//! and asking all queued jobs about a new rule. No disk, no threads: the queue as a value.
//!
//! `cargo bench --bench filters`

use std::time::{Duration, Instant};

use lockmaster::engine::queue::{Bounds, Next, Queue, Start};
use lockmaster::vocabulary::{
    CrashPolicy, Error, FilterAction, FilterId, NewFilter, Outcome, Predicates, Reason, Timestamp,
};
use lockmaster::{NewJob, OpCode, OpId, Params};
use serde_json::json;

const JOBS: usize = 100_000;
const NOW: Timestamp = Timestamp::from_micros(1);

fn bounds() -> Bounds {
    let most = usize::MAX;
    let (batch_jobs, batch_bytes, job_ops, job_bytes) = (most, most, most, most);
    Bounds { queued_jobs: most, batch_jobs, batch_bytes, job_ops, job_bytes }
}

/// A job with about 100 bytes of parameters, and the limits it names.
fn job(number: usize, limits: &[String]) -> Result<NewJob, Error> {
    let params = json!({ "instance": format!("web{number}"), "path": "x".repeat(70) });
    let mut op = OpCode::new(OpId::new("OP_BACKUP")?, Params::from_serialize(&params)?);
    let step = |text: &String| Reason { source: "gnt:user".into(), text: text.clone(), time_ns: 1 };
    op.reason = limits.iter().map(step).collect();
    Ok(NewJob::of([op]))
}

fn queue(limits: impl Fn(usize) -> Vec<String>) -> Result<Queue, Error> {
    let mut queue = Queue::new(1000);
    let jobs = (0..JOBS).map(|number| job(number, &limits(number))).collect::<Result<_, _>>()?;
    queue.submit(jobs, None, &bounds(), NOW)?;
    Ok(queue)
}

fn rule(action: &str, predicates: &str) -> Result<NewFilter, Error> {
    let action = serde_json::from_str(action).unwrap_or_default();
    let predicates: Predicates = predicates.parse()?;
    Ok(NewFilter { predicates, action: FilterAction::from_json(&action)?, ..NewFilter::default() })
}

/// Runs all jobs, ten at a time: how long one takes, and the longest pick of one.
fn run(queue: &mut Queue) -> (Duration, Duration) {
    let (mut running, mut longest) = (std::collections::VecDeque::new(), Duration::ZERO);
    let (began, mut ended) = (Instant::now(), 0u32);
    loop {
        let pick = Instant::now();
        let next = queue.take_next(NOW);
        longest = longest.max(pick.elapsed());
        match next {
            Some(Next::Take(id)) => {
                let start = Start { taken: NOW, undo: false, on_crash: CrashPolicy::Fail };
                queue.start(id, start, NOW);
                running.push_back(id);
            }
            Some(Next::Ended(..)) => {}
            None if running.is_empty() => break,
            None => {}
        }
        if next.is_none() || running.len() == 10 {
            let Some(id) = running.pop_front() else { continue };
            queue.finish(id, Outcome::Success("true".into()), true, NOW);
            queue.put_back(id);
            ended += 1;
        }
    }
    (began.elapsed() / ended.max(1), longest)
}

fn runs() -> Result<(), Error> {
    println!("{JOBS} queued jobs, picked, started and ended:");
    let show = |name: &str, mut queue: Queue| {
        let (each, longest) = run(&mut queue);
        println!("{name:>44}: {each:>8.1?} a job, longest pick {longest:.1?}");
    };
    show("no rule", queue(|_| Vec::new())?);
    let mut limited = queue(|_| Vec::new())?;
    limited.set_filter(FilterId::of_random(1), rule(r#"["RATE_LIMIT", 5]"#, "[]")?, NOW)?;
    show("a rule that lets 5 of all run", limited);
    show("one named limit of 5", queue(|_| vec!["rate-limit:5:all".to_owned()])?);
    let tenants = |number: usize| vec![format!("rate-limit:2:tenant{}", number % 50)];
    show("50 named limits of 2", queue(tenants)?);
    let mut both = queue(tenants)?;
    both.set_filter(FilterId::of_random(1), rule(r#"["RATE_LIMIT", 5]"#, "[]")?, NOW)?;
    show("50 named limits of 2, and a rule of 5", both);
    let mut own = queue(|number| vec![format!("rate-limit:1:job{number}")])?;
    own.set_filter(FilterId::of_random(1), rule(r#"["RATE_LIMIT", 5]"#, "[]")?, NOW)?;
    show("a limit of its own each, and a rule of 5", own);
    Ok(())
}

fn rules() -> Result<(), Error> {
    println!("a rule set with {JOBS} queued jobs:");
    let cases = [
        ("every job", "[]"),
        ("by opcode", r#"[["opcode", ["=", "OP_ID", "OP_RESTORE"]]]"#),
        ("by a parameter", r#"[["opcode", ["=", "instance", "web7"]]]"#),
        ("by a regular expression", r#"[["opcode", ["=~", "path", "y+z"]]]"#),
    ];
    for (name, predicates) in cases {
        let mut queue = queue(|_| Vec::new())?;
        let new = rule("\"PAUSE\"", predicates)?;
        let began = Instant::now();
        queue.set_filter(FilterId::of_random(1), new, NOW)?;
        let set = began.elapsed();
        let began = Instant::now();
        queue.delete_filter(FilterId::of_random(1), NOW)?;
        println!("{name:>44}: {set:.1?}, deleted in {:.1?}", began.elapsed());
    }
    Ok(())
}

fn main() -> Result<(), Error> {
    runs()?;
    rules()
}
