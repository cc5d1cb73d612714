package clients

import (
	"net"
	"testing"

	"github.com/Microsoft/hcsshim"
)

func TestVersion1MakesTheSameThings(t *testing.T) {
	network := got[*hcsshim.HNSNetwork](t)((&hcsshim.HNSNetwork{
		Name: "first", Type: "nat",
		Subnets: []hcsshim.Subnet{{AddressPrefix: "10.66.0.0/24", GatewayAddress: "10.66.0.1"}},
	}).Create())
	has(t, "ip -br -4 addr show type bridge", "10.66.0.1/24")
	if byName := got[*hcsshim.HNSNetwork](t)(hcsshim.GetHNSNetworkByName("first")); byName.Id != network.Id {
		t.Fatalf("%+v", byName)
	}
	if list := got[[]hcsshim.HNSNetwork](t)(hcsshim.HNSListNetworkRequest("GET", "", "")); len(list) != 1 {
		t.Fatalf("%+v", list)
	}
	endpoint := got[*hcsshim.HNSEndpoint](t)(network.CreateEndpoint(network.NewEndpoint(net.IPv4(10, 66, 0, 7), nil)))
	if list := got[[]hcsshim.HNSEndpoint](t)(hcsshim.HNSListEndpointRequest()); len(list) != 1 || list[0].Id != endpoint.Id {
		t.Fatalf("%+v", list)
	}
	namespace := newNamespace(t)
	ok(t, endpoint.HostAttach(uint16(namespace.NamespaceId)))
	has(t, "ip -n "+namespace.Id+" -br addr", "10.66.0.7/24")
	linux(t, "ip netns exec "+namespace.Id+" ping -c 1 -W 5 10.66.0.1")
	ok(t, endpoint.ApplyACLPolicy(&hcsshim.ACLPolicy{Type: hcsshim.ACL, Action: hcsshim.Block, Direction: hcsshim.In,
		Protocol: 1, RuleType: hcsshim.Switch, Priority: 100}))
	fails(t, "ping -c 1 -W 1 10.66.0.7")
	stats := got[*hcsshim.HNSEndpointStats](t)(hcsshim.GetHNSEndpointStats(endpoint.Id))
	if stats.PacketsSent == 0 && stats.PacketsReceived == 0 {
		t.Fatalf("%+v", stats)
	}
	ok(t, endpoint.HostDetach())
	lacks(t, "ip -n "+namespace.Id+" -br addr", "10.66.0.7")

	list := got[*hcsshim.PolicyList](t)(hcsshim.AddLoadBalancer(
		[]hcsshim.HNSEndpoint{*endpoint}, false, "", "10.99.0.1", 6, 80, 8080))
	has(t, "nft list table inet hcnd", "10.99.0.1")
	if all := got[[]hcsshim.PolicyList](t)(hcsshim.HNSListPolicyListRequest()); len(all) != 1 || all[0].ID != list.ID {
		t.Fatalf("%+v", all)
	}
	got[*hcsshim.PolicyList](t)(list.Delete())
	lacks(t, "nft list table inet hcnd", "10.99.0.1")

	got[*hcsshim.HNSEndpoint](t)(endpoint.Delete())
	got[*hcsshim.HNSNetwork](t)(network.Delete())
	if _, err := hcsshim.GetHNSNetworkByID(network.Id); err == nil {
		t.Fatal("the network is still there")
	}
	lacks(t, "ip -br -4 addr show type bridge", "10.66.0.1")
}
