//! What answers on the bridges of networks: DHCP for the endpoints that are there, and DNS for their names.
//!
//! There is no pool: an address is given to whom the records have it for (a [`Lease`](hcn_dataplane::Lease)), and names
//! are those of endpoints. `dhcp` and `dns` know the protocols and do no I/O; `server` has the sockets, all of them on
//! one thread; [`Responders`] is how that thread is told what to do.

mod book;
mod dhcp;
mod dns;
#[doc(hidden)]
pub mod fuzzing;
mod server;

pub use server::{Failure, Responders};
