//! The contract as JSON Schemas (draft 2020-12), made of the types that hcnd itself reads and writes.
//!
//! A schema describes the forms that hcnd writes. It reads more (contract 2.1): `null`, `""`, `{}` and `[]` for what is
//! not given, numbers and truth as strings, names of enumerations in any case. Nothing is required, and what a schema
//! does not name is ignored.

mod conditions;
mod shapes;
mod written;

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};

pub(crate) use shapes::{
    Make, Object, Property, any, anys, boolean, enumeration, flag_set, integer, list_of, object, of, text,
    texts,
};

use crate::enums::{self, EndpointPolicyType, NetworkPolicyType};
use crate::modify::{self, ModifyRequest, PolicyRequest};
use crate::policy::SubnetPolicy;
use crate::{endpoint, error, guest_network_service as gns, load_balancer, namespace, network, notification};
use crate::{policy_list, query, sdn_route, settings};

/// What a schema is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// Something that a call gives or takes whole.
    Document,
    /// A modify request, or the settings of one.
    Request,
    /// What comes with an error or a notification.
    Answer,
    /// Settings of a policy, or another part that documents carry as any JSON.
    Settings,
    /// An enumeration or a set of flags.
    Enumeration,
}

impl Group {
    /// Every group.
    pub const ALL: [Self; 5] =
        [Self::Document, Self::Request, Self::Answer, Self::Settings, Self::Enumeration];

    /// The name, as people call several of it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Document => "documents",
            Self::Request => "requests",
            Self::Answer => "answers",
            Self::Settings => "settings",
            Self::Enumeration => "enumerations",
        }
    }
}

/// A schema and what it is of.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The contract's name for the type.
    pub name: Cow<'static, str>,
    /// What the schema is of.
    pub group: Group,
    make: fn() -> Schema,
}

impl Entry {
    fn of<T: JsonSchema>(group: Group) -> Self {
        let make = || SchemaGenerator::default().into_root_schema_for::<T>();
        Self { name: T::schema_name(), group, make }
    }

    /// One of several names for a type.
    fn named<T: JsonSchema>(group: Group, name: &'static str) -> Self {
        Self { name: name.into(), ..Self::of::<T>(group) }
    }

    fn schema(&self) -> Schema {
        let mut schema = (self.make)();
        schema.insert("title".to_owned(), self.name.as_ref().into());
        schema
    }

    /// What it is, in a sentence or two.
    pub fn description(&self) -> String {
        let schema = self.schema();
        schema.get("description").and_then(|text| text.as_str()).unwrap_or_default().to_owned()
    }

    /// The first sentence of it.
    pub fn summary(&self) -> String {
        let description = self.description();
        let end = description.find(". ").map_or(description.len(), |at| at + 1);
        description[..end].to_owned()
    }

    /// The schema, indented.
    pub fn text(&self) -> String {
        // A schema is plain JSON, so this cannot fail.
        serde_json::to_string_pretty(&self.schema()).unwrap_or_default()
    }
}

/// The schema of this name, in any case.
pub fn find(name: &str) -> Option<Entry> {
    all().into_iter().find(|entry| entry.name.eq_ignore_ascii_case(name))
}

/// Every schema, in the order of the contract.
pub fn all() -> Vec<Entry> {
    let mut entries = documents();
    entries.extend(requests());
    entries.extend(answers());
    entries.extend(policies());
    entries.extend(enumerations());
    entries
}

fn documents() -> Vec<Entry> {
    use Group::Document;
    vec![
        Entry::of::<network::HostComputeNetwork>(Document),
        Entry::of::<endpoint::HostComputeEndpoint>(Document),
        Entry::of::<namespace::HostComputeNamespace>(Document),
        Entry::of::<load_balancer::HostComputeLoadBalancer>(Document),
        Entry::of::<sdn_route::HostComputeRoute>(Document),
        Entry::of::<gns::GuestNetworkService>(Document),
        Entry::of::<policy_list::HostComputePolicyList>(Document),
        Entry::of::<query::HostComputeQuery>(Document),
    ]
}

fn requests() -> Vec<Entry> {
    use Group::Request;
    vec![
        Entry::of::<ModifyRequest<enums::NetworkResourceType>>(Request),
        Entry::of::<PolicyRequest<NetworkPolicyType>>(Request),
        Entry::of::<modify::SubnetRequest>(Request),
        Entry::of::<modify::IpSubnetRequest>(Request),
        Entry::of::<modify::Extension>(Request),
        Entry::of::<ModifyRequest<enums::EndpointResourceType>>(Request),
        Entry::of::<PolicyRequest<EndpointPolicyType>>(Request),
        Entry::of::<modify::VmEndpointRequest>(Request),
        Entry::of::<ModifyRequest<enums::NamespaceResourceType>>(Request),
        Entry::of::<modify::NamespaceEndpointRequest>(Request),
        Entry::of::<modify::NamespaceContainerRequest>(Request),
        Entry::of::<ModifyRequest<enums::GuestNetworkServiceResourceType>>(Request),
        Entry::of::<modify::GuestNetworkServiceStateRequest>(Request),
    ]
}

fn answers() -> Vec<Entry> {
    use Group::Answer;
    vec![
        Entry::of::<error::ErrorRecord>(Answer),
        Entry::of::<notification::NotificationBase>(Answer),
        Entry::of::<gns::GuestNetworkServiceNotificationData>(Answer),
    ]
}

fn policies() -> Vec<Entry> {
    use Group::Settings;
    vec![
        Entry::of::<settings::SourceMacAddressSettings>(Settings),
        Entry::of::<settings::NetAdapterNameSettings>(Settings),
        Entry::named::<settings::InterfaceConstraintSettings>(
            Settings,
            "InterfaceConstraintNetworkPolicySetting",
        ),
        Entry::of::<settings::VSwitchExtensionSettings>(Settings),
        Entry::named::<settings::ProviderAddressSettings>(Settings, "ProviderAddressNetworkPolicySetting"),
        Entry::of::<settings::DrMacAddressSettings>(Settings),
        Entry::of::<settings::AutomaticDnsSettings>(Settings),
        Entry::of::<settings::RemoteSubnetRouteSettings>(Settings),
        Entry::of::<settings::VxlanPortSettings>(Settings),
        Entry::of::<settings::HostRouteSettings>(Settings),
        Entry::of::<settings::SetPolicySettings>(Settings),
        Entry::of::<settings::LayerConstraintSettings>(Settings),
        Entry::named::<settings::AclSettings>(Settings, "NetworkAclPolicySetting"),
        Entry::of::<SubnetPolicy>(Settings),
        Entry::of::<settings::VsidSettings>(Settings),
        Entry::of::<settings::VlanSettings>(Settings),
        Entry::of::<settings::PortMappingSettings>(Settings),
        Entry::of::<settings::AclSettings>(Settings),
        Entry::of::<settings::QosSettings>(Settings),
        Entry::of::<settings::OutboundNatSettings>(Settings),
        Entry::of::<settings::SdnRouteSettings>(Settings),
        Entry::of::<settings::L4ProxySettings>(Settings),
        Entry::of::<settings::L4WfpProxySettings>(Settings),
        Entry::named::<settings::ProviderAddressSettings>(Settings, "ProviderAddressEndpointPolicySetting"),
        Entry::of::<settings::PortNameSettings>(Settings),
        Entry::of::<settings::EncapOverheadSettings>(Settings),
        Entry::named::<settings::InterfaceConstraintSettings>(
            Settings,
            "InterfaceConstraintEndpointPolicySetting",
        ),
        Entry::of::<settings::EncryptionSettings>(Settings),
        Entry::of::<settings::AuthenticationPresharedKey>(Settings),
        Entry::of::<settings::AuthenticationCertificate>(Settings),
        Entry::of::<settings::InterfaceParametersSettings>(Settings),
        Entry::of::<settings::IovSettings>(Settings),
        Entry::of::<settings::TierAclSettings>(Settings),
        Entry::of::<settings::FirewallSettings>(Settings),
        Entry::of::<network::NetworkAdditionalParams>(Settings),
        Entry::of::<endpoint::EndpointAdditionalParams>(Settings),
        Entry::named::<namespace::ResourceData>(Settings, "NamespaceResourceEndpoint"),
        Entry::named::<namespace::ResourceData>(Settings, "NamespaceResourceContainer"),
    ]
}

fn enumerations() -> Vec<Entry> {
    use Group::Enumeration;
    vec![
        Entry::of::<enums::NetworkMode>(Enumeration),
        Entry::of::<enums::NetworkFlags>(Enumeration),
        Entry::of::<NetworkPolicyType>(Enumeration),
        Entry::of::<enums::NetworkResourceType>(Enumeration),
        Entry::of::<enums::IpamType>(Enumeration),
        Entry::of::<enums::SubnetFlags>(Enumeration),
        Entry::of::<enums::IpSubnetFlags>(Enumeration),
        Entry::of::<enums::SubnetPolicyType>(Enumeration),
        Entry::of::<enums::EndpointFlags>(Enumeration),
        Entry::of::<EndpointPolicyType>(Enumeration),
        Entry::of::<enums::EndpointResourceType>(Enumeration),
        Entry::of::<enums::IovInterruptModerationType>(Enumeration),
        Entry::of::<enums::NamespaceType>(Enumeration),
        Entry::of::<enums::NamespaceResourceType>(Enumeration),
        Entry::of::<enums::LoadBalancerFlags>(Enumeration),
        Entry::of::<enums::PortMappingFlags>(Enumeration),
        Entry::of::<enums::DistributionType>(Enumeration),
        Entry::of::<enums::GuestNetworkServiceState>(Enumeration),
        Entry::of::<enums::GuestNetworkServiceFlags>(Enumeration),
        Entry::of::<enums::GuestNetworkServiceResourceType>(Enumeration),
        Entry::of::<enums::GuestNetworkServiceInterfaceState>(Enumeration),
        Entry::of::<enums::GuestNetworkServiceNotificationType>(Enumeration),
        Entry::of::<enums::RpcEndpointType>(Enumeration),
        Entry::of::<enums::ModifyRequestType>(Enumeration),
        Entry::of::<enums::QueryFlags>(Enumeration),
        Entry::of::<enums::EntityFlags>(Enumeration),
        Entry::of::<enums::HostResourceType>(Enumeration),
        Entry::of::<enums::ProtocolType>(Enumeration),
        Entry::of::<enums::NatFlags>(Enumeration),
        Entry::of::<enums::ActionType>(Enumeration),
        Entry::of::<enums::DirectionType>(Enumeration),
        Entry::of::<enums::RuleType>(Enumeration),
        Entry::of::<enums::SetPolicyType>(Enumeration),
        Entry::of::<enums::ProxyType>(Enumeration),
        Entry::of::<enums::EncryptionMethod>(Enumeration),
        Entry::of::<enums::AuthenticationType>(Enumeration),
        Entry::of::<enums::FirewallVmType>(Enumeration),
        Entry::of::<enums::FirewallPolicyFlags>(Enumeration),
    ]
}
