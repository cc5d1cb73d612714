//! Kernel objects as data.
//!
//! This crate says *what* the kernel should hold, never how it gets there: an [`Object`] is a bridge, a veth
//! pair, an address, a route …; a set of them is a [`State`]; [`diff`] turns two states into a [`Plan`], an
//! ordered list of operations; a [`Dataplane`] carries a plan out. It knows neither HCN documents nor entities.
//!
//! Two backends live here because tests need them: [`Fake`], a model of the kernel that refuses what the
//! kernel would refuse, and [`Chaos`], which makes any backend fail at a chosen operation.

mod backend;
mod chaos;
mod fake;
mod notice;
mod object;
mod plan;
mod state;
mod survey;

pub use backend::{
    Applied, ApplyError, Counters, Dataplane, HostAddress, HostFacts, HostLink, Kernel, NetnsFacts, OpError,
    UndoError,
};
pub use chaos::Chaos;
pub use fake::Fake;
pub use notice::{Notice, Notify, Scope};
pub use object::{
    Address, AddressSet, Addresses, Affinity, Annex, Barrier, Bridge, Claim, Diversion, DiversionRule,
    Enslaved, Exceptions, Existing, Family, FdbEntry, Filter, FilterRule, Forwarding, Frontend, Guard,
    HeldPort, Home, Hop, HostRoute, HostSide, Interception, InterceptionRule, Isolation, Joint, Key, Lease,
    LinkId, Mac, Masquerade, Neighbour, Netns, NetnsFile, Object, Origin, Outbound, OutboundRule, Ports,
    Preserved, PreservedFront, Protocol, ProxyNeighbour, ReservedPorts, Resolver, Responder, Route, Sender,
    Service, Shaper, Sharing, Site, Source, Steering, Sublink, Tap, Tier, Verdict, Veth, Vlan, Vxlan, Ways,
};
pub use plan::{Op, Plan, diff};
pub use state::State;
pub use survey::{BaseChain, Rules, SeenLink, SeenNetns, SeenRoute, Survey, Use};
