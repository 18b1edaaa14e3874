//! The module `nanomq._core`.
//!
//! does:             registers the engine and the client, converts, releases the interpreter lock while waiting
//! owns:             nothing
//! may use:          nanomq-engine nanomq-proto pyo3 serde_json
//! never:            logic; anything that runs per message while the interpreter lock is held
//! change here when: Python is to ask the engine for something new

use nanomq_engine::engine::Engine as Running;
use nanomq_engine::settings::EngineSettings;
use nanomq_engine::shard::LocalMessage;
use nanomq_proto::session::registry::Level;
use nanomq_proto::wire::packet::QoS;
use nanomq_proto::wire::tables::{Properties, PropertyPlace};
use nanomq_proto::wire::topic::check_topic_name;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// The broker's engine.
#[pyclass(module = "nanomq._core")]
struct Engine {
    settings: EngineSettings,
    running: Option<Running>,
}

/// Level, event name and fields of one event.
type EventTuple<'py> = (&'static str, &'static str, Bound<'py, PyDict>);

#[pymethods]
impl Engine {
    #[new]
    fn new(settings: &[u8]) -> PyResult<Self> {
        Ok(Self { settings: parse(settings)?, running: None })
    }

    fn start<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let settings = self.settings.clone();
        let running = py.detach(|| Running::start(settings)).map_err(PyRuntimeError::new_err)?;
        let answer = json(py, &running.listeners());
        self.running = Some(running);
        answer
    }

    /// False if a connection or thread did not end within `timeout_s`.
    fn stop(&mut self, py: Python<'_>, timeout_s: f64) -> PyResult<bool> {
        let timeout = seconds(timeout_s)?;
        let running = self.running.take();
        Ok(py.detach(|| running.is_none_or(|mut running| running.stop(timeout))))
    }

    fn reload<'py>(&mut self, py: Python<'py>, settings: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
        let settings: EngineSettings = parse(settings)?;
        let running = self.running.as_mut().ok_or_else(not_running)?;
        let report = py.detach(|| running.reload(settings));
        json(py, &report)
    }

    fn listeners<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        json(py, &self.running()?.listeners())
    }

    fn metrics(&self) -> PyResult<BTreeMap<String, u64>> {
        Ok(self.running()?.metrics())
    }

    fn clients<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let running = self.running()?;
        let clients = py.detach(|| running.clients());
        json(py, &clients)
    }

    fn advance(&self, py: Python<'_>, seconds_: f64) -> PyResult<()> {
        let (running, by) = (self.running()?, seconds(seconds_)?);
        py.detach(|| running.advance(by)).map_err(PyRuntimeError::new_err)
    }

    fn cut(&self, py: Python<'_>, client_id: &str) -> PyResult<bool> {
        let running = self.running()?;
        py.detach(|| running.cut(client_id)).map_err(PyRuntimeError::new_err)
    }

    fn kick(&self, py: Python<'_>, client_id: &str, reason: u8) -> PyResult<bool> {
        let running = self.running()?;
        py.detach(|| running.kick(client_id, reason)).map_err(PyRuntimeError::new_err)
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
        check_topic_name(&topic).map_err(|error| PyValueError::new_err(format!("topic {topic}: {error}")))?;
        Properties::parse(&properties, PropertyPlace::Publish)
            .map_err(|error| PyValueError::new_err(format!("properties: {error}")))?;
        let qos = QoS::from_bits(qos).ok_or_else(|| PyValueError::new_err(format!("qos {qos}: write 0, 1 or 2")))?;
        let running = self.running()?;
        let message = LocalMessage { topic, payload, qos, retain, properties };
        py.detach(|| running.publish(message)).map_err(PyRuntimeError::new_err)
    }

    fn events_fd(&self) -> PyResult<i32> {
        Ok(self.running()?.events_fd())
    }

    fn drain_events<'py>(&self, py: Python<'py>) -> PyResult<Vec<EventTuple<'py>>> {
        let Some(running) = &self.running else { return Ok(Vec::new()) };
        let tuple = |event: nanomq_proto::session::registry::Event| {
            let fields = PyDict::new(py);
            for (name, value) in event.fields {
                fields.set_item(name, value)?;
            }
            Ok((level_name(event.level), event.name, fields))
        };
        running.drain_events().into_iter().map(tuple).collect()
    }
}

impl Engine {
    fn running(&self) -> PyResult<&Running> {
        self.running.as_ref().ok_or_else(not_running)
    }
}

fn not_running() -> PyErr {
    PyRuntimeError::new_err("the engine is not running; call start first")
}

fn parse(settings: &[u8]) -> PyResult<EngineSettings> {
    serde_json::from_slice(settings).map_err(|error| PyValueError::new_err(format!("engine settings: {error}")))
}

fn json<'py>(py: Python<'py>, value: &impl Serialize) -> PyResult<Bound<'py, PyBytes>> {
    let text = serde_json::to_vec(value).map_err(|error| PyRuntimeError::new_err(error.to_string()))?;
    Ok(PyBytes::new(py, &text))
}

fn seconds(value: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(value).map_err(|error| PyValueError::new_err(format!("{value} seconds: {error}")))
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
    module.add_class::<Engine>()
}
