//! Enumerations and flag sets of the documents (contract sections 2.5 to 2.14).

use std::fmt;

use serde::de::{Deserializer, Error as _, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// An enumeration of the contract: canonical names and numbers.
pub trait Enumeration: Copy + 'static {
    /// Every value with its canonical name and its number.
    const VALUES: &'static [(Self, &'static str, u64)];

    /// Finds a value by its name, in any case, or by its number written as text.
    fn find(text: &str) -> Option<Self> {
        let number = text.parse::<u64>().ok();
        Self::VALUES
            .iter()
            .find(|(_, name, value)| name.eq_ignore_ascii_case(text) || number == Some(*value))
            .map(|(value, ..)| *value)
    }

    /// The names, for error messages.
    fn names() -> String {
        let names: Vec<&str> = Self::VALUES.iter().map(|(_, name, _)| *name).collect();
        format!("one of {}", names.join(", "))
    }
}

/// A value of an enumeration, or what the client wrote instead. Which code an unknown value gets depends on
/// where it stands, so that is decided later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OneOf<T> {
    /// A value of the contract.
    Known(T),
    /// Anything else, as it was written.
    Unknown(String),
}

impl<T: Enumeration> OneOf<T> {
    /// The known value.
    pub fn known(&self) -> Option<T> {
        match self {
            Self::Known(value) => Some(*value),
            Self::Unknown(_) => None,
        }
    }
}

impl<'de, T: Enumeration> Deserialize<'de> for OneOf<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either<T>(std::marker::PhantomData<T>);
        impl<T: Enumeration> Visitor<'_> for Either<T> {
            type Value = OneOf<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&T::names())
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(T::find(text).map_or_else(|| OneOf::Unknown(text.to_owned()), OneOf::Known))
            }
            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Self::Value, E> {
                self.visit_str(&number.to_string())
            }
        }
        deserializer.deserialize_any(Either(std::marker::PhantomData))
    }
}

impl<T: Enumeration + Serialize> Serialize for OneOf<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Known(value) => value.serialize(serializer),
            Self::Unknown(text) => serializer.serialize_str(text),
        }
    }
}

macro_rules! enumeration {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $number:literal $text:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$vmeta])* #[doc = concat!("`", $text, "`")] $variant,)* }

        impl Enumeration for $name {
            const VALUES: &'static [(Self, &'static str, u64)] = &[$((Self::$variant, $text, $number),)*];
        }

        impl $name {
            /// The canonical name.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.name())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            /// Unlike `OneOf`, an unknown value is an error.
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                match OneOf::<Self>::deserialize(deserializer)? {
                    OneOf::Known(value) => Ok(value),
                    OneOf::Unknown(text) => {
                        Err(D::Error::invalid_value(Unexpected::Str(&text), &Self::names().as_str()))
                    }
                }
            }
        }
    };
}

enumeration! {
    /// NetworkMode (2.5).
    NetworkMode {
        Nat = 0 "NAT",
        Ics = 1 "ICS",
        Transparent = 2 "Transparent",
        L2Bridge = 3 "L2Bridge",
        L2Tunnel = 4 "L2Tunnel",
        Overlay = 5 "Overlay",
        Private = 6 "Private",
        Internal = 7 "Internal",
        Mirrored = 8 "Mirrored",
        Infiniband = 9 "Infiniband",
        ConstrainedIcs = 10 "ConstrainedICS",
    }
}

enumeration! {
    /// IpamType (2.5).
    IpamType {
        Static = 0 "Static",
        Dhcp = 1 "Dhcp",
    }
}

enumeration! {
    /// SubnetPolicyType (2.5).
    SubnetPolicyType {
        Vlan = 0 "VLAN",
        Vsid = 1 "VSID",
    }
}

enumeration! {
    /// NamespaceType (2.7).
    NamespaceType {
        Host = 0 "Host",
        HostDefault = 1 "HostDefault",
        Guest = 2 "Guest",
        GuestDefault = 3 "GuestDefault",
    }
}

enumeration! {
    /// Kinds of namespace resources (2.7).
    NamespaceResourceType {
        Container = 0 "Container",
        Endpoint = 1 "Endpoint",
    }
}

enumeration! {
    /// NetworkPolicyType (2.13).
    NetworkPolicyType {
        SourceMacAddress = 0 "SourceMacAddress",
        NetAdapterName = 1 "NetAdapterName",
        InterfaceConstraint = 2 "InterfaceConstraint",
        VSwitchExtension = 3 "VSwitchExtension",
        ProviderAddress = 4 "ProviderAddress",
        DrMacAddress = 5 "DrMacAddress",
        AutomaticDns = 6 "AutomaticDNS",
        RemoteSubnetRoute = 7 "RemoteSubnetRoute",
        VxlanPort = 8 "VxlanPort",
        HostRoute = 9 "HostRoute",
        SetPolicy = 10 "SetPolicy",
        L4Proxy = 11 "L4Proxy",
        LayerConstraint = 12 "LayerConstraint",
        NetworkAcl = 13 "NetworkACL",
    }
}

enumeration! {
    /// EndpointPolicyType (2.14).
    EndpointPolicyType {
        PortMapping = 0 "PortMapping",
        Acl = 1 "ACL",
        Qos = 2 "QOS",
        L2Driver = 3 "L2Driver",
        OutBoundNat = 4 "OutBoundNAT",
        SdnRoute = 5 "SDNRoute",
        L4Proxy = 6 "L4Proxy",
        L4WfpProxy = 7 "L4WFPPROXY",
        ProviderAddress = 8 "ProviderAddress",
        PortName = 9 "PortName",
        EncapOverhead = 10 "EncapOverhead",
        InterfaceConstraint = 11 "InterfaceConstraint",
        Encryption = 12 "Encryption",
        Vlan = 13 "VLAN",
        InterfaceParameters = 14 "InterfaceParameters",
        Iov = 15 "Iov",
        TierAcl = 16 "TierAcl",
        Firewall = 18 "Firewall",
    }
}

enumeration! {
    /// ProtocolType (2.14): IANA's protocol numbers. Written as a number ([`as_number`]).
    ProtocolType {
        Unknown = 0 "Unknown",
        IcmpV4 = 1 "ICMPv4",
        Igmp = 2 "IGMP",
        Tcp = 6 "TCP",
        Udp = 17 "UDP",
        IcmpV6 = 58 "ICMPv6",
        Sctp = 132 "SCTP",
    }
}

enumeration! {
    /// DistributionType (2.8): what keeps connections of a client at one back end. Written as a number.
    DistributionType {
        None = 0 "None",
        SourceIpProtocol = 1 "SourceIPProtocol",
        SourceIp = 2 "SourceIP",
    }
}

/// Writes a value of an enumeration as its number, as Go clients want it where they declare an integer (2.1).
pub(crate) fn as_number<T: Enumeration + PartialEq, S: Serializer>(
    value: &Option<OneOf<T>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(OneOf::Known(known)) => {
            let number =
                T::VALUES.iter().find(|(value, ..)| value == known).map_or(0, |(.., number)| *number);
            serializer.serialize_u64(number)
        }
        Some(OneOf::Unknown(text)) => serializer.serialize_str(text),
        None => serializer.serialize_none(),
    }
}

enumeration! {
    /// ModifyRequestType (2.12).
    ModifyRequestType {
        Add = 0 "Add",
        Remove = 1 "Remove",
        Update = 2 "Update",
        Refresh = 3 "Refresh",
        Reset = 4 "Reset",
    }
}

enumeration! {
    /// Resources of a network that can be modified (2.12).
    NetworkResourceType {
        Dns = 0 "DNS",
        Extension = 1 "Extension",
        Policy = 2 "Policy",
        Subnet = 3 "Subnet",
        IpSubnet = 4 "IPSubnet",
    }
}

enumeration! {
    /// Resources of an endpoint that can be modified (2.12).
    EndpointResourceType {
        Port = 0 "Port",
        Policy = 1 "Policy",
    }
}

/// A set of flags: accepted as a number, a name or several names; written as a number, because Go clients
/// declare every `Flags` as an unsigned integer.
pub trait FlagSet: Copy + From<u32> + 'static {
    /// Every flag with its name.
    const NAMES: &'static [(&'static str, u32)];
}

fn find_flags<T: FlagSet, E: serde::de::Error>(text: &str) -> Result<u32, E> {
    let mut bits = 0;
    for word in text.split([',', '|']).map(str::trim).filter(|word| !word.is_empty()) {
        let known = T::NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(word)).map(|(_, bit)| *bit);
        bits |= known.or_else(|| word.parse().ok()).ok_or_else(|| {
            let names: Vec<&str> = T::NAMES.iter().map(|(name, _)| *name).collect();
            let expected = format!("flags out of {}, or their number", names.join(", "));
            E::invalid_value(Unexpected::Str(word), &expected.as_str())
        })?;
    }
    Ok(bits)
}

struct FlagsVisitor<T>(std::marker::PhantomData<T>);

impl<'de, T: FlagSet> Visitor<'de> for FlagsVisitor<T> {
    type Value = T;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("flags: a number from 0 to 4294967295, or names separated by commas")
    }
    fn visit_unit<E: serde::de::Error>(self) -> Result<T, E> {
        Ok(T::from(0))
    }
    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<T, E> {
        u32::try_from(number).map(T::from).map_err(|_| E::invalid_value(Unexpected::Unsigned(number), &self))
    }
    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        find_flags::<T, E>(text).map(T::from)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<T, A::Error> {
        let mut bits = 0;
        while let Some(word) = seq.next_element::<String>()? {
            bits |= find_flags::<T, A::Error>(&word)?;
        }
        Ok(T::from(bits))
    }
}

macro_rules! flag_set {
    ($(#[$meta:meta])* $name:ident { $($constant:ident = $bit:literal $text:literal,)* }) => {
        $(#[$meta])*
        ///
        /// Bits that the contract does not name are kept.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $name(pub u32);

        impl $name {
            $(#[doc = concat!("`", $text, "`")] pub const $constant: Self = Self($bit);)*

            /// Whether all bits of `flag` are set.
            pub fn has(self, flag: Self) -> bool {
                self.0 & flag.0 == flag.0
            }

            /// Whether no bit is set; such flags are left out of documents.
            pub fn is_empty(&self) -> bool {
                self.0 == 0
            }
        }

        impl From<u32> for $name {
            fn from(bits: u32) -> Self {
                Self(bits)
            }
        }

        impl FlagSet for $name {
            const NAMES: &'static [(&'static str, u32)] = &[("None", 0), $(($text, $bit),)*];
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_u32(self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(FlagsVisitor(std::marker::PhantomData))
            }
        }
    };
}

flag_set! {
    /// NetworkFlags (2.5).
    NetworkFlags {
        ENABLE_DNS_PROXY = 1 "EnableDnsProxy",
        ENABLE_DHCP_SERVER = 2 "EnableDhcpServer",
        ENABLE_MIRRORING = 4 "EnableMirroring",
        ENABLE_NON_PERSISTENT = 8 "EnableNonPersistent",
        ENABLE_PERSISTENT = 16 "EnablePersistent",
        ISOLATE_VSWITCH = 32 "IsolateVSwitch",
        ENABLE_FLOW_STEERING = 64 "EnableFlowSteering",
        DISABLE_SHARING = 128 "DisableSharing",
        ENABLE_FIREWALL = 256 "EnableFirewall",
        SUPPRESS_MEDIA_DISCONNECT = 512 "SuppressMediaDisconnect",
        DISABLE_HOST_PORT = 1024 "DisableHostPort",
        WEAK_HOST_RECEIVE_ADAPTER = 2048 "WeakHostReceiveAdapter",
        WEAK_HOST_SEND_ADAPTER = 4096 "WeakHostSendAdapter",
        ENABLE_IOV = 8192 "EnableIov",
    }
}

flag_set! {
    /// SubnetFlags (2.5).
    SubnetFlags {
        DO_NOT_RESERVE_GATEWAY_ADDRESS = 1 "DoNotReserveGatewayAddress",
    }
}

flag_set! {
    /// IPSubnetFlags (2.5).
    IpSubnetFlags {
        ENABLE_BROADCAST = 1 "EnableBroadcast",
        RESERVE_NETWORK_ADDRESS = 2 "ReserveNetworkAddress",
    }
}

flag_set! {
    /// EndpointFlags (2.6).
    EndpointFlags {
        REMOTE_ENDPOINT = 1 "RemoteEndpoint",
        DISABLE_INTER_COMPUTE_COMMUNICATION = 2 "DisableInterComputeCommunication",
        ENABLE_MIRRORING = 4 "EnableMirroring",
        ENABLE_LOW_INTERFACE_METRIC = 8 "EnableLowInterfaceMetric",
        OVERRIDE_DNS_SERVER_ORDER = 16 "OverrideDNSServerOrder",
        ENABLE_DHCP = 32 "EnableDhcp",
    }
}

flag_set! {
    /// NatFlags of a port mapping (2.14).
    NatFlags {
        LOCAL_ROUTED_VIP = 1 "LocalRoutedVip",
        IPV6 = 2 "IPv6",
        EXTERNAL_PORT_RESERVED = 4 "ExternalPortReserved",
    }
}

flag_set! {
    /// LoadBalancerFlags (2.8).
    LoadBalancerFlags {
        ENABLE_DIRECT_SERVER_RETURN = 1 "EnableDirectServerReturn",
        IPV6 = 2 "IPv6",
    }
}

flag_set! {
    /// Flags of a load balancer's port mapping (2.8).
    PortMappingFlags {
        ENABLE_INTERNAL_LOAD_BALANCER = 1 "EnableInternalLoadBalancer",
        LOCAL_ROUTED_VIP = 2 "LocalRoutedVip",
        USE_MUX = 4 "NotUsed",
        ENABLE_PRESERVE_DIP = 8 "EnablePreserveDip",
        VIP_EXTERNAL_IP = 16 "VipExternalIP",
    }
}

flag_set! {
    /// HostComputeQueryFlags (2.11).
    QueryFlags {
        DETAILED = 1 "Detailed",
    }
}
