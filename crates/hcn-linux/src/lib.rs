//! hcn-linux
