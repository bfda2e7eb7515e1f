//! The registry against its rules: by sentence, and by a model under random events.

mod lifecycle;
mod many;
mod restart;
mod world;
