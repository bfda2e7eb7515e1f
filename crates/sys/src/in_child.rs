//! For tests that change their process for good: each runs in a process of its own.

use std::process::Command;

/// Set in the child to the name of its test.
const CHILD: &str = "NIGHTLATCH_TEST_IN_CHILD";

/// Runs the test called `name`, which is the caller, in a child; there it is `test`.
pub(crate) fn in_child(name: &str, test: impl FnOnce()) {
    if std::env::var_os(CHILD).is_some_and(|it| it == name) {
        return test();
    }
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(CHILD, name)
        .output()
        .unwrap();
    assert!(child.status.success(), "{child:?}");
    // Of a name that no test has, none runs.
    let output = String::from_utf8_lossy(&child.stdout);
    assert!(output.contains("1 passed"), "{output}");
}

/// The numbers that the kernel shows on this line for each thread of the process (proc_pid_status(5)).
pub(crate) fn of_each_thread(line: &str) -> Vec<Vec<String>> {
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    let status = threads.map(|it| std::fs::read_to_string(it.unwrap().path().join("status")));
    let status: Vec<String> = status.map(Result::unwrap).collect();
    status
        .iter()
        .map(|it| {
            let found = it.lines().find_map(|it| it.strip_prefix(line));
            let words = found.unwrap().split_whitespace();
            words.map(str::to_owned).collect()
        })
        .collect()
}

/// A line of /proc/self/status that is in kB.
pub(crate) fn kilobytes(line: &str) -> u64 {
    of_each_thread(line)[0][0].parse().unwrap()
}
