//! The programs of the initramfs that hand a password on: ours and, where Mandos has the same, theirs
//! by the same test.

mod askpass_fifo;
mod boot_parameters;
mod cryptroot;
mod fixture;
mod key_socket;
mod old_splashes;
mod password_agent;
mod password_prompt;
mod plugin_runner;
mod plymouth;
