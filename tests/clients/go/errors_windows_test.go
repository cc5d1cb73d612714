package clients

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/Microsoft/hcsshim"
	"github.com/Microsoft/hcsshim/hcn"
)

// nobody is the ID of nothing.
const nobody = "00000001-0002-0003-0405-060708090A0B"

func TestEveryFeatureIsThere(t *testing.T) {
	for name, asked := range map[string]func() error{
		"V2Api": hcn.V2ApiSupported, "RemoteSubnet": hcn.RemoteSubnetSupported, "HostRoute": hcn.HostRouteSupported,
		"DSR": hcn.DSRSupported, "Slash32": hcn.Slash32EndpointPrefixesSupported, "252": hcn.AclSupportForProtocol252Supported,
		"SessionAffinity": hcn.SessionAffinitySupported, "DualStack": hcn.IPv6DualStackSupported,
		"SetPolicy": hcn.SetPolicySupported, "VxlanPort": hcn.VxlanPortSupported, "L4Proxy": hcn.L4proxyPolicySupported,
		"L4WfpProxy": hcn.L4WfpProxyPolicySupported, "TierAcl": hcn.TierAclPolicySupported,
		"NetworkACL": hcn.NetworkACLPolicySupported, "NestedIpSet": hcn.NestedIpSetSupported,
		"DisableHostPort": hcn.DisableHostPortSupported, "ModifyLoadbalancer": hcn.ModifyLoadbalancerSupported,
	} {
		if err := asked(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	features := got[hcn.SupportedFeatures](t)(hcn.GetCachedSupportedFeatures())
	if !features.Api.V1 || !features.Api.V2 || !features.Acl.AclPortRanges || !features.Acl.AclRuleId {
		t.Errorf("%+v", features)
	}
	if !hcsshim.GetHNSSupportedFeatures().Acl.AclPortRanges {
		t.Error("no port ranges in version 1")
	}
	globals := got[*hcn.Globals](t)(hcn.GetGlobals())
	first := got[*hcsshim.HNSGlobals](t)(hcsshim.GetHNSGlobals())
	if globals.Version.Major < 9 || first.Version.Major != globals.Version.Major {
		t.Errorf("%+v, %+v", globals, first)
	}
}

func TestWhatIsNotThereIsToldByType(t *testing.T) {
	_, network := hcn.GetNetworkByID(nobody)
	_, named := hcn.GetNetworkByName("nobody")
	_, endpoint := hcn.GetEndpointByID(nobody)
	_, namespace := hcn.GetNamespaceByID(nobody)
	_, balancer := hcn.GetLoadBalancerByID(nobody)
	_, route := hcn.GetRouteByID(nobody)
	for err, kind := range map[error]any{
		network: hcn.NetworkNotFoundError{}, named: hcn.NetworkNotFoundError{}, endpoint: hcn.EndpointNotFoundError{},
		namespace: hcn.NamespaceNotFoundError{}, balancer: hcn.LoadBalancerNotFoundError{}, route: hcn.RouteNotFoundError{},
	} {
		if !hcn.IsNotFoundError(err) || reflect.TypeOf(err) != reflect.TypeOf(kind) {
			t.Errorf("%T (%v) instead of %T", err, err, kind)
		}
	}
	if err := hcn.AddNamespaceEndpoint(nobody, nobody); !hcn.IsElementNotFoundError(err) {
		t.Errorf("no such namespace: %v", err)
	}
	// The code and the service's record are in the text, as on Windows.
	err := (&hcn.HostComputeNetwork{Id: nobody}).Delete()
	if !hcn.CheckErrorWithCode(err, 0x803b0001) || !strings.Contains(err.Error(), `{"Success":false,"Error":"`) {
		t.Errorf("no such network: %v", err)
	}
	_, first := hcsshim.GetHNSNetworkByName("nobody")
	var gone hcsshim.NetworkNotFoundError
	if !errors.As(first, &gone) {
		t.Errorf("%T", first)
	}
}

func TestWhatIsWrongIsRefused(t *testing.T) {
	network := natNetwork(t)
	_, err := natDocument(t).Create()
	if !hcn.CheckErrorWithCode(err, 0x803b0010) {
		t.Errorf("a network of a name that is taken: %v", err)
	}
	for _, address := range []string{"10.67.0.9", "nonsense"} {
		_, err := network.CreateEndpoint(&hcn.HostComputeEndpoint{
			IpConfigurations: []hcn.IpConfig{{IpAddress: address, PrefixLength: 24}}, SchemaVersion: hcn.V2SchemaVersion(),
		})
		if !hcn.CheckErrorWithCode(err, 0x803b001e) {
			t.Errorf("%s: %v", address, err)
		}
	}
	if list := got[[]hcn.HostComputeEndpoint](t)(hcn.ListEndpoints()); len(list) != 0 {
		t.Errorf("%+v", list)
	}
}
