/* The smallest program: makes a network, tells what the service made of it, and deletes it. */
#include <ComputeNetwork.h>
#include <stdio.h>

/* Prints a text that is ASCII, and frees it. */
static void show(PWSTR text)
{
    for (PWSTR at = text; at && *at; at++)
        putchar(*at);
    putchar('\n');
    CoTaskMemFree(text);
}

int main(void)
{
    static const GUID id = {0x11111111, 0x2222, 0x3333, {0x44, 0x44, 0x55, 0x55, 0x55, 0x55, 0x55, 0x55}};
    HCN_NETWORK network;
    PWSTR error, properties;
    HRESULT result = HcnCreateNetwork(&id,
                                      u"{\"SchemaVersion\": {\"Major\": 2, \"Minor\": 0}, \"Type\": \"NAT\","
                                      u" \"Name\": \"first\", \"Ipams\": [{\"Subnets\": [{"
                                      u"\"IpAddressPrefix\": \"192.168.50.0/24\"}]}]}",
                                      &network, &error);

    if (FAILED(result)) {
        show(error);
        return 1;
    }
    if (SUCCEEDED(HcnQueryNetworkProperties(network, u"{\"SchemaVersion\": {\"Major\": 2}}", &properties, NULL)))
        show(properties);
    HcnCloseNetwork(network);
    return FAILED(HcnDeleteNetwork(&id, NULL));
}
