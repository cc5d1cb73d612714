//! Changes that others make: they are heard of, seen, and put right by the plan that follows from what was seen.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use common::*;
use hcn_dataplane::{
    Claim, Dataplane as _, Family, Frontend, Joint, LinkId, Netns, Notice, Object, Protocol, Scope, Service,
    Source, State, diff,
};
use hcn_linux::Linux;

/// Longer than word of a change takes.
const SOON: Duration = Duration::from_secs(5);
/// Long enough to be sure that there is none.
const QUIET: Duration = Duration::from_millis(200);
/// After this a link is not new any more.
const SETTLED: Duration = Duration::from_millis(400);
const SECOND: &str = "hcn00000007-1";

/// A network of two bridges with an endpoint in each of two namespaces, an address that two want, and a service.
fn world() -> State {
    let Object::Bridge(first) = bridge() else { panic!("a bridge") };
    let second =
        hcn_dataplane::Bridge { name: SECOND.into(), mac: hcn_dataplane::Mac([2, 0, 0, 0, 9, 9]), ..first };
    let joint = Joint {
        ends: ["hcj00000007".into(), "hck00000007".into()],
        alias: "hcn network 7".into(),
        bridges: [BRIDGE.into(), SECOND.into()],
        mtu: 1500,
        isolated: true,
    };
    let claim = |claimant: &str| {
        let address = "10.7.255.1".parse().unwrap();
        Object::Claim(Claim { link: LinkId::host(BRIDGE), address, claimant: claimant.into() })
    };
    let frontend =
        Frontend { family: Family::V4, address: "10.99.0.1".parse().ok(), protocol: Protocol::Tcp, port: 80 };
    let service = Service {
        frontend,
        backends: vec!["10.7.0.2:80".parse().unwrap()],
        affinity: None,
        terminates: false,
        only_from: Vec::new(),
        from_host: true,
        source: Source::Client,
    };
    [
        network(),
        vec![Object::Bridge(second), Object::Joint(joint), netns("A"), netns("B")],
        endpoint(2, "A"),
        endpoint(3, "B"),
        vec![claim("one"), claim("two"), Object::Service(service)],
    ]
    .concat()
    .into_iter()
    .collect()
}

fn build(wanted: &State) -> Linux {
    let (mut linux, found) = start_with(&State::new());
    done(&mut linux, &diff(&found, wanted));
    linux
}

fn listen(linux: &mut Linux) -> Receiver<Notice> {
    let (tell, told) = channel();
    linux.watch(Box::new(move |notice| drop(tell.send(notice)))).unwrap();
    told
}

/// Everything that was told until it is quiet.
fn heard(told: &Receiver<Notice>, what: &str) -> Notice {
    let mut all = told.recv_timeout(patience(SOON)).unwrap_or_else(|_| panic!("{what}: nothing is heard"));
    while let Ok(more) = told.recv_timeout(QUIET) {
        all.merge(more);
    }
    all
}

#[test]
fn what_others_change_is_heard_of_seen_and_put_right() {
    isolated("what_others_change_is_heard_of_seen_and_put_right", || {
        let wanted = world();
        let mut linux = build(&wanted);
        sh("for n in A B; do while ip -n $n addr show tentative | grep -q inet6; do sleep 0.05; done; done");
        let before = at_rest();
        std::thread::sleep(SETTLED);
        let told = listen(&mut linux);
        let seen = linux.look(&wanted, &Scope::Everything).unwrap();
        assert_eq!(diff(&seen, &wanted).to_string(), "");
        assert_eq!(seen, wanted);
        for damage in [
            "ip link set hve00000002 down",
            "ip link set hve00000002 nomaster",
            "ip link set hve00000002 mtu 1400 alias mine group 7",
            "ip link set hve00000003 down; ip link set hve00000003 name mine; ip link set mine up",
            "bridge link set dev hve00000002 hairpin off",
            "bridge link set dev hve00000002 isolated on",
            "ip link set hve00000003 type bridge_slave learning off flood off",
            "bridge link set dev hcj00000007 isolated off",
            &format!("sysctl -q -w net.ipv4.conf.{BRIDGE}.forwarding=0"),
            "ip link delete hve00000002",
            "ip -n A link delete eth0",
            "ip -n B link set eth0 down",
            "ip -n A link set lo down",
            &format!("ip link set {BRIDGE} down"),
            &format!("ip link delete {BRIDGE}"),
            &format!("ip link delete {SECOND}"),
            "ip link delete hcj00000007",
            "ip link set hck00000007 nomaster",
            "ip -n A address flush dev eth0 scope global",
            "ip -n A route delete default",
            &format!("ip address delete 10.7.255.1/32 dev {BRIDGE}"),
            "sysctl -q -w net.ipv4.ip_forward=0",
            "umount /run/netns/A && rm /run/netns/A",
        ] {
            sh(damage);
            let notice = heard(&told, damage);
            let scope =
                linux.scope(&notice).unwrap_or_else(|| panic!("{damage}: nobody is told: {notice:?}"));
            // With one thing others are gone that are seen when it is back.
            let mut plans = 0;
            loop {
                let seen = linux.look(&wanted, &scope).unwrap();
                let plan = diff(&seen, &wanted);
                if plan.is_empty() {
                    break;
                }
                plans += 1;
                assert!(plans < 4, "{damage}: {plan}");
                done(&mut linux, &plan);
            }
            assert!(plans > 0, "{damage} is not seen in {scope:?}");
            settles_at(&before, damage);
            let whole = linux.look(&wanted, &Scope::Everything).unwrap();
            assert_eq!(diff(&whole, &wanted).to_string(), "", "{damage}");
            // Its own repair is heard of, too.
            while told.recv_timeout(QUIET).is_ok() {}
        }
        // All of it can be taken away as if nothing had been.
        done(&mut linux, &diff(&wanted, &State::new()));
        drop(linux);
        leaves_nothing();
    });
}

#[test]
fn what_hcnd_does_itself_is_no_news() {
    isolated("what_hcnd_does_itself_is_no_news", || {
        let wanted = world();
        let mut linux = build(&wanted);
        let told = listen(&mut linux);
        let more: State = [vec![netns("C")], endpoint(4, "C")].concat().into_iter().collect();
        done(&mut linux, &diff(&State::new(), &more));
        std::thread::sleep(QUIET * 3);
        let after_attach: Vec<Notice> = told.try_iter().collect();
        assert!(after_attach.iter().all(|notice| !notice.host), "{after_attach:?}");
        done(&mut linux, &diff(&more, &State::new()));
        std::thread::sleep(QUIET * 3);
        let after_detach: Vec<Notice> = told.try_iter().collect();
        assert!(after_detach.iter().all(|notice| !notice.host), "{after_detach:?}");
        // Nor is what others do with things of their own.
        sh(
            "ip link add own type bridge && ip link set own up && ip address add 10.200.0.1/24 dev own && ip link delete own",
        );
        sh("ip netns add other && ip link add o0 type veth peer o1 netns other && ip link delete o0");
        std::thread::sleep(QUIET * 3);
        let places: Vec<Scope> = told.try_iter().filter_map(|notice| linux.scope(&notice)).collect();
        assert_eq!(places, []);
    });
}

#[test]
fn rules_that_are_not_owned_are_restored() {
    isolated("rules_that_are_not_owned_are_restored", || {
        let wanted = world();
        let mut linux = Linux::start(config()).unwrap();
        linux.share_tables();
        let found = linux.adopt(&State::new()).unwrap();
        done(&mut linux, &diff(&found, &wanted));
        let before = sh("nft list ruleset");
        let told = listen(&mut linux);
        for damage in [
            "nft flush ruleset",
            "nft delete table inet hcnd",
            "nft flush chain inet hcnd postrouting",
            "nft delete element inet hcnd masquerade4 '{ 10.7.0.0/16 }' || nft flush set inet hcnd slots4 || nft flush map inet hcnd slots4",
        ] {
            sh(damage);
            assert_ne!(sh("nft list ruleset"), before, "{damage}");
            assert!(heard(&told, damage).rules, "{damage}");
            assert!(linux.restore_rules(&wanted).unwrap());
            assert_eq!(sh("nft list ruleset"), before, "{damage}");
            std::thread::sleep(QUIET);
            let own: Vec<Notice> = told.try_iter().collect();
            assert!(own.iter().all(|notice| !notice.rules), "{damage}: {own:?}");
        }
        // Others' tables are theirs.
        sh("nft add table inet other && nft delete table inet other");
        assert!(told.recv_timeout(QUIET).is_err());
        // And where they are owned nobody else can touch them. Kernels before 6.9 keep no table for an owner that is gone.
        drop(linux);
        let (mut linux, _) = start_with(&wanted);
        let owned = hcn_linux::features().has("nftables table persist");
        assert_eq!(linux.restore_rules(&wanted).unwrap(), !owned);
        drop(linux);
    });
}

#[test]
fn when_word_is_lost_everything_is_looked_at() {
    isolated("when_word_is_lost_everything_is_looked_at", || {
        let mut linux = build(&world());
        let (tell, told) = channel();
        let (go_on, wait) = channel::<()>();
        // What changes of a new link at once is hcnd's doing.
        std::thread::sleep(SETTLED);
        linux
            .watch(Box::new(move |notice| {
                let _ = tell.send(notice);
                let _ = wait.recv();
            }))
            .unwrap();
        sh(&format!("ip link set {BRIDGE} mtu 1400"));
        assert!(told.recv_timeout(patience(SOON)).unwrap().host);
        // Nobody reads while more is told than fits.
        sh(
            "ip link add own type bridge && yes 'link set own up\nlink set own down' | head -16000 > /run/batch && ip -batch /run/batch",
        );
        drop(go_on);
        assert!(heard(&told, "loss").lost);
        assert_eq!(linux.scope(&Notice::of_everything()), Some(Scope::Everything));
    });
}

#[test]
fn a_place_is_looked_at_alone() {
    isolated("a_place_is_looked_at_alone", || {
        let wanted = world();
        let mut linux = build(&wanted);
        sh("ip -n A route delete default; ip -n B route delete default");
        let at =
            |names: &[&str]| Scope::Places(names.iter().map(|name| Netns::Named((*name).into())).collect());
        let missing = |linux: &mut Linux, scope: &Scope| {
            diff(&linux.look(&wanted, scope).unwrap(), &wanted).to_string()
        };
        assert_eq!(missing(&mut linux, &Scope::Places([Netns::Host].into())), "");
        assert_eq!(missing(&mut linux, &at(&["A"])).matches("netns A").count(), 1);
        assert!(!missing(&mut linux, &at(&["A"])).contains("netns B"));
        assert_eq!(missing(&mut linux, &at(&["A", "B"])).matches("create route").count(), 2);
        assert_eq!(missing(&mut linux, &at(&["nowhere"])), "");
        drop(linux);
    });
}
