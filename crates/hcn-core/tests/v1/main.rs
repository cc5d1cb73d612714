//! Version 1: its documents and those of version 2 as two views of the same records, what it does with entities beside
//! that, and its REST paths.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what fails must fail the test")]
#![allow(clippy::needless_pass_by_value, reason = "documents are written where they are used")]

mod acts;
mod detail;
mod endpoints;
mod filters;
mod lists;
mod networks;
mod rest;
mod world;
