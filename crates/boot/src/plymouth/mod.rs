//! The applet `plymouth`.

pub mod daemon;
