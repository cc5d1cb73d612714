//! What reads input from outside, under any input. Each target takes octets and asserts what must hold whatever they are;
//! `scripts/fuzz` lets libFuzzer look for what breaks it, and an ordinary test repeats the corpora in `corpus/`, to which
//! every find is added.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what does not hold is a finding, and is told by a panic"
)]

mod c;
mod calls;
mod create;
mod doctor;
mod kernel;
mod responder;
pub mod seeds;
mod store;
mod wire;
pub mod world;

/// Takes octets, and panics if something does not hold.
pub type Target = fn(&[u8]);

/// All targets by name.
pub const TARGETS: [(&str, Target); 8] = [
    ("create", create::run),
    ("calls", calls::run),
    ("wire", wire::run),
    ("store", store::run),
    ("kernel", kernel::run),
    ("responder", responder::run),
    ("doctor", doctor::run),
    ("c", c::run),
];

/// The target with this name.
pub fn target(name: &str) -> Option<Target> {
    TARGETS.iter().find(|(known, _)| *known == name).map(|(_, target)| *target)
}
