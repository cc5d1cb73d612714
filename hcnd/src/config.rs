//! Configuration: a TOML file, with the command line on top.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use hcn_core::Settings;
use hcn_schema::hns::HnsVersion;
use serde::{Deserialize, Deserializer};

/// Everything that can be configured. `hcnd --config FILE` reads it from TOML; unknown keys are errors.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The unix socket to listen on.
    pub socket: PathBuf,
    /// Logging.
    pub log: Log,
    /// Bounds on what one client can take.
    pub limits: Limits,
    /// Places in the file system.
    pub paths: Paths,
    /// Who may do what.
    pub access: Access,
    /// Where the metrics are.
    pub metrics: Metrics,
    /// Version 1 of the Host Network Service.
    pub hns: Hns,
    /// How networks use links of the host.
    pub uplinks: Settings,
    /// Users of Linux, by the SIDs that documents have for them.
    pub sids: BTreeMap<String, u32>,
    /// What endpoints may do.
    pub endpoints: Endpoints,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            socket: PathBuf::from("/run/hcnd/hcnd.sock"),
            log: Log::default(),
            limits: Limits::default(),
            paths: Paths::default(),
            access: Access::default(),
            metrics: Metrics::default(),
            hns: Hns::default(),
            uplinks: Settings::default(),
            sids: BTreeMap::new(),
            endpoints: Endpoints::default(),
        }
    }
}

/// What endpoints may do that do not say it themselves.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Endpoints {
    /// Whether they may send in the name of others.
    pub mac_address_spoofing: Switch,
}

/// Something that is on or off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Switch {
    /// It is not.
    #[default]
    Off,
    /// It is.
    On,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Logging.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// Text or JSON.
    pub format: LogFormat,
    /// Which lines: a `tracing` filter such as `info` or `hcnd=debug,hcn_linux=trace`.
    pub filter: String,
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Text, filter: "info".to_owned() }
    }
}

/// Bounds on what one client can take.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Largest message in bytes.
    pub message_bytes: usize,
    /// Deepest nesting of JSON in a message.
    pub nesting: usize,
    /// Open handles of one session.
    pub handles: usize,
    /// Requests in flight of one connection; further ones wait in the socket.
    pub in_flight: usize,
    /// Connections of one user.
    pub connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { message_bytes: 4 << 20, nesting: 128, handles: 65_536, in_flight: 1024, connections: 4096 }
    }
}

/// Places in the file system.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Paths {
    /// Where named network namespaces are, as for `ip netns`.
    pub netns: PathBuf,
    /// Where files of named network namespaces are, as for `ip netns exec`.
    pub netns_etc: PathBuf,
    /// The file that holds the state.
    pub store: PathBuf,
}

impl Default for Paths {
    fn default() -> Self {
        Self {
            netns: PathBuf::from("/run/netns"),
            netns_etc: PathBuf::from("/etc/netns"),
            store: PathBuf::from("/var/lib/hcnd/state.redb"),
        }
    }
}

/// Who may do what, beside root and the user that hcnd runs as, who may do everything.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Access {
    /// Whose members may do everything.
    pub group: GroupName,
    /// Whose members may read.
    pub read_group: GroupName,
}

impl Default for Access {
    fn default() -> Self {
        let named = |name: &str| GroupName::Name(name.to_owned());
        Self { group: named("hcn"), read_group: named("hcn-read") }
    }
}

/// A group of the system; an empty name is none.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "expected the name or the number of a group")]
pub enum GroupName {
    /// By its number, whether it has a name or not.
    Number(u32),
    /// By its name.
    Name(String),
}

/// Where the metrics are, beside the socket.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Metrics {
    /// The address and port of `GET /metrics`; none by default. Whoever reaches it may read.
    pub listen: Option<SocketAddr>,
}

/// Version 1 of the Host Network Service.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Hns {
    /// The unix socket of its HTTP interface; an empty path is none. By default `hns.sock` beside the service's own.
    pub socket: Option<PathBuf>,
    /// The version that callers are served as until they ask for another one.
    #[serde(deserialize_with = "hns_version")]
    pub version: HnsVersion,
}

fn hns_version<'de, D: Deserializer<'de>>(deserializer: D) -> Result<HnsVersion, D::Error> {
    hcn_ipc::hns_version(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

/// What the command line gives; it wins over the file.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// The unix socket to listen on.
    pub socket: Option<PathBuf>,
    /// The file that holds the state.
    pub store: Option<PathBuf>,
    /// The unix socket of HNS version 1.
    pub hns_socket: Option<PathBuf>,
    /// The version of HNS.
    pub hns_version: Option<HnsVersion>,
    /// Folder of named network namespaces.
    pub netns_dir: Option<PathBuf>,
    /// Folder of their configuration.
    pub netns_etc: Option<PathBuf>,
}

impl Config {
    /// Reads the file, or takes the defaults when there is none; what the command line gives wins.
    ///
    /// # Errors
    /// The file cannot be read, or is not a configuration; the error names the file, the line and the key.
    pub fn load(file: Option<&Path>, given: Given) -> anyhow::Result<Self> {
        let mut config = match file {
            Some(file) => {
                let text = std::fs::read_to_string(file)
                    .with_context(|| format!("cannot read the configuration {}", file.display()))?;
                toml::from_str(&text)
                    .with_context(|| format!("cannot use the configuration {}", file.display()))?
            }
            None => Self::default(),
        };
        let Given { socket, store, hns_socket, hns_version, netns_dir, netns_etc } = given;
        config.socket = socket.unwrap_or(config.socket);
        config.paths.store = store.unwrap_or(config.paths.store);
        config.paths.netns = netns_dir.unwrap_or(config.paths.netns);
        config.paths.netns_etc = netns_etc.unwrap_or(config.paths.netns_etc);
        config.hns.socket = hns_socket.or(config.hns.socket);
        config.hns.version = hns_version.unwrap_or(config.hns.version);
        Ok(config)
    }

    /// What decisions depend on.
    pub fn settings(&self) -> Settings {
        let mac_address_spoofing = self.endpoints.mac_address_spoofing == Switch::On;
        Settings { mac_address_spoofing, sids: self.sids.clone(), ..self.uplinks.clone() }
    }

    /// The unix socket of HNS version 1, if there is to be one.
    pub fn hns_socket(&self) -> Option<PathBuf> {
        let path = self.hns.socket.clone().unwrap_or_else(|| self.socket.with_file_name("hns.sock"));
        Some(path).filter(|path| !path.as_os_str().is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_optional_and_unknown_ones_are_errors() {
        let config: Config = toml::from_str("socket = \"/tmp/s\"\n[limits]\nhandles = 5\n").unwrap();
        assert_eq!((config.socket, config.limits.handles), (PathBuf::from("/tmp/s"), 5));
        assert_eq!(config.limits.message_bytes, 4 << 20);
        let error = toml::from_str::<Config>("[limits]\nhandels = 5\n").unwrap_err();
        assert!(error.to_string().contains("handels"), "{error}");
    }

    #[test]
    fn groups_are_names_or_numbers() {
        let config: Config = toml::from_str("[access]\ngroup = 900\nread_group = \"\"\n").unwrap();
        assert_eq!(config.access.group, GroupName::Number(900));
        assert_eq!(config.access.read_group, GroupName::Name(String::new()));
        for wrong in ["-1", "1.5", "[\"hcn\"]", "4294967296"] {
            let error = toml::from_str::<Config>(&format!("[access]\ngroup = {wrong}\n")).unwrap_err();
            assert!(error.to_string().contains("the name or the number of a group"), "{error}");
        }
    }

    #[test]
    fn endpoints_send_in_their_own_name_unless_told_otherwise() {
        assert!(!Config::default().settings().mac_address_spoofing);
        let read = |word: &str| {
            toml::from_str::<Config>(&format!("[endpoints]\nmac_address_spoofing = {word}\n"))
                .map(|config| config.settings().mac_address_spoofing)
        };
        assert_eq!(read("\"on\""), Ok(true));
        assert_eq!(read("\"off\""), Ok(false));
        assert!(read("\"yes\"").unwrap_err().to_string().contains("expected `off` or `on`"));
        assert!(toml::from_str::<Config>("[uplinks]\nmac_address_spoofing = true\n").is_err());
    }

    #[test]
    fn metrics_listen_nowhere_unless_told_to() {
        assert_eq!(Config::default().metrics.listen, None);
        let config: Config = toml::from_str("[metrics]\nlisten = \"127.0.0.1:9470\"\n").unwrap();
        assert_eq!(config.metrics.listen, Some("127.0.0.1:9470".parse().unwrap()));
    }

    #[test]
    fn the_socket_of_version_1_is_beside_the_other_one_elsewhere_or_nowhere() {
        let socket = |text: &str| toml::from_str::<Config>(text).unwrap().hns_socket();
        assert_eq!(socket(""), Some(PathBuf::from("/run/hcnd/hns.sock")));
        assert_eq!(socket("socket = \"/tmp/s\""), Some(PathBuf::from("/tmp/hns.sock")));
        assert_eq!(socket("[hns]\nsocket = \"/tmp/h\""), Some(PathBuf::from("/tmp/h")));
        assert_eq!(socket("[hns]\nsocket = \"\""), None);
    }

    #[test]
    fn the_version_of_hns_is_the_newest_or_an_older_one() {
        assert_eq!(Config::default().hns.version, HnsVersion::NEWEST);
        let version = |text: &str| {
            toml::from_str::<Config>(&format!("[hns]\nversion = {text}\n")).map(|config| config.hns.version)
        };
        assert_eq!(version("\"9.2\""), Ok(HnsVersion::new(9, 2)));
        for (wrong, told) in
            [("\"nine\"", "as 15.4"), ("\"16.1\"", "up to 16.0"), ("9.2", "expected a string")]
        {
            let error = version(wrong).unwrap_err().to_string();
            assert!(error.contains(told) && error.contains("line 2"), "{error}");
        }
    }

    #[test]
    fn the_command_line_wins() {
        let given = Given {
            socket: Some(PathBuf::from("/x")),
            store: Some(PathBuf::from("/y")),
            hns_socket: Some(PathBuf::from("/z")),
            hns_version: Some(HnsVersion::new(9, 2)),
            ..Given::default()
        };
        let config = Config::load(None, given).unwrap();
        assert_eq!(
            (config.hns_socket(), config.hns.version),
            (Some(PathBuf::from("/z")), HnsVersion::new(9, 2))
        );
        assert_eq!((config.socket, config.paths.store), (PathBuf::from("/x"), PathBuf::from("/y")));
    }
}
