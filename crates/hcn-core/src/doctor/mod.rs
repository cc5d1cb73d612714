//! What is wrong with the host, or will be: facts in, findings out. Each check gives at least one finding, so that who
//! reads knows what was looked at.

mod drift;
mod entities;
mod foreign;
mod kernel;
mod leftovers;
mod limits;
mod overlaps;
mod settings;

use std::net::IpAddr;

use hcn_dataplane::{Family, State, Survey};
use hcn_schema::Guid;
use hcn_schema::call::Kind;

use crate::compile;
use crate::registry::Registry;
use crate::text;

pub use foreign::is_own_table;
pub use leftovers::{forget, suspects};

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// As it should be.
    Ok,
    /// Worth knowing; nothing is lost by it.
    Notice,
    /// Something is lost in certain cases, or soon.
    Warning,
    /// Packets are lost, or calls fail.
    Error,
}

impl Severity {
    /// As clients read it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// What a check has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The name of the check, which stays the same.
    pub check: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What it is about; empty where that is the host as a whole.
    pub subject: String,
    /// What was found.
    pub found: String,
    /// What comes of it; empty where nothing does.
    pub consequence: String,
    /// What to do; empty where nothing is to be done.
    pub remedy: String,
}

/// How the service itself is, as far as the records do not tell.
#[derive(Clone, Copy, Debug, Default)]
pub struct Circumstances<'a> {
    /// Repairs that wait or are under way.
    pub repairs: usize,
    /// How the kernel differs from the records, in words; none = nobody has looked.
    pub drift: Option<&'a [String]>,
}

/// What every check looks at.
struct Facts<'a> {
    registry: &'a Registry,
    /// What the records mean.
    wanted: &'a State,
    survey: &'a Survey,
    /// The rules of other programs.
    ruleset: foreign::Ruleset,
    circumstances: Circumstances<'a>,
}

/// A check: its name, what is told where it finds nothing, and what looks.
type Check = (&'static str, &'static str, fn(&Facts<'_>, &mut Report));

/// All checks, in the order of their findings.
const CHECKS: [Check; 17] = [
    ("kernel", "the kernel has all that hcnd can use", kernel::features),
    ("forwarding", "the host forwards what networks need", settings::forwarding),
    ("rp-filter", "reverse path filters drop nothing of hcnd's", settings::reverse_path),
    ("accept-ra", "router advertisements are heard where they should be", settings::advertisements),
    ("bridge-nf-call", "no foreign rules see the frames of bridges", settings::bridged_frames),
    ("route-localnet", "containers cannot reach 127.0.0.1 of the host", settings::localhost),
    ("reserved-ports", "the kernel gives programs no port that is published", settings::reserved_ports),
    ("conntrack", "there is room for connections", limits::connections),
    ("neighbours", "there is room for neighbours", limits::neighbours),
    ("open-files", "hcnd can open more files", limits::files),
    ("address-pools", "subnets and MAC pools have free addresses", limits::pools),
    ("bridge-ports", "bridges have room for endpoints", limits::ports),
    ("state", "there is room for the state", limits::state),
    ("foreign-rules", "no rule of other programs drops packets of hcnd's networks", foreign::rules),
    ("overlaps", "no subnet overlaps routes or addresses of the host", overlaps::overlaps),
    ("leftovers", "nothing looks like hcnd's and is in no record", leftovers::leftovers),
    ("entities", "no entity is degraded and no repair waits", entities::entities),
];

/// Collects the findings of one check.
struct Report {
    check: &'static str,
    findings: Vec<Finding>,
}

impl Report {
    fn add(&mut self, severity: Severity, subject: impl Into<String>, told: [String; 3]) {
        let [found, consequence, remedy] = told;
        let finding =
            Finding { check: self.check, severity, subject: subject.into(), found, consequence, remedy };
        self.findings.push(finding);
    }
}

/// Judges the host by what was read of it.
pub fn examine(registry: &Registry, survey: &Survey, circumstances: Circumstances<'_>) -> Vec<Finding> {
    let wanted = compile::all(registry);
    let ruleset = foreign::Ruleset::read(&survey.rules);
    let facts = Facts { registry, wanted: &wanted, survey, ruleset, circumstances };
    let mut all: Vec<Finding> = CHECKS.iter().flat_map(|check| carry_out(check, &facts)).collect();
    if let Some(differences) = circumstances.drift {
        let mut report = Report { check: drift::NAME, findings: Vec::new() };
        drift::drift(differences, &mut report);
        all.extend(report.findings);
    }
    let mut report = Report { check: "reading", findings: Vec::new() };
    for (what, why) in &survey.unread {
        report.add(
            Severity::Warning,
            what.as_str(),
            [
                format!("it cannot be read: {why}"),
                "checks that depend on it are left out, or find nothing".to_owned(),
                "see the message; hcnd needs the rights that its unit file gives it".to_owned(),
            ],
        );
    }
    all.extend(report.findings);
    all
}

fn carry_out((check, fine, look): &Check, facts: &Facts<'_>) -> Vec<Finding> {
    let mut report = Report { check, findings: Vec::new() };
    look(facts, &mut report);
    if report.findings.is_empty() {
        report.add(Severity::Ok, "", [(*fine).to_owned(), String::new(), String::new()]);
    }
    report.findings
}

impl Facts<'_> {
    /// A setting that is a number.
    fn setting(&self, name: &str) -> Option<i64> {
        self.survey.sysctls.get(name)?.trim().parse().ok()
    }

    /// Whether a link is hcnd's own.
    fn is_ours(&self, link: &str) -> bool {
        let seen = self.survey.links.iter().find(|seen| seen.name == link);
        self.registry.link_is_used(link) || seen.is_some_and(|seen| seen.group)
    }

    /// The link that the default route leaves by, of IPv4 if that has one.
    fn uplink(&self) -> Option<&str> {
        let defaults = || {
            let main = self.survey.routes.iter().filter(|route| route.table == MAIN_TABLE);
            main.filter(|route| route.destination.prefix_len() == 0)
        };
        let of = |ipv4: bool| defaults().find(|route| route.destination.addr().is_ipv4() == ipv4);
        of(true).or_else(|| of(false)).map(|route| route.link.as_str())
    }

    /// An address that the host has on a link; of IPv6 none that is link-local.
    fn address_of(&self, link: &str, family: Family) -> Option<IpAddr> {
        let addresses = self.survey.addresses.iter().filter(|given| given.link == link);
        addresses
            .map(|given| given.address.addr())
            .find(|address| Family::of(*address) == family && !is_link_local(*address))
    }
}

/// `RT_TABLE_MAIN`
const MAIN_TABLE: u32 = 254;

/// An entity, for people.
fn named(kind: Kind, id: Guid, name: &str) -> String {
    if name.is_empty() { format!("{kind} {id}") } else { format!("{kind} {id} {}", text::shown(name)) }
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}
