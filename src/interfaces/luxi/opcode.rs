//! Opcodes and jobs as LUXI writes them: one flat object with `OP_ID`, Ganeti's common keys,
//! and everything else as parameters.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::message::{Failure, Object};
use crate::vocabulary::{
    Dependency, Job, JobId, JobOp, JobRef, JobTerms, NewJob, OpCode, OpId, OpTerms, Params,
    Priority, Reason, Status,
};

/// The keys every opcode has; the rest are its parameters.
const COMMON: [&str; 7] =
    ["dry_run", "debug_level", "priority", "depends", "comment", "reason", "OP_ID"];

/// Whose rules a submission follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// luxid's: `reason` has to be there, the priority is -10, 0 or 10, a negative dependency
    /// counts back from the job itself.
    Ganeti,
    /// Ours: any priority, no `reason` needed, and `{"batch": n}` names a job of the same
    /// submission, later ones included.
    Own,
}

/// Reads one opcode of the job at `place` of its submission, in luxid's order of checks.
pub(super) fn from_wire(
    wire: &Object<Value>,
    dialect: Dialect,
    place: usize,
) -> Result<OpCode, Failure> {
    let dry_run = flag(wire, "dry_run")?;
    check_debug_level(wire)?;
    let priority = priority(wire, dialect)?;
    let depends = depends(wire, dialect)?;
    let comment = text(wire, "comment")?;
    let reason = reason(wire, dialect)?;
    let id = id(wire)?;
    let depends = depends.into_iter().map(|depends| depends.resolved(place));
    let depends = depends.collect::<Result<_, _>>()?;
    let params = wire.0.iter().filter(|(key, _)| !COMMON.contains(&key.as_str())).cloned();
    let params = Params::from_object(&params.collect::<Map<_, _>>());
    Ok(OpCode { priority, depends, comment, reason, dry_run, ..OpCode::new(id, params) })
}

/// luxid's sentence about a key with a value it cannot use.
fn unusable(key: &str, why: impl std::fmt::Display) -> Failure {
    Failure::parse(format!("Can't parse value for '{key}': {why}"))
}

/// The value of a key that may be missing or null.
fn present<'a>(wire: &'a Object<Value>, key: &str) -> Option<&'a Value> {
    wire.get(key).filter(|value| !value.is_null())
}

fn flag(wire: &Object<Value>, key: &str) -> Result<bool, Failure> {
    present(wire, key).map_or(Ok(false), |value| {
        value.as_bool().ok_or_else(|| unusable(key, "Unable to read Bool"))
    })
}

fn text(wire: &Object<Value>, key: &str) -> Result<Option<String>, Failure> {
    let read = |value: &Value| {
        value.as_str().map(str::to_owned).ok_or_else(|| unusable(key, "Unable to read String"))
    };
    present(wire, key).map(read).transpose()
}

fn check_debug_level(wire: &Object<Value>) -> Result<(), Failure> {
    match present(wire, "debug_level") {
        Some(level) if !level.is_u64() => Err(unusable("debug_level", "Unable to read Int")),
        _ => Ok(()),
    }
}

fn id(wire: &Object<Value>) -> Result<OpId, Failure> {
    let value = wire.required("OP_ID")?;
    let text = value.as_str().ok_or_else(|| unusable("OP_ID", "Unable to read String"))?;
    OpId::new(text).map_err(|error| Failure::parse(error.to_string()))
}

fn priority(wire: &Object<Value>, dialect: Dialect) -> Result<Priority, Failure> {
    let Some(value) = present(wire, "priority") else { return Ok(Priority::NORMAL) };
    let refused =
        || unusable("priority", format!("Invalid string value for type OpSubmitPriority: {value}"));
    let priority = value.as_i64().ok_or_else(refused)?;
    if dialect == Dialect::Ganeti && !matches!(priority, -10 | 0 | 10) {
        return Err(refused());
    }
    Ok(Priority::new(priority)?)
}

/// A dependency as it stands in a request.
struct Depends {
    on: On,
    statuses: Vec<Status>,
}

/// The job depended on.
enum On {
    /// An id; negative ones count back from the job itself.
    Number(i64),
    /// A place in the same submission.
    Batch(u32),
}

impl Depends {
    fn resolved(self, place: usize) -> Result<Dependency, Failure> {
        let on = match self.on {
            On::Number(back @ ..0) => relative(back, place)?,
            On::Number(id) => absolute(id)?,
            On::Batch(place) => JobRef::Batch(place),
        };
        Ok(Dependency { on, statuses: self.statuses })
    }
}

fn depends(wire: &Object<Value>, dialect: Dialect) -> Result<Vec<Depends>, Failure> {
    let Some(value) = present(wire, "depends") else { return Ok(Vec::new()) };
    let list = value.as_array().ok_or_else(|| unusable("depends", "Unable to read list"))?;
    list.iter().map(|entry| dependency(entry, dialect)).collect()
}

fn dependency(entry: &Value, dialect: Dialect) -> Result<Depends, Failure> {
    let [on, statuses] = entry.as_array().map_or(&[][..], Vec::as_slice) else {
        return Err(unusable("depends", "Unable to read Pair"));
    };
    let statuses = statuses.as_array().ok_or_else(|| unusable("depends", "Unable to read list"))?;
    let statuses = statuses.iter().map(final_status).collect::<Result<_, _>>()?;
    Ok(Depends { on: job_ref(on, dialect)?, statuses })
}

fn final_status(value: &Value) -> Result<Status, Failure> {
    let status = value.as_str().and_then(|word| word.parse::<Status>().ok());
    status.filter(|status| status.is_final()).ok_or_else(|| {
        let why = format!("Invalid string value for type FinalizedJobStatus: {value}");
        unusable("depends", why)
    })
}

fn job_ref(on: &Value, dialect: Dialect) -> Result<On, Failure> {
    if let (Dialect::Own, Some(batch)) = (dialect, on.get("batch")) {
        let place = batch.as_u64().and_then(|place| u32::try_from(place).ok());
        return place.map(On::Batch).ok_or_else(|| unusable("depends", "Unable to read Int"));
    }
    let number = number(on).map(On::Number);
    number.ok_or_else(|| unusable("depends", "parsing job id: cannot parse"))
}

/// A job id may be a number or a string of digits.
pub(super) fn number(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

/// Ganeti computes `own id + back`, so that it may reach another client's job. Not here.
fn relative(back: i64, place: usize) -> Result<JobRef, Failure> {
    let on = i64::try_from(place).ok().and_then(|place| place.checked_add(back));
    on.and_then(|on| u32::try_from(on).ok()).map(JobRef::Batch).ok_or_else(|| {
        Failure::wrong_input(format!("The dependency on job {back} reaches before the submission"))
    })
}

fn absolute(id: i64) -> Result<JobRef, Failure> {
    let id = u64::try_from(id).ok().and_then(JobId::new);
    id.map(JobRef::Id).ok_or_else(|| Failure::wrong_input("There is no job 0 to depend on"))
}

fn reason(wire: &Object<Value>, dialect: Dialect) -> Result<Vec<Reason>, Failure> {
    let trail = match dialect {
        Dialect::Ganeti => Some(wire.required("reason")?),
        Dialect::Own => present(wire, "reason"),
    };
    let Some(trail) = trail else { return Ok(Vec::new()) };
    let steps: Vec<(String, String, i64)> = serde_json::from_value(trail.clone())
        .map_err(|_| unusable("reason", "Unable to read list"))?;
    Ok(steps.into_iter().map(|(source, text, time_ns)| Reason { source, text, time_ns }).collect())
}

/// The terms of a job of our own dialect: its own, and those of its opcodes that have any.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Terms {
    #[serde(default)]
    job: JobTerms,
    #[serde(default)]
    ops: Vec<(usize, OpTerms)>,
}

impl Terms {
    fn of(job: &NewJob) -> Self {
        let ops = job.ops.iter().map(|op| op.terms.clone()).enumerate();
        let ops = ops.filter(|(_, terms)| *terms != OpTerms::default());
        Self { job: job.terms.clone(), ops: ops.collect() }
    }

    /// The job on these terms.
    pub(super) fn applied_to(self, mut job: NewJob) -> Result<NewJob, Failure> {
        job.terms = self.job;
        for (index, terms) in self.ops {
            let op = job.ops.get_mut(index);
            let missing =
                || Failure::wrong_input(format!("There is no opcode {index} to have terms"));
            op.ok_or_else(missing)?.terms = terms;
        }
        Ok(job)
    }
}

/// A job of our own dialect: `{"label":.., "ops":[..]}`, and `terms` where it has any.
pub(super) fn job_to_wire(job: &NewJob) -> Value {
    let ops: Vec<Value> =
        job.ops.iter().map(|op| Value::Object(to_wire(op, op.priority))).collect();
    let terms = Some(Terms::of(job)).filter(|terms| *terms != Terms::default());
    json!({ "label": job.label, "ops": ops, "terms": terms })
}

/// An opcode as luxid echoes it, without the step that luxid adds to the reason.
fn to_wire(op: &OpCode, priority: Priority) -> Map<String, Value> {
    let mut wire = op.params.to_object();
    let depends: Vec<Value> = op.depends.iter().map(dependency_to_wire).collect();
    let reason = op.reason.iter().map(reason_to_wire);
    let common = [
        json!(op.dry_run),
        json!(0),
        json!(priority.get()),
        if depends.is_empty() { Value::Null } else { Value::Array(depends) },
        json!(op.comment),
        Value::Array(reason.collect()),
        json!(op.id.as_str()),
    ];
    wire.extend(COMMON.iter().map(|key| (*key).to_owned()).zip(common));
    wire
}

pub(super) fn reason_to_wire(step: &Reason) -> Value {
    json!([step.source, step.text, step.time_ns])
}

fn dependency_to_wire(dependency: &Dependency) -> Value {
    match dependency.on {
        JobRef::Id(id) => json!([id, dependency.statuses]),
        JobRef::Batch(place) => json!([{ "batch": place }, dependency.statuses]),
    }
}

/// An opcode of a job in the queue as luxid echoes it: with one more step of the reason, which
/// says where in the queue it ended up.
pub(super) fn echo(job: &Job, index: usize, op: &JobOp) -> Value {
    let mut wire = to_wire(&op.opcode, op.priority);
    let step = job.place_as_reason(index);
    if let Some(Value::Array(reason)) = wire.get_mut("reason") {
        reason.push(reason_to_wire(&step));
    }
    Value::Object(wire)
}

/// One line that says what an opcode is, such as `TEST_DELAY(0.1)`.
pub(super) fn summary(op: &OpCode) -> String {
    let name = op.id.as_str().trim_start_matches("OP_");
    match name {
        "TEST_DELAY" => {
            let duration = op.params.to_object().get("duration").and_then(Value::as_f64);
            format!("{name}({})", decimal(duration.unwrap_or_default()))
        }
        _ => name.to_owned(),
    }
}

/// A number as luxid writes it in a summary: at least one decimal place, and a power of ten
/// outside of 0.1 to 10,000,000.
fn decimal(number: f64) -> String {
    if number == 0.0 || (0.1..1e7).contains(&number.abs()) {
        return format!("{number:?}");
    }
    let text = format!("{number:e}");
    let (digits, power) = text.split_once('e').unwrap_or((&text, "0"));
    let fraction = if digits.contains('.') { "" } else { ".0" };
    format!("{digits}{fraction}e{power}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::vocabulary::Retries;

    fn read(text: &str, dialect: Dialect, place: usize) -> Result<OpCode, String> {
        let wire: Object<Value> = serde_json::from_str(text).unwrap();
        from_wire(&wire, dialect, place).map_err(|failure| match failure {
            Failure::Parse(text) => text.replace("Failed to parse request: ", ""),
            Failure::Exception { name, args, .. } => format!("{name} {}", args[0]),
        })
    }

    #[test]
    fn durations_are_written_as_luxid_does() {
        for (number, text) in [
            (1.0, "1.0"),
            (0.0, "0.0"),
            (0.1, "0.1"),
            (0.001, "1.0e-3"),
            (0.0125, "1.25e-2"),
            (12345.5, "12345.5"),
            (3e7, "3.0e7"),
        ] {
            assert_eq!(decimal(number), text);
        }
    }

    #[test]
    fn bad_opcodes_are_refused_with_the_recorded_sentences() {
        let reason = "\"reason\":[],\"OP_ID\":\"OP_X\"";
        let cases = [
            (
                r#"{"OP_ID":"OP_X","duration":1}"#.to_owned(),
                r#"key 'reason' not found, object contains only ["OP_ID","duration"]"#,
            ),
            (
                r#"{"OP_ID":"OP_X","priority":-20}"#.to_owned(),
                "Can't parse value for 'priority': \
                 Invalid string value for type OpSubmitPriority: -20",
            ),
            (
                format!("{{\"depends\":[[-1,null]],{reason}}}"),
                "Can't parse value for 'depends': Unable to read list",
            ),
            (
                format!("{{\"depends\":[[1,[\"running\"]]],{reason}}}"),
                "Can't parse value for 'depends': \
                 Invalid string value for type FinalizedJobStatus: \"running\"",
            ),
            (
                format!("{{\"depends\":[[-2,[]]],{reason}}}"),
                "OpPrereqError \"The dependency on job -2 reaches before the submission\"",
            ),
            (
                format!("{{\"depends\":[[0,[]]],{reason}}}"),
                "OpPrereqError \"There is no job 0 to depend on\"",
            ),
        ];
        for (text, sentence) in cases {
            assert_eq!(read(&text, Dialect::Ganeti, 1).unwrap_err(), sentence, "{text}");
        }
    }

    #[test]
    fn ganetis_priorities_are_narrower_than_ours() {
        for priority in [-20, -11, -9, -1, 1, 9, 11, 19] {
            let text = format!(r#"{{"OP_ID":"OP_X","reason":[],"priority":{priority}}}"#);
            assert!(read(&text, Dialect::Ganeti, 0).is_err(), "{priority}");
            assert_eq!(i64::from(read(&text, Dialect::Own, 0).unwrap().priority.get()), priority);
        }
        assert!(read(r#"{"OP_ID":"OP_X","priority":20}"#, Dialect::Own, 0).is_err());
        assert!(
            read(r#"{"OP_ID":"OP_X","reason":[],"priority":null}"#, Dialect::Ganeti, 0).is_ok()
        );
    }

    #[test]
    fn relative_dependencies_stay_within_the_submission() {
        let text = r#"{"OP_ID":"OP_X","reason":[],"depends":[[-2,["success"]],["7",[]]]}"#;
        let op = read(text, Dialect::Ganeti, 3).unwrap();
        let seven = JobRef::Id(JobId::new(7).unwrap());
        assert_eq!(op.depends[0], Dependency::success(JobRef::Batch(1)));
        assert_eq!(op.depends[1], Dependency { on: seven, statuses: Vec::new() });
    }

    #[test]
    fn our_own_dialect_reads_back_what_it_writes() {
        let text = r#"{"OP_ID":"OP_X","reason":[["me","why",5]],"comment":"h\u00e9","priority":-3,
            "dry_run":true,"depends":[[{"batch":4},["error"]]],"name":"a","size":[1.5,null]}"#;
        let op = read(text, Dialect::Own, 0).unwrap();
        let job = NewJob::of([op.clone()]).labelled("night");
        let wire = job_to_wire(&job);
        assert_eq!(wire["label"], "night");
        assert_eq!(read(&wire["ops"][0].to_string(), Dialect::Own, 0).unwrap(), op);
        assert_eq!(wire["terms"], Value::Null);
    }

    #[test]
    fn terms_travel_beside_the_opcodes_and_only_to_those_that_are_there() {
        let op = read(r#"{"OP_ID":"OP_X"}"#, Dialect::Own, 0).unwrap();
        let of_op = OpTerms { within: None, retries: Some(Retries::NONE) };
        let of_job = JobTerms { within: Some(Duration::from_millis(1500)), keep_locks: true };
        let job = NewJob::of([op.clone(), op.clone().on_terms(of_op)]).on_terms(of_job);
        let sent = job_to_wire(&job)["terms"].clone();
        let terms: Terms = serde_json::from_value(sent.clone()).unwrap();
        assert_eq!(terms.applied_to(NewJob::of([op.clone(), op.clone()])), Ok(job));
        let terms: Terms = serde_json::from_value(sent).unwrap();
        let refused = terms.applied_to(NewJob::of([op])).unwrap_err();
        assert_eq!(refused, Failure::wrong_input("There is no opcode 1 to have terms"));
    }
}
