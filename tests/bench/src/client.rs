//! The boot client: how soon it has the password, and what it adds to an initramfs.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nightlatch_interop::client;
use nightlatch_interop::programs::{Project, boot_client, mandos_client};

use crate::fleet::quantile;
use crate::{Setup, clock, name, serve};

/// Fetches for one figure; the median is shown.
const FETCHES: usize = 21;

/// From the start of the client's process to its end, with the password on its output.
pub(crate) fn password(setup: &Setup) {
    let (ours, stock) = (&setup.ours, &setup.stock);
    println!("\n## From starting the client to its password, median of {FETCHES}, loopback\n");
    println!("| server | client | keys | ms | slowest, ms |\n|---|---|---|---|---|");
    for server in setup.servers.iter().copied() {
        for (client, keys, machine) in [
            (Project::Stock, "RSA-4096", stock),
            (Project::Stock, "Curve25519", ours),
            (Project::Ours, "RSA-4096", stock),
            (Project::Ours, "Curve25519", ours),
        ] {
            let (running, _bus) = serve(server, &machine.section("checker = true"), &[]);
            let address = format!("127.0.0.1:{}", running.port());
            let mut took: Vec<Duration> = (0..FETCHES)
                .map(|_| {
                    let start = clock();
                    let output = client::fetch(client, machine, &address);
                    assert_eq!(output.stdout, machine.password);
                    start.elapsed()
                })
                .collect();
            took.sort_unstable();
            let millis = |part| quantile(&took, part).as_secs_f64() * 1000.0;
            println!(
                "| {} | {} | {keys} | {:.0} | {:.0} |",
                name(server),
                name(client),
                millis(0.5),
                millis(1.0)
            );
        }
    }
}

/// The size of the client's file. The stock one also needs GnuPG and its libraries.
pub(crate) fn image(_: &Setup) {
    println!("\n## The client's file\n");
    println!(
        "| client | bytes | as initramfs-tools compresses (zstd -9) | shared libraries, without libc and the loader |"
    );
    println!("|---|---|---|---|");
    for (project, file) in [
        (Project::Stock, mandos_client()),
        (Project::Ours, boot_client()),
    ] {
        let bytes = std::fs::metadata(&file).unwrap().len();
        println!(
            "| {} | {bytes} | {} | {} |",
            name(project),
            compressed(&file),
            libraries(&file),
        );
    }
}

fn compressed(file: &Path) -> u64 {
    let packed = Command::new("zstd")
        .args(["-9", "-c", "-q"])
        .arg(file)
        .output()
        .unwrap();
    packed.stdout.len() as u64
}

/// Number of libraries that ldd(1) lists for it, apart from those in every initramfs.
fn libraries(file: &Path) -> usize {
    let listed = Command::new("ldd").arg(file).output().unwrap();
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let always = ["libc.so", "ld-linux", "linux-vdso", "libgcc_s", "libm.so"];
    let counts =
        |line: &&str| line.contains(".so") && !always.iter().any(|name| line.contains(name));
    listed.lines().filter(counts).count()
}
