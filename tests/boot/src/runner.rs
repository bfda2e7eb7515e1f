//! Runs scenarios, some guests at a time, and prints their results.

use std::cell::RefCell;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Condvar, Mutex};

use rustix::fs::{FlockOperation, flock};

use crate::cli::BootTestArguments;
use crate::console::Console;
use crate::images::{GuestMachine, MachineKind};
use crate::measurements::Measurements;
use crate::paths::tree;
use crate::scenario::{Scenario, ScenarioContext};
use crate::tail;

/// Lines of a console that are shown after a failure.
const SHOWN: usize = 25;

thread_local! {
    /// The message of this thread's last panic.
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Plays them all: whether all went well.
pub fn play(arguments: &BootTestArguments, scenarios: &[Scenario]) -> bool {
    keep_panics();
    let shelf = tree("target/boot-test");
    std::fs::create_dir_all(&shelf).unwrap();
    // Machines are made by one at a time. Who comes later waits.
    let lock = std::fs::File::create(shelf.join("lock")).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    // Counts seconds since the start; nothing writes to this console.
    let clock = Console::new();
    let Some(machines) = machines(arguments, scenarios, &clock) else {
        return false;
    };
    let logs = arguments.keep.clone().unwrap_or_else(|| shelf.join("logs"));
    let logs = logs.join(arguments.suite.name());
    let measurements = Measurements::default();
    let places = GuestSlots {
        free: Mutex::new(arguments.guests),
        freed: Condvar::new(),
    };
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for scenario in scenarios {
            let guests = places.take(scenario.guests.min(arguments.guests));
            let context = ScenarioContext {
                suite: arguments.suite,
                measurements: &measurements,
                logs: logs.join(&scenario.name),
                machines: &machines,
            };
            let (clock, failed) = (&clock, &failed);
            scope.spawn(move || {
                let _guests = guests;
                let start = clock.now();
                println!("{:>5} s  {} ...", start.as_secs(), scenario.name);
                let result = played(scenario, &context);
                let (end, took) = (clock.now().as_secs(), (clock.now() - start).as_secs());
                match result {
                    Ok(()) => println!("{end:>5} s  {} went well in {took} s", scenario.name),
                    Err(why) => {
                        println!("{end:>5} s  {} FAILED in {took} s: {why}", scenario.name);
                        show_logs(&context.logs);
                        failed.lock().unwrap().push(scenario.name.clone());
                    }
                }
            });
        }
    });
    measurements.print();
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
    arguments: &BootTestArguments,
    scenarios: &[Scenario],
    clock: &Console,
) -> Option<HashMap<MachineKind, GuestMachine>> {
    let mut machines = HashMap::new();
    for kind in scenarios.iter().flat_map(|scenario| &scenario.machines) {
        if machines.contains_key(kind) {
            continue;
        }
        let start = clock.now();
        match catch_unwind(|| GuestMachine::get(arguments.suite, *kind)) {
            Ok(machine) => machines.insert(*kind, machine),
            Err(_) => {
                println!("cannot make the machine {kind:?}: {}", panic_message());
                return None;
            }
        };
        let took = (clock.now() - start).as_secs();
        println!(
            "{:>5} s  the machine {kind:?} is there, after {took} s",
            clock.now().as_secs()
        );
    }
    Some(machines)
}

fn played(scenario: &Scenario, context: &ScenarioContext<'_>) -> Result<(), String> {
    let _ = std::fs::remove_dir_all(&context.logs);
    std::fs::create_dir_all(&context.logs).unwrap();
    catch_unwind(AssertUnwindSafe(|| (scenario.play)(context))).map_err(|_| panic_message())
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
        PANIC.with_borrow_mut(|panic_message| {
            *panic_message = info.to_string().replace('\n', "\n    ")
        });
    }));
}

fn panic_message() -> String {
    PANIC.with_borrow(String::clone)
}

/// Room for guests.
struct GuestSlots {
    free: Mutex<u8>,
    freed: Condvar,
}

/// Room that is taken until it is dropped.
struct TakenSlots<'a> {
    places: &'a GuestSlots,
    count: u8,
}

impl GuestSlots {
    fn take(&self, count: u8) -> TakenSlots<'_> {
        let enough = |free: &mut u8| *free < count;
        let mut free = self
            .freed
            .wait_while(self.free.lock().unwrap(), enough)
            .unwrap();
        *free -= count;
        TakenSlots {
            places: self,
            count,
        }
    }
}

impl Drop for TakenSlots<'_> {
    fn drop(&mut self) {
        *self.places.free.lock().unwrap() += self.count;
        self.places.freed.notify_all();
    }
}
