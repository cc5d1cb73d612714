//! Schemas of the types that are not made by `document!`: they are generic, or their properties are never missing.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::conditions::Tag;
use super::{Object, any, boolean, integer, list_of, of, text};
use crate::Guid;
use crate::base::Version;
use crate::enums::ModifyRequestType;
use crate::error::ErrorRecord;
use crate::modify::{ModifyRequest, PolicyRequest};
use crate::policy::Policy;

impl JsonSchema for Guid {
    fn schema_name() -> Cow<'static, str> {
        "Guid".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A GUID; hcnd writes it in upper case.",
            "type": "string",
            "format": "uuid",
            "pattern": "^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$",
        })
    }
}

impl JsonSchema for Version {
    fn schema_name() -> Cow<'static, str> {
        "Version".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut object = Object::new(&["Version of the schema that a document follows (2.3)."]);
        object.property("Major", &[], &["2 for all documents here."], integer::<u32>(generator));
        object.property("Minor", &[], &["Any."], integer::<u32>(generator));
        object.into()
    }
}

impl JsonSchema for ErrorRecord {
    fn schema_name() -> Cow<'static, str> {
        "Response".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut object = Object::new(&["Response: the error record of a call that failed (3.3)."]);
        object.property("Success", &[], &["Always false."], boolean(generator));
        object.property("Error", &[], &["The system message of the code."], text(generator));
        object.property("ErrorCode", &[], &["The code as an unsigned number."], integer::<u32>(generator));
        object.into()
    }
}

/// Adds `Settings`, and what they are for each value of `T` in the property `tag`.
fn settings<T: Tag>(
    object: &mut Object,
    tag: &str,
    aliases: &[&str],
    doc: &str,
    generator: &mut SchemaGenerator,
) {
    object.property("Settings", aliases, &[doc], any(generator));
    for (value, name, _) in T::VALUES {
        if let Some(make) = value.settings() {
            object.condition(tag, name, "Settings", make(generator));
        }
    }
}

impl<T: Tag> JsonSchema for Policy<T> {
    /// `NetworkPolicy` for `NetworkPolicyType`.
    fn schema_name() -> Cow<'static, str> {
        T::NAME.trim_end_matches("Type").into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut object = Object::new(&["A policy: its type, and settings that depend on it."]);
        object.property("Type", &[], &["What kind of policy it is."], of::<T>(generator));
        settings::<T>(&mut object, "Type", &["Data"], "Kept and returned byte for byte.", generator);
        object.into()
    }
}

impl<R: Tag> JsonSchema for ModifyRequest<R> {
    /// `ModifyNetworkSettingRequest` for `NetworkResourceType`.
    fn schema_name() -> Cow<'static, str> {
        format!("Modify{}SettingRequest", R::NAME.trim_end_matches("ResourceType")).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let entity = R::NAME.trim_end_matches("ResourceType");
        let mut object = Object::new(&[&format!("A modify request (2.12) for an entity of kind {entity}.")]);
        object.property("ResourceUri", &[], &["Not used."], text(generator));
        let (first, kind) = (R::VALUES[0].1, ModifyRequestType::Add.name());
        let doc = format!("What is modified; {first} when absent.");
        object.property("ResourceType", &[], &[&doc], of::<R>(generator));
        let doc = format!("What is done to it; {kind} when absent.");
        object.property("RequestType", &[], &[&doc], of::<ModifyRequestType>(generator));
        settings::<R>(&mut object, "ResourceType", &[], "What the resource shall be.", generator);
        object.into()
    }
}

impl<T: Tag> JsonSchema for PolicyRequest<T> {
    /// `PolicyNetworkRequest` for `NetworkPolicyType`.
    fn schema_name() -> Cow<'static, str> {
        format!("Policy{}Request", T::NAME.trim_end_matches("PolicyType")).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let entity = T::NAME.trim_end_matches("PolicyType");
        let doc = format!("Settings of a policy request (2.12) for an entity of kind {entity}.");
        let mut object = Object::new(&[&doc]);
        let doc = "The policies to add, remove or update.";
        object.property("Policies", &[], &[doc], list_of::<Policy<T>>(generator));
        object.into()
    }
}
