//! How a structure of the contract is written down: a list of properties, each with its kind and its name in JSON.

/// Makes a document's structure: what it is read from and written to JSON with is derived from the list.
///
/// ```text
/// document! {
///     /// Description.
///     RustName ("ContractName"): Parent {
///         /// Description.
///         field: kind "Property" or "OtherSpelling",
///     }
/// }
/// ```
///
/// `("ContractName")` is left out where it is the same; the properties of the parent, if there is one, are put around
/// the structure's own. All properties may be missing, and are left out of the output then.
///
/// | kind | field | JSON |
/// | --- | --- | --- |
/// | `text`, `guid` | `Option<String>` | a string; which form a GUID has is not checked here |
/// | `texts` | `Vec<String>` | an array of strings |
/// | `bool` | `Option<bool>` | also 0, 1, "true" and "false" |
/// | `u8`, `u16`, `u32`, `u64` | `Option<u8>`, … | an integer, also written as a string |
/// | `any` | `Option<Raw>` | anything, kept byte for byte |
/// | `anys` | `Vec<Raw>` | an array of anything |
/// | `settings` | `Option<Raw>` | the same; what is empty is kept, too |
/// | `choice(E)` | `Option<OneOf<E>>` | a name or a number; which error an unknown one is, is decided later |
/// | `strict(E)` | `Option<E>` | a name or a number; an unknown one is an error at once |
/// | `flags(F)` | `F` | a number, a name, or names |
/// | `object(T)` | `Option<T>` | an object |
/// | `objects(T)` | `Vec<T>` | an array of objects |
/// | `version` | `Option<Version>` | an object; absent and `{0,0}` are told apart |
/// | `ignored(T)` | none | never read and never written |
///
/// serde's own ways to nest structures in each other (`flatten`, `untagged`) buffer what they read and so lose the
/// bytes of [`Raw`](crate::Raw).
macro_rules! document {
    ($(#[doc = $doc:literal])* $name:ident $(($title:literal))?: $parent:ident { $($fields:tt)* }) => {
        document! { @inherit $parent {[$($doc)*] $name [$($title)?]} $($fields)* }
    };
    ($(#[doc = $doc:literal])* $name:ident $(($title:literal))? { $($fields:tt)* }) => {
        document! { @next {[$($doc)*] $name [$($title)?]} [] [] $($fields)* }
    };

    // What every entity carries (2.4).
    (@inherit Base $head:tt $($fields:tt)*) => {
        document! { @next $head [] []
            /// The entity's identifier; generated when absent.
            id: guid "ID",
            /// Free text of the client.
            owner: text "Owner",
            /// Free text of the client; unique among networks.
            name: text "Name",
            /// Revision of the entity; output only.
            version: u64 "Version",
            /// Kept as it came.
            additional_params: any "AdditionalParams",
            $($fields)*
            /// Where the entity is in its life; output only.
            state: u16 "State",
            /// How the entity is; output only.
            health: object($crate::base::Health) "Health",
            /// Sent by clients; never looked at.
            telemetry: ignored($crate::base::Telemetry) "Telemetry",
            /// Version of the document.
            schema_version: version "SchemaVersion",
        }
    };
    // What packets a rule is about (2.14).
    (@inherit FiveTuple $head:tt $($fields:tt)*) => {
        document! { @next $head [] []
            /// Protocol numbers, separated by commas; any when absent.
            protocols: text "Protocols",
            /// Addresses, prefixes or set IDs of the endpoint's side, separated by commas; any when absent.
            local_addresses: text "LocalAddresses",
            /// Addresses, prefixes or set IDs of the peer, separated by commas; any when absent.
            remote_addresses: text "RemoteAddresses",
            /// Ports or ranges (`80-90`) of the endpoint's side, separated by commas; any when absent.
            local_ports: text "LocalPorts",
            /// Ports or ranges (`80-90`) of the peer, separated by commas; any when absent.
            remote_ports: text "RemotePorts",
            /// Lower comes first.
            priority: u16 "Priority",
            $($fields)*
        }
    };

    // Takes one property off the list.
    (@next $head:tt $fields:tt $properties:tt
        $(#[doc = $doc:literal])* $field:ident: $kind:ident $(($of:ty))? $key:literal $(or $alias:literal)*,
        $($rest:tt)*
    ) => {
        document! {
            @$kind ($($of)?) {$head $fields $properties} {[$($doc)*] $field $key [$($alias)*]} $($rest)*
        }
    };
    (@text () $($property:tt)*) => {
        document! { @put [Option<String>] "crate::given::text" "Option::is_none" [text] $($property)* }
    };
    (@guid () $($property:tt)*) => {
        document! { @put [Option<String>] "crate::given::text" "Option::is_none" [of::<$crate::Guid>] $($property)* }
    };
    (@texts () $($property:tt)*) => {
        document! { @put [Vec<String>] "crate::given::texts" "Vec::is_empty" [texts] $($property)* }
    };
    (@bool () $($property:tt)*) => {
        document! { @put [Option<bool>] "crate::given::boolean" "Option::is_none" [boolean] $($property)* }
    };
    (@u8 () $($property:tt)*) => {
        document! { @put [Option<u8>] "crate::given::number" "Option::is_none" [integer::<u8>] $($property)* }
    };
    (@u16 () $($property:tt)*) => {
        document! { @put [Option<u16>] "crate::given::number" "Option::is_none" [integer::<u16>] $($property)* }
    };
    (@u32 () $($property:tt)*) => {
        document! { @put [Option<u32>] "crate::given::number" "Option::is_none" [integer::<u32>] $($property)* }
    };
    (@u64 () $($property:tt)*) => {
        document! { @put [Option<u64>] "crate::given::number" "Option::is_none" [integer::<u64>] $($property)* }
    };
    (@any () $($property:tt)*) => {
        document! { @put [Option<$crate::Raw>] "crate::given::raw" "Option::is_none" [any] $($property)* }
    };
    (@anys () $($property:tt)*) => {
        document! { @put [Vec<$crate::Raw>] "crate::given::raws" "Vec::is_empty" [anys] $($property)* }
    };
    (@settings () $($property:tt)*) => {
        document! { @put [Option<$crate::Raw>] "crate::given::settings" "Option::is_none" [any] $($property)* }
    };
    (@choice ($of:ty) $($property:tt)*) => {
        document! { @put [Option<$crate::enums::OneOf<$of>>] "crate::given::choice" "Option::is_none" [of::<$of>] $($property)* }
    };
    (@strict ($of:ty) $($property:tt)*) => {
        document! { @put [Option<$of>] "crate::given::choice" "Option::is_none" [of::<$of>] $($property)* }
    };
    (@flags ($of:ty) $($property:tt)*) => {
        document! { @put [$of] "serde::Deserialize::deserialize" "crate::enums::no_flags" [of::<$of>] $($property)* }
    };
    (@object ($of:ty) $($property:tt)*) => {
        document! { @put [Option<$of>] "crate::given::object" "Option::is_none" [of::<$of>] $($property)* }
    };
    (@objects ($of:ty) $($property:tt)*) => {
        document! { @put [Vec<$of>] "crate::given::objects" "Vec::is_empty" [list_of::<$of>] $($property)* }
    };
    (@version () $($property:tt)*) => {
        document! { @put [Option<$crate::base::Version>] "crate::base::version" "Option::is_none" [of::<$crate::base::Version>] $($property)* }
    };
    (@ignored ($of:ty) {$head:tt $fields:tt [$($properties:tt)*]} $property:tt $($rest:tt)*) => {
        document! { @next $head $fields [$($properties)* $property [of::<$of>]] $($rest)* }
    };
    (@put $type:tt $with:tt $skip:tt $schema:tt
        {$head:tt [$($fields:tt)*] [$($properties:tt)*]} $property:tt $($rest:tt)*
    ) => {
        document! {
            @next $head
            [$($fields)* $property $type $with $skip]
            [$($properties)* $property $schema]
            $($rest)*
        }
    };

    // All properties are taken.
    (@next {[$($doc:literal)*] $name:ident $title:tt}
        [$({[$($field_doc:literal)*] $field:ident $key:literal [$($alias:literal)*]} [$type:ty] $with:tt $skip:tt)*]
        $properties:tt
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        pub struct $name {
            $(
                $(#[doc = $field_doc])*
                #[serde(
                    rename = $key,
                    $(alias = $alias,)*
                    default,
                    deserialize_with = $with,
                    skip_serializing_if = $skip
                )]
                pub $field: $type,
            )*
        }

        #[cfg(feature = "json-schema")]
        document! { @schema {[$($doc)*] $name $title} $properties }
    };
    (@schema {[$($doc:literal)*] $name:ident $title:tt}
        [$({[$($field_doc:literal)*] $field:ident $key:literal [$($alias:literal)*]} [$($schema:tt)*])*]
    ) => {
        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                $crate::document::title!($name $title).into()
            }

            fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                let properties = [$($crate::json_schema::Property {
                    name: $key,
                    aliases: &[$($alias),*],
                    doc: &[$($field_doc),*],
                    make: $crate::json_schema::$($schema)*,
                }),*];
                $crate::json_schema::object(&[$($doc),*], &properties, generator)
            }
        }
    };
}

/// The name that the contract has for a type: the given one, or else that of the Rust type.
macro_rules! title {
    ($name:ident []) => {
        stringify!($name)
    };
    ($name:ident [$title:literal]) => {
        $title
    };
}

pub(crate) use document;
pub(crate) use title;
