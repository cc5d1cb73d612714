//! Every HRESULT of the contract (section 3) with its name and its system message.

use std::fmt;

use serde::{Serialize, Serializer};

/// A result code of the C API.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HResult(pub u32);

macro_rules! hresults {
    ($($constant:ident = $value:literal, $name:literal, $text:literal;)*) => {
        impl HResult {
            $(#[doc = concat!("`", $name, "`: ", $text)] pub const $constant: Self = Self($value);)*

            /// Every code with its name and its message, in the order of the contract.
            pub const ALL: &'static [(Self, &'static str, &'static str)] =
                &[$((Self($value), $name, $text),)*];
        }
    };
}

hresults! {
    OK = 0, "S_OK", "The operation completed successfully.";
    NETWORK_NOT_FOUND = 0x803b_0001, "HCN_E_NETWORK_NOT_FOUND", "The network was not found.";
    ENDPOINT_NOT_FOUND = 0x803b_0002, "HCN_E_ENDPOINT_NOT_FOUND", "The endpoint was not found.";
    LAYER_NOT_FOUND = 0x803b_0003, "HCN_E_LAYER_NOT_FOUND", "The network's underlying layer was not found.";
    SWITCH_NOT_FOUND = 0x803b_0004, "HCN_E_SWITCH_NOT_FOUND", "The virtual switch was not found.";
    SUBNET_NOT_FOUND = 0x803b_0005, "HCN_E_SUBNET_NOT_FOUND", "The network does not have a subnet for this endpoint.";
    ADAPTER_NOT_FOUND = 0x803b_0006, "HCN_E_ADAPTER_NOT_FOUND", "An adapter was not found.";
    PORT_NOT_FOUND = 0x803b_0007, "HCN_E_PORT_NOT_FOUND", "The switch-port was not found.";
    POLICY_NOT_FOUND = 0x803b_0008, "HCN_E_POLICY_NOT_FOUND", "An expected policy was not found.";
    VFP_PORTSETTING_NOT_FOUND = 0x803b_0009, "HCN_E_VFP_PORTSETTING_NOT_FOUND",
        "A required VFP port setting was not found.";
    INVALID_NETWORK = 0x803b_000a, "HCN_E_INVALID_NETWORK", "The provided network configuration is invalid or missing parameters.";
    INVALID_NETWORK_TYPE = 0x803b_000b, "HCN_E_INVALID_NETWORK_TYPE", "Invalid network type.";
    INVALID_ENDPOINT = 0x803b_000c, "HCN_E_INVALID_ENDPOINT", "The provided endpoint configuration is invalid or missing parameters.";
    INVALID_POLICY = 0x803b_000d, "HCN_E_INVALID_POLICY", "The provided policy configuration is invalid or missing parameters.";
    INVALID_POLICY_TYPE = 0x803b_000e, "HCN_E_INVALID_POLICY_TYPE", "Invalid policy type.";
    INVALID_REMOTE_ENDPOINT_OPERATION = 0x803b_000f, "HCN_E_INVALID_REMOTE_ENDPOINT_OPERATION",
        "This requested operation is invalid for a remote endpoint.";
    NETWORK_ALREADY_EXISTS = 0x803b_0010, "HCN_E_NETWORK_ALREADY_EXISTS", "A network with this name already exists.";
    LAYER_ALREADY_EXISTS = 0x803b_0011, "HCN_E_LAYER_ALREADY_EXISTS", "A layer for this network already exists.";
    POLICY_ALREADY_EXISTS = 0x803b_0012, "HCN_E_POLICY_ALREADY_EXISTS", "The policy is already present on the object.";
    PORT_ALREADY_EXISTS = 0x803b_0013, "HCN_E_PORT_ALREADY_EXISTS", "The specified port already exists.";
    ENDPOINT_ALREADY_ATTACHED = 0x803b_0014, "HCN_E_ENDPOINT_ALREADY_ATTACHED",
        "This endpoint is already attached to the switch.";
    REQUEST_UNSUPPORTED = 0x803b_0015, "HCN_E_REQUEST_UNSUPPORTED", "The specified request is unsupported.";
    MAPPING_NOT_SUPPORTED = 0x803b_0016, "HCN_E_MAPPING_NOT_SUPPORTED",
        "Port mapping is not supported on the given network.";
    DEGRADED_OPERATION = 0x803b_0017, "HCN_E_DEGRADED_OPERATION", "There was an operation attempted on a degraded object.";
    SHARED_SWITCH_MODIFICATION = 0x803b_0018, "HCN_E_SHARED_SWITCH_MODIFICATION",
        "Cannot modify a switch shared by multiple networks.";
    GUID_CONVERSION_FAILURE = 0x803b_0019, "HCN_E_GUID_CONVERSION_FAILURE", "Failed to interpret a parameter as a GUID.";
    REGKEY_FAILURE = 0x803b_001a, "HCN_E_REGKEY_FAILURE", "Failed to process registry key.";
    INVALID_JSON = 0x803b_001b, "HCN_E_INVALID_JSON", "Invalid JSON document string.";
    INVALID_JSON_REFERENCE = 0x803b_001c, "HCN_E_INVALID_JSON_REFERENCE", "The reference is invalid in the JSON document.";
    ENDPOINT_SHARING_DISABLED = 0x803b_001d, "HCN_E_ENDPOINT_SHARING_DISABLED", "Endpoint sharing is disabled.";
    INVALID_IP = 0x803b_001e, "HCN_E_INVALID_IP", "IP address is either invalid or not part of any configured subnet(s).";
    SWITCH_EXTENSION_NOT_FOUND = 0x803b_001f, "HCN_E_SWITCH_EXTENSION_NOT_FOUND",
        "The specified switch extension does not exist on this switch.";
    MANAGER_STOPPED = 0x803b_0020, "HCN_E_MANAGER_STOPPED", "The service is stopping.";
    GCN_MODULE_NOT_FOUND = 0x803b_0021, "GCN_E_MODULE_NOT_FOUND", "A guest service module was not found.";
    GCN_NO_REQUEST_HANDLERS = 0x803b_0022, "GCN_E_NO_REQUEST_HANDLERS", "No guest handler takes this request.";
    GCN_REQUEST_UNSUPPORTED = 0x803b_0023, "GCN_E_REQUEST_UNSUPPORTED", "The guest does not support the request.";
    GCN_RUNTIMEKEYS_FAILED = 0x803b_0024, "GCN_E_RUNTIMEKEYS_FAILED", "Adding runtime keys in the guest failed.";
    GCN_NETADAPTER_TIMEOUT = 0x803b_0025, "GCN_E_NETADAPTER_TIMEOUT", "The guest's network adapter did not appear in time.";
    GCN_NETADAPTER_NOT_FOUND = 0x803b_0026, "GCN_E_NETADAPTER_NOT_FOUND", "The guest's network adapter was not found.";
    GCN_NETCOMPARTMENT_NOT_FOUND = 0x803b_0027, "GCN_E_NETCOMPARTMENT_NOT_FOUND",
        "The guest's network compartment was not found.";
    GCN_NETINTERFACE_NOT_FOUND = 0x803b_0028, "GCN_E_NETINTERFACE_NOT_FOUND", "The guest's network interface was not found.";
    GCN_DEFAULTNAMESPACE_EXISTS = 0x803b_0029, "GCN_E_DEFAULTNAMESPACE_EXISTS", "The guest's default namespace already exists.";
    ICS_DISABLED = 0x803b_002a, "HCN_E_ICS_DISABLED", "Internet Connection Sharing is disabled.";
    ENDPOINT_NAMESPACE_ALREADY_EXISTS = 0x803b_002b, "HCN_E_ENDPOINT_NAMESPACE_ALREADY_EXISTS",
        "The endpoint is already in a namespace.";
    ENTITY_HAS_REFERENCES = 0x803b_002c, "HCN_E_ENTITY_HAS_REFERENCES",
        "The entity still has references and cannot be removed.";
    INVALID_INTERNAL_PORT = 0x803b_002d, "HCN_E_INVALID_INTERNAL_PORT", "The internal port must be non-zero.";
    NAMESPACE_ATTACH_FAILED = 0x803b_002e, "HCN_E_NAMESPACE_ATTACH_FAILED",
        "The endpoint could not be attached to the namespace.";
    ADDR_INVALID_OR_RESERVED = 0x803b_002f, "HCN_E_ADDR_INVALID_OR_RESERVED", "An address provided is invalid or reserved.";
    INVALID_PREFIX = 0x803b_0030, "HCN_E_INVALID_PREFIX", "The prefix is invalid.";
    OBJECT_USED_AFTER_UNLOAD = 0x803b_0031, "HCN_E_OBJECT_USED_AFTER_UNLOAD",
        "A call was made on an object that has been torn down.";
    INVALID_SUBNET = 0x803b_0032, "HCN_E_INVALID_SUBNET", "The provided subnet configuration is invalid or missing parameters.";
    INVALID_IP_SUBNET = 0x803b_0033, "HCN_E_INVALID_IP_SUBNET",
        "The provided IP subnet configuration is invalid or missing parameters.";
    ENDPOINT_NOT_ATTACHED = 0x803b_0034, "HCN_E_ENDPOINT_NOT_ATTACHED", "The endpoint must be attached to complete the operation.";
    ENDPOINT_NOT_LOCAL = 0x803b_0035, "HCN_E_ENDPOINT_NOT_LOCAL", "The endpoint must be local to complete the operation.";
    INTERFACEPARAMETERS_ALREADY_APPLIED = 0x803b_0036, "HCN_INTERFACEPARAMETERS_ALREADY_APPLIED",
        "Only one InterfaceParameters policy can be applied.";
    VFP_NOT_ALLOWED = 0x803b_0037, "HCN_E_VFP_NOT_ALLOWED", "The network type is impossible because VFP is unavailable.";

    NOT_FOUND = 0x8007_0490, "HRESULT_FROM_WIN32(ERROR_NOT_FOUND)", "Element not found.";
    INVALID_ARGUMENT = 0x8007_0057, "E_INVALIDARG", "The parameter is incorrect.";
    ALREADY_EXISTS = 0x8007_00b7, "HRESULT_FROM_WIN32(ERROR_ALREADY_EXISTS)",
        "Cannot create a file when that file already exists.";
    DUPLICATE_NAME = 0x8007_0034, "HRESULT_FROM_WIN32(ERROR_DUP_NAME)", "A duplicate name exists on the network.";
    OBJECT_ALREADY_EXISTS = 0x8007_1392, "HRESULT_FROM_WIN32(ERROR_OBJECT_ALREADY_EXISTS)", "The object already exists.";
    NOT_IMPLEMENTED = 0x8000_4001, "E_NOTIMPL", "Not implemented.";
    POINTER = 0x8000_4003, "E_POINTER", "Invalid pointer.";
    UNEXPECTED = 0x8000_ffff, "E_UNEXPECTED", "Catastrophic failure.";
    GENERAL_FAILURE = 0x8007_001f, "HRESULT_FROM_WIN32(ERROR_GEN_FAILURE)", "A device attached to the system is not functioning.";
    NOT_REGISTERED = 0x8007_06d9, "HRESULT_FROM_WIN32(EPT_S_NOT_REGISTERED)",
        "There are no more endpoints available from the endpoint mapper.";
    CALL_FAILED = 0x8007_06be, "HRESULT_FROM_WIN32(RPC_S_CALL_FAILED)", "The remote procedure call failed.";
    SERVICE_NOT_FOUND = 0x8007_04db, "HRESULT_FROM_WIN32(ERROR_SERVICE_NOT_FOUND)", "The specified service does not exist.";
    SERVICE_DOES_NOT_EXIST = 0x8007_0424, "HRESULT_FROM_WIN32(ERROR_SERVICE_DOES_NOT_EXIST)",
        "The specified service does not exist as an installed service.";
    DISK_FULL = 0x8007_0070, "HRESULT_FROM_WIN32(ERROR_DISK_FULL)", "There is not enough space on the disk.";
    NOT_SUPPORTED = 0x8007_0032, "HRESULT_FROM_WIN32(ERROR_NOT_SUPPORTED)", "The request is not supported.";

    ACCESS_DENIED = 0x8007_0005, "E_ACCESSDENIED", "Access is denied.";
    INVALID_HANDLE = 0x8007_0006, "E_HANDLE", "The handle is invalid.";
    TIMEOUT = 0x8007_05b4, "HRESULT_FROM_WIN32(ERROR_TIMEOUT)",
        "This operation returned because the timeout period expired.";
    INVALID_DATA = 0x8007_000d, "HRESULT_FROM_WIN32(ERROR_INVALID_DATA)", "The data is invalid.";
    FILE_CORRUPT = 0x8007_0570, "HRESULT_FROM_WIN32(ERROR_FILE_CORRUPT)", "The file or directory is corrupted and unreadable.";
    LIMIT_EXCEEDED = 0x8007_000e, "E_OUTOFMEMORY", "Not enough memory resources are available to complete this operation.";
}

impl HResult {
    /// The symbolic name, or `HRESULT` for a code outside the contract.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(code, ..)| *code == self).map_or("HRESULT", |(_, name, _)| *name)
    }

    /// The system message; ends with ". " as the messages of Windows do.
    pub fn text(self) -> String {
        let text =
            Self::ALL.iter().find(|(code, ..)| *code == self).map_or("Unknown error.", |(.., text)| *text);
        format!("{text} ")
    }
}

impl fmt::Display for HResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} 0x{:08x}", self.name(), self.0)
    }
}

impl fmt::Debug for HResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for HResult {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_facility_is_complete_and_in_order() {
        let facility: Vec<u32> =
            HResult::ALL.iter().map(|(c, ..)| c.0).filter(|c| c >> 16 == 0x803b).collect();
        let expected: Vec<u32> = (0x803b_0001..=0x803b_0037).collect();
        assert_eq!(facility, expected);
    }

    #[test]
    fn every_code_has_a_text_of_its_own() {
        let mut texts: Vec<&str> = HResult::ALL.iter().map(|(.., text)| *text).collect();
        texts.sort_unstable();
        let count = texts.len();
        texts.dedup();
        assert_eq!(texts.len(), count);
    }

    #[test]
    fn texts_that_clients_match_are_literal() {
        let literal = [
            (HResult::PORT_ALREADY_EXISTS, "The specified port already exists. "),
            (HResult::PORT_NOT_FOUND, "The switch-port was not found. "),
            (HResult::INVALID_IP, "IP address is either invalid or not part of any configured subnet(s). "),
            (HResult::ADDR_INVALID_OR_RESERVED, "An address provided is invalid or reserved. "),
            (HResult::NOT_FOUND, "Element not found. "),
            (HResult::INVALID_ARGUMENT, "The parameter is incorrect. "),
            (HResult::NETWORK_NOT_FOUND, "The network was not found. "),
            (HResult::ENDPOINT_NOT_FOUND, "The endpoint was not found. "),
            (HResult::ENDPOINT_ALREADY_ATTACHED, "This endpoint is already attached to the switch. "),
            (HResult::OBJECT_ALREADY_EXISTS, "The object already exists. "),
        ];
        for (code, text) in literal {
            assert_eq!(code.text(), text);
        }
    }
}
