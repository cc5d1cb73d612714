package clients

import (
	"encoding/json"
	"testing"

	"github.com/Microsoft/hcsshim/hcn"
)

// policy is one of an endpoint.
func policy(t *testing.T, kind hcn.EndpointPolicyType, settings any) hcn.EndpointPolicy {
	t.Helper()
	return hcn.EndpointPolicy{Type: kind, Settings: text(t, settings)}
}

func TestAPortMappingLeadsFromOutsideToTheEndpoint(t *testing.T) {
	network := natNetwork(t)
	namespace, endpoint := attached(t, network, "10.66.0.7",
		policy(t, hcn.PortMapping, hcn.PortMappingPolicySetting{Protocol: 6, InternalPort: 80, ExternalPort: 8081}))
	serve(t, namespace, "80")
	// The sandbox's uplink leads to this namespace.
	ask := "ip netns exec outside curl -s 203.0.113.10:"
	has(t, ask+"8081 -m 10", namespace.Id)
	other := policy(t, hcn.PortMapping, hcn.PortMappingPolicySetting{Protocol: 6, InternalPort: 80, ExternalPort: 8082})
	ok(t, endpoint.ApplyPolicy(hcn.RequestTypeUpdate, hcn.PolicyEndpointRequest{Policies: []hcn.EndpointPolicy{other}}))
	has(t, ask+"8082 -m 10", namespace.Id)
	fails(t, ask+"8081 -m 1")

	_, err := network.CreateEndpoint(&hcn.HostComputeEndpoint{
		Policies: []hcn.EndpointPolicy{other}, SchemaVersion: hcn.V2SchemaVersion(),
	})
	if !hcn.IsPortAlreadyExistsError(err) {
		t.Fatalf("the second mapping of a port: %v", err)
	}
}

func TestAclsDecideWhatReachesAnEndpoint(t *testing.T) {
	network := natNetwork(t)
	server, endpoint := attached(t, network, "10.66.0.7")
	client, _ := attached(t, network, "10.66.0.8")
	serve(t, server, "80")
	ask := "ip netns exec " + client.Id + " curl -s 10.66.0.7:80"
	has(t, ask+" -m 10", server.Id)
	rules := []hcn.EndpointPolicy{
		policy(t, hcn.ACL, hcn.AclPolicySetting{Protocols: "6", Action: hcn.ActionTypeBlock,
			Direction: hcn.DirectionTypeIn, LocalPorts: "80", RuleType: hcn.RuleTypeSwitch, Priority: 100}),
		policy(t, hcn.ACL, hcn.AclPolicySetting{Action: hcn.ActionTypeAllow, Direction: hcn.DirectionTypeIn,
			RuleType: hcn.RuleTypeSwitch, Priority: 200}),
	}
	request := hcn.PolicyEndpointRequest{Policies: rules}
	ok(t, endpoint.ApplyPolicy(hcn.RequestTypeAdd, request))
	has(t, "nft list table inet hcnd_filter", "drop")
	fails(t, ask+" -m 1")
	linux(t, "ip netns exec "+client.Id+" ping -c 1 -W 5 10.66.0.7")
	ok(t, endpoint.ApplyPolicy(hcn.RequestTypeRemove, request))
	has(t, ask+" -m 10", server.Id)

	tier := policy(t, hcn.TierAcl, hcn.TierAclPolicySetting{
		Name: "tier", Direction: hcn.DirectionTypeIn, Order: 1, TierAclRules: []hcn.TierAclRule{
			{Id: "one", Protocols: "6", TierAclRuleAction: hcn.ActionTypeBlock, LocalPorts: "80", Priority: 1},
		},
	})
	ok(t, endpoint.ApplyPolicy(hcn.RequestTypeAdd, hcn.PolicyEndpointRequest{Policies: []hcn.EndpointPolicy{tier}}))
	fails(t, ask+" -m 1")
}

func TestOverlayNetworksHaveRemoteSubnets(t *testing.T) {
	network := got[*hcn.HostComputeNetwork](t)((&hcn.HostComputeNetwork{
		Type: hcn.Overlay,
		Name: "overlay",
		Ipams: []hcn.Ipam{{Type: "Static", Subnets: []hcn.Subnet{{
			IpAddressPrefix: "10.66.0.0/24",
			Routes:          []hcn.Route{{NextHop: "10.66.0.1", DestinationPrefix: "0.0.0.0/0"}},
			Policies:        []json.RawMessage{text(t, hcn.SubnetPolicy{Type: hcn.VSID, Settings: text(t, hcn.VsidPolicySetting{IsolationId: 5000})})},
		}}}},
		Policies: []hcn.NetworkPolicy{
			{Type: hcn.NetAdapterName, Settings: text(t, hcn.NetAdapterNameNetworkPolicySetting{NetworkAdapterName: "eth0"})},
			{Type: hcn.VxlanPort, Settings: text(t, hcn.VxlanPortPolicySetting{Port: 4790})},
		},
		SchemaVersion: hcn.V2SchemaVersion(),
	}).Create())
	has(t, "ip -d link show type vxlan", "vxlan id 5000", "dstport 4790")
	remote := hcn.PolicyNetworkRequest{Policies: []hcn.NetworkPolicy{{
		Type: hcn.RemoteSubnetRoute,
		Settings: text(t, hcn.RemoteSubnetRoutePolicySetting{DestinationPrefix: "10.67.0.0/24", IsolationId: 5000,
			ProviderAddress: "203.0.113.77", DistributedRouterMacAddress: "00-15-5D-01-02-03"}),
	}}}
	ok(t, network.AddPolicy(remote))
	entries := "bridge fdb show"
	has(t, entries, "00:15:5d:01:02:03", "203.0.113.77")
	ok(t, network.RemovePolicy(remote))
	lacks(t, entries, "203.0.113.77")

	endpoint := got[*hcn.HostComputeEndpoint](t)(network.CreateRemoteEndpoint(&hcn.HostComputeEndpoint{
		IpConfigurations: []hcn.IpConfig{{IpAddress: "10.66.0.99", PrefixLength: 24}},
		MacAddress:       "00-15-5D-0A-0B-0C",
		Policies: []hcn.EndpointPolicy{
			policy(t, hcn.NetworkProviderAddress, hcn.ProviderAddressEndpointPolicySetting{ProviderAddress: "203.0.113.78"}),
		},
		SchemaVersion: hcn.V2SchemaVersion(),
	}))
	has(t, entries, "00:15:5d:0a:0b:0c", "203.0.113.78")
	ok(t, endpoint.Delete())
	lacks(t, entries, "203.0.113.78")
	ok(t, network.Delete())
}

func TestSettingsOfPoliciesAreKept(t *testing.T) {
	network := natNetwork(t)
	for kind, settings := range map[hcn.EndpointPolicyType]any{
		hcn.OutBoundNAT:   hcn.OutboundNatPolicySetting{Exceptions: []string{"10.0.0.0/8"}},
		hcn.SDNRoute:      hcn.SDNRoutePolicySetting{DestinationPrefix: "10.78.0.0/16", NextHop: "10.66.0.1"},
		hcn.QOS:           hcn.QosPolicySetting{MaximumOutgoingBandwidthInBytes: 1 << 20},
		hcn.EncapOverhead: hcn.EncapOverheadEndpointPolicySetting{Overhead: 50},
		hcn.L4WFPPROXY: hcn.L4WfpProxyPolicySetting{OutboundProxyPort: "15001", UserSID: "S-1-5-32-556",
			FilterTuple: hcn.FiveTuple{Protocols: "6"}},
	} {
		given := policy(t, kind, settings)
		endpoint := newEndpoint(t, network, "", given)
		found := got[*hcn.HostComputeEndpoint](t)(hcn.GetEndpointByID(endpoint.Id))
		if len(found.Policies) != 1 || string(found.Policies[0].Settings) != string(given.Settings) {
			t.Errorf("%s %s became %+v", kind, given.Settings, found.Policies)
		}
	}
}
