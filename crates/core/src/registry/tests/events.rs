//! Random events of a server and its clients, with their frequencies.

use proptest::prelude::*;

use super::invariants::CLIENTS;

#[derive(Clone, Debug)]
pub(super) enum Op {
    /// Time passes, in milliseconds; `late` when `handle_timeout` is not called before the next event.
    Pass {
        time: u64,
        late: bool,
    },
    /// The wall clock is set.
    Jump(i64),
    Ask(usize),
    PeerGone(usize),
    Reported {
        which: usize,
        delivered: bool,
    },
    Checked {
        which: usize,
        result: u8,
    },
    CheckedOk(usize),
    StartChecker(usize),
    StopChecker(usize),
    Enable(usize),
    Disable(usize),
    Approve(usize),
    Deny(usize),
    /// A decision on one of the requests, waiting or not.
    Decide(usize, bool),
    Remove(usize),
    Set(usize, SettingChange),
    /// The file changes, to be read at the next reload or start.
    Edit(usize, Edit),
    Reload,
    /// The server restarts after `down` milliseconds; `lost` when the last second was not written, `reboot` when the
    /// host restarts too.
    Restart {
        down: u64,
        reboot: bool,
        lost: bool,
    },
    /// The server is killed after this many actions of the next event.
    KillWithin(usize),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum SettingChange {
    Timeout(u64),
    Extended(u64),
    Delay(u64),
    Duration(u64),
    Default(bool),
    Secret(u8),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Edit {
    Setting(SettingChange),
    Enabled(bool),
    Section(bool),
}

fn setting_change() -> impl Strategy<Value = SettingChange> {
    let time = |values: &'static [u64]| prop::sample::select(values);
    prop_oneof![
        time(&[2_000, 5_000, 9_000]).prop_map(SettingChange::Timeout),
        time(&[1_000, 12_000]).prop_map(SettingChange::Extended),
        time(&[0, 0, 1_500, 4_000]).prop_map(SettingChange::Delay),
        time(&[0, 1_000, 6_000]).prop_map(SettingChange::Duration),
        any::<bool>().prop_map(SettingChange::Default),
        (1..4_u8).prop_map(SettingChange::Secret),
    ]
}

pub(super) fn op() -> impl Strategy<Value = Op> {
    let client = 0..CLIENTS;
    let which = 0..4_usize;
    let passes = prop::sample::select(&[0_u64, 1, 500, 999, 1_000, 1_500, 2_000, 4_000, 7_000][..]);
    let edit = prop_oneof![
        3 => setting_change().prop_map(Edit::Setting),
        1 => any::<bool>().prop_map(Edit::Enabled),
        1 => any::<bool>().prop_map(Edit::Section),
    ];
    let restart = (passes.clone(), any::<bool>(), any::<bool>())
        .prop_map(|(down, reboot, lost)| Op::Restart { down, reboot, lost });
    prop_oneof![
        8 => (passes, any::<bool>()).prop_map(|(time, late)| Op::Pass { time, late }),
        1 => (-20_000..20_000_i64).prop_map(Op::Jump),
        8 => client.clone().prop_map(Op::Ask),
        1 => which.clone().prop_map(Op::PeerGone),
        5 => (which.clone(), prop::bool::weighted(0.8))
            .prop_map(|(which, delivered)| Op::Reported { which, delivered }),
        4 => (which.clone(), 0..3_u8).prop_map(|(which, result)| Op::Checked { which, result }),
        3 => client.clone().prop_map(Op::CheckedOk),
        1 => client.clone().prop_map(Op::StartChecker),
        1 => client.clone().prop_map(Op::StopChecker),
        4 => client.clone().prop_map(Op::Enable),
        2 => client.clone().prop_map(Op::Disable),
        2 => client.clone().prop_map(Op::Approve),
        2 => client.clone().prop_map(Op::Deny),
        3 => (which.clone(), any::<bool>()).prop_map(|(which, yes)| Op::Decide(which, yes)),
        1 => client.clone().prop_map(Op::Remove),
        3 => (client.clone(), setting_change()).prop_map(|(client, setting_change)| Op::Set(client, setting_change)),
        3 => (client, edit).prop_map(|(client, edit)| Op::Edit(client, edit)),
        1 => Just(Op::Reload),
        2 => restart,
        2 => (0..8_usize).prop_map(Op::KillWithin),
    ]
}
