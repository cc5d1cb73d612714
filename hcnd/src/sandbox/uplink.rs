//! The uplink of a sandbox: eth0 as on a real host, and behind it the namespace `outside`, which plays the rest of
//! the world. Where there are several hosts, each has such an eth0, and `outside` is the segment that joins them.

use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd as _;
use std::thread;

use anyhow::{Context as _, anyhow};
use futures_util::TryStreamExt as _;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use rtnetlink::packet_route::address::AddressHeaderFlags;
use rtnetlink::packet_route::link::{InfoData, InfoVeth};
use rtnetlink::{Handle, LinkBridge, LinkUnspec, LinkVeth, RouteMessageBuilder};

/// Where named network namespaces are, for us and for `ip netns`.
const NETNS_DIR: &str = "/run/netns";
const OUTSIDE_NAME: &str = "outside";
const THIS_NETNS: &str = "/proc/thread-self/ns/net";
const LINK: &str = "eth0";
/// The loopback link has this index in every network namespace.
const LOOPBACK: u32 = 1;
/// Far from the index that eth0 gets on this side: the kernel announces the carrier of a veth at once only if the
/// two ends differ in their index, otherwise up to a second late, and drops packets until then.
const OUTSIDE_INDEX: u32 = 100;

/// One end of an uplink.
#[derive(Clone, Copy)]
struct End {
    mac: [u8; 6],
    v4: Ipv4Addr,
    v6: Ipv6Addr,
}

const V4_PREFIX: u8 = 24;
const V6_PREFIX: u8 = 64;
const OUTSIDE: End = End {
    mac: [0x52, 0x54, 0, 0, 0, 0x01],
    v4: Ipv4Addr::new(203, 0, 113, 1),
    v6: Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 1),
};

/// The uplink of host `node`, from 1. Its addresses end in 10 times the number, written alike in both families.
fn end_of(node: u8) -> End {
    End {
        mac: [0x52, 0x54, 0, 0, 0, node * 10],
        v4: Ipv4Addr::new(203, 0, 113, node * 10),
        v6: Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, u16::from(node) * 0x10),
    }
}

/// The name of the network namespace of host `node`; the first is the sandbox's own.
pub(super) fn name_of(node: u8) -> String {
    format!("node{node}")
}

/// Brings up the loopback link, and if wanted the uplinks of `nodes` hosts.
pub(super) fn set_up(with_uplink: bool, nodes: u8) -> anyhow::Result<()> {
    if !with_uplink {
        return on_netlink(async |netlink| set_link_up(&netlink, LOOPBACK).await)
            .context("cannot set up the links of the sandbox");
    }
    share_netns_dir()?;
    let mut hosts = vec![File::open(THIS_NETNS).context("cannot open the network namespace")?];
    for node in 2..=nodes {
        let name = name_of(node);
        hosts.push(in_new_netns(&name, || File::open(THIS_NETNS).context("cannot open it"))?);
    }
    in_new_netns(OUTSIDE_NAME, || make_outside(&hosts))?;
    set_up_host(1)?;
    for (node, netns) in (1u8..).zip(&hosts).skip(1) {
        inside(netns, move || set_up_host(node))?;
    }
    Ok(())
}

/// The links of host `node`, in its network namespace.
fn set_up_host(node: u8) -> anyhow::Result<()> {
    on_netlink(async |netlink| {
        set_link_up(&netlink, LOOPBACK).await?;
        let index = index_of(&netlink, LINK).await?;
        configure(&netlink, index, &end_of(node)).await?;
        add_default_routes(&netlink, index).await
    })
    .with_context(|| format!("cannot set up the links of {}", name_of(node)))
}

/// Does `work` in a thread in another network namespace: a namespace belongs to the thread that enters it.
fn on_thread<T: Send>(work: impl FnOnce() -> anyhow::Result<T> + Send) -> anyhow::Result<T> {
    thread::scope(|scope| {
        let started = thread::Builder::new().spawn_scoped(scope, work).context("cannot start a thread")?;
        started.join().map_err(|_| anyhow!("a thread that sets up a namespace panicked"))?
    })
}

fn inside<T: Send>(netns: &File, work: impl FnOnce() -> anyhow::Result<T> + Send) -> anyhow::Result<T> {
    on_thread(|| {
        setns(netns, CloneFlags::CLONE_NEWNET).context("cannot enter a network namespace")?;
        work()
    })
}

/// Makes a network namespace with a file, and does `work` in it.
fn in_new_netns<T: Send>(name: &str, work: impl FnOnce() -> anyhow::Result<T> + Send) -> anyhow::Result<T> {
    on_thread(|| {
        unshare(CloneFlags::CLONE_NEWNET).context("cannot make a network namespace")?;
        let path = format!("{NETNS_DIR}/{name}");
        File::create(&path).context("cannot create its file")?;
        mount(Some(THIS_NETNS), path.as_str(), None::<&str>, MsFlags::MS_BIND, None::<&str>)
            .context("cannot bind its file")?;
        work()
    })
    .with_context(|| format!("cannot make the namespace {name}"))
}

/// What `ip netns add` does first, so that the two agree: a mount point that is shared with later namespaces.
fn share_netns_dir() -> anyhow::Result<()> {
    let shared = || -> anyhow::Result<()> {
        fs::create_dir_all(NETNS_DIR)?;
        let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
        mount(Some(NETNS_DIR), NETNS_DIR, None::<&str>, flags, None::<&str>)?;
        let flags = MsFlags::MS_SHARED | MsFlags::MS_REC;
        mount(None::<&str>, NETNS_DIR, None::<&str>, flags, None::<&str>)?;
        Ok(())
    };
    shared().context("cannot prepare /run/netns")
}

/// Makes the ends of the hosts' uplinks: of one host a veth, of several the ports of a bridge, and the others arrive
/// in the hosts' namespaces.
fn make_outside(hosts: &[File]) -> anyhow::Result<()> {
    on_netlink(async |netlink| {
        set_link_up(&netlink, LOOPBACK).await?;
        let several = hosts.len() > 1;
        if several {
            let bridge = LinkBridge::new(LINK).index(OUTSIDE_INDEX).address(OUTSIDE.mac.to_vec()).build();
            netlink.link().add(bridge).execute().await.context("cannot make a bridge")?;
        }
        for (node, host) in (1u8..).zip(hosts) {
            let far_end = LinkUnspec::new_with_name(LINK)
                .address(end_of(node).mac.to_vec())
                .setns_by_fd(host.as_raw_fd())
                .build();
            let peer = InfoData::Veth(InfoVeth::Peer(far_end));
            let veth = if several {
                let name = name_of(node);
                let index = OUTSIDE_INDEX + u32::from(node);
                LinkVeth::new(&name, LINK).index(index).set_info_data(peer).controller(OUTSIDE_INDEX).up()
            } else {
                let near_end = LinkVeth::new(LINK, LINK).index(OUTSIDE_INDEX).set_info_data(peer);
                near_end.address(OUTSIDE.mac.to_vec())
            };
            netlink.link().add(veth.build()).execute().await.context("cannot make a veth")?;
        }
        configure(&netlink, OUTSIDE_INDEX, &OUTSIDE).await
    })
}

/// Addresses before the link is up, so that nobody sees it up without them.
async fn configure(netlink: &Handle, index: u32, end: &End) -> anyhow::Result<()> {
    for (address, prefix) in [(IpAddr::V4(end.v4), V4_PREFIX), (IpAddr::V6(end.v6), V6_PREFIX)] {
        let mut request = netlink.address().add(index, address, prefix);
        if address.is_ipv6() {
            // Without duplicate detection, which would keep the address unusable for a second.
            request.message_mut().header.flags |= AddressHeaderFlags::Nodad;
        }
        request.execute().await.with_context(|| format!("cannot add {address}/{prefix} to {LINK}"))?;
    }
    set_link_up(netlink, index).await
}

async fn add_default_routes(netlink: &Handle, index: u32) -> anyhow::Result<()> {
    let v4 = RouteMessageBuilder::<Ipv4Addr>::new().gateway(OUTSIDE.v4).output_interface(index).build();
    let v6 = RouteMessageBuilder::<Ipv6Addr>::new().gateway(OUTSIDE.v6).output_interface(index).build();
    for route in [v4, v6] {
        netlink.route().add(route).execute().await.context("cannot add a default route")?;
    }
    Ok(())
}

async fn set_link_up(netlink: &Handle, index: u32) -> anyhow::Result<()> {
    let message = LinkUnspec::new_with_index(index).up().build();
    netlink.link().set(message).execute().await.with_context(|| format!("cannot set link {index} up"))
}

async fn index_of(netlink: &Handle, name: &str) -> anyhow::Result<u32> {
    let mut links = netlink.link().get().match_name(name.to_owned()).execute();
    let link = links.try_next().await.with_context(|| format!("cannot look up {name}"))?;
    link.map(|link| link.header.index).ok_or_else(|| anyhow!("there is no link {name}"))
}

/// Runs `work` with a route netlink socket in this thread's network namespace.
fn on_netlink<W>(work: W) -> anyhow::Result<()>
where
    W: AsyncFnOnce(Handle) -> anyhow::Result<()>,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .context("cannot start a runtime for netlink")?;
    runtime.block_on(async {
        let (connection, netlink, _) = rtnetlink::new_connection().context("cannot open a netlink socket")?;
        tokio::spawn(connection);
        work(netlink).await
    })
}
