//! The agent of a machine with systemd, and the server that it reports to.

use serde_json::Value;

use crate::booted::BootedSite;
use crate::images::MachineKind;
use crate::scenario::{Scenario, ScenarioContext};

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new(
            "agent-normal-reboot",
            "systemctl reboot says goodbye to the server; the next boot is announced and accounted for, without an alarm",
            normal_reboot,
        )
        .with(&[MachineKind::Booted], 1),
    ]
}

fn normal_reboot(context: &ScenarioContext<'_>) {
    let site = BootedSite::start(context);
    let (guest, place) = (&site.guest, &site.place);
    guest.run(
        "until journalctl -u nightlatch-agent -o cat | grep -q 'knows that this machine is up'; do sleep 0.2; done",
    );
    assert_eq!(place.client()["guard_state"], "up");
    let first = place.log_lines();
    let typed = guest.now();
    guest.type_line("systemctl reboot");
    let said = site.next_logged(first, &["said goodbye", "reboot"]);
    let goodbye = guest.now();
    site.wait_until_up_again(said);
    context.measurements.add_note(format!(
        "goodbye {:.1} s after `systemctl reboot`, and the next boot was heard {:.1} s later",
        (goodbye - typed).as_secs_f64(),
        (guest.now() - goodbye).as_secs_f64()
    ));
    let records = place.records();
    let alarms: Vec<&Value> = records
        .iter()
        .filter(|record| !record["alarm"].is_null())
        .collect();
    assert!(alarms.is_empty(), "alarms: {alarms:?}");
    let mut story = records
        .iter()
        .filter_map(|record| record["kind"].as_str())
        .filter(|kind| ["released", "armed", "goodbye", "held", "silent"].contains(kind));
    let story = story.by_ref().collect::<Vec<_>>().join(" ");
    assert_eq!(story, "released armed goodbye released");
    let last = records
        .iter()
        .rfind(|record| record["kind"] == "released")
        .unwrap();
    assert_eq!(last["detail"], "announced", "{last}");
    let client = place.client();
    assert_eq!(client["unaccounted"], 0, "{client}");
    assert_eq!(client["suspect"], Value::Null, "{client}");
}
