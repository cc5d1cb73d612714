//! Versions of the Host Network Service, and what clients may use with which (contract 5.5).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A version, as `GET /globals/version` gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct HnsVersion {
    /// Decides first.
    pub major: u32,
    /// Decides next.
    pub minor: u32,
}

impl HnsVersion {
    /// Everything that any version has.
    pub const NEWEST: Self = Self::new(16, 0);

    /// A version.
    pub const fn new(major: u32, minor: u32) -> Self {
        Self { major, minor }
    }

    /// Whether a client that is told this version may use a feature.
    pub fn has(self, feature: Feature) -> bool {
        feature.ranges().iter().any(|(first, last)| *first <= self && last.is_none_or(|last| self <= last))
    }
}

impl Default for HnsVersion {
    fn default() -> Self {
        Self::NEWEST
    }
}

impl fmt::Display for HnsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl FromStr for HnsVersion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers =
            text.split_once('.').and_then(|(a, b)| Some(Self::new(a.parse().ok()?, b.parse().ok()?)));
        numbers.ok_or_else(|| format!("{text:?} is not a version of HNS; expected MAJOR.MINOR, as 15.4"))
    }
}

/// From a version on, up to another one or for ever.
type Range = (HnsVersion, Option<HnsVersion>);

/// From a version on.
const fn from(major: u32, minor: u32) -> Range {
    (HnsVersion::new(major, minor), None)
}

/// From a version to the end of its major version.
const fn within(major: u32, minor: u32) -> Range {
    (HnsVersion::new(major, minor), Some(HnsVersion::new(major, u32::MAX)))
}

macro_rules! features {
    ($($(#[$meta:meta])* $name:ident $text:literal [$($range:expr),*];)*) => {
        /// What clients look for in the version before they use it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Feature { $($(#[$meta])* $name,)* }

        impl Feature {
            /// Every feature.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// What clients call it.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The versions that have it.
            fn ranges(self) -> &'static [Range] {
                match self { $(Self::$name => const { &[$($range),*] },)* }
            }
        }
    };
}

features! {
    /// Lists of addresses, ranges of ports, identifiers and host rules with priorities in ACLs.
    AclLists "AclAddressLists" [from(7, 2)];
    /// Documents of schema version 2.
    V2 "API.V2" [from(9, 2)];
    /// The network policy RemoteSubnetRoute.
    RemoteSubnet "RemoteSubnet" [from(9, 2)];
    /// The network policy HostRoute.
    HostRoute "HostRoute" [from(9, 2)];
    /// Load balancers that return directly.
    Dsr "DSR" [within(9, 3), from(10, 2)];
    /// Endpoints with a prefix of one address.
    Slash32EndpointPrefixes "Slash32EndpointPrefixes" [within(9, 3), from(10, 4)];
    /// ACLs about encapsulated packets.
    AclSupportForProtocol252 "AclSupportForProtocol252" [from(11, 0)];
    /// Load balancers that keep a client at its back end.
    SessionAffinity "SessionAffinity" [from(12, 0)];
    /// IPv6 beside IPv4.
    Ipv6DualStack "IPv6DualStack" [from(11, 10)];
    /// The network policy SetPolicy.
    SetPolicy "SetPolicy" [from(13, 0)];
    /// The network policy VxlanPort.
    VxlanPort "VxlanPort" [from(10, 3)];
    /// The policy L4Proxy.
    L4Proxy "L4Proxy" [within(9, 5), within(10, 5), within(11, 11), within(12, 1), from(13, 1)];
    /// The endpoint policy L4WFPPROXY.
    L4WfpProxy "L4WfpProxy" [from(13, 2)];
    /// The endpoint policy TierAcl.
    TierAcl "TierAcl" [from(14, 0)];
    /// The network policy NetworkACL.
    NetworkAcl "NetworkACL" [from(15, 0)];
    /// Sets of sets.
    NestedIpSet "NestedIpSet" [from(15, 0)];
    /// The network flag DisableHostPort.
    DisableHostPort "DisableHostPort" [from(15, 1)];
    /// Modify of a load balancer. Below 15.5 it is accepted without changing the back ends, so clients do not agree
    /// on 15.4.
    ModifyLoadbalancer "ModifyLoadbalancer" [from(15, 4)];
    /// The list of MAC addresses of `/accelnet/`.
    Accelnet "Accelnet" [from(15, 4)];
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(version: &str, feature: Feature) -> bool {
        version.parse::<HnsVersion>().unwrap().has(feature)
    }

    #[test]
    fn ranges_end_with_their_major_version() {
        for (version, expected) in
            [("9.2", false), ("9.3", true), ("9.9", true), ("10.1", false), ("10.2", true), ("16.0", true)]
        {
            assert_eq!(has(version, Feature::Dsr), expected, "{version}");
        }
        for (version, expected) in [
            ("9.5", true),
            ("10.4", false),
            ("11.11", true),
            ("12.0", false),
            ("13.0", false),
            ("13.1", true),
        ] {
            assert_eq!(has(version, Feature::L4Proxy), expected, "{version}");
        }
    }

    #[test]
    fn the_newest_version_has_everything_and_the_first_nothing() {
        for feature in Feature::ALL {
            assert!(HnsVersion::NEWEST.has(*feature), "{}", feature.name());
            assert!(!HnsVersion::new(7, 0).has(*feature), "{}", feature.name());
        }
    }

    #[test]
    fn a_version_is_written_as_two_numbers() {
        assert_eq!("15.4".parse(), Ok(HnsVersion::new(15, 4)));
        assert_eq!(HnsVersion::new(9, 2).to_string(), "9.2");
        for text in ["", "15", "15.", ".4", "15.4.1", "a.b", "-1.0"] {
            assert!(text.parse::<HnsVersion>().is_err(), "{text}");
        }
    }
}
