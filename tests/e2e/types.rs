//! Networks of type NAT, Internal and Private carry what they should, and nothing else.
