//! hcn-client
