// The headers in C++, with a text of the language's own.
#include <ComputeNetwork.h>
#include <vmcompute.h>

#include <string>

static_assert(sizeof(HCN_PORT_RANGE_ENTRY) == 64 && sizeof(GUID) == 16, "as on Windows");

int main()
{
    const GUID nobody{1, 2, 3, {4}};
    HCN_NETWORK network = nullptr;
    PWSTR record = nullptr;
    HRESULT result = HcnOpenNetwork(nobody, &network, &record);
    std::u16string text = record ? record : u"";

    CoTaskMemFree(record);
    return result == HCN_E_NETWORK_NOT_FOUND && text.find(u"not found") != text.npos ? 0 : 1;
}
