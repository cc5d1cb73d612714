//! Taking over what endpoints' own policies translate: the rules are written anew, each table in one transaction, since
//! that is as quick as reading them. Connections go on as they are.

use std::collections::BTreeMap;

use hcn_dataplane::{Interception, Netns, Object, OpError, State};

use crate::netns::Handle;
use crate::{Linux, nft};

pub(super) fn take_over(linux: &mut Linux, wanted: &State, found: &mut State) -> Result<(), OpError> {
    let translations = || {
        let objects = wanted.iter().map(|(_, object)| object);
        objects.filter(|object| matches!(object, Object::Outbound(_) | Object::Diversion(_)))
    };
    nft::take_over_translation(&mut linux.wire, &linux.nft, linux.owns_tables, translations())?;
    linux.translated = translations().map(Object::key).collect();
    let mut by_netns: BTreeMap<String, Vec<&Interception>> = BTreeMap::new();
    for (_, object) in wanted.iter() {
        if let Object::Interception(interception) = object
            && let Netns::Named(name) = &interception.link.netns
        {
            by_netns.entry(name.clone()).or_default().push(interception);
        }
    }
    let failed = |error: std::io::Error| OpError {
        errno: error.raw_os_error(),
        message: format!("cannot open the rules of a namespace: {error}"),
    };
    for (name, handle) in &mut linux.namespaces {
        let wanted = by_netns.remove(name).unwrap_or_default();
        // It may be that of filters, who own their table by it.
        let opened = handle.nft().is_none();
        if opened {
            linux.folder.open_nft(handle).map_err(failed)?;
        }
        let Some(socket) = Handle::nft(handle) else { continue };
        nft::take_over_interception(&mut linux.wire, socket, wanted.iter().copied())?;
        if wanted.is_empty() && opened {
            handle.close_nft();
        }
        for interception in wanted {
            linux.intercepted.insert(interception.link.clone(), interception.clone());
            found.insert(Object::Interception(interception.clone()));
        }
    }
    Ok(())
}
