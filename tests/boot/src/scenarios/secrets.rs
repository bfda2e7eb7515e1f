//! Remains of a secret: in the guest's memory, and for a person who gets a shell by wrong passphrases.

use memchr::memmem;
use nightlatch_interop::programs::{Project, ours};

use crate::guest::{Guest, GuestConfig};
use crate::images::{BootSystem, GuestMachine, MachineKind};
use crate::lan::GuestNetwork;
use crate::making::WRONG;
use crate::scenario::{Scenario, ScenarioContext};
use crate::server::ServerSite;

/// Wrong passphrases that are typed.
const GUESSES: usize = 20;

/// Bytes of a page of memory.
const PAGE: usize = 4096;

/// The prompt of the shell that Debian's initramfs opens when it gives up.
const SHELL: &str = "(initramfs)";

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new(
            "initramfs-tools-wrong-passphrases",
            "who guesses 20 times gets no shell with a secret: no process, no key, no copy in memory",
            |context| wrong_passphrases(context, true, FreedMemory::Kept),
        ),
        Scenario::new(
            "initramfs-tools-wrong-passphrases-init-on-free",
            "with init_on_free=1 the kernel keeps nothing of what went through its pipes either",
            |context| wrong_passphrases(context, true, FreedMemory::Wiped),
        ),
        Scenario::new(
            "initramfs-tools-wrong-passphrases-disabled",
            "the same with a disabled client, which stays locked",
            |context| wrong_passphrases(context, false, FreedMemory::Kept),
        ),
        Scenario::new(
            "initramfs-tools-memory-after-boot",
            "how many copies of the password are left in memory once the disk is open",
            |context| after_boot(context, MachineKind::Ours),
        ),
        Scenario::new(
            "stock-client-memory-after-boot",
            "the same for the stock client",
            |context| after_boot(context, MachineKind::Stock),
        )
        .with(&[MachineKind::Stock], 1),
    ]
}

/// The kernel's treatment of freed memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum FreedMemory {
    /// Debian's default: the page of a pipe keeps its content until it is used again.
    Kept,
    Wiped,
}

fn wrong_passphrases(context: &ScenarioContext<'_>, released: bool, freed_memory: FreedMemory) {
    let lan = GuestNetwork::new();
    let machine = context.machine(MachineKind::Ours);
    let system = BootSystem::InitramfsTools;
    // A password that the disk refuses is in the machine's memory, and does not end the scenario.
    let section = match released {
        true => machine.section_of_wrong_password(""),
        false => machine.section_of_wrong_password("enabled = no"),
    };
    let place = ServerSite::announced(Project::Ours, lan.host("server"), &section);
    let mut plan = GuestConfig::new(machine, system, lan.tap());
    if freed_memory == FreedMemory::Wiped {
        plan = plan.with("init_on_free=1");
    }
    let guest = context.start("guest", plan);
    guest.wait_for(system.asks());
    if released {
        // The second question comes when the released password was refused.
        guest.wait_for(system.asks());
    } else {
        place.wait_until_refused(&guest, "client is disabled");
    }
    for guess in 1..=GUESSES {
        guest.type_line(&format!("guess number {guess}"));
        if guest.wait_for_any(&[system.asks(), SHELL]).index == 1 {
            break;
        }
    }
    guest.assert_locked();
    assert_eq!(place.releases(), usize::from(released));
    if guest.time_of(SHELL).is_some() {
        assert_nothing_for_a_shell(&guest);
    }
    let memory = guest.memory();
    // The search finds what is there: the kernel keeps its command line.
    assert_ne!(copies(&memory, b"init=/nightlatch-boot-test-init"), 0);
    let found: Vec<String> = memmem::find_iter(&memory, WRONG)
        .filter(|at| freed_memory == FreedMemory::Wiped || !is_alone_in_its_page(&memory, *at))
        .map(|at| surroundings(&memory, at))
        .collect();
    assert!(
        found.is_empty(),
        "copies of the password are in memory:\n{}",
        found.join("\n")
    );
}

/// True when the page has the password at its start and nothing else: it was that of a pipe, of ours or of cryptsetup
/// and its callers. Only `init_on_free=1` shows that the page is free.
fn is_alone_in_its_page(memory: &[u8], at: usize) -> bool {
    let rest = &memory[at + WRONG.len()..];
    at.is_multiple_of(PAGE) && rest.iter().take(PAGE - WRONG.len()).all(|byte| *byte == 0)
}

/// The position in its page and the bytes around it, to find its owner.
fn surroundings(memory: &[u8], at: usize) -> String {
    let page = at - at % PAGE;
    let around = &memory[at.saturating_sub(64).max(page)..(at + 128).min(page + PAGE)];
    format!("at {} of its page: {}", at - page, around.escape_ascii())
}

/// Looks for secrets as a person at that shell could.
fn assert_nothing_for_a_shell(guest: &Guest) {
    let processes = guest.run_in_shell("ps");
    assert!(
        !processes.contains("nightlatch-boot"),
        "still running:\n{processes}"
    );
    let keys = guest.run_in_shell("find / -xdev -name '*key.pem' -o -xdev -name 'seckey*'");
    assert!(
        !keys.contains("key.pem") && !keys.contains("seckey.txt"),
        "keys are left:\n{keys}"
    );
    let links = guest.run_in_shell("ip link");
    assert!(
        !links.contains("BROADCAST,MULTICAST,UP"),
        "the network is up:\n{links}"
    );
}

fn after_boot(context: &ScenarioContext<'_>, kind: MachineKind) {
    let lan = GuestNetwork::new();
    let machine = context.machine(kind);
    let place = ServerSite::announced(Project::Ours, lan.host("server"), &machine.section(""));
    let guest = context.start(
        "guest",
        GuestConfig::new(machine, BootSystem::InitramfsTools, lan.tap()),
    );
    guest.wait_for_root();
    let password = password(machine, &place);
    let memory = guest.memory();
    assert_ne!(copies(&memory, machine.mark.as_bytes()), 0);
    let places = memmem::find_iter(&memory, &password)
        .map(|at| at % PAGE)
        .collect();
    context.measurements.add_copies(kind.project(), places);
}

fn copies(memory: &[u8], secret: &[u8]) -> usize {
    memmem::find_iter(memory, secret).count()
}

/// The password of this machine on the server, fetched with its keys.
fn password(machine: &GuestMachine, place: &ServerSite) -> Vec<u8> {
    if machine.kind.project() == Project::Stock {
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
    client.args(["--connect", &place.server().address()]);
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
