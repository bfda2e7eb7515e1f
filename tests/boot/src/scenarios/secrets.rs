//! What is left of a secret: in the guest's memory, and for whoever gets a shell by wrong passphrases.

use memchr::memmem;
use nightlatch_interop::programs::{Project, ours};

use crate::guest::{Guest, Plan};
use crate::images::{BootSystem, Machine, Who};
use crate::lan::Lan;
use crate::making::WRONG;
use crate::scenario::{Scenario, Stage};
use crate::server::Place;

/// How often a person who knows nothing may guess.
const GUESSES: usize = 20;

/// What memory is given out by.
const PAGE: usize = 4096;

/// What Debian's initramfs shows when it gives up and opens a shell.
const SHELL: &str = "(initramfs)";

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new(
            "initramfs-tools-wrong-passphrases",
            "who guesses 20 times gets no shell with a secret: no process, no key, no copy in memory",
            |stage| wrong_passphrases(stage, true, Kernel::AsItIs),
        ),
        Scenario::new(
            "initramfs-tools-wrong-passphrases-init-on-free",
            "with init_on_free=1 the kernel keeps nothing of what went through its pipes either",
            |stage| wrong_passphrases(stage, true, Kernel::WipesWhatIsFreed),
        ),
        Scenario::new(
            "initramfs-tools-wrong-passphrases-disabled",
            "the same with a disabled client, which stays locked",
            |stage| wrong_passphrases(stage, false, Kernel::AsItIs),
        ),
        Scenario::new(
            "initramfs-tools-memory-after-boot",
            "how many copies of the password are left in memory once the disk is open",
            |stage| after_boot(stage, Who::Ours),
        ),
        Scenario::new(
            "stock-client-memory-after-boot",
            "the same for the stock client",
            |stage| after_boot(stage, Who::Stock),
        )
        .with(&[Who::Stock], 1),
    ]
}

/// What becomes of memory that the kernel gets back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kernel {
    /// As Debian's does without being told: the page that something went through a pipe in stays as it is until
    /// it is used again.
    AsItIs,
    /// `init_on_free=1`.
    WipesWhatIsFreed,
}

fn wrong_passphrases(stage: &Stage<'_>, released: bool, kernel: Kernel) {
    let lan = Lan::new();
    let machine = stage.machine(Who::Ours);
    let system = BootSystem::InitramfsTools;
    // A password that the disk refuses is in the machine's memory, and does not end the scenario.
    let section = match released {
        true => machine.section_of_wrong_password(""),
        false => machine.section_of_wrong_password("enabled = no"),
    };
    let place = Place::announced(Project::Ours, lan.host("server"), &section);
    let mut plan = Plan::new(machine, system, lan.tap());
    if kernel == Kernel::WipesWhatIsFreed {
        plan = plan.with("init_on_free=1");
    }
    let guest = stage.start("guest", plan);
    guest.wait_for(system.asks());
    if released {
        // The second question comes when the released password was refused.
        guest.wait_for(system.asks());
    } else {
        place.wait_until_refused(&guest, "client is disabled");
    }
    for guess in 1..=GUESSES {
        guest.type_line(&format!("guess number {guess}"));
        if guest.wait_for_any(&[system.asks(), SHELL]).which == 1 {
            break;
        }
    }
    guest.assert_locked();
    assert_eq!(place.releases(), usize::from(released));
    if guest.said(SHELL).is_some() {
        assert_nothing_for_a_shell(&guest);
    }
    let memory = guest.memory();
    // The search finds what is there: the kernel keeps its command line.
    assert_ne!(copies(&memory, b"init=/nightlatch-boot-test-init"), 0);
    let found: Vec<String> = memmem::find_iter(&memory, WRONG)
        .filter(|at| kernel == Kernel::WipesWhatIsFreed || !is_alone_in_its_page(&memory, *at))
        .map(|at| surroundings(&memory, at))
        .collect();
    assert!(
        found.is_empty(),
        "copies of the password are in memory:\n{}",
        found.join("\n")
    );
}

/// Whether the page holds the password from its start and nothing else: as what went through a pipe
/// does: ours, or those of cryptsetup and of who asks for it. That the page is free is shown with `init_on_free=1` only.
fn is_alone_in_its_page(memory: &[u8], at: usize) -> bool {
    let rest = &memory[at + WRONG.len()..];
    at.is_multiple_of(PAGE) && rest.iter().take(PAGE - WRONG.len()).all(|byte| *byte == 0)
}

/// Where in its page something is, and what stands around it: tells whose it is.
fn surroundings(memory: &[u8], at: usize) -> String {
    let page = at - at % PAGE;
    let around = &memory[at.saturating_sub(64).max(page)..(at + 128).min(page + PAGE)];
    format!("at {} of its page: {}", at - page, around.escape_ascii())
}

/// Looks around as whoever sits there would.
fn assert_nothing_for_a_shell(guest: &Guest) {
    let processes = guest.at_the_shell("ps");
    assert!(
        !processes.contains("nightlatch-boot"),
        "still running:\n{processes}"
    );
    let keys = guest.at_the_shell("find / -xdev -name '*key.pem' -o -xdev -name 'seckey*'");
    assert!(
        !keys.contains("key.pem") && !keys.contains("seckey.txt"),
        "keys are left:\n{keys}"
    );
    let links = guest.at_the_shell("ip link");
    assert!(
        !links.contains("BROADCAST,MULTICAST,UP"),
        "the network is up:\n{links}"
    );
}

fn after_boot(stage: &Stage<'_>, who: Who) {
    let lan = Lan::new();
    let machine = stage.machine(who);
    let place = Place::announced(Project::Ours, lan.host("server"), &machine.section(""));
    let guest = stage.start(
        "guest",
        Plan::new(machine, BootSystem::InitramfsTools, lan.tap()),
    );
    guest.wait_for_root();
    let password = password(machine, &place);
    let memory = guest.memory();
    assert_ne!(copies(&memory, machine.mark.as_bytes()), 0);
    let places = memmem::find_iter(&memory, &password)
        .map(|at| at % PAGE)
        .collect();
    stage.figures.add_copies(who.project(), places);
}

fn copies(memory: &[u8], secret: &[u8]) -> usize {
    memmem::find_iter(memory, secret).count()
}

/// What the server has for this machine, fetched with its keys.
fn password(machine: &Machine, place: &Place) -> Vec<u8> {
    if machine.who.project() == Project::Stock {
        return std::fs::read(machine.file("served")).unwrap();
    }
    let mut client = place.host.command(ours("nightlatch-boot"));
    client.args([
        "client",
        "--interface",
        "none",
        "--network-hook-dir",
        "/nonexistent",
    ]);
    client.args(["--connect", &place.server.address()]);
    for (option, file) in [
        ("--pubkey", "pubkey.txt"),
        ("--seckey", "seckey.txt"),
        ("--tls-privkey", "tls-privkey.pem"),
        ("--tls-pubkey", "tls-pubkey.pem"),
    ] {
        client.arg(option).arg(machine.file("keys").join(file));
    }
    let output = client.output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}
