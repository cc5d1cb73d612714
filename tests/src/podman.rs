//! Podman of Debian 12 inside a sandbox, with CNI as its network back end and nothing of its own on the host: it was
//! unpacked by `scripts/install test`.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::process::{Background, Finished, run_ok};
use crate::sandbox::built_hcnd;

/// Longer than starting a container takes.
const DEADLINE: Duration = Duration::from_secs(60);

/// A podman with configuration, storage and state in a folder.
#[derive(Debug)]
pub struct Podman {
    folder: TempDir,
    /// Where it was unpacked.
    programs: PathBuf,
}

impl Podman {
    /// Sets one up with these networks.
    #[must_use]
    pub fn new(networks: &[Value]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let target = built_hcnd().parent().and_then(Path::parent).unwrap().to_owned();
        let programs = target.join("tools/podman");
        assert!(programs.join("usr/bin/podman").exists(), "no podman: run scripts/install test first");
        let podman = Self { folder, programs };
        podman.configure(networks);
        podman.root();
        // What is remembered of results would be the host's file otherwise.
        run_ok(&["mount", "-t", "tmpfs", "tmpfs", "/var/lib"]);
        // The runtime refuses to start where both versions of control groups are.
        run_ok(&["unshare", "--cgroup", "mount", "-t", "cgroup2", "cgroup2", "/sys/fs/cgroup"]);
        podman
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn configure(&self, networks: &[Value]) {
        let own = self.folder.path().display();
        let (programs, plugins) = (self.programs.display(), built_hcnd());
        let plugins = plugins.parent().unwrap().display();
        let containers = format!(
            r#"[network]
network_backend = "cni"
cni_plugin_dirs = ["{plugins}"]
network_config_dir = "{own}/net.d"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
lock_type = "file"
runtime = "crun"
conmon_path = ["{programs}/usr/bin/conmon"]
tmp_dir = "{own}/run"
[engine.runtimes]
crun = ["{own}/crun"]
"#
        );
        let storage =
            format!("[storage]\ndriver = \"vfs\"\ngraphroot = \"{own}/graph\"\nrunroot = \"{own}/run\"\n");
        // What watches containers starts the runtime with an environment of its own.
        let libraries = self.libraries();
        let crun = format!("#!/bin/sh\nLD_LIBRARY_PATH={libraries} exec {programs}/usr/bin/crun \"$@\"\n");
        for (name, text) in [("containers.conf", containers), ("storage.conf", storage), ("crun", crun)] {
            fs::write(self.path(name), text).unwrap();
        }
        fs::set_permissions(self.path("crun"), Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(self.path("net.d")).unwrap();
        for (index, network) in networks.iter().enumerate() {
            fs::write(self.path(&format!("net.d/{index}.conflist")), network.to_string()).unwrap();
        }
    }

    fn libraries(&self) -> String {
        let folders = ["usr/lib", "lib"].map(|folder| self.programs.join(folder).join("x86_64-linux-gnu"));
        folders.map(|folder| folder.display().to_string()).join(":")
    }

    /// The root folder of containers: busybox, and a page for its web server.
    fn root(&self) {
        let root = self.path("root");
        for folder in ["bin", "dev", "etc", "proc", "run", "sys", "tmp", "www"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        fs::copy(self.programs.join("bin/busybox"), root.join("bin/busybox")).unwrap();
        for applet in ["cat", "httpd", "ip", "mv", "nslookup", "sh", "sleep", "wget"] {
            symlink("busybox", root.join("bin").join(applet)).unwrap();
        }
        fs::write(root.join("www/index.html"), "a page of a container\n").unwrap();
    }

    /// A file of the root folder, if it is there.
    #[must_use]
    pub fn file(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.path("root").join(path)).ok()
    }

    /// Runs podman, whatever comes of it.
    #[must_use]
    pub fn call(&self, arguments: &[&str]) -> Finished {
        let mut command = Command::new(self.programs.join("usr/bin/podman"));
        command.args(arguments).stdin(Stdio::null()).env("HOME", self.folder.path());
        command.env("CONTAINERS_CONF", self.path("containers.conf"));
        command.env("CONTAINERS_STORAGE_CONF", self.path("storage.conf"));
        command.env("LD_LIBRARY_PATH", self.libraries()).env("TMPDIR", self.folder.path());
        Background::start(&mut command).wait(DEADLINE)
    }

    /// Runs podman, which must succeed, and returns what it wrote to stdout.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let ended = self.call(arguments);
        assert_eq!(ended.code, Some(0), "{ended}");
        ended.stdout
    }

    /// `podman run` with these options and a command of busybox.
    pub fn run(&self, options: &[&str], command: &[&str]) -> String {
        let root = self.path("root");
        let fixed = ["--cgroups=disabled", "--log-driver", "none", "--rootfs", root.to_str().unwrap()];
        self.ok(&[&["run"], options, &fixed, command].concat())
    }
}
