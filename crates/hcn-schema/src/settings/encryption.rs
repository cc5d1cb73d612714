//! Encryption between endpoints.

use crate::document::document;
use crate::enums::{AuthenticationType, EncryptionMethod};

document! {
    /// Settings of the endpoint policy Encryption.
    EncryptionSettings ("EncryptionPolicySetting") {
        /// How packets are encrypted.
        encryption_method_type: choice(EncryptionMethod) "EncryptionMethodType",
        /// How the two sides prove who they are, in order of preference.
        authentication_methods: objects(PrioritizedAuthenticationMethod) "AuthenticationMethods",
        /// Name of the rule.
        name: text "Name",
        /// Addresses of one side; any when absent.
        endpoints1: texts "Endpoints1",
        /// Addresses of the other side; any when absent.
        endpoints2: texts "Endpoints2",
        /// Protocol; any when absent.
        protocol_type: text "ProtocolType",
        /// Ports of one side; any when absent.
        endpoint1_ports: texts "Endpoint1Ports",
        /// Ports of the other side; any when absent.
        endpoint2_ports: texts "Endpoint2Ports",
    }
}

document! {
    /// PrioritizedAuthenticationMethod.
    PrioritizedAuthenticationMethod {
        /// Which method.
        kind: choice(AuthenticationType) "Type",
        /// AuthenticationPresharedKey or AuthenticationCertificate.
        settings: settings "Settings",
    }
}

document! {
    /// Settings of the authentication method PresharedKey.
    AuthenticationPresharedKey {
        /// The key.
        key: text "Key",
    }
}

document! {
    /// Settings of the authentication method Certificate.
    AuthenticationCertificate {
        /// Subject of the certificate.
        certificate_name: text "CertificateName",
    }
}
