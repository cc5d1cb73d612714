//! Networks of type Overlay carry packets between hosts.
