//! hcn-schema
