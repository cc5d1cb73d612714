package clients

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/Microsoft/hcsshim/hcn"
)

// Wine's way to start a program of Linux and wait for its end.
var spawn = syscall.NewLazyDLL("ntdll.dll").NewProc("__wine_unix_spawnvp")

// shell runs a command of Linux and returns what it printed, and whether it succeeded.
func shell(t *testing.T, command string) (string, bool) {
	t.Helper()
	folder, err := os.MkdirTemp(`Z:\tmp`, "hcn-go-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(folder)
	unix := strings.ReplaceAll(strings.TrimPrefix(folder, "Z:"), `\`, "/")
	script := "exec >" + unix + "/output 2>&1 </dev/null; (" + command + "\n) && touch " + unix + "/success"
	var argv []*byte
	for _, argument := range []string{"sh", "-c", script} {
		pointer, err := syscall.BytePtrFromString(argument)
		if err != nil {
			t.Fatal(err)
		}
		argv = append(argv, pointer)
	}
	argv = append(argv, nil)
	spawn.Call(uintptr(unsafe.Pointer(&argv[0])), 1)
	output, err := os.ReadFile(filepath.Join(folder, "output"))
	if err != nil {
		t.Fatalf("%s did not run: %v", command, err)
	}
	_, err = os.Stat(filepath.Join(folder, "success"))
	return string(output), err == nil
}

// linux runs a command of Linux that must succeed.
func linux(t *testing.T, command string) string {
	t.Helper()
	output, succeeded := shell(t, command)
	if !succeeded {
		t.Fatalf("%s: %s", command, output)
	}
	return output
}

// has fails the test where a command of Linux does not print all of the texts.
func has(t *testing.T, command string, texts ...string) {
	t.Helper()
	output := linux(t, command)
	for _, text := range texts {
		if !strings.Contains(output, text) {
			t.Fatalf("no %q in what %s prints:\n%s", text, command, output)
		}
	}
}

// lacks waits until a command of Linux does not print the text any more; links are destroyed a little after they are gone.
func lacks(t *testing.T, command, text string) {
	t.Helper()
	for wait := 0; strings.Contains(linux(t, command), text); wait++ {
		if wait == 100 {
			t.Fatalf("%q in what %s prints:\n%s", text, command, linux(t, command))
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// fails fails the test where a command of Linux succeeds.
func fails(t *testing.T, command string) {
	t.Helper()
	if output, succeeded := shell(t, command); succeeded {
		t.Fatalf("%s succeeds: %s", command, output)
	}
}

// server answers any request with its argument.
const server = `
import socketserver, sys
class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        while self.rfile.readline().strip():
            pass
        self.wfile.write(b"HTTP/1.0 200 OK\r\n\r\n" + sys.argv[2].encode())
socketserver.TCPServer(("", int(sys.argv[1])), Handler).serve_forever()
`

// serve answers HTTP in a namespace, with the namespace's ID, until the test ends.
func serve(t *testing.T, namespace *hcn.HostComputeNamespace, port string) {
	t.Helper()
	pid := linux(t, "ip netns exec "+namespace.Id+" python3 -c '"+server+"' "+port+" "+namespace.Id+
		" >/dev/null 2>&1 & echo $!")
	t.Cleanup(func() { linux(t, "kill "+pid) })
	linux(t, "for wait in $(seq 100); do ip netns exec "+namespace.Id+" curl -s -m 10 127.0.0.1:"+port+
		" && exit; sleep 0.05; done; exit 1")
}

// ok ends the test on an error.
func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// got is a result, or ends the test.
func got[T any](t *testing.T) func(T, error) T {
	return func(result T, err error) T {
		t.Helper()
		ok(t, err)
		return result
	}
}

// text is what a value is in JSON.
func text(t *testing.T, value any) json.RawMessage {
	t.Helper()
	bytes, err := json.Marshal(value)
	ok(t, err)
	return bytes
}
