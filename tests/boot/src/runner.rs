//! Plays scenarios, some guests at a time, and tells how they went.

use std::cell::RefCell;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Condvar, Mutex};

use rustix::fs::{FlockOperation, flock};

use crate::cli::Arguments;
use crate::console::Console;
use crate::figures::Figures;
use crate::images::{Machine, Who};
use crate::places::tree;
use crate::scenario::{Scenario, Stage};
use crate::tail;

/// How much of a console is shown when its scenario failed.
const SHOWN: usize = 25;

thread_local! {
    /// What the last panic of this thread said.
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Plays them all: whether all went well.
pub fn play(arguments: &Arguments, scenarios: &[Scenario]) -> bool {
    keep_panics();
    let shelf = tree("target/boot-test");
    std::fs::create_dir_all(&shelf).unwrap();
    // Machines are made by one at a time. Who comes later waits.
    let lock = std::fs::File::create(shelf.join("lock")).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    // Seconds since the start: a console that nobody writes to counts them.
    let clock = Console::new();
    let Some(machines) = machines(arguments, scenarios, &clock) else {
        return false;
    };
    let logs = arguments.keep.clone().unwrap_or_else(|| shelf.join("logs"));
    let logs = logs.join(arguments.suite.name());
    let figures = Figures::default();
    let places = Places {
        free: Mutex::new(arguments.guests),
        freed: Condvar::new(),
    };
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for scenario in scenarios {
            let guests = places.take(scenario.guests.min(arguments.guests));
            let stage = Stage {
                suite: arguments.suite,
                figures: &figures,
                logs: logs.join(&scenario.name),
                machines: &machines,
            };
            let (clock, failed) = (&clock, &failed);
            scope.spawn(move || {
                let _guests = guests;
                let start = clock.now();
                println!("{:>5} s  {} ...", start.as_secs(), scenario.name);
                let result = played(scenario, &stage);
                let (end, took) = (clock.now().as_secs(), (clock.now() - start).as_secs());
                match result {
                    Ok(()) => println!("{end:>5} s  {} went well in {took} s", scenario.name),
                    Err(why) => {
                        println!("{end:>5} s  {} FAILED in {took} s: {why}", scenario.name);
                        show_logs(&stage.logs);
                        failed.lock().unwrap().push(scenario.name.clone());
                    }
                }
            });
        }
    });
    figures.print();
    let failed = failed.into_inner().unwrap();
    let count = scenarios.len();
    println!(
        "{count} scenarios in {} s, {} failed",
        clock.now().as_secs(),
        failed.len()
    );
    failed.iter().for_each(|name| println!("  {name}"));
    failed.is_empty()
}

/// The machines that the scenarios need; none when one cannot be made.
fn machines(
    arguments: &Arguments,
    scenarios: &[Scenario],
    clock: &Console,
) -> Option<HashMap<Who, Machine>> {
    let mut machines = HashMap::new();
    for who in scenarios.iter().flat_map(|scenario| &scenario.machines) {
        if machines.contains_key(who) {
            continue;
        }
        let start = clock.now();
        match catch_unwind(|| Machine::get(arguments.suite, *who)) {
            Ok(machine) => machines.insert(*who, machine),
            Err(_) => {
                println!("cannot make the machine {who:?}: {}", said());
                return None;
            }
        };
        let took = (clock.now() - start).as_secs();
        println!(
            "{:>5} s  the machine {who:?} is there, after {took} s",
            clock.now().as_secs()
        );
    }
    Some(machines)
}

fn played(scenario: &Scenario, stage: &Stage<'_>) -> Result<(), String> {
    let _ = std::fs::remove_dir_all(&stage.logs);
    std::fs::create_dir_all(&stage.logs).unwrap();
    catch_unwind(AssertUnwindSafe(|| (scenario.play)(stage))).map_err(|_| said())
}

fn show_logs(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let file = entry.unwrap().path();
        let log = std::fs::read(&file).unwrap();
        println!(
            "--- the end of {}\n{}\n---",
            file.display(),
            tail(&log, SHOWN)
        );
    }
}

/// Has panics of the threads that play remembered, not printed.
fn keep_panics() {
    std::panic::set_hook(Box::new(|info| {
        PANIC.with_borrow_mut(|said| *said = info.to_string().replace('\n', "\n    "));
    }));
}

fn said() -> String {
    PANIC.with_borrow(String::clone)
}

/// Room for guests.
struct Places {
    free: Mutex<u8>,
    freed: Condvar,
}

/// Room that is taken until it is dropped.
struct Taken<'a> {
    places: &'a Places,
    count: u8,
}

impl Places {
    fn take(&self, count: u8) -> Taken<'_> {
        let enough = |free: &mut u8| *free < count;
        let mut free = self
            .freed
            .wait_while(self.free.lock().unwrap(), enough)
            .unwrap();
        *free -= count;
        Taken {
            places: self,
            count,
        }
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        *self.places.free.lock().unwrap() += self.count;
        self.places.freed.notify_all();
    }
}
