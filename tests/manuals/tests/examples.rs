//! The examples of every page and of every guide, run as a reader would: each command must succeed.
#![allow(clippy::unwrap_used, reason = "in a test it is the assertion itself")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nightlatch_interop::programs::ours;
use nightlatch_manuals::{ManualPage, guide_folder, guides, pages, source_folder};

/// A host of its own: its files of configuration and state, its processes, its loopback.
const HOST_SETUP: &str = include_str!("host.sh");

#[test]
fn every_example_works() {
    if !nightlatch_test_support::is_root() {
        return;
    }
    let mut pages = pages(&source_folder()).unwrap();
    pages.extend(guides(&guide_folder()).unwrap());
    let pages: Vec<(&ManualPage, String)> = pages.iter().map(|page| (page, script(page))).collect();
    // Side by side: most of the time each waits for a key to be derived.
    std::thread::scope(|scope| {
        for (page, script) in &pages {
            scope.spawn(|| run(&page.title(), script));
        }
    });
}

/// The preparations of a page, then its examples, each printed before it runs.
fn script(page: &ManualPage) -> String {
    let blocks = page.blocks().into_iter();
    let examples: String = blocks
        .filter(|block| block.kind == "sh run")
        .map(|block| block.text)
        .collect();
    format!("{}\nset -x\n{examples}", page.before_the_examples)
}

fn run(title: &str, script: &str) {
    let folder = tempfile::tempdir().unwrap();
    // Programs that give up being root must reach what is theirs.
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let file = folder.path().join("script");
    fs::write(&file, script).unwrap();
    let programs = ours("nightlatch");
    let output = Command::new("unshare")
        .args([
            "--mount",
            "--propagation",
            "private",
            "--net",
            "--pid",
            "--fork",
            "--mount-proc",
        ])
        .args(["--kill-child", "bash", "-euc", HOST_SETUP, title])
        .arg(folder.path())
        .arg(programs.parent().unwrap_or(Path::new("/")))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{title}: {}\n{said}",
        output.status
    );
}
