//! hcn-core
