//! One client's lifecycle: enabled or not, its deadline, its checks, its approvals.

pub mod saved;
