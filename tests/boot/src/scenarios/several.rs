//! More than one of something: an administrator beside the server, a second volume, a second server.

use std::path::PathBuf;
use std::process::Command;

use nightlatch_interop::programs::{Project, ours};
use nightlatch_interop::screen::TmuxScreen;

use crate::guest::{Guest, GuestConfig};
use crate::images::{BootSystem, GuestMachine, MachineKind, TYPED};
use crate::lan::GuestNetwork;
use crate::scenario::{Scenario, ScenarioContext};
use crate::server::ServerSite;

/// Every release needs approval.
const ASKS: &str = "approved_by_default = no\napproval_delay = PT5M\napproval_duration = PT1M";

pub(super) fn scenarios() -> Vec<Scenario> {
    let mut all = Vec::new();
    for system in [BootSystem::InitramfsTools, BootSystem::Dracut] {
        let named = |what: &str| format!("{}-{what}", system.name());
        all.push(Scenario::new(
            &named("approved-in-monitor"),
            "the guest waits until somebody presses a key in `nightlatch monitor`",
            move |context| approved(context, system),
        ));
        all.push(Scenario::new(
            &named("two-volumes"),
            "two volumes are opened by one release",
            move |context| two_volumes(context, system),
        ));
    }
    all.push(
        Scenario::new(
            "two-servers-in-turn",
            "two encrypted servers reboot in turn, each unlocked by the other",
            two_servers,
        )
        .with(&[MachineKind::Ours, MachineKind::Second], 2),
    );
    all
}

fn approved(context: &ScenarioContext<'_>, system: BootSystem) {
    let lan = GuestNetwork::new();
    let machine = context.machine(MachineKind::Ours);
    let place = ServerSite::announced(Project::Ours, lan.host("server"), &machine.section(ASKS));
    let mut monitor = Command::new(ours("nightlatch"));
    monitor.arg("monitor");
    monitor.env("DBUS_SYSTEM_BUS_ADDRESS", place.bus().address());
    monitor.env("LC_ALL", "C.UTF-8");
    let guest = context.start("guest", GuestConfig::new(machine, system, lan.tap()));
    guest.wait_for(system.asks());
    place.wait_until_logged(&guest, "waits for approval");
    guest.assert_locked();
    let screen = TmuxScreen::start(&monitor, 100, 24);
    // The monitor does nothing to a client that has just come under the mark.
    screen.wait_for("how long it will wait", |text| {
        let (_, left) = text.split_once("refused in ")?;
        (!left.starts_with("4:59")).then_some(())
    });
    screen.press(&["y"]);
    screen.wait_for_text("received its secret");
    guest.wait_for_root();
    assert_eq!(place.releases(), 1);
}

fn two_volumes(context: &ScenarioContext<'_>, system: BootSystem) {
    let lan = GuestNetwork::new();
    let machine = context.machine(MachineKind::Ours);
    let place = ServerSite::announced(Project::Ours, lan.host("server"), &machine.section(""));
    let plan = GuestConfig::new(machine, system, lan.tap()).with_second_volume();
    let guest = context.start("guest", plan);
    guest.wait_for("VOLUMES ");
    guest.wait_for_root();
    for volume in ["root_crypt", "data_crypt"] {
        let open = guest.run(&format!("dmsetup status {volume}"));
        assert!(open.contains("crypt"), "{volume} is not open: {open}");
    }
    assert_eq!(place.releases(), 1);
}

/// The guest opens, and becomes the server of the machine whose section is on its second disk. There is no
/// systemd here: what its unit would do is typed.
fn serve(guest: &Guest) {
    guest.wait_for_root();
    guest.run("mount -t tmpfs none /tmp && mount -o ro /dev/vdb /mnt && install -d -m 0700 -o _nightlatch -g _nightlatch /tmp/state");
    guest.run("for card in /sys/class/net/*; do ip link set \"${card##*/}\" up; done");
    guest.type_line(
        "nightlatchd --foreground --no-dbus --configdir /mnt --statedir /tmp/state </dev/null &",
    );
    guest.wait_for("announcing the service");
}

/// A disk with the configuration of a server that has `client`.
fn configuration(context: &ScenarioContext<'_>, name: &str, client: &GuestMachine) -> PathBuf {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("clients.conf"), client.section("")).unwrap();
    std::fs::write(folder.path().join("mandos.conf"), "[DEFAULT]\n").unwrap();
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(folder.path().join("clients.conf"), private).unwrap();
    let disk = context.logs.join(name);
    let mut format = Command::new("mke2fs");
    format
        .args(["-q", "-t", "ext4", "-E", "root_owner=0:0", "-d"])
        .arg(folder.path());
    let done = format.arg(&disk).arg("8M").output().unwrap();
    assert!(
        done.status.success(),
        "mke2fs: {}",
        String::from_utf8_lossy(&done.stderr)
    );
    disk
}

fn two_servers(context: &ScenarioContext<'_>) {
    let lan = GuestNetwork::new();
    let (one, two) = (
        context.machine(MachineKind::Ours),
        context.machine(MachineKind::Second),
    );
    let (for_two, for_one) = (
        configuration(context, "one.disk", two),
        configuration(context, "two.disk", one),
    );
    let system = BootSystem::InitramfsTools;
    let boot = |name: &str, machine, disk: &PathBuf| {
        context.start(
            name,
            GuestConfig::new(machine, system, lan.tap()).with_disk(disk.clone()),
        )
    };
    // After a power failure: no server is up for the first machine.
    let first = boot("one-by-hand", one, &for_two);
    first.wait_for(system.asks());
    first.type_line(TYPED);
    serve(&first);
    let second = boot("two-by-one", two, &for_one);
    serve(&second);
    drop(first);
    let first = boot("one-by-two", one, &for_two);
    serve(&first);
    drop(second);
    boot("two-by-one-again", two, &for_one).wait_for_root();
    let _ = std::fs::remove_file(for_one);
    let _ = std::fs::remove_file(for_two);
}
