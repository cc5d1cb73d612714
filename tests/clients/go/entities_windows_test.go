package clients

import (
	"strings"
	"testing"

	"github.com/Microsoft/hcsshim/hcn"
)

// natDocument describes a NAT network of 10.66.0.0/24.
func natDocument(t *testing.T) *hcn.HostComputeNetwork {
	return &hcn.HostComputeNetwork{
		Type: hcn.NAT,
		Name: t.Name(),
		Ipams: []hcn.Ipam{{
			Type: "Static",
			Subnets: []hcn.Subnet{{
				IpAddressPrefix: "10.66.0.0/24",
				Routes:          []hcn.Route{{NextHop: "10.66.0.1", DestinationPrefix: "0.0.0.0/0"}},
			}},
		}},
		Flags:         hcn.EnableNonPersistent,
		SchemaVersion: hcn.V2SchemaVersion(),
	}
}

// natNetwork makes it; it is deleted with the test.
func natNetwork(t *testing.T) *hcn.HostComputeNetwork {
	t.Helper()
	made := got[*hcn.HostComputeNetwork](t)(natDocument(t).Create())
	t.Cleanup(func() { ok(t, made.Delete()) })
	return made
}

// newNamespace makes a namespace, which is deleted with the test.
func newNamespace(t *testing.T) *hcn.HostComputeNamespace {
	t.Helper()
	made := got[*hcn.HostComputeNamespace](t)(hcn.NewNamespace(hcn.NamespaceTypeHost).Create())
	t.Cleanup(func() { ok(t, made.Delete()) })
	return made
}

// newEndpoint makes an endpoint with the address, which is deleted with the test.
func newEndpoint(t *testing.T, network *hcn.HostComputeNetwork, address string, policies ...hcn.EndpointPolicy) *hcn.HostComputeEndpoint {
	t.Helper()
	made := got[*hcn.HostComputeEndpoint](t)(network.CreateEndpoint(&hcn.HostComputeEndpoint{
		Name:             address,
		IpConfigurations: []hcn.IpConfig{{IpAddress: address, PrefixLength: 24}},
		Routes:           []hcn.Route{{NextHop: "10.66.0.1", DestinationPrefix: "0.0.0.0/0"}},
		Policies:         policies,
		SchemaVersion:    hcn.V2SchemaVersion(),
	}))
	t.Cleanup(func() { ok(t, made.Delete()) })
	return made
}

// attached makes a namespace with an endpoint in it.
func attached(t *testing.T, network *hcn.HostComputeNetwork, address string, policies ...hcn.EndpointPolicy) (*hcn.HostComputeNamespace, *hcn.HostComputeEndpoint) {
	t.Helper()
	namespace := newNamespace(t)
	endpoint := newEndpoint(t, network, address, policies...)
	ok(t, endpoint.NamespaceAttach(namespace.Id))
	return namespace, endpoint
}

func TestANetworkIsABridge(t *testing.T) {
	network := got[*hcn.HostComputeNetwork](t)(natDocument(t).Create())
	has(t, "ip -br -4 addr show type bridge", "10.66.0.1/24")
	has(t, "ip -d link show type bridge", "hcn network "+network.Id)
	byID := got[*hcn.HostComputeNetwork](t)(hcn.GetNetworkByID(network.Id))
	byName := got[*hcn.HostComputeNetwork](t)(hcn.GetNetworkByName(t.Name()))
	if byID.Id != network.Id || byName.Id != network.Id || byID.Ipams[0].Subnets[0].IpAddressPrefix != "10.66.0.0/24" {
		t.Fatalf("%+v, %+v", byID, byName)
	}
	if list := got[[]hcn.HostComputeNetwork](t)(hcn.ListNetworks()); len(list) != 1 || list[0].Id != network.Id {
		t.Fatalf("%+v", list)
	}
	second := got[*hcn.HostComputeNetwork](t)((&hcn.HostComputeNetwork{
		Type: hcn.Private, Name: "second", SchemaVersion: hcn.V2SchemaVersion(),
	}).Create())
	if linux(t, "ip -o link show type bridge | wc -l") != "2\n" {
		t.Fatal("the second network has no bridge")
	}
	ok(t, second.Delete())
	ok(t, network.Delete())
	lacks(t, "ip -o link", "hcn network")
}

func TestAnEndpointReachesTheGatewayAndIsDetached(t *testing.T) {
	network := natNetwork(t)
	namespace, endpoint := attached(t, network, "10.66.0.7")
	has(t, "ip -n "+namespace.Id+" -br addr", "10.66.0.7/24")
	has(t, "ip -n "+namespace.Id+" route", "default via 10.66.0.1")
	has(t, "ip -n "+namespace.Id+" link", strings.ToLower(strings.ReplaceAll(endpoint.MacAddress, "-", ":")))
	linux(t, "ip netns exec "+namespace.Id+" ping -c 1 -W 5 10.66.0.1")

	if ids := got[[]string](t)(hcn.GetNamespaceEndpointIds(namespace.Id)); len(ids) != 1 || ids[0] != endpoint.Id {
		t.Fatalf("%v", ids)
	}
	found := got[*hcn.HostComputeEndpoint](t)(hcn.GetEndpointByName("10.66.0.7"))
	if found.Id != endpoint.Id || !strings.EqualFold(found.HostComputeNamespace, namespace.Id) {
		t.Fatalf("%+v", found)
	}
	if list := got[[]hcn.HostComputeEndpoint](t)(hcn.ListEndpointsOfNetwork(network.Id)); len(list) != 1 {
		t.Fatalf("%+v", list)
	}
	ok(t, endpoint.NamespaceDetach(namespace.Id))
	lacks(t, "ip -n "+namespace.Id+" -br addr", "10.66.0.7")
	ok(t, hcn.AddNamespaceEndpoint(namespace.Id, endpoint.Id))
	linux(t, "ip netns exec "+namespace.Id+" ping -c 1 -W 5 10.66.0.1")
	ok(t, hcn.RemoveNamespaceEndpoint(namespace.Id, endpoint.Id))
	fails(t, "ip netns exec "+namespace.Id+" ping -c 1 -W 1 10.66.0.1")
}

func TestNamespacesAreListedAndKnowTheirNumber(t *testing.T) {
	namespace := newNamespace(t)
	has(t, "ip netns", namespace.Id)
	guest := got[*hcn.HostComputeNamespace](t)(hcn.NewNamespace(hcn.NamespaceTypeGuest).Create())
	list := got[[]hcn.HostComputeNamespace](t)(hcn.ListNamespaces())
	if len(list) != 2 || namespace.NamespaceId == 0 || namespace.NamespaceId == guest.NamespaceId {
		t.Fatalf("%+v", list)
	}
	found := got[*hcn.HostComputeNamespace](t)(hcn.GetNamespaceByID(guest.Id))
	if found.Type != hcn.NamespaceTypeGuest {
		t.Fatalf("%+v", found)
	}
	if ids := got[[]string](t)(hcn.GetNamespaceContainerIds(namespace.Id)); len(ids) != 0 {
		t.Fatalf("%v", ids)
	}
	ok(t, namespace.Sync())
	ok(t, guest.Delete())
	lacks(t, "ip netns", guest.Id)
}

func TestALoadBalancerLeadsToItsBackEnds(t *testing.T) {
	network := natNetwork(t)
	first, one := attached(t, network, "10.66.0.11")
	second, other := attached(t, network, "10.66.0.12")
	client, _ := attached(t, network, "10.66.0.13")
	serve(t, first, "80")
	serve(t, second, "80")
	balancer := got[*hcn.HostComputeLoadBalancer](t)(hcn.AddLoadBalancer(
		[]hcn.HostComputeEndpoint{*one}, hcn.LoadBalancerFlagsNone, hcn.LoadBalancerPortMappingFlagsNone,
		"", []string{"10.99.0.1"}, 6, 80, 8080))
	ask := "ip netns exec " + client.Id + " curl -s 10.99.0.1:8080"
	has(t, ask+" -m 10", first.Id)

	// With its back ends replaced, the same service leads to the other one.
	balancer.HostComputeEndpoints = []string{other.Id}
	ok(t, balancer.Delete())
	balancer = got[*hcn.HostComputeLoadBalancer](t)(balancer.Create())
	has(t, ask+" -m 10", second.Id)
	balancer = got[*hcn.HostComputeLoadBalancer](t)(balancer.AddEndpoint(one))
	if len(balancer.HostComputeEndpoints) != 2 {
		t.Fatalf("%+v", balancer)
	}
	balancer = got[*hcn.HostComputeLoadBalancer](t)(balancer.RemoveEndpoint(other))
	has(t, ask+" -m 10", first.Id)
	if found := got[*hcn.HostComputeLoadBalancer](t)(hcn.GetLoadBalancerByID(balancer.Id)); found.PortMappings[0].ExternalPort != 8080 {
		t.Fatalf("%+v", found)
	}
	if list := got[[]hcn.HostComputeLoadBalancer](t)(hcn.ListLoadBalancers()); len(list) != 1 {
		t.Fatalf("%+v", list)
	}
	ok(t, balancer.Delete())
	fails(t, ask+" -m 1")
}

func TestARouteIsThereForItsEndpoints(t *testing.T) {
	network := natNetwork(t)
	namespace, endpoint := attached(t, network, "10.66.0.7")
	_, other := attached(t, network, "10.66.0.8")
	route := got[*hcn.HostComputeRoute](t)(hcn.AddRoute(
		[]hcn.HostComputeEndpoint{*endpoint}, "10.77.0.0/16", "10.66.0.9", false))
	routes := "ip -n " + namespace.Id + " route"
	has(t, routes, "10.77.0.0/16 via 10.66.0.9")
	route = got[*hcn.HostComputeRoute](t)(route.AddEndpoint(other))
	if len(route.HostComputeEndpoints) != 2 {
		t.Fatalf("%+v", route)
	}
	route = got[*hcn.HostComputeRoute](t)(route.RemoveEndpoint(endpoint))
	lacks(t, routes, "10.77.0.0/16")
	if list := got[[]hcn.HostComputeRoute](t)(hcn.ListRoutes()); len(list) != 1 || list[0].ID != route.ID {
		t.Fatalf("%+v", list)
	}
	if found := got[*hcn.HostComputeRoute](t)(hcn.GetRouteByID(route.ID)); found.Setting[0].NextHop != "10.66.0.9" {
		t.Fatalf("%+v", found)
	}
	ok(t, route.Delete())
	if list := got[[]hcn.HostComputeRoute](t)(hcn.ListRoutes()); len(list) != 0 {
		t.Fatalf("%+v", list)
	}
}

func TestTextsComeBackAsTheyWere(t *testing.T) {
	network := natNetwork(t)
	name := "é世😀"
	// Settings are kept as they are, also what nobody knows in them.
	note := text(t, map[string]string{"Name": "port", "Note": strings.Repeat("世", 100_000)})
	endpoint := got[*hcn.HostComputeEndpoint](t)(network.CreateEndpoint(&hcn.HostComputeEndpoint{
		Name:          name,
		Policies:      []hcn.EndpointPolicy{{Type: hcn.PortName, Settings: note}},
		SchemaVersion: hcn.V2SchemaVersion(),
	}))
	found := got[*hcn.HostComputeEndpoint](t)(hcn.GetEndpointByName(name))
	if found.Id != endpoint.Id || found.Name != name || string(found.Policies[0].Settings) != string(note) {
		t.Fatalf("%q came back as %q, %d octets as %d", name, found.Name, len(note), len(found.Policies[0].Settings))
	}
	ok(t, endpoint.Delete())
}
