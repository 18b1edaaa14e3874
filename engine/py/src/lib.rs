//! The module `nanomq._core`.
//!
//! does:             registers the engine and the client, converts, releases the interpreter lock while waiting
//! owns:             nothing
//! may use:          nanomq-engine nanomq-proto pyo3 serde serde_json
//! never:            logic; anything that runs per message while the interpreter lock is held
//! change here when: Python is to ask the engine for something new

mod client;
mod load;

use nanomq_engine::engine::Engine as Running;
use nanomq_engine::settings::EngineSettings;
use nanomq_engine::shard::LocalMessage;
use nanomq_engine::tap::Tap;
use nanomq_proto::session::registry::Level;
use nanomq_proto::wire::packet::QoS;
use nanomq_proto::wire::tables::{Properties, PropertyPlace};
use nanomq_proto::wire::topic::check_topic_name;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

/// The broker's engine.
#[pyclass(module = "nanomq._core", frozen)]
struct Engine {
    settings: EngineSettings,
    /// Written by start and stop; read by everything else, on any thread.
    running: RwLock<Option<Running>>,
    /// Outlives the engine, so that the events of its end can be fetched.
    tap: RwLock<Option<Arc<Tap>>>,
}

/// Level, event name and fields of one event.
type EventTuple<'py> = (&'static str, &'static str, Bound<'py, PyDict>);

#[pymethods]
impl Engine {
    #[new]
    fn new(settings: &[u8]) -> PyResult<Self> {
        Ok(Self {
            settings: parse(settings)?,
            running: RwLock::default(),
            tap: RwLock::default(),
        })
    }

    fn start<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let settings = self.settings.clone();
        let running = py
            .detach(|| Running::start(settings))
            .map_err(PyRuntimeError::new_err)?;
        let answer = json(py, &running.listeners());
        *write(&self.tap) = Some(running.tap());
        *write(&self.running) = Some(running);
        answer
    }

    /// False if a connection or thread did not end within `timeout_s`.
    fn stop(&self, py: Python<'_>, timeout_s: f64) -> PyResult<bool> {
        let timeout = seconds(timeout_s)?;
        Ok(py.detach(|| {
            let running = write(&self.running).take();
            running.is_none_or(|mut running| running.stop(timeout))
        }))
    }

    fn reload<'py>(&self, py: Python<'py>, settings: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
        let settings: EngineSettings = parse(settings)?;
        let report = py.detach(|| {
            write(&self.running)
                .as_mut()
                .map(|running| running.reload(settings))
        });
        json(py, &report.ok_or_else(not_running)?)
    }

    fn listeners<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        json(py, &self.ask(py, Running::listeners)?)
    }

    fn metrics(&self, py: Python<'_>) -> PyResult<BTreeMap<String, u64>> {
        self.ask(py, Running::metrics)
    }

    fn clients<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        json(py, &self.ask(py, Running::clients)?)
    }

    fn certificates<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        json(py, &self.ask(py, Running::certificates)?)
    }

    fn advance(&self, py: Python<'_>, seconds_: f64) -> PyResult<()> {
        let by = seconds(seconds_)?;
        self.ask(py, |running| running.advance(by))?
            .map_err(PyRuntimeError::new_err)
    }

    fn cut(&self, py: Python<'_>, client_id: &str) -> PyResult<bool> {
        self.ask(py, |running| running.cut(client_id))?
            .map_err(PyRuntimeError::new_err)
    }

    fn kick(&self, py: Python<'_>, client_id: &str, reason: u8) -> PyResult<bool> {
        self.ask(py, |running| running.kick(client_id, reason))?
            .map_err(PyRuntimeError::new_err)
    }

    /// How many sessions the message was addressed to.
    fn publish(
        &self,
        py: Python<'_>,
        topic: String,
        payload: Vec<u8>,
        qos: u8,
        retain: bool,
        properties: Vec<u8>,
    ) -> PyResult<usize> {
        check_topic_name(&topic)
            .map_err(|error| PyValueError::new_err(format!("topic {topic}: {error}")))?;
        Properties::parse(&properties, PropertyPlace::Publish)
            .map_err(|error| PyValueError::new_err(format!("properties: {error}")))?;
        let qos = QoS::from_bits(qos)
            .ok_or_else(|| PyValueError::new_err(format!("qos {qos}: write 0, 1 or 2")))?;
        let message = LocalMessage {
            topic,
            payload,
            qos,
            retain,
            properties,
        };
        self.ask(py, |running| running.publish(message))?
            .map_err(PyRuntimeError::new_err)
    }

    fn events_fd(&self) -> PyResult<i32> {
        read(&self.tap)
            .as_ref()
            .map(|tap| tap.fd())
            .ok_or_else(not_running)
    }

    fn drain_events<'py>(&self, py: Python<'py>) -> PyResult<Vec<EventTuple<'py>>> {
        let Some(tap) = read(&self.tap).clone() else {
            return Ok(Vec::new());
        };
        let tuple = |event: nanomq_proto::session::registry::Event| {
            let fields = PyDict::new(py);
            for (name, value) in event.fields {
                fields.set_item(name, value)?;
            }
            Ok((level_name(event.level), event.name, fields))
        };
        tap.drain().into_iter().map(tuple).collect()
    }
}

impl Engine {
    /// Asks the running engine something, without the interpreter lock.
    fn ask<T: Send>(
        &self,
        py: Python<'_>,
        question: impl FnOnce(&Running) -> T + Send,
    ) -> PyResult<T> {
        py.detach(|| read(&self.running).as_ref().map(question))
            .ok_or_else(not_running)
    }
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

fn not_running() -> PyErr {
    PyRuntimeError::new_err("the engine is not running; call start first")
}

fn parse(settings: &[u8]) -> PyResult<EngineSettings> {
    serde_json::from_slice(settings)
        .map_err(|error| PyValueError::new_err(format!("engine settings: {error}")))
}

fn json<'py>(py: Python<'py>, value: &impl Serialize) -> PyResult<Bound<'py, PyBytes>> {
    let text =
        serde_json::to_vec(value).map_err(|error| PyRuntimeError::new_err(error.to_string()))?;
    Ok(PyBytes::new(py, &text))
}

fn seconds(value: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(value)
        .map_err(|error| PyValueError::new_err(format!("{value} seconds: {error}")))
}

const fn level_name(level: Level) -> &'static str {
    match level {
        Level::Trace => "trace",
        Level::Debug => "debug",
        Level::Info => "info",
        Level::Warn => "warn",
        Level::Error => "error",
    }
}

#[pymodule]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<Engine>()?;
    module.add_class::<load::Load>()?;
    module.add_class::<load::Relay>()?;
    module.add_class::<client::RawClient>()
}
