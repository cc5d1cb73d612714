//! The rules of other programs, as nft lists them: the doctor judges them, whatever they are.

use hcn_core::doctor::{self, Circumstances};
use hcn_dataplane::{Rules, SeenLink, Survey};

use crate::world::World;

pub(crate) fn run(octets: &[u8]) {
    let Ok(text) = std::str::from_utf8(octets) else { return };
    let world = World::new();
    let link = |(index, name): (usize, &str)| SeenLink {
        name: name.to_owned(),
        index: index as u32 + 1,
        ..SeenLink::default()
    };
    let survey = Survey {
        links: ["lo", "eth0", "eth1"].into_iter().enumerate().map(link).collect(),
        rules: Rules { listings: vec![text.to_owned()], ..Rules::default() },
        ..Survey::default()
    };
    let findings = doctor::examine(&world.published, &survey, Circumstances::default());
    assert!(findings.iter().any(|finding| finding.check == "foreign-rules"), "a check has said nothing");
    for finding in findings {
        assert!(!finding.check.is_empty());
        assert!(!doctor::is_own_table(finding.subject.trim_start_matches("table ")), "{finding:?}");
    }
}
