//! Tests of the registry: one for each rule, and random events compared with a model.

mod adding;
mod alarms;
mod approvals;
mod beside;
mod events;
mod faults;
mod forecast;
mod guarded;
mod guarded_attacks;
mod guarded_lives;
mod guarded_month;
mod invariants;
mod leaving;
mod lifecycle;
mod many;
mod model;
mod named;
mod named_people;
mod named_promises;
mod named_put;
mod never_later;
mod record_quotas;
mod restart;
mod sections;
mod ways_around;
mod world;
