//! The gate that is in force, which others may take the place of.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;

use super::Gate;

/// The gate of a worker as it is now. A request goes through the one that it began with, whatever is put in place meanwhile.
#[derive(Debug)]
pub struct Current {
    gate: ArcSwap<Gate>,
    generation: AtomicU64,
}

impl Current {
    /// This gate.
    pub fn new(gate: Gate) -> Self {
        Self { generation: AtomicU64::new(gate.generation), gate: ArcSwap::from_pointee(gate) }
    }

    /// The gate for what begins now.
    pub fn gate(&self) -> Arc<Gate> {
        self.gate.load_full()
    }

    /// Whether this gate is still the one for what begins now.
    pub fn is(&self, gate: &Gate) -> bool {
        self.generation.load(Ordering::Acquire) == gate.generation
    }

    /// Puts another gate in place.
    pub fn replace(&self, gate: Gate) {
        let generation = gate.generation;
        self.gate.store(Arc::new(gate));
        self.generation.store(generation, Ordering::Release);
    }
}
