//! Commands in kiln's own sandbox.
