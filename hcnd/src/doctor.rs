//! What is wrong with the host, or will be? The facts are read on a thread of their own, judged by `hcn-core`, and told.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;
use std::time::Duration;

use hcn_core::doctor::{self, Circumstances, Finding, Severity};
use hcn_core::{Registry, compile};
use hcn_dataplane::Survey;
use hcn_ipc::params;
use hcn_linux::{Features, SurveyConfig};

use crate::status::{Places, Probe};

/// What hcnd has under way looks as if somebody had left it; by then it is done.
const UNDER_WAY: Duration = Duration::from_secs(1);

type Published = Arc<RwLock<Registry>>;

/// How the service itself is.
struct Own {
    repairs: usize,
    /// How the kernel differs from the records.
    drift: Option<Vec<String>>,
}

/// Looks, judges and tells. One diagnosis waits for another.
pub(crate) async fn doctor(
    published: Published,
    probe: Probe,
    repairs: usize,
    drift: Option<Vec<String>>,
) -> params::Findings {
    let own = Own { repairs, drift };
    let Some(places) = probe.places.clone() else {
        // A data plane that is not the kernel has no host around it.
        return told(judge(&read(&published), &Survey::default(), &own));
    };
    let features = probe.found().await;
    let _turn = places.turn.lock().await;
    let here = Arc::clone(&places);
    let work = move || judge_host(&published, &here, features.as_deref(), &own);
    match tokio::task::spawn_blocking(work).await {
        Ok(findings) => told(findings),
        Err(error) => {
            tracing::error!(%error, "the diagnosis has failed");
            let unread = vec![("the host".to_owned(), error.to_string())];
            let own = Own { repairs, drift: None };
            told(judge(&Registry::new(), &Survey { unread, ..Survey::default() }, &own))
        }
    }
}

fn read(published: &Published) -> Registry {
    published.read().unwrap_or_else(PoisonError::into_inner).clone()
}

fn judge(registry: &Registry, survey: &Survey, own: &Own) -> Vec<Finding> {
    let circumstances = Circumstances { repairs: own.repairs, drift: own.drift.as_deref() };
    doctor::examine(registry, survey, circumstances)
}

fn judge_host(
    published: &Published,
    places: &Places,
    features: Option<&Features>,
    own: &Own,
) -> Vec<Finding> {
    let registry = read(published);
    let config = |registry: &Registry| SurveyConfig {
        netns_dir: places.netns.clone(),
        known_namespaces: registry.namespaces.iter().map(|namespace| namespace.file()).collect(),
        state: Some(places.store.clone()),
    };
    let mut survey = hcn_linux::survey(&config(&registry));
    let lacking = features.iter().flat_map(|features| &features.list).filter(|feature| !feature.present);
    survey.lacking = lacking.map(|lacks| (lacks.name.to_owned(), lacks.needed_for.to_owned())).collect();
    let wanted = compile::all(&registry);
    if !doctor::suspects(&wanted, &survey).is_empty() {
        thread::sleep(UNDER_WAY);
        let later = read(published);
        let again = hcn_linux::survey_links(&config(&later));
        let left: BTreeSet<String> = doctor::suspects(&compile::all(&later), &again);
        doctor::forget(&mut survey, &wanted, &left);
    }
    judge(&registry, &survey, own)
}

fn told(findings: Vec<Finding>) -> params::Findings {
    let one = |finding: Finding| params::Finding {
        check: finding.check.to_owned(),
        severity: match finding.severity {
            Severity::Ok => params::Severity::Ok,
            Severity::Notice => params::Severity::Notice,
            Severity::Warning => params::Severity::Warning,
            Severity::Error => params::Severity::Error,
        },
        subject: finding.subject,
        found: finding.found,
        consequence: finding.consequence,
        remedy: finding.remedy,
    };
    params::Findings { findings: findings.into_iter().map(one).collect() }
}
