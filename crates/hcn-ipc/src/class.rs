//! What kind of failure is a code? One table for all who branch on it: exit codes, HTTP status.

use hcn_schema::HResult;

/// Kinds of failure, as far as callers branch on them. The number is the exit code of hcnctl.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ErrorClass {
    /// Any other.
    Failure = 1,
    /// What the call is about is not there.
    NotFound = 3,
    /// It exists already, or is in use.
    Conflict = 4,
    /// The caller may not.
    Denied = 5,
    /// The service is not there, or is stopping.
    Unreachable = 6,
    /// The document, or a parameter, is wrong.
    Invalid = 7,
    /// It took too long.
    Timeout = 8,
}

/// Which code is of which class; codes that are not here are plain failures.
const CLASSES: &[(ErrorClass, &[HResult])] = &[
    (
        ErrorClass::NotFound,
        &[
            HResult::NOT_FOUND,
            HResult::NETWORK_NOT_FOUND,
            HResult::ENDPOINT_NOT_FOUND,
            HResult::LAYER_NOT_FOUND,
            HResult::SWITCH_NOT_FOUND,
            HResult::SUBNET_NOT_FOUND,
            HResult::ADAPTER_NOT_FOUND,
            HResult::PORT_NOT_FOUND,
            HResult::POLICY_NOT_FOUND,
            HResult::VFP_PORTSETTING_NOT_FOUND,
            HResult::SWITCH_EXTENSION_NOT_FOUND,
            HResult::GCN_MODULE_NOT_FOUND,
            HResult::GCN_NETADAPTER_NOT_FOUND,
            HResult::GCN_NETCOMPARTMENT_NOT_FOUND,
            HResult::GCN_NETINTERFACE_NOT_FOUND,
            HResult::OBJECT_USED_AFTER_UNLOAD,
        ],
    ),
    (
        ErrorClass::Conflict,
        &[
            HResult::ALREADY_EXISTS,
            HResult::OBJECT_ALREADY_EXISTS,
            HResult::DUPLICATE_NAME,
            HResult::NETWORK_ALREADY_EXISTS,
            HResult::LAYER_ALREADY_EXISTS,
            HResult::POLICY_ALREADY_EXISTS,
            HResult::PORT_ALREADY_EXISTS,
            HResult::ENDPOINT_ALREADY_ATTACHED,
            HResult::ENDPOINT_NAMESPACE_ALREADY_EXISTS,
            HResult::ENTITY_HAS_REFERENCES,
            HResult::SHARED_SWITCH_MODIFICATION,
            HResult::GCN_DEFAULTNAMESPACE_EXISTS,
            HResult::INTERFACEPARAMETERS_ALREADY_APPLIED,
        ],
    ),
    (ErrorClass::Denied, &[HResult::ACCESS_DENIED]),
    (
        ErrorClass::Unreachable,
        &[
            HResult::MANAGER_STOPPED,
            HResult::NOT_REGISTERED,
            HResult::SERVICE_NOT_FOUND,
            HResult::SERVICE_DOES_NOT_EXIST,
        ],
    ),
    (
        ErrorClass::Invalid,
        &[
            HResult::INVALID_ARGUMENT,
            HResult::INVALID_DATA,
            HResult::INVALID_HANDLE,
            HResult::INVALID_NETWORK,
            HResult::INVALID_NETWORK_TYPE,
            HResult::INVALID_ENDPOINT,
            HResult::INVALID_POLICY,
            HResult::INVALID_POLICY_TYPE,
            HResult::INVALID_REMOTE_ENDPOINT_OPERATION,
            HResult::INVALID_JSON,
            HResult::INVALID_JSON_REFERENCE,
            HResult::INVALID_IP,
            HResult::INVALID_INTERNAL_PORT,
            HResult::INVALID_PREFIX,
            HResult::INVALID_SUBNET,
            HResult::INVALID_IP_SUBNET,
            HResult::GUID_CONVERSION_FAILURE,
            HResult::ADDR_INVALID_OR_RESERVED,
            HResult::MAPPING_NOT_SUPPORTED,
            HResult::REQUEST_UNSUPPORTED,
            HResult::VFP_NOT_ALLOWED,
            HResult::ENDPOINT_NOT_ATTACHED,
            HResult::ENDPOINT_NOT_LOCAL,
            HResult::NOT_IMPLEMENTED,
            HResult::NOT_SUPPORTED,
        ],
    ),
    (ErrorClass::Timeout, &[HResult::TIMEOUT, HResult::GCN_NETADAPTER_TIMEOUT]),
];

impl ErrorClass {
    /// The class of a code.
    pub fn of(code: HResult) -> Self {
        CLASSES.iter().find(|(_, codes)| codes.contains(&code)).map_or(Self::Failure, |(class, _)| *class)
    }

    /// The exit code of hcnctl.
    pub fn exit_code(self) -> u8 {
        self as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_of_the_class_that_their_name_says() {
        for (code, name, _) in HResult::ALL {
            let expected = match *name {
                "HRESULT_FROM_WIN32(ERROR_SERVICE_NOT_FOUND)" => ErrorClass::Unreachable,
                name if name.contains("NOT_FOUND") => ErrorClass::NotFound,
                name if name.contains("EXISTS") => ErrorClass::Conflict,
                name if name.contains("TIMEOUT") => ErrorClass::Timeout,
                name if name.contains("INVALID") => ErrorClass::Invalid,
                _ => continue,
            };
            assert_eq!(ErrorClass::of(*code), expected, "{name}");
        }
    }

    #[test]
    fn no_code_is_of_two_classes() {
        let mut codes: Vec<HResult> = CLASSES.iter().flat_map(|(_, codes)| codes.iter().copied()).collect();
        let count = codes.len();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), count);
    }

    #[test]
    fn other_codes_are_plain_failures() {
        assert_eq!(ErrorClass::of(HResult::GENERAL_FAILURE), ErrorClass::Failure);
        assert_eq!(ErrorClass::of(HResult(0xdead_beef)), ErrorClass::Failure);
    }
}
