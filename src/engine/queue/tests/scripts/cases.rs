//! The scripts: what each command of a job's life makes.

use super::check;

#[test]
fn a_job_of_two_opcodes_succeeds() {
    check(
        r#"
submit x x
    Submitted { first: 1, jobs: x x, origin: None }
    ids [1]
take
    takes 1
start 1
    Started { job: 1, op: 0, token: 1, undo: false, on_crash: Fail }
    token 1
say 1 half-way
    Feedback { job: 1, entries: [FeedbackEntry { serial: 1, op: 0, kind: Message, text: "half-way" }] }
finish 1 success
    Finished { job: 1, op: 0, outcome: Success("true") }
put-back 1
take
    takes 1
take
    nothing
start 1
    Started { job: 1, op: 1, token: 2, undo: false, on_crash: Fail }
    token 2
finish 1 success
    Finished { job: 1, op: 1, outcome: Success("true") }
put-back 1
take
    nothing
finish 1 error
status
    1 success: success, success
"#,
    );
}

#[test]
fn a_failure_is_taken_back_in_reverse_before_the_job_is_final() {
    check(
        r#"
submit x x x
    Submitted { first: 1, jobs: x x x, origin: None }
    ids [1]
take
    takes 1
start 1 undo
    Started { job: 1, op: 0, token: 1, undo: true, on_crash: Fail }
    token 1
finish 1 success
    Finished { job: 1, op: 0, outcome: Success("true") }
put-back 1
take
    takes 1
start 1 undo
    Started { job: 1, op: 1, token: 2, undo: true, on_crash: Fail }
    token 2
finish 1 error
    Finished { job: 1, op: 1, outcome: Error(OpError { kind: Exec, message: "no luck", code: None }) }
    UndoWanted { job: 1, except: None }
status
    1 running: success (to be undone), error (to be undone), queued
start-undo 1
    UndoStarted { job: 1, op: 1, token: 3 }
    token 3
undone 1 stuck
    Undone { job: 1, op: 1, error: Some(OpError { kind: Exec, message: "stuck", code: None }) }
start-undo 1
    UndoStarted { job: 1, op: 0, token: 4 }
    token 4
crash
start-undo 1
    UndoStarted { job: 1, op: 0, token: 6 }
    token 6
undone 1
    Undone { job: 1, op: 0, error: None }
    Closed { job: 1, cause: Failed }
undone 1
start-undo 1
    nothing is to be undone
put-back 1
status
    1 error: success (undone), error (not undone), error
take
    nothing
"#,
    );
}

#[test]
fn what_did_nothing_is_not_taken_back() {
    check(
        r#"
submit x x
    Submitted { first: 1, jobs: x x, origin: None }
    ids [1]
take
    takes 1
start 1 undo
    Started { job: 1, op: 0, token: 1, undo: true, on_crash: Fail }
    token 1
finish 1 refused
    Finished { job: 1, op: 0, outcome: Error(OpError { kind: Exec, message: "no luck", code: None }) }
    UndoWanted { job: 1, except: Some(0) }
    Closed { job: 1, cause: Failed }
put-back 1
status
    1 error: error, error
"#,
    );
}

#[test]
fn cancelled_while_queued() {
    check(
        r#"
submit x x
    Submitted { first: 1, jobs: x x, origin: None }
    ids [1]
cancel 1
    CancelRequested { job: 1 }
    Closed { job: 1, cause: Canceled }
    Queued
cancel 1
    refused: job 1 has ended (canceled)
take
    nothing
status
    1 canceled: canceled, canceled
"#,
    );
}

#[test]
fn cancelled_while_it_waits_for_locks() {
    check(
        r#"
submit x
    Submitted { first: 1, jobs: x, origin: None }
    ids [1]
take
    takes 1
cancel 1
    CancelRequested { job: 1 }
    Closed { job: 1, cause: Canceled }
    Waiting
start 1
    must not start
put-back 1
take
    nothing
status
    1 canceled: canceled
"#,
    );
}

#[test]
fn cancelled_while_it_executes() {
    check(
        r#"
submit x x
    Submitted { first: 1, jobs: x x, origin: None }
    ids [1]
take
    takes 1
start 1
    Started { job: 1, op: 0, token: 1, undo: false, on_crash: Fail }
    token 1
cancel 1
    CancelRequested { job: 1 }
    Running
cancel 1
    Running
status
    1 canceling: canceling, queued
finish 1 canceled
    Finished { job: 1, op: 0, outcome: Canceled }
    Closed { job: 1, cause: Canceled }
put-back 1
status
    1 canceled: canceled, canceled
"#,
    );
}

#[test]
fn cancelled_while_it_executes_and_it_finishes_all_the_same() {
    check(
        r#"
submit x x
    Submitted { first: 1, jobs: x x, origin: None }
    ids [1]
take
    takes 1
start 1 undo
    Started { job: 1, op: 0, token: 1, undo: true, on_crash: Fail }
    token 1
cancel 1
    CancelRequested { job: 1 }
    Running
finish 1 success
    Finished { job: 1, op: 0, outcome: Success("true") }
    UndoWanted { job: 1, except: None }
status
    1 canceling: success (to be undone), queued
undone 1
    Undone { job: 1, op: 0, error: None }
    Closed { job: 1, cause: Canceled }
put-back 1
status
    1 canceled: success (undone), canceled
"#,
    );
}

#[test]
fn cancelled_in_its_last_opcode_which_succeeds() {
    check(
        r#"
submit x
    Submitted { first: 1, jobs: x, origin: None }
    ids [1]
take
    takes 1
start 1 undo
    Started { job: 1, op: 0, token: 1, undo: true, on_crash: Fail }
    token 1
cancel 1
    CancelRequested { job: 1 }
    Running
finish 1 success
    Finished { job: 1, op: 0, outcome: Success("true") }
put-back 1
status
    1 success: success (can be undone)
"#,
    );
}

#[test]
fn cancelled_between_two_opcodes() {
    check(
        r#"
submit x x
    Submitted { first: 1, jobs: x x, origin: None }
    ids [1]
take
    takes 1
start 1 undo
    Started { job: 1, op: 0, token: 1, undo: true, on_crash: Fail }
    token 1
finish 1 success
    Finished { job: 1, op: 0, outcome: Success("true") }
put-back 1
cancel 1
    CancelRequested { job: 1 }
    UndoWanted { job: 1, except: None }
    Queued
take
    takes 1
undone 1
    Undone { job: 1, op: 0, error: None }
    Closed { job: 1, cause: Canceled }
put-back 1
status
    1 canceled: success (undone), canceled
"#,
    );
}

#[test]
fn cancelled_while_it_is_undone() {
    check(
        r#"
submit x x
    Submitted { first: 1, jobs: x x, origin: None }
    ids [1]
take
    takes 1
start 1 undo
    Started { job: 1, op: 0, token: 1, undo: true, on_crash: Fail }
    token 1
finish 1 error
    Finished { job: 1, op: 0, outcome: Error(OpError { kind: Exec, message: "no luck", code: None }) }
    UndoWanted { job: 1, except: None }
cancel 1
    CancelRequested { job: 1 }
    Running
status
    1 canceling: error (to be undone), queued
undone 1
    Undone { job: 1, op: 0, error: None }
    Closed { job: 1, cause: Failed }
put-back 1
status
    1 error: error (undone), error
"#,
    );
}

#[test]
fn who_waits_goes_on_when_it_should_and_ends_when_it_cannot() {
    check(
        r#"
submit x / x<#0 / x<#0=error / x<#2 x
    Submitted { first: 1, jobs: x / x<[Dependency { on: 1, statuses: [] }] / x<[Dependency { on: 1, statuses: [Error] }] / x<[Dependency { on: 3, statuses: [] }] x, origin: None }
    ids [1, 2, 3, 4]
take
    takes 1
take
    nothing
start 1
    Started { job: 1, op: 0, token: 1, undo: false, on_crash: Fail }
    token 1
finish 1 success
    Finished { job: 1, op: 0, outcome: Success("true") }
put-back 1
take
    takes 2
take
    Finished { job: 3, op: 0, outcome: Error(OpError { kind: Exec, message: "Dependency job 1 finished with status 'success', not one of 'error' as required", code: None }) }
    3 ended
take
    takes 4
take
    nothing
start 2
    Started { job: 2, op: 0, token: 2, undo: false, on_crash: Fail }
    token 2
finish 2 success
    Finished { job: 2, op: 0, outcome: Success("true") }
put-back 2
take
    nothing
status
    1 success: success
    2 success: success
    3 error: error
    4 waiting: waiting, queued
"#,
    );
}

#[test]
fn whoever_waits_for_a_cancelled_job_is_cancelled_unless_it_waits_for_that() {
    check(
        r#"
submit x / x<#0 / x<#0=canceled
    Submitted { first: 1, jobs: x / x<[Dependency { on: 1, statuses: [] }] / x<[Dependency { on: 1, statuses: [Canceled] }], origin: None }
    ids [1, 2, 3]
cancel 1
    CancelRequested { job: 1 }
    Closed { job: 1, cause: Canceled }
    Queued
take
    CancelRequested { job: 2 }
    Closed { job: 2, cause: Canceled }
    2 ended
take
    takes 3
take
    nothing
status
    1 canceled: canceled
    2 canceled: canceled
    3 waiting: waiting
"#,
    );
}

#[test]
fn what_cannot_be_is_refused_and_leaves_nothing() {
    check(
        r#"
submit x<7
    refused: job 0 of the submission depends on job 7, which does not exist
submit x / x<#2
    refused: job 1 of the submission depends on place 2 of it; there are 2 jobs
submit x<#0
    refused: jobs of the submission depend on each other in a circle: 0 -> 0
submit x<#1 / x<#0
    refused: jobs of the submission depend on each other in a circle: 1 -> 0 -> 1
cancel 1
    refused: there is no job 1
hurry 1 5
    refused: there is no job 1
submit x
    Submitted { first: 1, jobs: x, origin: None }
    ids [1]
drain on
    DrainSet { drained: true }
drain on
drain off
    DrainSet { drained: false }
status
    1 queued: queued
"#,
    );
}

#[test]
fn a_hurried_job_comes_first_and_what_runs_keeps_its_priority() {
    check(
        r#"
submit x / x x / x
    Submitted { first: 1, jobs: x / x x / x, origin: None }
    ids [1, 2, 3]
take
    takes 1
hurry 2 -5
    PriorityChanged { job: 2, priority: -5 }
hurry 1 3
    PriorityChanged { job: 1, priority: 3 }
take
    takes 2
start 2
    Started { job: 2, op: 0, token: 1, undo: false, on_crash: Fail }
    token 1
hurry 2 7
    PriorityChanged { job: 2, priority: 7 }
finish 2 success
    Finished { job: 2, op: 0, outcome: Success("true") }
put-back 2
take
    takes 3
take
    takes 2
status
    1 waiting: waiting
    2 waiting: success, waiting
    3 waiting: waiting
"#,
    );
}

#[test]
fn after_a_crash_each_opcode_that_ran_goes_by_its_policy() {
    check(
        r#"
submit x / x / x x / x / x
    Submitted { first: 1, jobs: x / x / x x / x / x, origin: None }
    ids [1, 2, 3, 4, 5]
take
    takes 1
take
    takes 2
take
    takes 3
take
    takes 4
take
    takes 5
start 1
    Started { job: 1, op: 0, token: 1, undo: false, on_crash: Fail }
    token 1
start 2 retry
    Started { job: 2, op: 0, token: 2, undo: false, on_crash: Retry }
    token 2
start 3 undo undo-it
    Started { job: 3, op: 0, token: 3, undo: true, on_crash: Undo }
    token 3
start 4 undo retry
    Started { job: 4, op: 0, token: 4, undo: true, on_crash: Retry }
    token 4
cancel 4
    CancelRequested { job: 4 }
    Running
crash
    Finished { job: 1, op: 0, outcome: Error(OpError { kind: Interrupted, message: "unclean shutdown: the master died while this opcode was executing", code: None }) }
    Requeued { job: 2, op: 0 }
    Finished { job: 3, op: 0, outcome: Error(OpError { kind: Interrupted, message: "unclean shutdown: the master died while this opcode was executing", code: None }) }
    UndoWanted { job: 3, except: None }
    Requeued { job: 4, op: 0 }
    UndoWanted { job: 4, except: None }
status
    1 error: error
    2 queued: queued
    3 running: error (to be undone), queued
    4 canceling: queued (to be undone)
    5 queued: queued
take
    takes 2
undone 3
    Undone { job: 3, op: 0, error: None }
    Closed { job: 3, cause: Failed }
put-back 3
take
    takes 4
start 2 retry
    Started { job: 2, op: 0, token: 6, undo: false, on_crash: Retry }
    token 6
finish 2 success
    Finished { job: 2, op: 0, outcome: Success("true") }
status
    1 error: error
    2 success: success
    3 error: error (undone), error
    4 canceling: queued (to be undone)
    5 queued: queued
"#,
    );
}

#[test]
fn a_crash_in_the_middle_of_undoing_goes_on_undoing() {
    check(
        r#"
submit x x
    Submitted { first: 1, jobs: x x, origin: None }
    ids [1]
take
    takes 1
start 1 undo
    Started { job: 1, op: 0, token: 1, undo: true, on_crash: Fail }
    token 1
finish 1 success
    Finished { job: 1, op: 0, outcome: Success("true") }
put-back 1
take
    takes 1
start 1 undo
    Started { job: 1, op: 1, token: 2, undo: true, on_crash: Fail }
    token 2
finish 1 error
    Finished { job: 1, op: 1, outcome: Error(OpError { kind: Exec, message: "no luck", code: None }) }
    UndoWanted { job: 1, except: None }
undone 1
    Undone { job: 1, op: 1, error: None }
crash
status
    1 running: success (to be undone), error (undone)
take
    takes 1
undone 1
    Undone { job: 1, op: 0, error: None }
put-back 1
status
    1 error: success (undone), error (undone)
"#,
    );
}

#[test]
fn no_token_is_given_twice_over_crashes() {
    check(
        r#"
submit x / x
    Submitted { first: 1, jobs: x / x, origin: None }
    ids [1, 2]
take
    takes 1
start 1 retry
    Started { job: 1, op: 0, token: 1, undo: false, on_crash: Retry }
    token 1
crash
    Requeued { job: 1, op: 0 }
take
    takes 1
start 1 retry
    Started { job: 1, op: 0, token: 3, undo: false, on_crash: Retry }
    token 3
crash
    Requeued { job: 1, op: 0 }
crash
take
    takes 1
take
    takes 2
start 2
    Started { job: 2, op: 0, token: 5, undo: false, on_crash: Fail }
    token 5
"#,
    );
}
