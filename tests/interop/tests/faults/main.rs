//! The real server when things go wrong: killed at any moment, no space, damaged state, faulty
//! configuration. What it acknowledged holds, and what it cannot do it says.

mod checkers;
mod configuration;
mod crash;
mod damage;
mod disk;
mod fixture;
mod floods;
mod manager;
mod reload;
mod state;
mod stop;
