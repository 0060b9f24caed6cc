//! The monitor's looks at its container's health: one probe at a time, as a further command in the container.
//!
//! Between two probes there is only a time at which `poll` ends; without a health check, or while the container
//! is paused, not even that. A probe that takes too long is killed with its process group; its result is written
//! down when it has ended, so that dying probes do not pile up.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::serve::Server;
use super::visits::Visit;
use crate::container::attach::frame::{Exec, Report};
use crate::container::exec::ExecOptions;
use crate::container::health::{self, Health, Healthcheck, Output, ProbeResult};
use crate::container::record::{Config, Phase};
use crate::sandbox::{Motion, VisitId};

/// How long it may take until a probe is executing. The time of the probe itself begins then.
const START_LIMIT: Duration = Duration::from_secs(30);

/// The health of a container that is looked at.
pub(super) struct Probes {
    check: Healthcheck,
    argv: Vec<String>,
    pub(super) health: Health,
    /// When this life of the container began, by two clocks.
    born: (Instant, Timestamp),
    next: Next,
}

enum Next {
    /// Nobody looks: the container is paused, or has ended.
    Never,
    At(Instant),
    Running(Probe),
}

/// A probe that has been sent into the container.
struct Probe {
    id: VisitId,
    start: Timestamp,
    /// When it is killed; `None` if it has been.
    due: Option<Instant>,
    output: Output,
}

impl Probes {
    /// What looks at a container that is starting, if anything is to.
    pub(super) fn of(config: &Config, before: Option<Health>) -> Option<Self> {
        let check = config.healthcheck.clone()?;
        let argv = check.argv(&config.shell)?;
        let born = (Instant::now(), Timestamp::now());
        let mut probes = Self { check, argv, health: Health::starting(before), born, next: Next::Never };
        probes.plan();
        Some(probes)
    }

    /// The container lives again.
    pub(super) fn begin_again(&mut self) {
        self.born = (Instant::now(), Timestamp::now());
        self.health = Health::starting(Some(self.health.clone()));
        self.plan();
    }

    /// Nobody looks until further notice; what a probe that is on its way will say does not count.
    pub(super) fn rest(&mut self) {
        self.next = Next::Never;
        self.health = self.health.clone().unwatched();
    }

    /// When something has to be done, if nothing happens before.
    pub(super) fn due(&self) -> Option<Instant> {
        match &self.next {
            Next::Never => None,
            Next::At(due) => Some(*due),
            Next::Running(probe) => probe.due,
        }
    }

    fn plan(&mut self) {
        self.next = Next::At(Instant::now() + self.check.wait(self.health.status, self.born.0.elapsed()));
    }

    fn running(&mut self, id: VisitId) -> Option<&mut Probe> {
        match &mut self.next {
            Next::Running(probe) if probe.id == id => Some(probe),
            _ => None,
        }
    }

    /// Takes down how the probe ended, and plans the next.
    fn finish(&mut self, exit_code: i32, output: String) {
        let Next::Running(Probe { start, .. }) = std::mem::replace(&mut self.next, Next::Never) else { return };
        let result = ProbeResult { start, end: Timestamp::now(), exit_code, output };
        self.health.take(result, &self.check, self.born.1);
        self.plan();
    }
}

impl Server {
    /// Sends a probe in whose time has come, or kills the one that takes too long.
    pub(super) fn look_if_due(&mut self) {
        let Some(probes) = &mut self.started.probes else { return };
        if probes.due().is_none_or(|due| due > Instant::now()) {
            return;
        }
        match &mut probes.next {
            Next::Running(probe) => {
                probe.due = None;
                let id = probe.id;
                self.kill_visitor(id);
            }
            Next::Never | Next::At(_) => self.probe(),
        }
    }

    fn probe(&mut self) {
        self.last_visit += 1;
        let id = VisitId(self.last_visit);
        let Some(probes) = &mut self.started.probes else { return };
        let due = Some(Instant::now() + START_LIMIT);
        probes.next = Next::Running(Probe { id, start: Timestamp::now(), due, output: Output::default() });
        let options = ExecOptions { argv: probes.argv.clone(), ..ExecOptions::default() };
        let exec = Exec { options, stdin: false, detached: false, size: None };
        match self.let_in(id, &exec) {
            Ok(visit) => self.visits.push(visit),
            Err(error) => self.finish_probe(-1, super::with_causes(&error)),
        }
    }

    /// What was just read from a further command, if that is a probe.
    pub(super) fn hear_probe(&mut self, id: VisitId, length: usize) {
        let Some(probe) = self.started.probes.as_mut().and_then(|probes| probes.running(id)) else { return };
        probe.output.push(&self.buffer[..length]);
    }

    /// What became of a further command, if it is a probe.
    pub(super) fn follow_probe(&mut self, id: VisitId, report: &Report) {
        let Some(probes) = &mut self.started.probes else { return };
        let limit = probes.check.time_limit();
        let Some(probe) = probes.running(id) else { return };
        let is_overdue = probe.due.is_none();
        match report {
            // It was killed before there was a process to kill.
            Report::Entered { .. } if is_overdue => self.kill_visitor(id),
            Report::Entered { .. } => probe.due = Some(Instant::now() + limit),
            Report::Left { .. } if is_overdue => {
                let text = health::overdue(limit, &probe.output);
                self.finish_probe(-1, text);
            }
            Report::Left { code } => {
                let (code, text) = (i32::from(*code), probe.output.text());
                self.finish_probe(code, text);
            }
            Report::NotEntered(failure) => self.finish_probe(-1, failure.message.clone()),
            _ => {}
        }
    }

    fn finish_probe(&mut self, exit_code: i32, output: String) {
        let Some(probes) = &mut self.started.probes else { return };
        probes.finish(exit_code, output);
        // A full disk: the next result may be written again.
        let _untold = self.record(Phase::Running(self.started.life.running.clone()), None);
    }

    /// A container that stands still is not looked at: its probe ends when it goes on.
    pub(super) fn stop_or_plan_probes(&mut self, motion: Motion) {
        let Some(probes) = &mut self.started.probes else { return };
        let running = if let Next::Running(probe) = &probes.next { Some(probe.id) } else { None };
        match motion {
            Motion::Frozen => probes.rest(),
            Motion::Thawed => probes.plan(),
        }
        if let Some(id) = running {
            self.kill_visitor(id);
        }
    }

    fn kill_visitor(&self, id: VisitId) {
        self.visits.iter().filter(|visit| visit.id == id).for_each(Visit::kill);
    }
}

impl Visit {
    /// Kills it with what it has started, as far as that has not left its process group.
    fn kill(&self) {
        if let Some(pidfd) = &self.pidfd {
            // It has ended if this fails.
            let _ended = crate::sys::pidfd_kill_group(pidfd.as_fd());
        }
    }
}
