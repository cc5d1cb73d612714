//! Taking over what endpoints' own policies translate: the rules are written anew, each table in one transaction, since
//! that is as quick as reading them. Connections go on as they are.

use std::collections::BTreeMap;

use hcn_dataplane::{Interception, Netns, Object, OpError, State};

use crate::{Linux, nft};

/// On the host.
pub(super) fn take_over(linux: &mut Linux, wanted: &State) -> Result<(), OpError> {
    let translations = || {
        let objects = wanted.iter().map(|(_, object)| object);
        objects.filter(|object| matches!(object, Object::Outbound(_) | Object::Diversion(_)))
    };
    nft::take_over_translation(&mut linux.wire, &linux.nft, linux.owns_tables, translations())?;
    linux.translated = translations().map(Object::key).collect();
    Ok(())
}

/// What is wanted in each namespace.
pub(super) fn intercepted(wanted: &State) -> BTreeMap<String, Vec<&Interception>> {
    let mut by_netns: BTreeMap<String, Vec<&Interception>> = BTreeMap::new();
    for (_, object) in wanted.iter() {
        if let Object::Interception(interception) = object
            && let Netns::Named(name) = &interception.link.netns
        {
            by_netns.entry(name.clone()).or_default().push(interception);
        }
    }
    by_netns
}
