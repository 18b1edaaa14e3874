//! The classes `Load` and `Relay`: loads on a broker, and the relay they are compared with.

use nanomq_engine::load::relay::{self, Way};
use nanomq_engine::load::{Load as Running, LoadOptions};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// One load.
#[pyclass(module = "nanomq._core", frozen)]
pub struct Load {
    options: LoadOptions,
    /// Written by start; read by everything else.
    running: Mutex<Option<Arc<Running>>>,
}

#[pymethods]
impl Load {
    #[new]
    fn new(options: &[u8]) -> PyResult<Self> {
        let options = serde_json::from_slice(options)
            .map_err(|error| PyValueError::new_err(format!("load options: {error}")))?;
        Ok(Self {
            options,
            running: Mutex::default(),
        })
    }

    fn start(&self, py: Python<'_>) -> PyResult<()> {
        let options = self.options.clone();
        let running = py
            .detach(|| Running::start(options))
            .map_err(PyValueError::new_err)?;
        let mut slot = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        *slot = Some(Arc::new(running));
        Ok(())
    }

    fn snapshot<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let text = serde_json::to_vec(&self.running()?.snapshot())
            .map_err(|error| PyRuntimeError::new_err(error.to_string()))?;
        Ok(PyBytes::new(py, &text))
    }

    fn stop(&self) -> PyResult<()> {
        self.running()?.stop();
        Ok(())
    }

    fn wait(&self, py: Python<'_>, timeout_s: f64) -> PyResult<bool> {
        let timeout = Duration::try_from_secs_f64(timeout_s)
            .map_err(|error| PyValueError::new_err(format!("{timeout_s} seconds: {error}")))?;
        let running = self.running()?;
        Ok(py.detach(|| running.wait(timeout)))
    }
}

impl Load {
    fn running(&self) -> PyResult<Arc<Running>> {
        let slot = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        slot.clone()
            .ok_or_else(|| PyRuntimeError::new_err("the load is not running; call start first"))
    }
}

/// The relay that reads no message.
#[pyclass(module = "nanomq._core", frozen)]
pub struct Relay {
    listener: TcpListener,
    way: Way,
}

#[pymethods]
impl Relay {
    #[new]
    fn new(address: &str, is_pair: bool) -> PyResult<Self> {
        Ok(Self {
            listener: TcpListener::bind(address)?,
            way: if is_pair { Way::Pair } else { Way::Fan },
        })
    }

    fn port(&self) -> PyResult<u16> {
        Ok(self.listener.local_addr()?.port())
    }

    /// Relays until the process ends.
    fn run(&self, py: Python<'_>) -> PyResult<()> {
        let listener = self.listener.try_clone()?;
        py.detach(|| relay::run(listener, self.way))?;
        Ok(())
    }
}
