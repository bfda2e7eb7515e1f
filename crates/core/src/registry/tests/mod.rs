//! The registry against its rules: by sentence, and by a model under random events.

mod adding;
mod alarms;
mod approvals;
mod beside;
mod events;
mod faults;
mod invariants;
mod leaving;
mod lifecycle;
mod many;
mod model;
mod never_later;
mod record_quotas;
mod restart;
mod sections;
mod standing;
mod ways_around;
mod world;
