//! One thread of the load: its loop, its clients, their pace.

use super::connection::Connection;
use super::options::{Plan, Role};
use super::phase::Phase;
use super::shared::Shared;
use super::tally::Tally;
use super::timer::{Timer, monotonic_ns, thread_cpu_ns};
use crate::net::dial::dial_from;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// Bytes read at once.
const SCRATCH_BYTES: usize = 256 * 1024;

/// Clients of one thread that connect at the same time when there is no interval: less than the backlog of any server.
const DIALS: usize = 50;

/// For the connection, and again for the answers of the server.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// How often a thread looks what it is to do.
const TICK: Duration = Duration::from_millis(10);

/// For the goodbyes.
const GOODBYE: Duration = Duration::from_secs(2);

/// Shortest and longest time between two looks at the pace.
const PACE_NS: (f64, f64) = (100_000.0, 100_000_000.0);

/// What the clients of one thread share.
pub(super) struct Worker {
    shared: Arc<Shared>,
    pub(super) tally: Arc<Tally>,
    pub(super) scratch: RefCell<Vec<u8>>,
    phase: Cell<Phase>,
    /// Those that may run or will.
    signals: RefCell<Vec<Rc<Signal>>>,
    /// Those of publishers that are ready.
    publishers: RefCell<Vec<Rc<Signal>>>,
    /// By publisher, with a limit of outstanding messages.
    flows: RefCell<Vec<Flow>>,
    dials: Semaphore,
    /// Clients that have not ended.
    alive: Cell<usize>,
}

/// What has come of one publisher's messages.
#[derive(Default)]
struct Flow {
    /// Copies that came, and those that were left out.
    arrived: u64,
    /// The publisher, while it waits for arrivals.
    waiting: Option<Rc<Signal>>,
}

/// How others of the thread tell a client to go on.
#[derive(Default)]
pub(super) struct Signal {
    waker: RefCell<Option<Waker>>,
    /// Messages that are due.
    credit: Cell<usize>,
    pings: Cell<bool>,
}

impl Signal {
    /// Whom to wake.
    pub(super) fn watch(&self, waker: &Waker) {
        let mut slot = self.waker.borrow_mut();
        if !slot.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *slot = Some(waker.clone());
        }
    }

    fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// Messages that are due.
    pub(super) fn credit(&self) -> usize {
        self.credit.get()
    }

    /// Messages were written.
    pub(super) fn spend(&self, count: usize) {
        self.credit.set(self.credit.get().saturating_sub(count));
    }

    /// Whether it is time for PINGREQ.
    pub(super) fn takes_ping(&self) -> bool {
        self.pings.replace(false)
    }
}

/// Runs the clients of thread `index` until the load has ended.
pub(super) fn run(shared: &Arc<Shared>, index: usize) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(2)
        .build()?;
    let flows = match shared.plan.options.outstanding {
        0 => 0,
        _ => shared.plan.publishers,
    };
    let worker = Rc::new(Worker {
        shared: Arc::clone(shared),
        tally: Arc::clone(&shared.tallies[index]),
        scratch: RefCell::new(vec![0; SCRATCH_BYTES]),
        phase: Cell::new(Phase::Connecting),
        signals: RefCell::default(),
        publishers: RefCell::default(),
        flows: RefCell::new((0..flows).map(|_| Flow::default()).collect()),
        dials: Semaphore::new(DIALS),
        alive: Cell::new(0),
    });
    let local = LocalSet::new();
    local.block_on(&runtime, async {
        spawn_local(start_clients(Rc::clone(&worker), index as u32));
        if shared.plan.pace > 0.0 {
            spawn_local(pace(Rc::clone(&worker)));
        }
        worker.supervise(index == 0).await;
    });
    Ok(())
}

impl Worker {
    /// The plan of all.
    pub(super) fn plan(&self) -> &Plan {
        &self.shared.plan
    }

    /// How far it is.
    pub(super) fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// Takes messages from what may be sent in all. Returns how many may be.
    pub(super) fn take(&self, count: usize) -> usize {
        if count == 0 || self.plan().options.limit == 0 {
            count
        } else {
            self.shared.take(count)
        }
    }

    /// Copies of a publisher's messages have come, or were left out.
    #[inline]
    pub(super) fn arrived(&self, publisher: usize, copies: u64) {
        if let Some(flow) = self.flows.borrow_mut().get_mut(publisher) {
            flow.arrived += copies;
            if let Some(signal) = flow.waiting.take() {
                signal.wake();
            }
        }
    }

    /// How many more messages a publisher may have on their way. If none, it is woken when one has come.
    pub(super) fn outstanding(&self, publisher: u32, written: u64, signal: &Rc<Signal>) -> usize {
        let most = u64::from(self.plan().options.outstanding);
        if most == 0 {
            return usize::MAX;
        }
        let mut flows = self.flows.borrow_mut();
        let Some(flow) = flows.get_mut(publisher as usize) else {
            return 0;
        };
        let on_their_way = written.saturating_sub(flow.arrived / self.plan().copies().max(1));
        if on_their_way >= most {
            flow.waiting = Some(Rc::clone(signal));
        }
        most.saturating_sub(on_their_way) as usize
    }

    /// Looks at phase and keepalive every tick, and leads all threads if it is the first; ends with the load.
    async fn supervise(&self, leads: bool) {
        let keepalive = Duration::from_secs(u64::from(self.plan().options.keepalive_s)) / 2;
        let mut next_ping = Instant::now() + keepalive;
        let mut ended = None;
        loop {
            sleep(TICK).await;
            self.tally.cpu_ns.set(thread_cpu_ns());
            if leads {
                self.shared.step();
            }
            let phase = self.shared.phase();
            let is_new = self.phase.replace(phase) != phase;
            let pings = !keepalive.is_zero() && Instant::now() >= next_ping;
            if pings {
                next_ping += keepalive;
            }
            if is_new || pings {
                for signal in self.signals.borrow().iter() {
                    signal.pings.set(pings);
                    signal.wake();
                }
            }
            if phase == Phase::Ended {
                let since = *ended.get_or_insert_with(Instant::now);
                if self.alive.get() == 0 || since.elapsed() > GOODBYE {
                    return;
                }
            }
        }
    }
}

/// Begins the clients of this thread, one after another.
async fn start_clients(worker: Rc<Worker>, index: u32) {
    let threads = u32::from(worker.plan().options.threads);
    let interval = worker.plan().options.interval_ms.clamp(0.0, 1e9) / 1000.0;
    let start = Instant::now();
    for number in (index..worker.plan().clients()).step_by(threads as usize) {
        if interval > 0.0 {
            sleep_until(start + Duration::from_secs_f64(interval * f64::from(number))).await;
        }
        // The permit is given back when the client is ready or has failed.
        if let Ok(permit) = worker.dials.acquire().await {
            permit.forget();
        }
        if worker.phase() >= Phase::Draining {
            return;
        }
        worker.alive.set(worker.alive.get() + 1);
        spawn_local(run_client(Rc::clone(&worker), number));
    }
}

async fn run_client(worker: Rc<Worker>, number: u32) {
    let signal = Rc::new(Signal::default());
    worker.signals.borrow_mut().push(Rc::clone(&signal));
    let ready = match timeout(CONNECT_TIMEOUT, connect(&worker, &signal, number)).await {
        Ok(result) => result,
        Err(_) => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the server did not answer in time",
        )),
    };
    worker.dials.add_permits(1);
    match ready {
        Ok(mut connection) => {
            worker.tally.ready.add(1);
            if matches!(worker.plan().role(number), Role::Publisher(_)) {
                worker.publishers.borrow_mut().push(Rc::clone(&signal));
            }
            let result = poll_fn(|cx| connection.poll_run(cx)).await;
            match result {
                Err(error) if worker.phase() != Phase::Ended => {
                    worker.tally.disconnected.add(1);
                    worker.shared.note(&error);
                }
                _ => {}
            }
        }
        Err(error) => {
            worker.tally.failed.add(1);
            worker.shared.note(&error);
        }
    }
    for list in [&worker.signals, &worker.publishers] {
        list.borrow_mut()
            .retain(|other| !Rc::ptr_eq(other, &signal));
    }
    worker.alive.set(worker.alive.get() - 1);
}

async fn connect(worker: &Rc<Worker>, signal: &Rc<Signal>, number: u32) -> io::Result<Connection> {
    let plan = worker.plan();
    let stream = dial_from(plan.local, &plan.target, plan.tls.as_ref(), CONNECT_TIMEOUT).await?;
    let mut connection = Connection::new(Rc::clone(worker), Rc::clone(signal), number, stream);
    poll_fn(|cx| connection.poll_ready(cx)).await?;
    Ok(connection)
}

/// Gives the publishers their messages in turn, as the pace wants it.
async fn pace(worker: Rc<Worker>) {
    let plan = worker.plan();
    let all = plan.pace * f64::from(plan.publishers) / f64::from(plan.options.threads);
    let period = Duration::from_nanos((1e9 / all).clamp(PACE_NS.0, PACE_NS.1) as u64);
    let timer = match Timer::new(period) {
        Ok(timer) => timer,
        Err(error) => return worker.shared.note(&error),
    };
    let (mut last_ns, mut due, mut turn) = (monotonic_ns(), 0.0, 0);
    while timer.tick().await.is_ok() && worker.phase() <= Phase::Measuring {
        let now_ns = monotonic_ns();
        let passed_s = (now_ns - std::mem::replace(&mut last_ns, now_ns)) as f64 / 1e9;
        let publishers = worker.publishers.borrow();
        if !worker.phase().is_sending() || publishers.is_empty() {
            continue;
        }
        due += plan.pace * publishers.len() as f64 * passed_s;
        while due >= 1.0 {
            due -= 1.0;
            turn = (turn + 1) % publishers.len();
            let signal = &publishers[turn];
            signal.credit.set(signal.credit.get() + 1);
            signal.wake();
        }
    }
}
