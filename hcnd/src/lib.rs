//! The daemon as a library: configuration, the task that owns the state, the thread that owns the kernel.
//! `main.rs` adds the command line and the sandbox.

pub mod config;
pub mod daemon;
pub mod service;
pub mod systemd;
pub mod worker;
