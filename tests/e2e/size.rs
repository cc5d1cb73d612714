//! Networks larger than a bridge, and what endpoints of one network may do among themselves.
