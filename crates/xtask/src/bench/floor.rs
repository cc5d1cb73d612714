//! The floor: what the kernel itself charges for what hcnd does, by raw netlink in the fewest batches, on bridges of
//! its own that have as many ports as hcnd's. They are not joined: that costs an attach nothing.

use std::fs::{self, File, OpenOptions};
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;

use anyhow::Context as _;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};

use super::netlink::{Batch, ETH0, LOOPBACK, Port, Route};

const NONE: Option<&str> = None;
const OWN: &str = "/proc/thread-self/ns/net";
/// A shared mount, as hcnd made it: what is mounted here is as dear as what hcnd mounts.
const FOLDER: &str = "/run/netns";
/// Away from the indexes that the kernel gives.
const BRIDGE: u32 = 1_000_000;
const PORTS: u32 = 2_000_000;
/// As many as hcnd puts on one.
const PORTS_OF_A_BRIDGE: usize = 250;
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 201, 0, 1);
const PREFIX: u8 = 16;
/// Link groups.
const LIVING: u32 = 71;
const SET_ASIDE: u32 = 72;

/// How much an attach does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attach {
    /// What carries packets, and nothing else.
    Bare,
    /// Also what hcnd adds for good reasons: an alias, and no IPv6 link-local addresses, which at hundreds of ports
    /// would flood each other.
    Marked,
}

/// A namespace with a name.
pub(super) struct Namespace {
    number: u32,
    path: PathBuf,
    file: File,
    route: Route,
}

/// The bridge and the way to it.
pub(super) struct Floor {
    host: Route,
    home: File,
    last: u32,
    bridges: u32,
    /// Those that stay.
    residents: Vec<Namespace>,
}

impl Floor {
    pub(super) fn new() -> anyhow::Result<Self> {
        let mut host = Route::open().context("cannot open a route socket")?;
        let mut batch = Batch::new();
        batch.new_bridge("floor", BRIDGE, LIVING);
        batch.address(BRIDGE, GATEWAY, PREFIX);
        host.send(&batch).context("cannot make the floor's bridge")?;
        Ok(Self { host, home: File::open(OWN)?, last: 0, bridges: 1, residents: Vec::new() })
    }

    /// The bridge for the endpoint after those that stay.
    fn bridge(&mut self) -> anyhow::Result<u32> {
        let wanted = u32::try_from(self.residents.len() / PORTS_OF_A_BRIDGE)?;
        while self.bridges <= wanted {
            let mut batch = Batch::new();
            batch.new_bridge(&format!("floor-{}", self.bridges), BRIDGE + self.bridges, LIVING);
            self.host.send(&batch).context("cannot make another bridge of the floor")?;
            self.bridges += 1;
        }
        Ok(BRIDGE + wanted)
    }

    /// Attaches until so many endpoints stay.
    pub(super) fn fill(&mut self, size: u32) -> anyhow::Result<()> {
        while self.residents.len() < size as usize {
            let mut namespace = self.new_namespace()?;
            self.attach(&mut namespace, Attach::Marked)?;
            self.residents.push(namespace);
        }
        Ok(())
    }

    pub(super) fn new_namespace(&mut self) -> anyhow::Result<Namespace> {
        self.last += 1;
        let path = PathBuf::from(format!("{FOLDER}/floor{}", self.last));
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .context("cannot make a namespace's file")?;
        unshare(CloneFlags::CLONE_NEWNET).context("cannot make a network namespace")?;
        let file = File::open(OWN)?;
        mount(Some(OWN), &path, NONE, MsFlags::MS_BIND, NONE).context("cannot give a namespace its name")?;
        let route = Route::open()?;
        setns(&self.home, CloneFlags::CLONE_NEWNET).context("cannot return to the host's namespace")?;
        Ok(Namespace { number: self.last, path, file, route })
    }

    pub(super) fn delete_namespace(namespace: Namespace) -> anyhow::Result<()> {
        umount2(&namespace.path, MntFlags::MNT_DETACH).context("cannot unmount a namespace")?;
        fs::remove_file(&namespace.path)?;
        drop(namespace);
        Ok(())
    }

    /// Two batches: one on the host, one in the namespace.
    pub(super) fn attach(&mut self, namespace: &mut Namespace, how: Attach) -> anyhow::Result<()> {
        let name = format!("floor{}", namespace.number);
        let index = port(namespace);
        let [_, a, b, c] = namespace.number.to_be_bytes();
        let mut batch = Batch::new();
        let host_end = Port { name: &name, index, bridge: self.bridge()?, group: LIVING };
        batch.new_veth(&host_end, [2, 0, 0, a, b, c], namespace.file.as_raw_fd());
        if how == Attach::Marked {
            let alias = "hcn endpoint 00000000-0000-4000-8000-000000000000 floor";
            batch.describe(index, Some(alias));
        }
        self.host.send(&batch).context("the floor cannot make a veth pair")?;

        let mut batch = Batch::new();
        batch.up(LOOPBACK);
        if how == Attach::Marked {
            batch.describe(ETH0, None);
        }
        batch.up(ETH0);
        // Used again after 60,000, when those before are long gone.
        let low = (namespace.number % 60_000 + 2).to_be_bytes();
        batch.address(ETH0, Ipv4Addr::new(10, 201, low[2], low[3]), PREFIX);
        batch.default_route(GATEWAY);
        namespace.route.send(&batch).context("the floor cannot set up eth0")
    }

    /// Phase one; nobody hears of the endpoint any more.
    pub(super) fn detach(&mut self, namespace: &Namespace) -> anyhow::Result<()> {
        let mut batch = Batch::new();
        batch.set_aside(port(namespace), SET_ASIDE);
        self.host.send(&batch).context("the floor cannot set a link aside")
    }

    /// Phase two.
    pub(super) fn reap(&mut self) -> anyhow::Result<()> {
        let mut batch = Batch::new();
        batch.delete_group(SET_ASIDE);
        self.host.send(&batch).context("the floor cannot delete links")
    }

    /// Deletes all residents' links and the bridge.
    pub(super) fn delete_all(&mut self) -> anyhow::Result<()> {
        let mut batch = Batch::new();
        batch.delete_group(LIVING);
        self.host.send(&batch).context("the floor cannot delete its links")
    }

    pub(super) fn delete_namespaces(&mut self) -> anyhow::Result<()> {
        self.residents.drain(..).try_for_each(Self::delete_namespace)
    }
}

/// Index of the host end.
fn port(namespace: &Namespace) -> u32 {
    PORTS + namespace.number
}
