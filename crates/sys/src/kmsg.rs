//! The kernel's messages on the console: which of them are shown (syslog(2)).
//!
//! Only ever makes the console quieter, and puts it back.

use std::io;

/// `SYSLOG_ACTION_CONSOLE_LEVEL` of syslog(2).
const CONSOLE_LEVEL: libc::c_int = 8;

/// The first of its four numbers is the console level (proc(5)).
const PRINTK: &str = "/proc/sys/kernel/printk";

/// The console level now: messages of a lower number than it are shown. `None` without `/proc`.
pub fn console_level() -> Option<u8> {
    let levels = std::fs::read_to_string(PRINTK).ok()?;
    levels.split_whitespace().next()?.parse().ok()
}

/// Sets the console level, 1 to 8. Needs `CAP_SYSLOG`.
pub fn set_console_level(level: u8) -> io::Result<()> {
    // SAFETY: this action takes no buffer; it only reads the number given as the length.
    match unsafe {
        libc::klogctl(
            CONSOLE_LEVEL,
            std::ptr::null_mut(),
            libc::c_int::from(level),
        )
    } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_is_one_the_kernel_knows() {
        match console_level() {
            Some(level) => assert!((1..=15).contains(&level), "{level}"),
            None => nightlatch_test_support::skipped("needs /proc"),
        }
    }

    #[test]
    fn a_level_the_kernel_does_not_know_is_refused() {
        assert!(set_console_level(9).is_err());
    }
}
