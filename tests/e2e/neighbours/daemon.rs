//! firewalld itself, as Debian has it, beside a running hcnd: on a bus of its own, with its configuration in a folder of its
//! own. `scripts/install test` unpacks it.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use hcn_tests::run;
use hcn_tests::traffic::ask_tcp;
use hcn_tests::{Background, Sandbox, eventually, in_sandbox, run_ok};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::{OUTSIDE, World};

/// Where it is unpacked.
const UNPACKED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/tools/firewalld");

const BUS: &str = r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
  "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path=SOCKET</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*"/>
    <allow receive_sender="*"/>
    <allow own="*"/>
    <allow user="*"/>
  </policy>
</busconfig>
"#;

/// firewalld and its bus; both end with this.
struct Firewalld {
    daemon: Background,
    _bus: Background,
    address: String,
    _folder: TempDir,
}

impl Firewalld {
    /// With the configuration that it comes with.
    fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let [socket, bus, own, log] =
            ["bus", "bus.conf", "firewalld", "log"].map(|name| folder.path().join(name));
        fs::write(&bus, BUS.replace("SOCKET", socket.to_str().unwrap())).unwrap();
        fs::create_dir(&own).unwrap();
        let there = Path::new(UNPACKED);
        let original = there.join("etc/firewalld/firewalld.conf");
        fs::copy(original, own.join("firewalld.conf")).expect("scripts/install test has unpacked firewalld");
        let mut command = Command::new("dbus-daemon");
        let bus = Background::start(command.arg("--config-file").arg(&bus).args(["--nofork", "--nopidfile"]));
        eventually("the bus is there", || socket.exists());
        let address = format!("unix:path={}", socket.to_str().unwrap());
        let mut command = Command::new(there.join("usr/sbin/firewalld"));
        command.args(["--nofork", "--nopid", "--system-config"]).arg(&own).arg("--log-file").arg(&log);
        command.arg("--default-config").arg(there.join("usr/lib/firewalld"));
        let daemon = Background::start(command.env("DBUS_SYSTEM_BUS_ADDRESS", &address));
        let firewalld = Self { daemon, _bus: bus, address, _folder: folder };
        eventually("firewalld runs", || run(&firewalld.command("firewall-cmd --state")).code == Some(0));
        firewalld
    }

    /// A command line that talks to it.
    fn command(&self, line: &str) -> Vec<String> {
        let bus = format!("DBUS_SYSTEM_BUS_ADDRESS={}", self.address);
        let line = line.replace("firewall-cmd", &format!("{UNPACKED}/usr/bin/firewall-cmd"));
        ["env", &bus, "sh", "-c", &line].map(str::to_owned).into()
    }

    fn tell(&self, line: &str) {
        run_ok(&self.command(line));
    }

    fn end(mut self) {
        self.daemon.signal(Signal::SIGTERM);
        self.daemon.wait(Duration::from_secs(10));
    }
}

/// hcnd's tables, each rule with the handle that it got when it was made.
fn own_tables() -> Vec<String> {
    let tables = run_ok(&["nft", "list", "tables"]);
    let own =
        tables.lines().filter(|line| line.split(' ').nth(2).is_some_and(|name| name.starts_with("hcnd")));
    own.map(|table| run_ok(&["sh", "-c", &format!("nft -s -a list {table}")])).collect()
}

fn has_theirs() -> bool {
    run(&["nft", "list", "table", "inet", "firewalld"]).code == Some(0)
}

#[test]
fn firewalld_starts_reloads_and_ends_beside_a_running_hcnd() {
    in_sandbox!(Sandbox::new(), {
        let mut world = World::new();
        let own = own_tables();
        assert!(!own.is_empty());
        let firewalld = Firewalld::start();
        assert!(has_theirs());

        // In the zone that everything is in by default nothing is forwarded, and the doctor says whose rule it is.
        let is_blocked = |world: &mut World| {
            ask_tcp(&world.a.namespace, OUTSIDE[0]).unwrap_err();
            let ills = world.client.ills();
            let named = ills.iter().any(|finding| {
                finding.subject.starts_with("table inet firewalld chain ") && finding.severity == "error"
            });
            let all_theirs = ills.iter().all(|finding| finding.subject.contains("inet firewalld"));
            assert!(named && all_theirs, "{ills:#?}");
            ills
        };
        is_blocked(&mut world);
        firewalld.tell("firewall-cmd --reload");
        let ills = is_blocked(&mut world);
        assert_eq!(own_tables(), own, "after a reload");

        // What the doctor says is right, and lasts.
        let trusts =
            |bridge: &String| format!("firewall-cmd --permanent --zone=trusted --add-interface={bridge}");
        let first = trusts(&world.bridges[0]);
        assert!(ills.iter().all(|finding| finding.remedy.contains(&first)), "{ills:#?}");
        let mut commands: Vec<String> = world.bridges.iter().map(trusts).collect();
        commands.push("firewall-cmd --reload".to_owned());
        firewalld.tell(&commands.join(" && "));
        world.works("as the doctor said");
        assert_eq!(world.client.ills(), []);
        firewalld.tell("firewall-cmd --reload");
        world.works("after another reload");
        assert_eq!(world.client.ills(), []);
        assert_eq!(own_tables(), own, "after another reload");

        firewalld.end();
        assert!(!has_theirs());
        assert_eq!(own_tables(), own, "after its end");
        world.works("after its end");
        assert_eq!(world.client.ills(), []);
    });
}
