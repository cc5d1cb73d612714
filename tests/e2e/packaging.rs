//! Do the files that other programs read say what is true of this repository?
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what fails must fail the test")]

use std::fs;
use std::path::Path;

fn read(path: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// The values of a setting in a unit file.
fn settings<'a>(unit: &'a str, name: &str) -> Vec<&'a str> {
    unit.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('=')).collect()
}

#[test]
fn the_service_is_watched_started_again_and_shares_the_hosts_mounts() {
    let unit = read("hcnd/systemd/hcnd.service");
    assert_eq!(settings(&unit, "Type"), ["notify"]);
    assert_eq!(settings(&unit, "Restart"), ["always"]);
    assert_eq!(settings(&unit, "StartLimitIntervalSec"), ["0"]);
    assert_eq!(settings(&unit, "WatchdogSec"), ["30"]);
    assert_eq!(settings(&unit, "RuntimeDirectory"), ["hcnd"]);
    // Otherwise the socket would go with the service, and callers be refused while it starts again.
    assert_eq!(settings(&unit, "RuntimeDirectoryPreserve"), ["yes"]);
    assert_eq!(settings(&unit, "StateDirectory"), ["hcnd"]);
    assert_eq!(settings(&unit, "ExecStart"), ["/usr/bin/hcnd"]);
    // Each of these gives the service a mount namespace, and network namespaces would be named there only.
    let own_mounts = [
        "ProtectSystem",
        "ProtectHome",
        "ProtectKernelTunables",
        "ProtectKernelModules",
        "ProtectKernelLogs",
        "ProtectControlGroups",
        "ProtectProc",
        "ProcSubset",
        "PrivateTmp",
        "PrivateDevices",
        "PrivateMounts",
        "PrivateUsers",
        "PrivateNetwork",
        "ReadWritePaths",
        "ReadOnlyPaths",
        "InaccessiblePaths",
        "ExecPaths",
        "NoExecPaths",
        "BindPaths",
        "BindReadOnlyPaths",
        "TemporaryFileSystem",
        "RootDirectory",
        "RootImage",
        "DynamicUser",
        "MountFlags",
        "MountAPIVFS",
        "MountImages",
        "ExtensionImages",
        "ExtensionDirectories",
        "PrivateIPC",
        "IPCNamespacePath",
        "NetworkNamespacePath",
        "ProtectHostname",
        "LogNamespace",
        "LoadCredential",
        "LoadCredentialEncrypted",
        "SetCredential",
        "SetCredentialEncrypted",
        "ImportCredential",
    ];
    for option in own_mounts {
        assert_eq!(settings(&unit, option), [""; 0], "{option}");
    }
    let defaults = hcnd::config::Config::default();
    assert_eq!(defaults.paths.store.parent().unwrap(), Path::new("/var/lib/hcnd"));
    let socket = read("hcnd/systemd/hcnd.socket");
    assert_eq!(settings(&socket, "ListenStream"), [defaults.socket.to_str().unwrap()]);
    let hns = read("hcnd/systemd/hcnd-hns.socket");
    assert_eq!(settings(&hns, "ListenStream"), [defaults.hns_socket().unwrap().to_str().unwrap()]);
    assert_eq!(settings(&hns, "FileDescriptorName"), ["hns"]);
    assert_eq!(settings(&hns, "Service"), ["hcnd.service"]);
    for socket in [&socket, &hns] {
        assert_eq!(settings(socket, "SocketMode"), ["0666"]);
        assert_eq!(settings(socket, "DirectoryMode"), ["0755"]);
    }
    for order in ["Wants", "After"] {
        let sockets: Vec<&str> = settings(&unit, order).iter().flat_map(|units| units.split(' ')).collect();
        assert!(["hcnd.socket", "hcnd-hns.socket"].iter().all(|socket| sockets.contains(socket)), "{order}");
    }
    let groups = read("hcnd/systemd/hcnd.sysusers");
    let groups: Vec<&str> = groups.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(groups, ["g hcn -", "g hcn-read -"]);
}

#[test]
fn the_image_is_built_by_the_toolchain_of_this_repository_from_what_is_in_it() {
    let image = read("Dockerfile");
    let toolchain = read("rust-toolchain.toml");
    let channel =
        toolchain.lines().find_map(|line| line.strip_prefix("channel = ")).unwrap().trim_matches('"');
    assert!(image.contains(&format!("FROM rust:{channel}-bookworm AS build\n")), "{image}");
    for (package, manifest) in [
        ("hcnd", "hcnd/Cargo.toml"),
        ("hcnctl", "crates/hcnctl/Cargo.toml"),
        ("hcn-cni", "crates/hcn-cni/Cargo.toml"),
    ] {
        assert!(read(manifest).contains(&format!("name = \"{package}\"\n")), "{manifest}");
        assert!(image.contains(&format!(" -p {package}")), "{image}");
        assert!(image.contains(&format!("/src/target/release/{package} ")), "{image}");
    }
}
