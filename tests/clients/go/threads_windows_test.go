package clients

import (
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/Microsoft/hcsshim/hcn"
)

func TestManyThreadsCallAtOnce(t *testing.T) {
	// A round is 8 calls of the DLL.
	const threads, rounds = 32, 13
	network := natNetwork(t)
	var all sync.WaitGroup
	for range threads {
		all.Add(1)
		go func() {
			defer all.Done()
			for range rounds {
				namespace, err := hcn.NewNamespace(hcn.NamespaceTypeGuest).Create()
				if err != nil {
					t.Error(err)
					return
				}
				if found, err := hcn.GetNetworkByID(network.Id); err != nil || found.Name != network.Name {
					t.Errorf("%+v, %v", found, err)
				}
				if err := namespace.Delete(); err != nil {
					t.Error(err)
				}
			}
		}()
	}
	all.Wait()
}

// hcsshim has no callbacks; other clients in Go call the DLL's functions for them.
func TestCallbacksRunInGo(t *testing.T) {
	library := syscall.NewLazyDLL("computenetwork.dll")
	var made, called atomic.Int32
	var name atomic.Value
	callback := syscall.NewCallback(func(kind, context, status uintptr, data *uint16) uintptr {
		called.Add(1)
		if context == 77 && status == 0 && kind == 5 {
			made.Add(1)
			name.Store(syscall.UTF16ToString(unsafe.Slice(data, 200)))
		}
		return 0
	})
	var handle uintptr
	result, _, _ := library.NewProc("HcnRegisterServiceCallback").Call(callback, 77, uintptr(unsafe.Pointer(&handle)))
	if result != 0 || handle == 0 {
		t.Fatalf("0x%08x", result)
	}
	namespace := newNamespace(t)
	for wait := 0; made.Load() == 0 && wait < 1000; wait++ {
		time.Sleep(10 * time.Millisecond)
	}
	if told, _ := name.Load().(string); made.Load() != 1 || !strings.Contains(told, namespace.Id) {
		t.Fatalf("%d calls, %q", made.Load(), told)
	}
	if result, _, _ := library.NewProc("HcnUnregisterServiceCallback").Call(handle); result != 0 {
		t.Fatalf("0x%08x", result)
	}
	before := called.Load()
	newNamespace(t)
	time.Sleep(100 * time.Millisecond)
	if called.Load() != before {
		t.Fatal("it is called after its end")
	}
}

// How long a call takes, and the crossing of Wine in it: go test -bench . -run NONE
func BenchmarkEnumerate(b *testing.B) {
	var networks, record *uint16
	enumerate := syscall.NewLazyDLL("computenetwork.dll").NewProc("HcnEnumerateNetworks")
	free := syscall.NewLazyDLL("ole32.dll").NewProc("CoTaskMemFree")
	for range b.N {
		result, _, _ := enumerate.Call(0, uintptr(unsafe.Pointer(&networks)), uintptr(unsafe.Pointer(&record)))
		if result != 0 {
			b.Fatalf("0x%08x", result)
		}
		free.Call(uintptr(unsafe.Pointer(networks)))
	}
}
