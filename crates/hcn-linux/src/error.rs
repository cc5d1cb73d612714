//! What can go wrong, in words that say what to do.

use std::io;

use hcn_dataplane::{Home, Key, Masquerade, NetnsFile, Object, Op, OpError};

use crate::socket::Refusal;

/// The data plane could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another one lives in this network namespace, or owns the table `inet hcnd`.
    #[error("another hcnd runs in this network namespace; stop that one first")]
    AnotherRuns,
    /// CAP_NET_ADMIN is missing.
    #[error("managing networks needs CAP_NET_ADMIN: run hcnd as root or grant the capability")]
    NotPermitted,
    /// nftables refused or is absent.
    #[error("cannot {step}")]
    Nftables {
        /// What was attempted.
        step: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// Something else of the system.
    #[error("cannot {step}")]
    System {
        /// What was attempted.
        step: String,
        /// Why it failed.
        source: io::Error,
    },
}

/// Why the kernel refused a message of this operation.
pub(crate) fn refused(op: &Op, refusal: &Refusal) -> OpError {
    let mut message = io::Error::from_raw_os_error(refusal.errno).to_string();
    if let Some(detail) = &refusal.detail {
        message = format!("{message}: {detail}");
    }
    if let Some(hint) = hint(op, refusal.errno) {
        message = format!("{message}; {hint}");
    }
    let errno = match op {
        // So a discipline or a filter is refused that the kernel does not know.
        Op::Create(Object::Shaper(_)) if refusal.errno == libc::ENOENT => libc::EOPNOTSUPP,
        _ => refusal.errno,
    };
    OpError { errno: Some(errno), message }
}

/// Why an operation failed that is not a message.
pub(crate) fn failed(op: &Op, error: &io::Error) -> OpError {
    match error.raw_os_error() {
        Some(errno) => refused(op, &Refusal { errno, detail: None }),
        None => OpError { errno: None, message: error.to_string() },
    }
}

fn hint(op: &Op, errno: i32) -> Option<String> {
    let object = match op {
        Op::Create(object) | Op::Change { to: object, .. } | Op::Remove { object, .. } => object,
    };
    Some(match (errno, object) {
        (libc::EPERM | libc::EACCES, _) => {
            "hcnd needs CAP_NET_ADMIN (and CAP_SYS_ADMIN for namespaces): run it as root".to_owned()
        }
        (libc::EROFS, Object::Forwarding(_)) => {
            "/proc/sys is read-only here; set forwarding on the host before starting hcnd".to_owned()
        }
        (libc::ENOENT, Object::Forwarding(claim)) => {
            format!("this kernel runs without {:?} (IPv6 off by ipv6.disable=1 or not built)", claim.family)
        }
        (libc::EXFULL, Object::Veth(veth)) => {
            format!("bridge {} has the 1023 ports that a bridge can have", veth.bridge)
        }
        (libc::EEXIST, Object::Veth(veth)) => match op.key() {
            Key::Veth(name) => format!(
                "a link {name} on the host, or {}, exists and is not ours to touch; rename or delete it",
                veth.peer
            ),
            _ => return None,
        },
        (libc::EEXIST, Object::Joint(joint)) => {
            format!(
                "a link {} or {} exists and is not ours to touch; rename or delete it",
                joint.ends[0], joint.ends[1]
            )
        }
        (libc::EBUSY | libc::EINVAL, Object::Tap(tap)) if matches!(op, Op::Create(_)) => {
            format!("a link {} exists and is not ours to touch; rename or delete it", tap.name)
        }
        (libc::ENOENT | libc::ENODEV | libc::ENXIO, Object::Tap(_)) if matches!(op, Op::Create(_)) => {
            "this kernel has no TAP interfaces, or /dev/net/tun is missing (tun, CONFIG_TUN)".to_owned()
        }
        (libc::EEXIST, Object::Bridge(bridge)) => {
            format!("a link {} exists and is not ours to touch; rename or delete it", bridge.name)
        }
        (libc::EEXIST, Object::Vxlan(vxlan)) => format!(
            "another link of this host has the VNI {} on UDP port {}, or the name {}; delete it, or choose another VSID or VxlanPort",
            vxlan.vni, vxlan.port, vxlan.name
        ),
        (libc::EADDRINUSE, Object::Vxlan(vxlan)) => {
            format!("UDP port {} is used by a program of the host; choose another VxlanPort", vxlan.port)
        }
        (libc::EOPNOTSUPP, Object::Vxlan(_)) => "the kernel lacks vxlan (CONFIG_VXLAN)".to_owned(),
        (libc::EEXIST, Object::Home(Home { prefix, .. }) | Object::Masquerade(Masquerade { prefix })) => {
            format!("{prefix} overlaps a prefix that is in the table inet hcnd already")
        }
        (libc::ETIMEDOUT, Object::Filter(_) | Object::Interception(_)) => {
            "somebody inside the network namespace changes its rules, and has not come to an end".to_owned()
        }
        (libc::ETIMEDOUT, Object::Netns(NetnsFile { from: Some(existing), .. })) => {
            format!("the file system at {} does not answer", existing.path)
        }
        (libc::EALREADY, Object::Netns(_)) => "it is one of hcnd's namespaces already".to_owned(),
        (libc::ESTALE, Object::Netns(NetnsFile { from: Some(existing), .. })) => {
            format!("at {} is another network namespace than there was", existing.path)
        }
        (libc::EINVAL, Object::Netns(NetnsFile { from: Some(existing), .. })) => {
            format!("{} is no network namespace, or the host's own", existing.path)
        }
        (libc::EEXIST, Object::Netns(netns)) => {
            format!("a file {} exists in the netns folder and is not ours; remove it", netns.name)
        }
        (libc::ENODEV, Object::Veth(veth)) if matches!(op, Op::Create(_)) => {
            format!("bridge {} is gone", veth.bridge)
        }
        (libc::EEXIST, Object::Service(service)) => format!("{} is translated already", service.frontend),
        (libc::EEXIST, Object::Barrier(barrier)) => {
            format!("there is a barrier around {} already", barrier.bridge)
        }
        (libc::EADDRINUSE, Object::HeldPort(port)) => {
            format!("{} port {} is used by a program of the host", port.protocol, port.port)
        }
        (libc::EPROTONOSUPPORT, Object::Service(_)) => {
            "the kernel does not track SCTP (CONFIG_NF_CT_PROTO_SCTP)".to_owned()
        }
        (libc::EAFNOSUPPORT, Object::HeldPort(port)) => {
            format!("this kernel runs without {:?} (IPv6 off by ipv6.disable=1 or not built)", port.family)
        }
        (libc::EOPNOTSUPP, Object::Bridge(_)) => "the kernel lacks bridges (CONFIG_BRIDGE)".to_owned(),
        (libc::EOPNOTSUPP, Object::Veth(_)) => "the kernel lacks veth pairs (CONFIG_VETH)".to_owned(),
        (
            libc::EOPNOTSUPP | libc::ENOENT,
            Object::Home(_)
            | Object::Masquerade(_)
            | Object::Barrier(_)
            | Object::Affinity(_)
            | Object::Service(_),
        ) => "the table inet hcnd is damaged or the kernel lacks its sets; restart hcnd".to_owned(),
        (libc::ENOENT | libc::EOPNOTSUPP, Object::Guard(_)) => {
            "the table bridge hcnd_guard is damaged, or the kernel lacks rules for bridged frames \
             (CONFIG_NF_TABLES_BRIDGE); restart hcnd"
                .to_owned()
        }
        (libc::ENOENT | libc::EOPNOTSUPP, Object::Preserved(_)) => {
            "the table inet or bridge hcnd_dip is damaged, or the kernel lacks rules for bridged frames \
             (CONFIG_NF_TABLES_BRIDGE); restart hcnd"
                .to_owned()
        }
        (libc::EEXIST, Object::Shaper(shaper)) if matches!(op, Op::Create(_)) => {
            format!("a link or a discipline for {} exists and is not ours to touch", shaper.link)
        }
        (libc::ENOENT | libc::EOPNOTSUPP, Object::Shaper(_)) if matches!(op, Op::Create(_)) => {
            "the kernel lacks something of: ifb (CONFIG_IFB), CONFIG_NET_SCH_TBF, CONFIG_NET_SCH_INGRESS, \
             CONFIG_NET_CLS_U32, CONFIG_NET_ACT_MIRRED"
                .to_owned()
        }
        (libc::EMSGSIZE, _) => {
            "too many rules in one transaction: change less at once, or raise net.core.wmem_max".to_owned()
        }
        (libc::EMFILE | libc::ENFILE, _) => {
            "too many open files; raise LimitNOFILE of hcnd (two for each namespace)".to_owned()
        }
        _ => return None,
    })
}
