//! hcn-ipc
