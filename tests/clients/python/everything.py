"""Uses the client as programs do, and says what went wrong."""

import threading

from hcn import Client, HcnError

V2 = {"SchemaVersion": {"Major": 2, "Minor": 0}}


def refused(hresult, hcn, method, /, **parameters):
    try:
        hcn.call(method, **parameters)
    except HcnError as error:
        assert error.hresult == hresult, error
        return error
    raise AssertionError(f"{method} was not refused")


def main():
    with Client() as hcn:
        heard = []
        events = hcn.events(kinds=["Network"])
        assert next(events)["registered"]
        listener = threading.Thread(target=lambda: heard.extend(next(events)["action"] for _ in range(4)), daemon=True)
        listener.start()

        subnet = {"IpAddressPrefix": "198.51.100.0/24"}
        made = hcn.call(
            "io.hcn.Network.Create",
            settings={**V2, "Type": "NAT", "Name": "é世😀", "Ipams": [{"Subnets": [subnet]}]},
        )
        told = hcn.call("io.hcn.Network.Query", handle=made["handle"], query=V2)["properties"]
        assert told["Name"] == "é世😀" and told["ID"] == made["id"], told
        large = {"note": "o" * 300_000}
        endpoint = hcn.call(
            "io.hcn.Endpoint.Create", network_handle=made["handle"], settings={**V2, "AdditionalParams": large}
        )
        told = hcn.call("io.hcn.Endpoint.Query", id=endpoint["id"], query=V2)["properties"]
        assert told["AdditionalParams"] == large
        assert hcn.call("io.hcn.Endpoint.Enumerate")["ids"] == [endpoint["id"]]

        assert refused(0x803B0001, hcn, "io.hcn.Network.Open", id="00000001-0002-0003-0004-000000000005").name
        error = refused(0x803B0030, hcn, "io.hcn.Network.Create", settings={
            **V2, "Type": "NAT", "Ipams": [{"Subnets": [{"IpAddressPrefix": "no prefix"}]}]
        })
        assert error.path.endswith("Ipams[0].Subnets[0].IpAddressPrefix"), error.path
        # Of Varlink itself, not of the service.
        assert refused(None, hcn, "io.hcn.Network.Fly").error == "org.varlink.service.MethodNotFound"

        response = hcn.call("io.hcn.V1.Call", method="GET", path="/networks/")["response"]
        assert [network["ID"] for network in response["Output"]] == [made["id"]], response
        hcn.call("io.hcn.Network.Delete", id=made["id"])
        hcn.call("io.hcn.Network.Close", handle=made["handle"])
        listener.join(10)
        assert heard == ["pre-create", "create", "pre-delete", "delete"], heard
    print("done")


main()
