//! The daemon as a library: configuration, the task that owns the state, the thread that owns the kernel.
//! `main.rs` adds the command line and the sandbox.

pub mod access;
pub mod config;
pub mod daemon;
mod doctor;
mod drift;
mod hns;
mod http;
mod metrics;
pub mod service;
pub mod state;
pub mod status;
pub mod systemd;
pub mod worker;
