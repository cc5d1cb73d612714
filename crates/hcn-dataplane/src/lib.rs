//! hcn-dataplane
