//! What an earlier hcnd left when it was killed: nobody knows its records any more, so its links and
//! namespaces are in the way of new ones. Only what is recognisably hcnd's own is removed: links of its group
//! whose alias says `hcn …`, and namespaces whose loopback has the alias `hcn namespace NAME …`.

use std::io;
use std::path::Path;

use crate::link::{self, GROUP, LOOPBACK, LinkFacts};
use crate::netns::{Folder, Handle};
use crate::socket::{Batch, Socket, Wire};
use crate::{reaper, resolver};

pub(crate) fn remove(wire: &mut Wire, host: &Socket, folder: &Folder, netns_etc: &Path) -> io::Result<()> {
    let links: Vec<u32> = wire
        .dump(host, &link::get_all())?
        .iter()
        .filter_map(|payload| LinkFacts::read(payload))
        .filter(is_ours)
        .map(|facts| facts.index)
        .collect();
    reaper::delete_all(wire, host, &links)?;
    let mut namespaces = 0;
    for name in folder.names()? {
        // A file that is no namespace, or of one that is gone, is not ours.
        let Ok(handle) = folder.adopt(&name) else { continue };
        if loopback_alias(wire, &handle)?.is_some_and(|alias| is_alias_of(&alias, &name)) {
            folder.unbind(&name)?;
            resolver::remove(netns_etc, &name)?;
            namespaces += 1;
        }
    }
    if !links.is_empty() || namespaces > 0 {
        tracing::warn!(links = links.len(), namespaces, "removed what an earlier hcnd left behind");
    }
    Ok(())
}

/// A link that was killed between being made and being described has no alias yet, but one of our names.
fn is_ours(facts: &LinkFacts) -> bool {
    let named = ["hcn", "hve", "hvp", "hcr", "hcx"].iter().any(|prefix| facts.name.starts_with(prefix));
    facts.group == GROUP && (facts.alias.starts_with("hcn ") || (facts.alias.is_empty() && named))
}

fn is_alias_of(alias: &str, name: &str) -> bool {
    alias.strip_prefix("hcn namespace ").and_then(|rest| rest.split(' ').next()) == Some(name)
}

fn loopback_alias(wire: &mut Wire, handle: &Handle) -> io::Result<Option<String>> {
    let mut batch = Batch::new();
    batch.push((), 0, link::get_index(LOOPBACK));
    let fates = wire.exchange(&handle.socket, &mut batch)?;
    let answer = fates.into_iter().next().and_then(|fate| fate.ok().flatten());
    Ok(answer.and_then(|payload| LinkFacts::read(&payload)).map(|facts| facts.alias))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_names_its_own_namespace_only() {
        assert!(is_alias_of("hcn namespace AB box", "AB"));
        assert!(is_alias_of("hcn namespace AB", "AB"));
        assert!(!is_alias_of("hcn namespace ABC", "AB"));
        assert!(!is_alias_of("AB", "AB"));
        assert!(!is_alias_of("", ""));
    }
}
