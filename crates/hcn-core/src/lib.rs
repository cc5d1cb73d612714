//! The HCN service as a pure state machine.
//!
//! [`Engine`] takes calls and completions and answers with [`Action`]s; it does no I/O, reads no clock and
//! draws no random numbers: those come in with the [`Context`] of each call. The way of a changing call:
//!
//! 1. [`decide`]: document + [`Registry`] + host facts → a [`Change`] of records, or an error;
//! 2. [`compile`]: the kernel objects that the records meant before and mean after;
//! 3. the difference is a [`Plan`](hcn_dataplane::Plan) that the data plane carries out while the records
//!    stay reserved;
//! 4. on success the change is published, on failure it is dropped.
//!
//! Reading calls ([`read`]) look at the published registry only, so that nothing unfinished is ever seen.

pub mod compile;
pub mod decide;
pub mod doctor;
mod engine;
mod entity;
mod lists;
mod names;
pub mod pools;
pub mod read;
mod registry;
pub mod restore;
mod text;
mod turns;
pub mod v1;

pub use decide::{Context, L2BridgeBy, Settings, TransparentBy, named_links, named_netns, needs_host};
pub use engine::{Action, Engine, Failure, Job, Ticket};
pub use entity::{
    BalancedPort, Change, Endpoint, Entity, EntityKey, GuestNetworkService, Junction, LoadBalancer, Meta,
    Namespace, Network, PORTS_OF_A_BRIDGE, Place, PortMapping, PortReservation, RemoteSubnet, Resource,
    Route, RoutingTable, SdnRoute, Step, Subnet, Tunnel, Uplink, VmPort,
};
pub use registry::{Registry, Table};
pub use turns::CallId;
