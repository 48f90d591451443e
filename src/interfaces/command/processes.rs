//! Finding processes in `/proc` and ending them, each through a pidfd, so that a number that
//! was given to another process meanwhile is never signalled.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::output::Streams;

/// A process, held so that its number cannot be mistaken.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) pid: Pid,
    handle: OwnedFd,
}

/// The processes for which `matches` says yes, ourselves excepted.
///
/// `matches` looks into `/proc` again once the process is held: what it sees then is of that
/// process, or of one that came later, and then signalling the held one does nothing.
pub(super) fn find(matches: impl Fn(Pid) -> io::Result<bool>) -> io::Result<Vec<Process>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.parse().ok()).filter(|number| *number > 0);
        let Some(pid) = number.and_then(Pid::from_raw) else { continue };
        if pid == rustix::process::getpid() || !matches(pid)? {
            continue;
        }
        let held = pidfd_open(pid, PidfdFlags::empty()).map_err(io::Error::from);
        let Some(handle) = unless_gone(held)? else { continue };
        if matches(pid)? {
            found.push(Process { pid, handle });
        }
    }
    Ok(found)
}

/// None where the process ended while we looked. Other errors are told: a process that could
/// not be looked at for want of file descriptors has not ended.
pub(super) fn unless_gone<T>(looked: io::Result<T>) -> io::Result<Option<T>> {
    match looked {
        Ok(seen) => Ok(Some(seen)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The processes of a group that have not ended.
pub(super) fn members(group: Pid) -> io::Result<Vec<Process>> {
    find(|pid| {
        let stat = Stat::of(pid)?;
        Ok(stat.is_some_and(|stat| stat.group == group && !stat.has_ended))
    })
}

/// What `/proc/PID/stat` says.
#[derive(Debug)]
pub(super) struct Stat {
    pub(super) has_ended: bool,
    group: Pid,
}

impl Stat {
    /// None where there is no such process any more.
    pub(super) fn of(pid: Pid) -> io::Result<Option<Self>> {
        let stat = std::fs::read(format!("/proc/{}/stat", pid.as_raw_pid()));
        Ok(unless_gone(stat)?.and_then(|stat| Self::parse(&String::from_utf8_lossy(&stat))))
    }

    /// The name, second, is in parentheses and may hold anything.
    fn parse(stat: &str) -> Option<Self> {
        let mut after_name = stat.rsplit_once(')')?.1.split_whitespace();
        let state = after_name.next()?;
        let group = after_name.nth(1)?.parse().ok().filter(|group| *group > 0)?;
        Some(Self { has_ended: matches!(state, "Z" | "X"), group: Pid::from_raw(group)? })
    }
}

/// Ends the processes that `find` finds, and looks again until it finds none: TERM, and from
/// `kill_at` on KILL. Passes on output meanwhile. Gives up `patience` after the first KILL.
///
/// # Errors
///
/// `TimedOut`, naming the processes, where a killed one does not end (it hangs in the kernel);
/// else what the system says.
pub(super) fn end_all(
    mut find: impl FnMut() -> io::Result<Vec<Process>>,
    kill_at: Instant,
    patience: Option<Duration>,
    streams: &mut Streams<'_>,
) -> io::Result<()> {
    let give_up_at = patience.and_then(|patience| kill_at.checked_add(patience));
    loop {
        let found = find()?;
        if found.is_empty() {
            return Ok(());
        }
        let now = Instant::now();
        if give_up_at.is_some_and(|give_up_at| now >= give_up_at) {
            return Err(still_there(&found));
        }
        let kill = now >= kill_at;
        let signal = if kill { Signal::KILL } else { Signal::TERM };
        for process in &found {
            // It may have ended since; then there is nothing to signal.
            let _ = pidfd_send_signal(&process.handle, signal);
        }
        wait_for(&found, if kill { give_up_at } else { Some(kill_at) }, streams)?;
    }
}

/// Sleeps until all of them have ended, or it is `until`.
fn wait_for(
    processes: &[Process],
    until: Option<Instant>,
    streams: &mut Streams<'_>,
) -> io::Result<()> {
    let mut waiting: Vec<BorrowedFd<'_>> =
        processes.iter().map(|process| process.handle.as_fd()).collect();
    while !waiting.is_empty() && until.is_none_or(|until| Instant::now() < until) {
        let ended = streams.wait(&waiting, until)?;
        let mut ended = ended.into_iter();
        waiting.retain(|_| !ended.next().unwrap_or(false));
    }
    Ok(())
}

fn still_there(processes: &[Process]) -> io::Error {
    let pids: Vec<String> = processes.iter().map(|p| p.pid.as_raw_pid().to_string()).collect();
    let message = format!("killed processes do not end: {}", pids.join(", "));
    io::Error::new(io::ErrorKind::TimedOut, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_whose_name_looks_like_its_state_is_read_rightly() {
        let stat = Stat::parse("12 (a) Z 9 (b)) S 1 77 77 0 -1").unwrap();
        assert_eq!((stat.has_ended, stat.group.as_raw_pid()), (false, 77));
        assert!(Stat::parse("12 (a) Z 1 77 77").unwrap().has_ended);
        // Threads of the kernel have the group 0.
        assert!(Stat::parse("2 (kthreadd) S 0 0 0").is_none());
        assert!(Stat::parse("").is_none());
    }
}
