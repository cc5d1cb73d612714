//! Whether an endpoint may send in the name of others: its document says it as adapters of Hyper-V do, else the
//! administrator decides for all.

use hcn_schema::{Error, HResult, Raw, Result};
use serde_json::Value;

use super::View;

const MEMBER: &str = "MacAddressSpoofing";

pub(super) fn choose(view: &View<'_>, params: Option<&Raw>) -> Result<bool> {
    let given = params.map(asked).transpose()?.flatten();
    match given {
        // Without such rules nobody is kept from anything, and nobody is told that he is.
        _ if view.context.host.kernel.bridge_rules => {
            Ok(given.unwrap_or(view.context.settings.mac_address_spoofing))
        }
        Some(false) => {
            let message = "this kernel has no rules for the ports of a bridge (CONFIG_NF_TABLES_BRIDGE)";
            let error = Error::new(HResult::REQUEST_UNSUPPORTED, message);
            Err(error.at(format!("AdditionalParams.{MEMBER}")).expected("On"))
        }
        _ => Ok(true),
    }
}

/// What a document says, if it does. Other members are the client's own.
pub(super) fn asked(params: &Raw) -> Result<Option<bool>> {
    if !params.get().contains(MEMBER) {
        return Ok(None);
    }
    let Ok(params) = serde_json::from_str::<Value>(params.get()) else { return Ok(None) };
    match params.get(MEMBER) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(word)) if word.eq_ignore_ascii_case("on") => Ok(Some(true)),
        Some(Value::String(word)) if word.eq_ignore_ascii_case("off") => Ok(Some(false)),
        Some(_) => {
            let error = Error::new(HResult::INVALID_ARGUMENT, "this is neither On nor Off");
            Err(error.at(format!("AdditionalParams.{MEMBER}")).expected("On or Off"))
        }
    }
}
