//! A scenario: which trouble, with how many workers, for how long, and what has to have happened.
//!
//! Owns: the course of a run, from the first event to the verdict.
//! Never: a run whose files are thrown away.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use orderd::cli::sandbox::Options;

use crate::checker::record::{RUN, Run, What};
use crate::checker::{Judgement, judge};
use crate::faults::{self, Fault};
use crate::stage::journal::Journal;
use crate::stage::producer::{self, Producer};
use crate::stage::stream::{GROUP, SLOW_GROUP, STREAM, dump, open_ledger};
use crate::stage::{Props, Stage, sampler};

/// How long the workers may take to come to the end of their work once nothing is done to them any more. Generous: it is the bound of
/// a failure, on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// A scenario.
#[derive(Clone, Copy)]
pub(crate) struct Scenario {
    pub name: &'static str,
    pub fault: Fault,
    /// The names of the workers' instances.
    pub instances: &'static [&'static str],
    pub produced: producer::Options,
    pub settings: &'static [&'static str],
    pub crash_at: Option<&'static str>,
    pub setting: Setting,
    pub needs: &'static [(&'static str, u64)],
}

/// What is special about a scenario, if anything is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Setting {
    Usual,
    /// The workers reach Redis through the proxy.
    Proxied,
    /// Nothing is done that makes a takeover right.
    Calm,
    /// The same, and a second group is slow.
    SlowGroup,
    /// Every worker can reach Redis whenever it runs, so that no lease is to change hands twice.
    Leases,
}

/// How a scenario is run.
#[derive(Clone)]
pub(crate) struct Take {
    pub time: Duration,
    pub seed: u64,
    pub server: Options,
    /// A bug that is planted into the workers.
    pub bug: Option<&'static str>,
    /// Stands before the name of the folder.
    pub series: &'static str,
}

impl Scenario {
    pub(crate) const USUAL: Self = Self {
        name: "",
        fault: faults::none,
        instances: &["w1", "w2", "w3"],
        produced: producer::Options { rate: 400, malformed: 2, too_early: 4 },
        settings: &[],
        crash_at: None,
        setting: Setting::Usual,
        needs: &[],
    };

    /// Runs it and judges it.
    pub(crate) fn run(&self, take: &Take) -> Judgement {
        let name = format!("{} {}", take.series, self.name).trim().to_owned();
        let folder = folder().join(name.replace(',', "").replace(' ', "-"));
        let journal = Journal::begin(&folder);
        let run = Run {
            name,
            seed: take.seed,
            group: GROUP.to_owned(),
            one_at_a_time: self.instances.len() == 1,
            calm: matches!(self.setting, Setting::Calm | Setting::SlowGroup),
            leases: self.setting == Setting::Leases,
            needs: self.needs.iter().map(|(what, least)| ((*what).to_owned(), *least)).collect(),
        };
        journal.object(RUN, &run);
        self.play(take, &journal);
        judge(&folder).expect("the files of the run can be read")
    }

    fn play(&self, take: &Take, journal: &Journal) {
        let mut environment = Vec::new();
        let mut set = |name: &str, value: Option<&str>| {
            environment.extend(value.map(|value| (name.to_owned(), value.to_owned())));
        };
        set("ORDERD_CRASH_AT", self.crash_at);
        set("ORDERD_BUG", take.bug);
        let mut stage = Stage::set(Props {
            journal: journal.clone(),
            server: take.server.clone(),
            seed: take.seed,
            proxied: self.setting == Setting::Proxied,
            settings: self.settings.iter().map(|setting| (*setting).to_owned()).collect(),
            environment,
        });
        let mut producer = Producer::new(journal, stage.server.socket(), self.produced, take.seed);
        producer.begin_orders();
        if self.setting == Setting::SlowGroup {
            let mut create = redis::cmd("XGROUP");
            create.arg("CREATE").arg(STREAM).arg(SLOW_GROUP).arg("0");
            stage.redis.ask(|connection| create.exec(connection)).expect("a second group");
        }
        for (instance, number) in self.instances.iter().zip(1..) {
            stage.start(&format!("w{number}"), instance);
        }
        assert!(
            stage.drain(PATIENCE),
            "the workers do their work while nothing is done to them: {}",
            folder().display()
        );

        let sampler = sampler::sample(journal, stage.server.socket(), stage.ledger());
        let slow = (self.setting == Setting::SlowGroup).then(|| sampler::read_slowly(stage.server.socket()));
        let producing = producer.start();
        let end = Instant::now() + take.time;
        while Instant::now() < end {
            (self.fault)(&mut stage);
        }
        // Behind a front that somebody holds, the dead worker stays dead: another has to find what it left.
        if stage.held.is_empty() {
            stage.calm_down();
        }
        producing.stop();
        if !wait_for_the_end(&mut stage) {
            journal.note(What::NotDrained);
        }
        sampler.stop();
        slow.into_iter().for_each(sampler::Beside::stop);
        let ledger = open_ledger(&stage.ledger());
        if stage.held.is_empty() {
            stage.up().iter().for_each(|worker| stage.stop(worker));
        }
        dump(journal, &mut stage.redis, &ledger);
    }
}

fn wait_for_the_end(stage: &mut Stage) -> bool {
    if stage.held.is_empty() {
        return stage.drain(PATIENCE);
    }
    let end = Instant::now() + PATIENCE / 3;
    while Instant::now() < end {
        faults::renew_front(stage);
        if stage.drain(Duration::from_millis(200)) {
            return true;
        }
    }
    false
}

/// Where the files of all runs go.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/proof")
}
