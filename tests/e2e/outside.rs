//! Networks of type Transparent, L2Bridge and L2Tunnel are parts of what is outside.
