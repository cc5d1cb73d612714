//! Networks of type ICS and ConstrainedICS: DHCP, DNS, and the one way out.
