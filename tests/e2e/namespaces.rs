//! Namespaces that others made, TAP interfaces, and what a container does to its own.
