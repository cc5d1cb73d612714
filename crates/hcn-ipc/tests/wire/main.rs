//! The server over a real socket, with a service in memory.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod abuse;
mod access;
mod calls;
mod events;
mod hns;
mod reservations;
mod service;
mod sessions;
