//! A scenario: which trouble, with how many workers, for how long, and what has to have happened.
//!
//! Owns: the course of a run, from the first event to the verdict.
//! Never: a run whose files are thrown away.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use orderd::cli::sandbox::Options;

use crate::checker::record::{RUN, Run, What};
use crate::checker::{Judgement, judge};
use crate::faults::{self, Fault};
use crate::stage::journal::Journal;
use crate::stage::producer::{self, Producer};
use crate::stage::server::Kind;
use crate::stage::stream::{GROUP, SLOW_GROUP, STREAM, dump};
use crate::stage::{Props, Stage, disk, sampler, starvation};

/// How long the workers may take to come to the end of their work once nothing is done to them any more. Generous: it is the bound of
/// a failure, on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// How long the workers may take to crash often enough at each point.
const CRASH_PATIENCE: Duration = Duration::from_mins(4);

/// A scenario.
#[derive(Clone, Copy)]
pub(crate) struct Scenario {
    pub name: &'static str,
    pub fault: Fault,
    /// The names of the workers' instances.
    pub instances: &'static [&'static str],
    pub produced: producer::Options,
    pub settings: &'static [&'static str],
    /// Where the workers kill themselves, and how often: `PLACE:0.1`.
    pub crash_at: &'static [&'static str],
    pub setting: Setting,
    pub servers: Kind,
    /// Seconds, where it is not the usual time.
    pub seconds: Option<u64>,
    /// What the logs of the workers say when the fault bites, and as what a line of it counts.
    pub told: Option<(&'static str, &'static str)>,
    pub needs: &'static [(&'static str, u64)],
}

/// What is special about a scenario, if anything is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Setting {
    Usual,
    /// The workers reach Redis through the proxy.
    Proxied,
    /// The ledger is in Postgres.
    OnPostgres,
    /// The ledger is on a file system of its own, which is small.
    OnASmallDisk,
    /// The clock of the workers can be set.
    WithAClock,
    /// Nothing is done that makes a takeover right.
    Calm,
    /// The same, and a second group is slow.
    SlowGroup,
    /// The same, and a second group is dead: it never reads.
    DeadGroup,
    /// Every worker can reach Redis whenever it runs, so that no lease is to change hands twice.
    Leases,
    /// More workers come, and go.
    Scaled,
}

/// How a scenario is run.
#[derive(Clone)]
pub(crate) struct Take {
    pub time: Duration,
    pub seed: u64,
    pub server: Options,
    /// A bug that is planted into the workers.
    pub bug: Option<&'static str>,
    /// So many crashes at each crash point are enough; 0: what there is in the time.
    pub enough: usize,
    /// Stands before the name of the folder.
    pub series: &'static str,
}

impl Scenario {
    pub(crate) const USUAL: Self = Self {
        name: "",
        fault: faults::none,
        instances: &["w1", "w2", "w3"],
        produced: producer::Options { rate: 400, malformed: 2, too_early: 4, poison: false, own_ids: false },
        settings: &[],
        crash_at: &[],
        setting: Setting::Usual,
        servers: Kind::Safe,
        seconds: None,
        told: None,
        needs: &[],
    };

    /// Runs it and judges it. `None` where something that it needs is not here.
    pub(crate) fn run(&self, take: &Take) -> Option<Judgement> {
        let name = format!("{} {}", take.series, self.name).trim().to_owned();
        let folder = folder().join(name.replace(',', "").replace(' ', "-"));
        let journal = Journal::begin(&folder);
        if self.setting == Setting::OnASmallDisk && !disk::is_inside() {
            if disk::run_inside(self.name, take.seed, &folder.with_extension("inside.log")).is_none() {
                return self.left_out();
            }
            return Some(judge(&folder).expect("the files of the run can be read"));
        }
        let mut needs: Vec<(String, u64)> =
            self.needs.iter().map(|(what, least)| ((*what).to_owned(), *least)).collect();
        let places = self.crash_at.iter().filter_map(|point| point.split(':').next()).filter(|_| take.enough > 0);
        needs.extend(places.map(|place| (format!("crashes {place}"), take.enough as u64)));
        let run = Run {
            name,
            seed: take.seed,
            group: GROUP.to_owned(),
            one_at_a_time: self.instances.len() == 1 && self.setting != Setting::Scaled,
            calm: matches!(self.setting, Setting::Calm | Setting::SlowGroup | Setting::DeadGroup),
            leases: self.setting == Setting::Leases,
            witnessed: true,
            needs,
        };
        journal.object(RUN, &run);
        let Some(stage) = self.set(take, &journal) else { return self.left_out() };
        self.play(stage, take, &journal);
        Some(judge(&folder).expect("the files of the run can be read"))
    }

    fn left_out(&self) -> Option<Judgement> {
        assert!(std::env::var_os("CI").is_none(), "{}: something is missing here: run make test", self.name);
        eprintln!("left out: {} (make test installs what it needs)", self.name);
        None
    }

    fn set(&self, take: &Take, journal: &Journal) -> Option<Stage> {
        let bug = take.bug.map(|bug| ("ORDERD_BUG".to_owned(), bug.to_owned()));
        Stage::set(Props {
            journal: journal.clone(),
            server: take.server.clone(),
            seed: take.seed,
            kind: self.servers,
            proxied: self.setting == Setting::Proxied || self.servers == Kind::Replicated,
            on_postgres: self.setting == Setting::OnPostgres,
            with_a_clock: self.setting == Setting::WithAClock,
            on_a_small_disk: self.setting == Setting::OnASmallDisk,
            settings: self.settings.iter().map(|setting| (*setting).to_owned()).collect(),
            environment: bug.into_iter().collect(),
            crash_points: self.crash_at,
            enough: take.enough,
        })
    }

    fn play(&self, mut stage: Stage, take: &Take, journal: &Journal) {
        let mut producer = Producer::new(journal, stage.servers.socket(), self.produced, take.seed);
        producer.begin_orders();
        if matches!(self.setting, Setting::SlowGroup | Setting::DeadGroup) {
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

        let sampler = sampler::sample(journal, stage.servers.socket(), stage.ledger.clone());
        let watch = starvation::watch(journal);
        let slow = (self.setting == Setting::SlowGroup).then(|| sampler::read_slowly(stage.servers.socket()));
        let producing = producer.start();
        self.trouble(&mut stage, take);
        // Behind a front that somebody holds, the dead worker stays dead: another has to find what it left.
        if stage.held.is_empty() {
            stage.calm_down();
        }
        producing.stop();
        if !wait_for_the_end(&mut stage) {
            journal.note(What::NotDrained);
        }
        sampler.stop();
        watch.stop();
        slow.into_iter().for_each(sampler::Beside::stop);
        if stage.held.is_empty() {
            stage.up().iter().for_each(|worker| stage.stop(worker));
        }
        if let Some((line, kind)) = self.told {
            let logs = journal.files("log").into_iter().map(|log| fs::read_to_string(log).unwrap_or_default());
            let count: usize = logs.map(|log| log.lines().filter(|text| text.contains(line)).count()).sum();
            journal.note(What::Counted { kind: kind.to_owned(), count: count as u64 });
        }
        let book = stage.ledger.open();
        journal.note(What::Counted { kind: "forgotten by the ledger".to_owned(), count: book.forgotten() });
        dump(journal, &mut stage.redis, &book);
    }

    /// Makes trouble for as long as it takes.
    fn trouble(&self, stage: &mut Stage, take: &Take) {
        let time = self.seconds.map_or(take.time, Duration::from_secs);
        let began = Instant::now();
        let counts = take.enough > 0 && !self.crash_at.is_empty();
        let goes_on = |stage: &Stage| match began.elapsed() {
            spent if counts => {
                let least = self.seconds.map_or(Duration::ZERO, Duration::from_secs);
                spent < least || (spent < CRASH_PATIENCE && !stage.open_crash_points().is_empty())
            }
            spent => spent < time,
        };
        while goes_on(stage) {
            (self.fault)(stage);
        }
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
