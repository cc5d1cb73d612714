//! Plans carried out: operations become messages, messages to the same socket travel together, and what failed
//! half-way is taken back.
//!
//! Messages wait in one queue per socket and are sent when an answer is needed, when an order between sockets
//! matters, or at the end. The kernel goes on after a refused message, so every operation that changed anything
//! is noted, whether it comes before or after the one that failed.

mod back;
mod claim;
mod create;
mod enslave;
mod filters;
mod guard;
mod origins;
mod outside;
mod overlay;
mod ports;
mod preserving;
mod queues;
mod remove;
mod responders;
mod rooms;
mod shaping;
mod steering;
mod straighten;
mod translation;

pub(crate) use back::take_back;
pub(crate) use enslave::give_back;
pub(crate) use filters::{Filtering, has_bridge_netfilter, netns_of};
pub(crate) use overlay::{NeighbourKey, WayKey, route_to};
pub(crate) use queues::Place;
use queues::{Queue, Tag};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::io;

use hcn_dataplane::{Key, LinkId, Object, Op, OpError};
use netlink_packet_route::RouteNetlinkMessage;

use crate::conntrack::Stale;
use crate::link::{self, LinkFacts};
use crate::socket::Batch;
use crate::{Linux, Retired, error};

/// The indexes of a veth pair.
struct Pair {
    host: u32,
    /// Unknown if it was gone when it was looked for.
    peer: Option<(Place, u32)>,
}

/// Why an object goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Away {
    /// Making it is taken back.
    TakenBack,
    /// It is removed, and may be brought back.
    Removed {
        /// It goes with a parent that a later operation removes.
        implied: bool,
    },
}

/// The operation cannot go on; why is noted.
struct Stop;

/// A plan under way, forward or back.
struct Run<'a> {
    linux: &'a mut Linux,
    ops: &'a [Op],
    back: bool,
    queues: Vec<Queue>,
    /// Which operations changed something.
    touched: Vec<bool>,
    /// The first error of each operation.
    errors: BTreeMap<usize, OpError>,
    /// Operations that met something that was gone already.
    missed: BTreeSet<usize>,
    /// The last answer to a question of each operation.
    answers: HashMap<usize, LinkFacts>,
    /// Links of created objects that are taken back, to be released at the end.
    doomed: Vec<u32>,
    /// Links that were brought back, by operation: if that failed they are given up.
    restored: Vec<(usize, u32)>,
    /// Flows that the operations leave on a way that is no longer theirs.
    stale: Vec<Stale>,
    /// What is sent once nothing else is left to be.
    last: Vec<(usize, RouteNetlinkMessage)>,
}

/// Carries operations out until one fails. Gives, for each operation that was begun, whether it changed
/// anything; and the first failure.
pub(crate) fn forward(linux: &mut Linux, ops: &[Op]) -> (Vec<bool>, Option<(usize, OpError)>) {
    let mut run = Run::new(linux, ops, false);
    let mut next = 0;
    while next < ops.len() {
        match run.step(next) {
            Ok(following) => next = following,
            Err(Stop) => {
                next += run.alike(next);
                break;
            }
        }
    }
    if run.errors.is_empty() {
        run.push_last();
        // What it reports is in `errors`.
        let _ = run.flush(|_| true);
    }
    for queue in std::mem::take(&mut run.queues) {
        run.keep_names(queue, |_| true);
    }
    if run.errors.is_empty() {
        run.drop_stale_flows();
        for op in ops {
            run.linux.half_back.remove(&op.key());
        }
    }
    for op in run.missed.iter().map(|op| &ops[*op]).filter(|op| matches!(op, Op::Remove { .. })) {
        let retired = run.linux.retired.get_mut(&op.key()).and_then(VecDeque::back_mut);
        if let Some(Retired::Link { incomplete, .. }) = retired {
            *incomplete = true;
        }
    }
    let failure = run.errors.pop_first();
    let mut touched = run.touched;
    touched.truncate(next);
    (touched, failure)
}

impl<'a> Run<'a> {
    fn new(linux: &'a mut Linux, ops: &'a [Op], back: bool) -> Self {
        Self {
            linux,
            ops,
            back,
            queues: Vec::new(),
            touched: vec![false; ops.len()],
            errors: BTreeMap::new(),
            missed: BTreeSet::new(),
            answers: HashMap::new(),
            doomed: Vec::new(),
            restored: Vec::new(),
            stale: Vec::new(),
            last: Vec::new(),
        }
    }

    /// Does operation `index`, with those like it that follow, and says which comes next.
    fn step(&mut self, index: usize) -> Result<usize, Stop> {
        let alike = self.alike(index);
        for op in &self.ops[index..index + alike] {
            self.remember(op);
        }
        match &self.ops[index] {
            Op::Create(Object::Bridge(_)) => self.create_bridges(index..index + alike)?,
            Op::Create(Object::Veth(_)) => self.create_veths(index..index + alike)?,
            Op::Create(object) => self.create(index, object)?,
            Op::Change { from, to } => self.change(index, from, to)?,
            Op::Remove { object, implied } => self.remove(index, object, *implied)?,
        }
        Ok(index + alike)
    }

    /// How many operations from `index` on are done together: creating links needs an answer (their indexes),
    /// and several can be asked for at once.
    fn alike(&self, index: usize) -> usize {
        let same = |op: &Op| {
            matches!(
                (&self.ops[index], op),
                (Op::Create(Object::Bridge(_)), Op::Create(Object::Bridge(_)))
                    | (Op::Create(Object::Veth(_)), Op::Create(Object::Veth(_)))
            )
        };
        // The answers of a batch must fit a socket's buffer.
        self.ops[index..].iter().take(16).take_while(|op| same(op)).count().max(1)
    }

    /// Takes operation `index` back.
    fn unstep(&mut self, index: usize) -> Result<(), Stop> {
        match &self.ops[index] {
            Op::Create(object) => self.uncreate(index, object),
            Op::Change { from, to } => self.change(index, to, from),
            Op::Remove { object, .. } => self.restore(index, object),
        }
    }

    /// Notes what can be reached on link after the operation.
    fn remember(&mut self, op: &Op) {
        self.linux.filtering.note(op);
        match op {
            Op::Create(Object::Isolation(isolation)) => {
                self.linux.isolated.insert(isolation.port.clone());
            }
            Op::Remove { object: Object::Isolation(isolation), .. } => {
                self.linux.isolated.remove(&isolation.port);
            }
            Op::Create(Object::Outbound(_) | Object::Diversion(_)) => {
                self.linux.translated.insert(op.key());
            }
            Op::Remove { object: Object::Outbound(_) | Object::Diversion(_), .. } => {
                self.linux.translated.remove(&op.key());
            }
            Op::Create(Object::Interception(interception))
            | Op::Change { to: Object::Interception(interception), .. } => {
                self.linux.intercepted.insert(interception.link.clone(), interception.clone());
            }
            Op::Remove { object: Object::Interception(interception), .. } => {
                self.linux.intercepted.remove(&interception.link);
            }
            Op::Create(Object::Guard(guard)) => {
                self.linux.guarded.insert(guard.port.clone());
            }
            Op::Remove { object: Object::Guard(guard), .. } => {
                self.linux.guarded.remove(&guard.port);
            }
            Op::Create(Object::Preserved(preserved)) => {
                self.linux.preserving.insert(preserved.port.clone());
            }
            Op::Remove { object: Object::Preserved(preserved), .. } => {
                self.linux.preserving.remove(&preserved.port);
            }
            Op::Create(object) => {
                if let Some((link, prefix)) = on_link(object) {
                    self.linux.prefixes.entry(link.clone()).or_default().push(prefix);
                }
            }
            Op::Remove { object, .. } => {
                if let Some((link, prefix)) = on_link(object)
                    && let Some(known) = self.linux.prefixes.get_mut(link)
                {
                    if let Some(position) = known.iter().position(|other| *other == prefix) {
                        known.swap_remove(position);
                    }
                    if known.is_empty() {
                        self.linux.prefixes.remove(link);
                    }
                }
            }
            Op::Change { .. } => {}
        }
    }

    fn forget(&mut self, op: &Op) {
        self.remember(&op.inverse());
    }

    /// Only once the rules are others: a packet in between would make the old flow anew.
    fn drop_stale_flows(&mut self) {
        let stale = std::mem::take(&mut self.stale);
        self.linux.conntrack.drop(&mut self.linux.wire, &stale);
    }

    fn note(&mut self, op: usize, error: OpError) {
        self.errors.entry(op).or_insert(error);
    }

    /// Notes why an operation failed that is not a message.
    fn stop(&mut self, op: usize, error: &io::Error) -> Stop {
        let error = error::failed(&self.words(op), error);
        self.note(op, error);
        Stop
    }

    /// The operation as it is being done.
    fn words(&self, op: usize) -> Op {
        if self.back { self.ops[op].inverse() } else { self.ops[op].clone() }
    }

    /// The index of a link that must be there.
    fn index(&mut self, op: usize, link: &LinkId) -> Result<u32, Stop> {
        if let Some(index) = self.linux.links.get(link) {
            return Ok(*index);
        }
        let place = Place::from(&link.netns);
        match self.look_up(op, &place, &link.name)? {
            Some(facts) => {
                self.linux.links.insert(link.clone(), facts.index);
                Ok(facts.index)
            }
            None => {
                let message = format!("there is no link {link}");
                self.note(op, OpError { errno: Some(libc::ENODEV), message });
                Err(Stop)
            }
        }
    }

    /// Asks the kernel for a link by name: one that hcnd made before it was restarted.
    fn look_up(&mut self, op: usize, place: &Place, name: &str) -> Result<Option<LinkFacts>, Stop> {
        self.flush(|queue| queue.place == *place)?;
        if let Place::Named(netns) = place {
            self.open(op, netns)?;
        }
        self.answers.remove(&op);
        let tag = Tag { op, writes: false, tolerate: &[libc::ENODEV] };
        self.push(place, tag, 0, link::get(name));
        self.flush(|queue| queue.place == *place)?;
        Ok(self.answers.remove(&op))
    }

    /// Makes sure that a namespace is held open.
    fn open(&mut self, op: usize, name: &str) -> Result<(), Stop> {
        if self.linux.namespaces.contains_key(name) {
            return Ok(());
        }
        match self.linux.folder.adopt(name) {
            Ok(handle) => {
                self.linux.namespaces.insert(name.to_owned(), handle);
                Ok(())
            }
            Err(error) => Err(self.stop(op, &error)),
        }
    }

    fn retire(&mut self, key: Key, retired: Retired) {
        self.linux.retired.entry(key).or_default().push_back(retired);
    }

    /// What was retired last under this key.
    fn unretire(&mut self, key: &Key) -> Option<Retired> {
        let queue = self.linux.retired.get_mut(key)?;
        let last = queue.pop_back();
        if queue.is_empty() {
            self.linux.retired.remove(key);
        }
        last
    }
}

/// The prefix that an object lets its link reach without a gateway.
pub(crate) fn on_link(object: &Object) -> Option<(&LinkId, ipnet::IpNet)> {
    match object {
        Object::Address(address) if address.prefix_route => Some((&address.link, address.address.trunc())),
        Object::Route(route) if route.gateway.is_none() => Some((&route.link, route.destination.trunc())),
        _ => None,
    }
}

/// Does something that changes nothing: tests that make messages fail do not mean its messages.
fn quietly<T>(linux: &mut Linux, work: impl FnOnce(&mut Linux) -> T) -> T {
    let fault = linux.wire.fault.take();
    let done = work(linux);
    linux.wire.fault = fault;
    done
}

/// What a link of the host is now.
fn facts_of(linux: &mut Linux, index: u32) -> Option<LinkFacts> {
    let mut batch = Batch::new();
    batch.push((), 0, link::get_index(index));
    let answer = linux.wire.exchange(&linux.host, &mut batch).ok()?.pop()?.ok()??;
    LinkFacts::read(&answer)
}
