//! The registry against its rules: by sentence, and by a model under random events.

mod events;
mod invariants;
mod lifecycle;
mod many;
mod model;
mod restart;
mod world;
