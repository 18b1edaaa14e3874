//! What all threads of a load share, and who decides how it goes on.

use super::options::{Mode, Plan};
use super::phase::Phase;
use super::tally::{Snapshot, Tally, Totals};
use super::timer::monotonic_ns;
use nanomq_proto::wire::packet::QoS;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// So long nothing may come before the rest counts as lost.
const QUIET_NS: u64 = 1_000_000_000;

/// Longest wait for the rest.
const DRAIN_NS: u64 = 30_000_000_000;

pub(super) struct Shared {
    pub(super) plan: Plan,
    pub(super) tallies: Vec<Arc<Tally>>,
    /// Written by the first thread; read by all.
    phase: AtomicU8,
    /// Written by the user.
    is_stopping: AtomicBool,
    /// Messages that may still be sent, if there is a limit.
    budget: AtomicU64,
    marks: Mutex<Marks>,
    /// The first error of a client.
    error: Mutex<Option<String>>,
    /// Threads that run; `wait` waits for 0.
    running: Mutex<usize>,
    ended: Condvar,
}

/// Moments that the first thread notes.
#[derive(Default)]
struct Marks {
    /// Begin of the phase.
    since_ns: u64,
    /// Begin of the measurement.
    base: Option<Totals>,
    /// Its end.
    end: Option<Totals>,
    /// What had come when something came last.
    moved: (u64, u64),
    moved_ns: u64,
}

impl Shared {
    pub(super) fn new(plan: Plan) -> Self {
        let threads = usize::from(plan.options.threads);
        Self {
            tallies: (0..threads).map(|_| Arc::default()).collect(),
            phase: AtomicU8::new(Phase::Connecting as u8),
            is_stopping: AtomicBool::new(false),
            budget: AtomicU64::new(plan.options.limit),
            marks: Mutex::new(Marks {
                since_ns: monotonic_ns(),
                ..Marks::default()
            }),
            error: Mutex::default(),
            running: Mutex::new(threads),
            ended: Condvar::new(),
            plan,
        }
    }

    pub(super) fn phase(&self) -> Phase {
        Phase::from_u8(self.phase.load(Ordering::Relaxed))
    }

    /// Asks the publishers to stop and the load to end.
    pub(super) fn stop(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
    }

    /// Takes messages from the limit. Returns how many were left.
    pub(super) fn take(&self, count: usize) -> usize {
        let count = count as u64;
        let left = self
            .budget
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                Some(left.saturating_sub(count))
            });
        left.unwrap_or_default().min(count) as usize
    }

    /// Keeps the first error.
    pub(super) fn note(&self, error: &io::Error) {
        lock(&self.error).get_or_insert_with(|| error.to_string());
    }

    /// A thread has ended.
    pub(super) fn leave(&self) {
        *lock(&self.running) -= 1;
        self.ended.notify_all();
    }

    /// Waits until all threads have ended. Returns whether they have.
    pub(super) fn wait(&self, timeout: Duration) -> bool {
        let running = lock(&self.running);
        let waited = self
            .ended
            .wait_timeout_while(running, timeout, |running| *running > 0);
        *waited.unwrap_or_else(PoisonError::into_inner).0 == 0
    }

    /// Everything counted until now.
    fn totals(&self) -> Totals {
        let mut totals = Totals {
            at_ns: monotonic_ns(),
            ..Totals::default()
        };
        for tally in &self.tallies {
            totals.add(tally);
        }
        totals
    }

    /// A report.
    pub(super) fn snapshot(&self) -> Snapshot {
        let all = self.totals();
        let marks = lock(&self.marks);
        let base = marks.base.as_ref().unwrap_or(&all);
        let mut snapshot = Snapshot::new(&all, base, marks.end.as_ref().unwrap_or(&all));
        drop(marks);
        let phase = self.phase();
        snapshot.phase = phase.name();
        snapshot.error.clone_from(&*lock(&self.error));
        if phase == Phase::Ended {
            let (has, wants) = self.progress(&all);
            snapshot.lost = wants.saturating_sub(has);
        }
        snapshot
    }

    /// How many messages came to their end, and how many were to: arrivals if the load has subscribers of its own,
    /// acknowledgements otherwise.
    fn progress(&self, totals: &Totals) -> (u64, u64) {
        if self.plan.is_closed() {
            (totals.received, totals.sent * self.plan.copies())
        } else if self.plan.publishers > 0 && self.plan.qos != QoS::AtMostOnce {
            (totals.acked, totals.sent)
        } else {
            (0, 0)
        }
    }

    /// Goes to the next phase when it is time. The first thread calls it again and again.
    pub(super) fn step(&self) {
        let totals = self.totals();
        let mut marks = lock(&self.marks);
        let options = &self.plan.options;
        let in_phase_s = totals.at_ns.saturating_sub(marks.since_ns) as f64 / 1e9;
        let done = totals.ready + totals.failed;
        let clients = u64::from(self.plan.clients());
        let gone = totals.failed + totals.disconnected;
        let stops = self.is_stopping.load(Ordering::Relaxed) || gone >= clients;
        let next = match self.phase() {
            Phase::Connecting if stops || !self.plan.is_closed() || done >= clients => {
                if options.warmup_s > 0.0 {
                    Phase::Warming
                } else {
                    marks.base = Some(totals.clone());
                    Phase::Measuring
                }
            }
            Phase::Warming if stops || in_phase_s >= options.warmup_s => {
                marks.base = Some(totals.clone());
                Phase::Measuring
            }
            Phase::Measuring
                if stops
                    || options.duration_s > 0.0 && in_phase_s >= options.duration_s
                    || self.is_limit_reached(&totals) =>
            {
                marks.end = Some(totals.clone());
                marks.moved_ns = totals.at_ns;
                Phase::Draining
            }
            Phase::Draining if self.is_drained(&totals, &mut marks) => Phase::Ended,
            _ => return,
        };
        marks.since_ns = totals.at_ns;
        self.phase.store(next as u8, Ordering::Relaxed);
    }

    fn is_limit_reached(&self, totals: &Totals) -> bool {
        let limit = self.plan.options.limit;
        limit > 0
            && match self.plan.options.mode {
                Mode::Conn => false,
                Mode::Sub => totals.received >= limit,
                _ => totals.sent >= limit,
            }
    }

    /// Whether nothing more can be expected.
    fn is_drained(&self, totals: &Totals, marks: &mut Marks) -> bool {
        let (has, wants) = self.progress(totals);
        let is_acked = self.plan.qos == QoS::AtMostOnce || totals.acked >= totals.sent;
        if has >= wants && (self.plan.publishers == 0 || is_acked) {
            return true;
        }
        if marks.moved != (totals.received, totals.acked) {
            marks.moved = (totals.received, totals.acked);
            marks.moved_ns = totals.at_ns;
        }
        totals.at_ns - marks.moved_ns > QUIET_NS || totals.at_ns - marks.since_ns > DRAIN_NS
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
