//! Processor time of a server and of its children (proc_pid_stat(5)).

use std::fs;

use rustix::time::{ClockId, clock_gettime};

/// Seconds of processor time that a process and all its descendants have taken, those included that
/// have ended and were waited for.
pub(crate) fn of_tree(pid: u32) -> f64 {
    let own = of_process(pid);
    let children =
        fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let children = children
        .split_whitespace()
        .filter_map(|pid| pid.parse().ok());
    own.all() + children.map(of_tree).sum::<f64>()
}

/// Without its children.
pub(crate) fn of_itself(pid: u32) -> f64 {
    of_process(pid).own
}

/// Seconds of processor time that the calling thread has taken (clock_gettime(2), `CLOCK_THREAD_CPUTIME_ID`).
pub(crate) fn of_this_thread() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

struct Times {
    own: f64,
    ended_children: f64,
}

impl Times {
    fn all(&self) -> f64 {
        self.own + self.ended_children
    }
}

fn of_process(pid: u32) -> Times {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The second field is a name in parentheses, which may hold anything.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks: Vec<f64> = fields
        .split_whitespace()
        .skip(11)
        .take(4)
        .filter_map(|field| field.parse().ok())
        .collect();
    let [user, system, user_children, system_children] = ticks[..] else {
        return Times {
            own: 0.0,
            ended_children: 0.0,
        };
    };
    let second = rustix::param::clock_ticks_per_second() as f64;
    Times {
        own: (user + system) / second,
        ended_children: (user_children + system_children) / second,
    }
}
