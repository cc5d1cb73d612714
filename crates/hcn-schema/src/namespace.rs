//! HostComputeNamespace (contract 2.7).

use serde::{Deserialize, Serialize};

use crate::base::{Health, Version, version};
use crate::enums::{NamespaceResourceType, NamespaceType, OneOf};
use crate::{Raw, given};

/// A namespace document.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostComputeNamespace {
    /// GUID.
    #[serde(
        rename = "ID",
        default,
        deserialize_with = "given::text",
        skip_serializing_if = "Option::is_none"
    )]
    pub id: Option<String>,
    /// Free text of the client.
    #[serde(
        rename = "Owner",
        default,
        deserialize_with = "given::text",
        skip_serializing_if = "Option::is_none"
    )]
    pub owner: Option<String>,
    /// Free text of the client.
    #[serde(
        rename = "Name",
        default,
        deserialize_with = "given::text",
        skip_serializing_if = "Option::is_none"
    )]
    pub name: Option<String>,
    /// Revision; output only.
    #[serde(
        rename = "Version",
        default,
        deserialize_with = "given::number",
        skip_serializing_if = "Option::is_none"
    )]
    pub version: Option<u64>,
    /// Kept as it came.
    #[serde(
        rename = "AdditionalParams",
        default,
        deserialize_with = "given::raw",
        skip_serializing_if = "Option::is_none"
    )]
    pub additional_params: Option<Raw>,
    /// Compartment number.
    #[serde(
        rename = "NamespaceId",
        default,
        deserialize_with = "given::number",
        skip_serializing_if = "Option::is_none"
    )]
    pub namespace_id: Option<u32>,
    /// Compartment GUID; output only.
    #[serde(
        rename = "NamespaceGuid",
        default,
        deserialize_with = "given::text",
        skip_serializing_if = "Option::is_none"
    )]
    pub namespace_guid: Option<String>,
    /// Host when absent.
    #[serde(
        rename = "Type",
        default,
        deserialize_with = "given::choice",
        skip_serializing_if = "Option::is_none"
    )]
    pub kind: Option<OneOf<NamespaceType>>,
    /// What is in the namespace, in the order of adding; output only.
    #[serde(
        rename = "Resources",
        default,
        deserialize_with = "given::objects",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub resources: Vec<NamespaceResource>,
    /// Filled by the service.
    #[serde(
        rename = "Health",
        default,
        deserialize_with = "given::object",
        skip_serializing_if = "Option::is_none"
    )]
    pub health: Option<Health>,
    /// Version of the document.
    #[serde(
        rename = "SchemaVersion",
        default,
        deserialize_with = "version",
        skip_serializing_if = "Option::is_none"
    )]
    pub schema_version: Option<Version>,
}

/// NamespaceResource.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamespaceResource {
    /// What it is.
    #[serde(
        rename = "Type",
        default,
        deserialize_with = "given::choice",
        skip_serializing_if = "Option::is_none"
    )]
    pub kind: Option<NamespaceResourceType>,
    /// Which one it is.
    #[serde(
        rename = "Data",
        default,
        deserialize_with = "given::object",
        skip_serializing_if = "Option::is_none"
    )]
    pub data: Option<ResourceData>,
}

/// The identifier of a namespace resource.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceData {
    /// Endpoint GUID in upper case, or the container's id as it was given.
    #[serde(
        rename = "ID",
        alias = "Id",
        default,
        deserialize_with = "given::text",
        skip_serializing_if = "Option::is_none"
    )]
    pub id: Option<String>,
}
