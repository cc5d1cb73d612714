// Package clients tests that programs which use github.com/Microsoft/hcsshim, compiled for Windows as they are, get from
// hcnd what Windows would do. It runs on Linux, under Wine:
//
//	GOOS=windows go test -exec ../../../scripts/hcn-wine .
//
// Much of hcsshim succeeds when nothing is done, so the tests look at the kernel: see linux_windows_test.go.
package clients
